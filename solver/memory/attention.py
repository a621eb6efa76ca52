"""The kernels of attention: what each takes and frees, forward and backward.

All start from q, k and v and end with o, the tensor that the output projection reads, or start from its gradient d_o
and end with d_q, d_k and d_v.
"""

from __future__ import annotations

from solver.memory.setting import Lines


class Fused(Lines):
    """Flash and memory-efficient attention: neither holds the scores."""

    own_output = False
    """The projection reads a copy of the kernel's output, and saves it beside what the kernel saves."""

    def forward(self) -> None:
        """The output, log-sum-exp, and the random state, two scalars."""
        if self.s.kernel == "efficient" and self.s.infer:
            self.ledger.take(o="query", seed="unit", offset="unit")
        else:
            self.ledger.take(o="query", lse="lse" if self.s.kernel == "flash" else "lse32", seed="unit", offset="unit")
            self.saved("lse")
        self.saved("seed", "offset")

    def returns(self) -> None:
        """The end of the module's forward: its variables q, k, v and y go."""
        self.saved("o", "q", *([] if self.s.infer else ["k", "v"]))

    def backward(self) -> None:
        """With workspaces, and dk and dv per query head if heads are grouped."""
        workspace = self.workspace("expanded")
        self.ledger.take(d_q="query", d_k="key", d_v="key", **workspace)
        self.ledger.free("d_o", "o", "lse", "seed", "offset", "q", "k", "v", *workspace)

    def workspace(self, expanded: str) -> dict[str, str]:
        sums = {"softmax_sum": "softmax_sum", "dq_sum": "dq_sum"}
        if self.s.kernel == "efficient":
            sums = {"row_sum": "lse32"}
        return sums | ({"dk_heads": expanded, "dv_heads": expanded} if self.s.grouped else {})


class Padded(Fused):
    """Flash on copies whose heads are filled up to a multiple of 8 numbers, and cut back."""

    @property
    def own_output(self) -> bool:  # type: ignore[override]
        return not self.s.one_head

    def forward(self) -> None:
        take = self.ledger.take
        take(q_flat="padded_query")
        take(k_flat="padded_key")
        take(v_flat="padded_key")
        take(o_heads="padded_query", lse="lse", seed="unit", offset="unit")
        self.saved("q_flat", "k_flat", "v_flat", "lse", "seed", "offset")
        if self.own_output:
            take(o="query")

    def returns(self) -> None:
        self.saved("o_heads", *(["o"] if self.own_output else []))
        self.ledger.free("q", *([] if self.s.infer else ["k", "v"]))

    def backward(self) -> None:
        take, free, workspace = self.ledger.take, self.ledger.free, self.workspace("padded_expanded")
        take(d_o_heads="padded_query")
        free("d_o")
        take(d_q_flat="padded_query", d_k_flat="padded_key", d_v_flat="padded_key", **workspace)
        free("d_o_heads", "o_heads", "lse", "seed", "offset", "q_flat", "k_flat", "v_flat", *workspace)
        for name, size in (("v", "key"), ("k", "key"), ("q", "query")):
            take(**{f"d_{name}": size})
            free(f"d_{name}_flat")


class _Written(Lines):
    """Attention out of matrix products: bmm copies what it cannot view as (B * H, T, D), and saves its copies."""

    own_output = True

    @property
    def own_keys(self) -> bool:
        """The products read other tensors than k and v themselves."""
        return self.s.grouped or self.s.copies_keys

    @property
    def expanded(self) -> str:
        return "expanded" if self.s.grouped else "key"

    def flat(self, name: str, size: str, *, needed: bool) -> None:
        if needed:
            self.ledger.take(**{f"{name}_flat": size})

    def product(self, *flat: tuple[str, bool]) -> None:
        """A product is made: where there is no graph, the copies that it read die."""
        self.saved(*(f"{name}_flat" for name, copied in flat if copied))

    def output(self) -> None:
        """(B, H, T, D) becomes (B, T, H * D)."""
        if self.s.copies_output:
            self.ledger.take(o="query")
        else:
            self.ledger.rename("o_heads", "o")

    def drop_weights(self) -> None:
        """Dropout of the weights in float32, whose softmax the backward pass needs too."""
        self.ledger.take(dropped="score", score_mask="score_mask")
        self.saved("score_mask", "weights")
        if self.graph:
            self.ledger.rename("weights", "softmax")
        self.ledger.rename("dropped", "weights")

    def from_output(self) -> None:
        """Gradients of the values and of the weights, before dropout."""
        s, take, free = self.s, self.ledger.take, self.ledger.free
        if s.copies_query:
            take(d_o_flat="query")
            free("d_o")
            self.ledger.rename("d_o_flat", "d_o")
        take(d_v=self.expanded)
        take(d_scores="score")
        free("d_o", "v_flat" if self.own_keys else "v")
        if s.half or s.dropout:
            free("weights")  # else they are the softmax itself
        if s.dropout:
            take(undropped="score")
            free("d_scores", "score_mask")
            self.ledger.rename("undropped", "d_scores")

    def sum_groups(self) -> None:
        """Gradients of repeated keys and values are summed over their group."""
        if self.s.grouped:
            for name in ("d_v", "d_k"):
                self.ledger.take(group_sum="key")
                self.ledger.free(name)
                self.ledger.rename("group_sum", name)


class Eager(_Written):
    """softmax(q k^T) v as `diymodel.model.eager_attention` writes it."""

    def forward(self) -> None:
        s, take, free = self.s, self.ledger.take, self.ledger.free
        if s.grouped:
            take(k_flat="expanded")
            take(v_flat="expanded")
        self.flat("q", "query", needed=s.copies_query)
        self.flat("k", "key", needed=s.copies_keys)
        take(raw="score")
        self.product(("q", s.copies_query), ("k", s.copies_keys))
        take(scores="score")
        free("raw")
        if not s.one_token:
            self.mask_scores()
        self.softmax()
        self.flat("v", "key", needed=s.copies_keys)
        take(o_heads="query")
        free("scores")
        self.saved("weights")
        self.product(("v", s.copies_keys))
        if s.grouped:
            self.saved("k_flat", "v_flat")
        self.output()

    def mask_scores(self) -> None:
        """masked_fill with the complement of a lower triangle."""
        take, free = self.ledger.take, self.ledger.free
        take(ones="causal")
        take(triangle="causal")
        free("ones")
        take(causal="causal")
        free("triangle")
        take(masked="score")
        self.saved("causal")
        free("scores")
        self.ledger.rename("masked", "scores")

    def softmax(self) -> None:
        """In float32, cast back, with dropout. Ends with `weights`; with `softmax` too where that is another tensor."""
        s, take, free = self.s, self.ledger.take, self.ledger.free
        if not s.half:
            take(weights="score32")
            if s.dropout:
                self.drop_weights()
            return
        if not s.softmax_casts:
            take(scores32="score32")
        take(softmax="score32")
        if not s.softmax_casts:
            free("scores32")
        take(weights="score")
        self.saved("softmax")
        if s.dropout:
            take(dropped="score", score_mask="score_mask")
            self.saved("score_mask")
            free("weights")
            self.ledger.rename("dropped", "weights")

    def returns(self) -> None:
        s, free = self.s, self.ledger.free
        self.saved("o")
        if s.copies_output:
            free("o_heads")
        (free if s.copies_query else self.saved)("q")
        if not s.infer:
            (free if self.own_keys else self.saved)("k", "v")

    def backward(self) -> None:
        s, take = self.s, self.ledger.take
        self.from_output()
        if s.half:
            take(d_softmax="score32")
            self.ledger.free("d_scores")
            self.ledger.rename("d_softmax", "d_scores")
        take(d_unmasked="score" if s.softmax_casts else "score32")
        self.ledger.free("d_scores", "softmax" if s.half or s.dropout else "weights")
        self.ledger.rename("d_unmasked", "d_scores")
        for step in (["cast"] if s.half and not s.softmax_casts else []) + ["masked", "divided"]:
            take(**{step: "score"})
            self.ledger.free("d_scores", *(["causal"] if step == "masked" else []))
            self.ledger.rename(step, "d_scores")
        take(d_k=self.expanded)
        take(d_q="query")
        self.ledger.free("d_scores", "q_flat" if s.copies_query else "q", "k_flat" if self.own_keys else "k")
        self.sum_groups()


class Math(_Written):
    """torch's composite path in float32: queries and keys are scaled, a float mask is added in place."""

    def forward(self) -> None:
        s, take = self.s, self.ledger.take
        take(q_scaled="query")
        if not s.one_token:
            self.mask()
        if s.grouped:
            take(k_many="expanded")
            take(v_flat="expanded")
        take(k_scaled="expanded")
        self.flat("q", "query", needed=s.copies_query)
        self.flat("k", "key", needed=s.copies_keys)
        take(raw="score")
        if s.copies_keys:
            self.ledger.free("k_scaled")
            self.ledger.rename("k_flat", "k_scaled")
        self.saved("k_scaled")
        self.product(("q", s.copies_query))
        take(weights="score", unmasked="score", is_masked="score_mask")
        self.ledger.free("unmasked", "is_masked", "raw")
        if s.dropout:
            self.drop_weights()
        self.flat("v", "key", needed=s.copies_keys)
        take(o_heads="query")
        self.saved("weights")
        (self.ledger.free if s.copies_query else self.saved)("q_scaled")
        self.ledger.free(*([] if s.one_token else ["bias"]), *(["k_many"] if s.grouped else []))
        self.product(("v", self.own_keys))
        self.output()

    def mask(self) -> None:
        """0 or -inf in float32, from a lower triangle."""
        take, free = self.ledger.take, self.ledger.free
        take(ones="causal")
        take(triangle="causal")
        free("ones")
        take(zero="unit", infinity="unit", bias="causal32")
        free("zero", "infinity", "triangle")

    def returns(self) -> None:
        s, free = self.s, self.ledger.free
        self.saved("o")
        if s.copies_output:
            free("o_heads")
        free("q")
        if not s.infer:
            free("k")
            (free if self.own_keys else self.saved)("v")

    def backward(self) -> None:
        s, take, free = self.s, self.ledger.take, self.ledger.free
        self.from_output()
        take(d_raw="score")
        free("d_scores", "softmax" if s.dropout else "weights")
        take(d_k_scaled=self.expanded)
        take(d_q_scaled="query")
        free("d_raw", "q_flat" if s.copies_query else "q_scaled", "k_scaled")
        take(d_k=self.expanded)
        free("d_k_scaled")
        self.sum_groups()
        take(d_q="query")
        free("d_q_scaled")


KERNELS: dict[str, type[Fused] | type[Eager] | type[Math]] = {
    "flash": Fused,
    "efficient": Fused,
    "padded": Padded,
    "math": Math,
    "eager": Eager,
}
