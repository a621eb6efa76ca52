"""What a step takes and frees, line by line: the memory of `diymodel` written down.

Read beside `diymodel/model.py` and `diymodel/step.py`. Four rules explain most lines:

- a tensor that the backward pass needs stays; `_Forward.saved` names it, and frees it where there is no graph
- other tensors live until Python drops the last variable that holds them: an argument lives as long as its call
- in the backward pass the inputs and the saved tensors of a node die after its outputs are made
- a second gradient of a tensor is added into the first one, in place

Under autocast, copies of weights in the compute dtype are made once and cached until the region ends, after the loss;
those that the backward pass needs stay longer. `solver.memory.tensors` gives the sizes that are named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from solver.memory.ledger import Count, Entry, Instant, Ledger, binding

Script = Mapping[str, tuple[Instant, ...]]
"""Moment -> the instants at which it can peak."""

STATES = {"adamw": 2, "adamw-foreach": 2, "sgd": 0, "sgd-momentum": 1}
"""Optimizer states of the size of a weight: both moments of AdamW, the momentum of SGD."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Everything besides the sizes that decides which lines are run."""

    infer: bool
    mixed: bool
    half: bool
    """Matrices are multiplied in 2 bytes."""
    scaler: bool
    optimizer: str
    checkpointed: bool
    kernel: str
    """flash, padded (flash on heads filled up to a multiple of 8), efficient, math or eager."""
    chunks: int
    """Of the chunked loss: 0 for the plain one, 2 for more than one."""
    tied: bool
    bias: bool
    qk_norm: bool
    final_norm: bool
    dropout: bool
    grouped: bool
    one_sequence: bool
    one_head: bool
    one_kv_head: bool
    one_token: bool = False
    """A pass over a single token: decoding, or a prompt of one."""

    @property
    def casts_hidden(self) -> bool:
        """The head itself casts the hidden states, since no final norm did."""
        return self.mixed and not self.final_norm

    @property
    def softmax_casts(self) -> bool:
        """CUDA's softmax reads float16 and answers in float32; bfloat16 is cast before."""
        return self.scaler

    @property
    def copies_query(self) -> bool:
        """bmm reads (B, H, T, D) as (B * H, T, D), a view of (B, T, H, D) only if one of B, H, T is 1."""
        return not (self.one_sequence or self.one_head or self.one_token)

    @property
    def copies_keys(self) -> bool:
        """Keys that are repeated for their group are contiguous, and those of a cache can be viewed."""
        return not (self.grouped or self.infer or self.one_sequence or self.one_kv_head)

    @property
    def copies_output(self) -> bool:
        """(B, H, T, D) is read as (B, T, H * D)."""
        return not (self.one_head or self.one_token)


@lru_cache(maxsize=256)
def training_script(s: Setting) -> Script:
    """The instants of every moment of a training step that can be its peak."""
    ledger = Ledger(_resident(s))
    moments = {"forward_end": _forward_stage(ledger, s)}
    moments["loss"] = _chunked_loss(ledger, s) if s.chunks else _plain_loss(ledger, s)
    moments["backward"] = _backward_stage(ledger, s)
    moments["optimizer_step"] = _optimizer_stage(ledger, s)
    return {moment: binding(instants) for moment, instants in moments.items()}


@lru_cache(maxsize=256)
def whole_step(s: Setting) -> tuple[Instant, ...]:
    """The instants of a training step that can be its peak, whatever their moment."""
    return binding([instant for instants in training_script(s).values() for instant in instants])


@lru_cache(maxsize=256)
def serving_script(s: Setting, *, decode: bool, decodes: bool) -> tuple[Instant, ...]:
    """The instants of a prefill or of decoding one token that can be its peak.

    Args:
        decodes: something is decoded at all; without, what is resident then is the answer.
    """
    ledger = Ledger(_resident(s))
    ledger.add("kv_cache", "cache", 0, 2)
    if decode and s.mixed:
        ledger.add("weight_copies", "c_head")
        for (part, size), (count, _) in _layer_keeps(s).items():
            ledger.add(part, size, 0, count)
    ledger.note("start")
    if not decode or decodes:
        _serve(ledger, s, copies=not decode)
    return binding(ledger.harvest())


# ---- what is always there ----


def weight_tensors(s: Setting) -> list[tuple[str, int, int]]:
    """(size, number outside the layers, number in each layer) of every weight tensor."""
    return [
        ("w_head", 1 if s.tied else 2, 0),
        ("w_norm", 1 if s.final_norm else 0, 2),
        ("w_qkv", 0, 1),
        ("w_qkv_bias", 0, 1 if s.bias else 0),
        ("w_o", 0, 1),
        ("w_head_norm", 0, 2 if s.qk_norm else 0),
        ("w_ff", 0, 3),
    ]


def _resident(s: Setting) -> dict[Entry, Count]:
    """Weights, optimizer states, RoPE tables and token ids: all that there is before a pass."""
    ledger = Ledger()
    for size, count, per_layer in weight_tensors(s):
        ledger.add("weights", size, count, per_layer)
        if not s.infer:
            states = STATES[s.optimizer]
            ledger.add("optimizer", size, states * count, states * per_layer)
            if s.optimizer == "adamw":
                ledger.add("optimizer", "unit", count, per_layer)  # the fused kernel counts steps on the device
    if s.scaler and not s.infer:
        ledger.add("optimizer", "unit", 2)  # the scale and its growth tracker
    ledger.add("buffers", "rope", 2)
    ledger.add("buffers", "ids")
    return ledger.counts()


# ---- forward ----


class _Forward:
    """One pass through a layer.

    Args:
        graph: tensors that the backward pass needs are kept.
        copies: autocast's copies of weights are made (decoding finds them in the cache).
    """

    def __init__(self, ledger: Ledger, s: Setting, *, graph: bool, copies: bool = True) -> None:
        self.ledger, self.s, self.graph, self.copies = ledger, s, graph, copies and s.mixed

    def saved(self, *names: str) -> None:
        """The program drops tensors that the backward pass needs."""
        if not self.graph:
            self.ledger.free(*names)

    def copy(self, weight: str, size: str) -> None:
        if self.copies:
            self.ledger.take("weight_copies", **{f"copy_{weight}": f"c_{size}"})

    def block(self, *, recomputed: bool = False) -> None:
        """From the layer's input x to its output x2. A recomputation ends with the last tensor that is saved."""
        take, free = self.ledger.take, self.ledger.free
        self.norm("n1")
        self.attention()
        self.dropout("a")
        take(x1="stream")
        free("a")
        self.norm("n2")
        self.feedforward(down=not recomputed or self.s.dropout)
        if recomputed and not self.s.dropout:
            return
        self.dropout("d")
        if not recomputed:
            take(x2="stream")
            self.saved("x1")
        free("d")

    def norm(self, name: str) -> None:
        """RMSNorm: under autocast a float32 result, then its cast."""
        take = self.ledger.take
        if self.s.mixed:
            take(result="stream", **{f"{name}_rstd": "rstd"})
            self.saved(f"{name}_rstd")
            take(**{name: "hidden"})
            self.ledger.free("result")
        else:
            take(**{name: "stream", f"{name}_rstd": "rstd"})
            self.saved(f"{name}_rstd")

    def dropout(self, name: str) -> None:
        if self.s.dropout:
            self.ledger.take(dropped="hidden", **{f"{name}_mask": "mask"})
            self.saved(f"{name}_mask")
            self.ledger.free(name)
            self.ledger.rename("dropped", name)

    def feedforward(self, *, down: bool) -> None:
        take = self.ledger.take
        self.copy("gate", "ff")
        take(gate="wide")
        take(silu="wide")
        self.saved("gate")
        self.copy("up", "ff")
        take(up="wide")
        take(product="wide")
        self.saved("silu", "up")
        self.copy("down", "ff")
        if down:
            take(d="hidden")
        self.saved("product", "n2")

    def attention(self) -> None:
        """o(attend(q, k, v)); the fused projection dies before attention, unless a norm of queries saved a view."""
        s, take, free = self.s, self.ledger.take, self.ledger.free
        if s.bias:
            self.copy("qkv_bias", "qkv_bias")
        self.copy("qkv", "qkv")
        take(fused="fused")
        self.rotate("q", "query")
        self.rotate("k", "key")
        if s.one_token and s.one_sequence:
            self.ledger.rename("fused", "v")  # a contiguous slice: no copy, and it keeps the whole tensor
        else:
            take(v="key")
            if s.qk_norm and not s.mixed:
                self.saved("fused")
            else:
                free("fused")
        if s.infer:
            free("k", "v")  # copied into the cache
        {"eager": self.eager, "padded": self.padded, "math": self.math}.get(s.kernel, self.kernel)()
        self.copy("o", "o")
        take(a="hidden")
        self.attention_returns()

    def rotate(self, name: str, size: str) -> None:
        """(x1 cos - x2 sin, x2 cos + x1 sin) from the halves of queries or keys."""
        take, free, half = self.ledger.take, self.ledger.free, f"half_{size}"
        if self.s.qk_norm:
            self.head_norm(name, size)
        for result in ("first", "second"):
            take(cosine=half)
            take(sine=half)
            take(**{result: half})
            free("cosine", "sine")
        take(**{name: size})
        free("first", "second")
        if self.s.qk_norm:
            free(f"{name}_normed")

    def head_norm(self, name: str, size: str) -> None:
        """RMSNorm of queries or keys: under autocast of a float32 copy, to a float32 result, then its cast."""
        take, rstd = self.ledger.take, f"{name}_rstd"
        if self.s.mixed:
            take(**{f"{name}_32": f"{size}32"})
            take(result=f"{size}32", **{rstd: f"rstd_{size}"})
            self.saved(f"{name}_32", rstd)
            take(**{f"{name}_normed": size})
            self.ledger.free("result")
        else:
            take(**{f"{name}_normed": size, rstd: f"rstd_{size}"})
            self.saved(rstd)

    def kernel(self) -> None:
        """Flash or memory-efficient attention: its output, log-sum-exp, and the random state, two scalars."""
        if self.s.kernel == "efficient" and self.s.infer:
            self.ledger.take(o="query", seed="unit", offset="unit")
        else:
            self.ledger.take(o="query", lse="lse" if self.s.kernel == "flash" else "lse32", seed="unit", offset="unit")
            self.saved("lse")
        self.saved("seed", "offset")

    def padded(self) -> None:
        """Flash on padded copies; what the next projection reads is cut out of its output, a copy for two heads on."""
        take = self.ledger.take
        take(q_flat="padded_query")
        take(k_flat="padded_key")
        take(v_flat="padded_key")
        take(o_heads="padded_query", lse="lse", seed="unit", offset="unit")
        self.saved("q_flat", "k_flat", "v_flat", "lse", "seed", "offset")
        if not self.s.one_head:
            take(o="query")

    def eager(self) -> None:
        """softmax(q k^T) v with every tensor in memory."""
        s, take, free = self.s, self.ledger.take, self.ledger.free
        if s.grouped:
            take(k_flat="expanded")
            take(v_flat="expanded")
        if s.copies_query:
            take(q_flat="query")
        if s.copies_keys:
            take(k_flat="key")
        take(raw="score")
        if s.copies_query:
            self.saved("q_flat")
        if s.copies_keys:
            self.saved("k_flat")
        take(scores="score")
        free("raw")
        if not s.one_token:
            self.mask_scores()
        self.softmax()
        if s.copies_keys:
            take(v_flat="key")
        take(o_heads="query")
        free("scores")
        self.saved("weights")
        if s.copies_keys:
            self.saved("v_flat")
        if s.grouped:
            self.saved("k_flat", "v_flat")
        if s.copies_output:
            take(o="query")
        else:
            self.ledger.rename("o_heads", "o")

    def math(self) -> None:
        """The composite path, in float32: as written out, but queries and keys are scaled and the mask is added in place."""
        s, take, free = self.s, self.ledger.take, self.ledger.free
        take(q_scaled="query")
        if not s.one_token:
            take(ones="causal")
            take(triangle="causal")
            free("ones")
            take(zero="unit", infinity="unit", bias="causal32")
            free("zero", "infinity", "triangle")
        if s.grouped:
            take(k_many="expanded")
            take(v_flat="expanded")
        take(k_scaled="expanded")
        if s.copies_query:
            take(q_flat="query")
        if s.copies_keys:
            take(k_flat="key")
        take(raw="score")
        if s.copies_query:
            self.saved("q_flat")
        if s.copies_keys:
            free("k_scaled")
            self.saved("k_flat")
        else:
            self.saved("k_scaled")
        take(weights="score", unmasked="score", is_masked="score_mask")
        free("unmasked", "is_masked", "raw")
        if s.dropout:
            take(dropped="score", score_mask="score_mask")
            self.saved("score_mask", "weights")
            if self.graph:
                self.ledger.rename("weights", "softmax")
            self.ledger.rename("dropped", "weights")
        if s.copies_keys:
            take(v_flat="key")
        take(o_heads="query")
        self.saved("weights")
        if s.copies_query:
            free("q_scaled")
        else:
            self.saved("q_scaled")
        if not s.one_token:
            free("bias")
        if s.grouped:
            free("k_many")
        if s.grouped or s.copies_keys:
            self.saved("v_flat")
        if s.copies_output:
            take(o="query")
        else:
            self.ledger.rename("o_heads", "o")

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
        """In float32, cast back, with dropout. Ends with `weights`; `softmax` too where the graph keeps it apart."""
        s, take, free = self.s, self.ledger.take, self.ledger.free
        if s.half:
            if not s.softmax_casts:
                take(scores32="score32")
            take(softmax="score32")
            if not s.softmax_casts:
                free("scores32")
            take(weights="score")
            self.saved("softmax")
        else:
            take(weights="score32")
        if not s.dropout:
            return
        take(dropped="score", score_mask="score_mask")
        self.saved("score_mask")
        if s.half:
            free("weights")
        elif self.graph:
            self.ledger.rename("weights", "softmax")
        else:
            free("weights")
        self.ledger.rename("dropped", "weights")

    def attention_returns(self) -> None:
        """What bmm copied is saved in place of what it copied from."""
        s, free = self.s, self.ledger.free
        self.saved("n1", *([] if s.kernel == "padded" and s.one_head else ["o"]))
        if s.kernel == "padded":
            self.saved("o_heads")
            free("q", *([] if s.infer else ["k", "v"]))
            return
        if s.kernel in ("flash", "efficient"):
            self.saved("q", *([] if s.infer else ["k", "v"]))
            return
        if s.copies_output:
            free("o_heads")
        if s.kernel == "math":
            free("q")
            if not s.infer:
                free("k")
                (free if s.grouped or s.copies_keys else self.saved)("v")
            return
        if s.copies_query:
            free("q")
        else:
            self.saved("q")
        if s.infer:
            return
        if s.grouped or s.copies_keys:
            free("k", "v")
        else:
            self.saved("k", "v")


@lru_cache(maxsize=256)
def _layer_keeps(s: Setting) -> dict[Entry, Count]:
    """What one layer leaves behind in a forward pass: in training its input too, but not its output."""
    ledger = Ledger()
    ledger.take(x="stream")
    _Forward(ledger, s, graph=not (s.checkpointed or s.infer)).block()
    ledger.free("x2")
    if s.infer:
        ledger.free("x")
    return ledger.counts()


def _forward_stage(ledger: Ledger, s: Setting) -> list[Instant]:
    """Embedding, layers, final norm and, unless the loss makes them in chunks, the logits."""
    ledger.take(x="stream")
    if s.mixed:
        ledger.take(cos="table")
        ledger.take(sin="table")
    for (part, size), (count, _) in _layer_keeps(s).items():
        ledger.add(part, size, -count, count)
    ledger.where = "last layer: "
    _Forward(ledger, s, graph=not s.checkpointed).block()
    ledger.where = ""
    if s.final_norm:
        _Forward(ledger, s, graph=True).norm("y")
    else:
        ledger.rename("x2", "y")
    ledger.take(labels="ids")
    if not s.chunks:
        _logits(ledger, s)
    ledger.part = "logits_loss"
    return ledger.harvest()


def _logits(ledger: Ledger, s: Setting) -> None:
    _Forward(ledger, s, graph=True).copy("head", "head")
    ledger.part = "logits_loss"
    if s.casts_hidden:
        ledger.take(y_cast="hidden")
    ledger.take(logits="logits")
    if s.casts_hidden:
        ledger.free("y")
        ledger.rename("y_cast", "y")


def _serve(ledger: Ledger, s: Setting, *, copies: bool) -> None:
    """Layers without a graph, then the logits of the last token."""
    forward = _Forward(ledger, s, graph=False, copies=copies)
    ledger.take(x="stream")
    if s.mixed:
        ledger.take(cos="table")
        ledger.take(sin="table")
    if copies:
        for (part, size), (count, _) in _layer_keeps(s).items():
            ledger.add(part, size, -count, count)
    ledger.where = "last layer: "
    forward.block()
    ledger.where = ""
    ledger.free("x")
    if s.final_norm:
        forward.norm("y")
        ledger.free("x2")
    if s.mixed:
        ledger.free("cos", "sin")
    forward.copy("head", "head")
    ledger.part = "logits_loss"
    if s.casts_hidden:
        ledger.take(y_cast="last_hidden")
    ledger.take(logits="last_logits")


# ---- loss ----


def _plain_loss(ledger: Ledger, s: Setting) -> list[Instant]:
    """Float32 logits, log-softmax, the sum and its mean."""
    ledger.note("start")
    if s.half:
        ledger.take(logits32="logits32")
    ledger.take(log_softmax="logits32")
    ledger.take(loss_sum="unit", total_weight="unit")
    if s.half:
        ledger.free("logits32")
    ledger.take(loss="unit")
    ledger.free("loss_sum", "logits")
    _autocast_ends(ledger, s)
    return ledger.harvest()


def _chunked_loss(ledger: Ledger, s: Setting) -> list[Instant]:
    """Only the first chunk is walked: it is the largest, and all start from the same point."""
    ledger.note("start")
    ledger.take(total="unit")
    _Forward(ledger, s, graph=True).copy("head", "head")
    _chunk_forward(ledger, s, recomputed=False)
    ledger.free("log_softmax", "total_weight")
    ledger.take(new_total="unit")
    ledger.free("total", "chunk_loss")
    ledger.take(loss="unit")
    ledger.free("new_total")
    _autocast_ends(ledger, s)
    return ledger.harvest()


def _chunk_forward(ledger: Ledger, s: Setting, *, recomputed: bool) -> None:
    take, free = ledger.take, ledger.free
    if s.casts_hidden:
        take(chunk="chunk")
    take(logits="logits")
    if s.casts_hidden and not recomputed:
        free("chunk")
    if s.half:
        take(logits32="logits32")
    take(log_softmax="logits32")
    take(chunk_loss="unit", total_weight="unit")
    free("logits")
    if s.half:
        free("logits32")


def _autocast_ends(ledger: Ledger, s: Setting) -> None:
    """The cache of weight copies is dropped; what the graph saved stays, but that is never a bias."""
    if not s.mixed:
        return
    per_layer = ["qkv", "o", "gate", "up", "down"] if s.checkpointed else []
    for weight in per_layer + (["qkv_bias"] if s.bias else []):
        part, size = ledger.names()[f"copy_{weight}"]
        ledger.free(f"copy_{weight}")
        ledger.add(part, size, 1, -1)
    if s.chunks:
        ledger.free("copy_head")


# ---- backward ----


def _backward_stage(ledger: Ledger, s: Setting) -> list[Instant]:
    """The loss, the layers from the last to the first, the embedding.

    The layers between are not walked: what is alive in a layer is affine in its position, so that the last layer or the
    first has more than any other.
    """
    ledger.note("start")
    _scalars_backward(ledger, s)
    (_chunked_loss_backward if s.chunks else _plain_loss_backward)(ledger, s)
    ledger.part = "temporaries"
    if s.final_norm:
        _norm_backward(ledger, s, gradient="dy", rstd="y_rstd", x="x2", first="dx")
    else:
        ledger.rename("dy", "dx")
    names, before = ledger.names(), ledger.counts()
    ledger.where, ledger.min_layers = "last layer: ", 2
    _Backward(ledger, s).block()
    after = ledger.counts()
    for entry in before.keys() | after.keys():
        change = after.get(entry, (0, 0))[0] - before.get(entry, (0, 0))[0]
        ledger.add(*entry, count=-2 * change, per_layer=change)
    ledger.restore(names)
    ledger.where, ledger.min_layers = "first layer: ", 1
    _Backward(ledger, s, frees_tables=True).block()
    ledger.where = ""
    _embedding_backward(ledger, s)
    ledger.free("seed_gradient", "dx")
    return ledger.harvest()


def _scalars_backward(ledger: Ledger, s: Setting) -> None:
    """From the scaled loss to the sum: a seed of one that lives to the end, and its products."""
    if s.scaler:
        ledger.take(scaled_loss="unit")
    ledger.take(seed_gradient="unit")
    if s.scaler:
        ledger.take(d_scaled="unit")
    ledger.take(d_sum="unit")
    if s.scaler:
        ledger.free("d_scaled")


def _plain_loss_backward(ledger: Ledger, s: Setting) -> None:
    """Leaves the gradient of the hidden states, dy, and of the head (to which a tied embedding's is added later)."""
    _log_softmax_backward(ledger, s)
    ledger.take(d_head=_compute_size(s, "head"))
    ledger.take(dy="hidden")
    ledger.free("d_logits", "y", *(["copy_head"] if s.mixed else []))
    if s.casts_hidden:
        ledger.take(dy_stream="stream")
        ledger.free("dy")
        ledger.rename("dy_stream", "dy")
    _head_gradient(ledger, s)


def _chunked_loss_backward(ledger: Ledger, s: Setting) -> None:
    """Only the first chunk is walked: it comes last, beside the gradients of all other chunks."""
    output = "chunk_stream" if s.casts_hidden else "chunk"
    if s.chunks > 1:
        ledger.take(d_others=f"other_{output}s")
        ledger.instants.pop()  # they came one by one
        ledger.add("logits_loss", _compute_size(s, "head"))
    ledger.where = "first chunk: "
    _Forward(ledger, s, graph=True).copy("head", "head")
    _chunk_forward(ledger, s, recomputed=True)
    ledger.free("chunk_loss")
    _log_softmax_backward(ledger, s)
    ledger.take(d_head=_compute_size(s, "head"))
    ledger.take(d_chunk="chunk")
    ledger.free("d_logits", "y", *(["copy_head"] if s.mixed else []))
    if s.chunks > 1:
        ledger.add("logits_loss", _compute_size(s, "head"), -1)
    if s.casts_hidden:
        ledger.free("chunk")
        ledger.take(d_chunk_stream="chunk_stream")
        ledger.free("d_chunk")
        ledger.rename("d_chunk_stream", "d_chunk")
    ledger.where = ""
    _head_gradient(ledger, s)
    ledger.take(dy="stream" if s.casts_hidden else "hidden")
    ledger.free("d_chunk", *(["d_others"] if s.chunks > 1 else []))


def _log_softmax_backward(ledger: Ledger, s: Setting) -> None:
    ledger.take(d_log_softmax="logits32")
    ledger.free("d_sum", "total_weight")
    ledger.take(d_logits32="logits32")
    ledger.free("d_log_softmax", "log_softmax")
    if s.half:
        ledger.take(d_logits="logits")
        ledger.free("d_logits32")
    else:
        ledger.rename("d_logits32", "d_logits")


def _head_gradient(ledger: Ledger, s: Setting) -> None:
    """The cast of an autocast copy's gradient; a head of its own has it for good."""
    if s.mixed:
        ledger.take(d_weight="w_head")
        ledger.free("d_head")
        ledger.rename("d_weight", "d_head")
    if not s.tied:
        ledger.settle("gradients", "d_head")


def _embedding_backward(ledger: Ledger, s: Setting) -> None:
    ledger.take(d_embedding="w_head")
    if s.tied:
        ledger.free("d_embedding")
        ledger.settle("gradients", "d_head")
    else:
        ledger.settle("gradients", "d_embedding")


def _norm_backward(ledger: Ledger, s: Setting, *, gradient: str, rstd: str, x: str, first: str | None = None) -> None:
    """RMSNorm's: its input's gradient becomes `first`, or is added to the one that is there."""
    if s.mixed:
        ledger.take(gradient32="stream")
        ledger.free(gradient)
        ledger.rename("gradient32", gradient)
    ledger.take(**{first or "d_branch": "stream", "d_norm": "w_norm"})
    ledger.free(gradient, rstd, x)
    if first is None:
        ledger.free("d_branch")
    ledger.settle("gradients", "d_norm")


def _compute_size(s: Setting, weight: str) -> str:
    """A weight's size in the compute dtype: that of its copy, if there is one."""
    return f"c_{weight}" if s.mixed else f"w_{weight}"


class _Backward:
    """The backward pass of one layer: dx, the gradient of its output, becomes that of its input.

    Args:
        frees_tables: the first layer, the last one that reads the RoPE tables.
    """

    def __init__(self, ledger: Ledger, s: Setting, *, frees_tables: bool = False) -> None:
        self.ledger, self.s = ledger, s
        self.frees_tables = frees_tables and s.mixed

    def block(self) -> None:
        gradient = self.enter_branch("d")
        self.feedforward(gradient)
        _norm_backward(self.ledger, self.s, gradient="d_n2", rstd="n2_rstd", x="x1")
        gradient = self.enter_branch("a")
        self.attention(gradient)
        _norm_backward(self.ledger, self.s, gradient="d_n1", rstd="n1_rstd", x="x")
        if self.frees_tables and self.s.checkpointed:
            self.ledger.free("cos", "sin")

    def enter_branch(self, name: str) -> list[str]:
        """The gradient of a branch's end: dx itself, or its cast, or what dropout makes of it. The layer's last branch
        comes first, and starts the recomputation of a checkpointed layer."""
        s, ledger = self.s, self.ledger
        gradient: list[str] = []
        if s.mixed:
            ledger.take(branch="hidden")
            gradient = ["branch"]
        if s.checkpointed and name == "d":
            self.recompute()
        if s.dropout:
            ledger.take(undropped="hidden")
            ledger.free(*gradient, f"{name}_mask")
            gradient = ["undropped"]
        return gradient

    def recompute(self) -> None:
        ledger, part = self.ledger, self.ledger.part
        ledger.part = "activations"
        _Forward(ledger, self.s, graph=True).block(recomputed=True)
        ledger.part = part
        if self.s.bias and self.s.mixed:
            ledger.free("copy_qkv_bias")  # autocast's cache ends with the recomputation

    def weight(self, size: str) -> None:
        """A weight's gradient: cast to float32 if it is one of autocast's copy."""
        if self.s.mixed:
            self.ledger.take(d_weight=f"w_{size}")
            self.ledger.free("d_copy")
            self.ledger.settle("gradients", "d_weight")
        else:
            self.ledger.settle("gradients", "d_copy")

    def linear(self, weight: str, size: str, output: str, output_size: str, *dead: str) -> None:
        """Gradients of a matrix and of its input; then its output's gradient and its saved input die."""
        self.ledger.take(d_copy=_compute_size(self.s, size))
        self.ledger.take(**{output: output_size})
        self.ledger.free(*dead, *([f"copy_{weight}"] if self.s.mixed else []))

    def feedforward(self, gradient: list[str]) -> None:
        take, free = self.ledger.take, self.ledger.free
        self.linear("down", "ff", "d_product", "wide", *gradient, "product")
        self.weight("ff")
        take(d_silu="wide")
        take(d_up="wide")
        free("d_product", "silu", "up")
        self.linear("up", "ff", "d_n2", "hidden", "d_up")
        self.weight("ff")
        take(d_gate="wide")
        free("d_silu", "gate")
        self.linear("gate", "ff", "d_n2_too", "hidden", "d_gate", "n2")
        free("d_n2_too")
        self.weight("ff")

    def attention(self, gradient: list[str]) -> None:
        s, take, free = self.s, self.ledger.take, self.ledger.free
        own_copy = s.kernel in ("eager", "math") or (s.kernel == "padded" and not s.one_head)
        self.linear("o", "o", "d_o", "query", *gradient, *(["o"] if own_copy else []))
        self.weight("o")
        {"eager": self.eager, "padded": self.padded, "math": self.math}.get(s.kernel, self.kernel)()
        self.rotate("k", "key")
        self.rotate("q", "query")
        take(d_fused="fused")
        free("d_q", "d_k", "d_v")
        if s.bias:
            self.biased_projection()
        else:
            self.linear("qkv", "qkv", "d_n1", "hidden", "d_fused", "n1")
            self.weight("qkv")

    def biased_projection(self) -> None:
        """addmm: the input's gradient, the matrix's, the sum for the bias. Recomputed tensors die before that sum."""
        s, take, free = self.s, self.ledger.take, self.ledger.free
        saved = ["n1", *(["copy_qkv"] if s.mixed else [])]
        take(d_n1="hidden")
        take(d_copy=_compute_size(s, "qkv"))
        if s.checkpointed:
            free(*saved)
        take(d_bias=_compute_size(s, "qkv_bias"))
        free("d_fused", *([] if s.checkpointed else saved))
        self.weight("qkv")
        if s.mixed:
            take(d_weight="w_qkv_bias")
            free("d_bias")
            self.ledger.settle("gradients", "d_weight")
        else:
            self.ledger.settle("gradients", "d_bias")

    def kernel(self) -> None:
        """Both kernels make dk and dv per query head if heads are grouped."""
        workspace = {"softmax_sum": "softmax_sum", "dq_sum": "dq_sum"}
        if self.s.kernel == "efficient":
            workspace = {"row_sum": "lse32"}
        if self.s.grouped:
            workspace |= {"dk_heads": "expanded", "dv_heads": "expanded"}
        self.ledger.take(d_q="query", d_k="key", d_v="key", **workspace)
        self.ledger.free("d_o", "o", "lse", "seed", "offset", "q", "k", "v", *workspace)

    def padded(self) -> None:
        take, free = self.ledger.take, self.ledger.free
        take(d_o_heads="padded_query")
        free("d_o")
        workspace = {"softmax_sum": "softmax_sum", "dq_sum": "dq_sum"}
        if self.s.grouped:
            workspace |= {"dk_heads": "padded_expanded", "dv_heads": "padded_expanded"}
        take(d_q_flat="padded_query", d_k_flat="padded_key", d_v_flat="padded_key", **workspace)
        free("d_o_heads", "o_heads", "lse", "seed", "offset", "q_flat", "k_flat", "v_flat", *workspace)
        for name, size in (("v", "key"), ("k", "key"), ("q", "query")):
            take(**{f"d_{name}": size})
            free(f"d_{name}_flat")

    def eager(self) -> None:
        s, take, free = self.s, self.ledger.take, self.ledger.free
        if s.copies_query:
            take(d_o_flat="query")
            free("d_o")
            self.ledger.rename("d_o_flat", "d_o")
        flat = s.grouped or s.copies_keys
        many = "expanded" if s.grouped else "key"
        take(d_v=many)
        take(d_scores="score")
        free("d_o", "v_flat" if flat else "v")
        if s.half or s.dropout:
            free("weights")  # else they are the softmax itself
        self.softmax()
        take(d_k=many)
        take(d_q="query")
        free("d_scores", "q_flat" if s.copies_query else "q", "k_flat" if flat else "k")
        self.sum_groups()

    def math(self) -> None:
        s, take, free = self.s, self.ledger.take, self.ledger.free
        flat = s.grouped or s.copies_keys
        many = "expanded" if s.grouped else "key"
        if s.copies_query:
            take(d_o_flat="query")
            free("d_o")
            self.ledger.rename("d_o_flat", "d_o")
        take(d_v=many)
        take(d_scores="score")
        free("d_o", "v_flat" if flat else "v", *(["weights"] if s.dropout else []))
        if s.dropout:
            take(undropped="score")
            free("d_scores", "score_mask")
            self.ledger.rename("undropped", "d_scores")
        take(d_raw="score")
        free("d_scores", "softmax" if s.dropout else "weights")
        take(d_k_scaled=many)
        take(d_q_scaled="query")
        free("d_raw", "q_flat" if s.copies_query else "q_scaled", "k_flat" if s.copies_keys else "k_scaled")
        take(d_k=many)
        free("d_k_scaled")
        self.sum_groups()
        take(d_q="query")
        free("d_q_scaled")

    def sum_groups(self) -> None:
        """Gradients of repeated keys and values are summed over their group."""
        if self.s.grouped:
            for name in ("d_v", "d_k"):
                self.ledger.take(group_sum="key")
                self.ledger.free(name)
                self.ledger.rename("group_sum", name)

    def softmax(self) -> None:
        """From the gradient of the weights to that of the raw scores."""
        s, take, free = self.s, self.ledger.take, self.ledger.free
        if s.dropout:
            take(undropped="score")
            free("d_scores", "score_mask")
            self.ledger.rename("undropped", "d_scores")
        if s.half:
            take(d_softmax="score32")
            free("d_scores")
            self.ledger.rename("d_softmax", "d_scores")
        take(d_unmasked="score" if s.softmax_casts else "score32")
        free("d_scores", "softmax" if s.half or s.dropout else "weights")
        self.ledger.rename("d_unmasked", "d_scores")
        for step in (["cast"] if s.half and not s.softmax_casts else []) + ["masked", "divided"]:
            take(**{step: "score"})
            free("d_scores", *(["causal"] if step == "masked" else []))
            self.ledger.rename(step, "d_scores")

    def rotate(self, name: str, size: str) -> None:
        """d_q or d_k back through the rotation, the two products of each half added in place, and through the norm."""
        s, take, free, half = self.s, self.ledger.take, self.ledger.free, f"half_{size}"
        tables = self.frees_tables and name == "q" and not s.checkpointed
        take(sine_first=half)
        take(cosine_second=half)
        take(negative=half)
        take(sine_second=half)
        free("negative", "sine_second", *(["sin"] if tables else []))
        take(cosine_first=half)
        free(f"d_{name}", "cosine_first", *(["cos"] if tables else []))
        take(**{f"d_{name}": size})
        free("sine_first", "cosine_second")
        if s.qk_norm:
            self.head_norm(name, size)

    def head_norm(self, name: str, size: str) -> None:
        s, ledger, gradient = self.s, self.ledger, f"d_{name}"
        full = f"{size}32" if s.mixed else size
        if s.mixed:
            ledger.take(gradient32=full)
            ledger.free(gradient)
            ledger.rename("gradient32", gradient)
        ledger.take(d_normed=full, d_head_norm="w_head_norm")
        ledger.free(gradient, f"{name}_rstd")
        ledger.settle("gradients", "d_head_norm")
        if s.mixed:
            ledger.free(f"{name}_32")
            ledger.take(**{gradient: size})
            ledger.free("d_normed")
        else:
            ledger.rename("d_normed", gradient)
            if name == "q":
                ledger.free("fused")


# ---- optimizer ----


def _optimizer_stage(ledger: Ledger, s: Setting) -> list[Instant]:
    """Fused and SGD updates work in place; foreach AdamW holds square roots of all second moments at once."""
    ledger.part = "temporaries"
    ledger.note("start")
    if s.scaler:
        ledger.take(scale="unit", overflow="unit", scale_too="unit", overflow_too="unit")
        ledger.free("overflow", "scale_too", "overflow_too")
    if s.optimizer == "adamw-foreach":
        for size, count, per_layer in weight_tensors(s):
            ledger.add("temporaries", size, count, per_layer)
        ledger.note("square roots")
    return ledger.harvest()


def for_pass(s: Setting, *, one_token: bool) -> Setting:
    return replace(s, one_token=one_token)
