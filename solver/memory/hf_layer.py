"""One layer of transformers' Llama, Mistral, Qwen2 or Qwen3: what it takes and frees, forward and backward.

Read beside `LlamaDecoderLayer` and `LlamaRMSNorm` in transformers/models/llama/modeling_llama.py (5.24). What makes it
another ledger than that of `diymodel`:

- RMSNorm is written out in float32: squares, their mean, its reciprocal root and the normed states are tensors
- under autocast its result is float32, and each projection keeps a cast of its own
- cos and sin are float32 under autocast, so rotated queries and keys are too, until attention casts them
- each rotation holds whole tensors: x * cos, the two halves put together, that * sin
"""

from __future__ import annotations

from solver.memory.attention import KERNELS
from solver.memory.ledger import Ledger
from solver.memory.setting import Lines, Setting


class Norm:
    """The sizes of an RMSNorm's tensors.

    Args:
        x: the name of its input, which its backward pass reads where the input is float32 already.
        rows: "" over the width, "query" or "key" over a head of those.
    """

    def __init__(self, s: Setting, name: str, x: str, rows: str = "") -> None:
        self.name, self.x = name, x
        self.casts = s.half if rows else s.narrow
        """The input is in 2 bytes, so that the norm has a float32 copy of it, and casts its result."""
        self.given = rows or "stream"
        self.full = f"{rows or 'stream'}32"
        self.result = self.full if rows and s.mixed else self.given
        self.mean = f"rstd_{rows}" if rows else "rstd"
        self.weight = "w_head_norm" if rows else "w_norm"

    @property
    def x32(self) -> str:
        """The float32 tensor that is squared."""
        return f"{self.name}_32" if self.casts else self.x

    @property
    def weighed(self) -> str:
        """The tensor that is multiplied with the weight."""
        return f"{self.name}_cast" if self.casts else f"{self.name}_normed"


class Forward(Lines):
    """One pass through a layer.

    Args:
        decodes: one token after others: their keys and values are cached, and so are autocast's copies of weights.
    """

    def __init__(self, ledger: Ledger, setting: Setting, *, graph: bool = True, decodes: bool = False) -> None:
        super().__init__(ledger, setting, graph=graph)
        self.decodes = decodes
        self.copies = setting.mixed and not decodes

    def block(self, *, recomputed: bool = False) -> None:
        """From the layer's input x to its output x2. A recomputation ends with the last tensor that is saved."""
        take, free = self.ledger.take, self.ledger.free
        self.norm(Norm(self.s, "n1", "x"))
        self.attention()
        take(x1="stream")
        free("a")
        if not self.s.mixed:
            self.saved("n1")
        self.norm(Norm(self.s, "n2", "x1"))
        self.feedforward(down=not recomputed)
        if not recomputed:
            take(x2="stream")
            free("d")
        if self.s.narrow or not self.graph:
            free("x1")

    def norm(self, norm: Norm) -> None:
        """weight * cast(x32 * rsqrt(mean(x32^2) + eps)). Leaves the result under the norm's own name."""
        take, free, name = self.ledger.take, self.ledger.free, norm.name
        if norm.casts:
            take(**{norm.x32: norm.full})
        take(squares=norm.full)
        take(mean=norm.mean)
        free("squares")
        take(shifted=norm.mean)
        take(**{f"{name}_rstd": norm.mean})
        free("shifted")
        take(**{f"{name}_normed": norm.full})
        self.saved(f"{name}_rstd", *([norm.x32] if norm.casts else []))
        if norm.casts:
            take(**{norm.weighed: norm.given})
        take(**{name: norm.result})
        self.saved(norm.weighed)
        free("mean", *([f"{name}_normed"] if norm.casts else []))

    def copy(self, weight: str, size: str) -> None:
        if self.copies:
            self.ledger.take("weight_copies", **{f"copy_{weight}": f"c_{size}"})

    def project(self, weight: str, size: str, output: str, output_size: str, *, bias: str = "") -> None:
        """A projection of normed states: under autocast of a cast of its own."""
        if bias:
            self.copy(f"{weight}_bias", bias)
        self.copy(weight, size)
        if self.s.mixed:
            self.ledger.take(**{f"{weight}_in": "hidden"})
        self.ledger.take(**{output: output_size})
        if self.s.mixed:
            self.saved(f"{weight}_in")

    def feedforward(self, *, down: bool) -> None:
        take, free = self.ledger.take, self.ledger.free
        self.project("gate", "ff", "gate", "wide")
        take(silu="wide")
        self.saved("gate")
        self.project("up", "ff", "up", "wide")
        take(product="wide")
        self.saved("silu", "up")
        self.copy("down", "ff")
        if down:
            take(d="hidden")
        self.saved("product")
        (free if self.s.mixed else self.saved)("n2")

    def attention(self) -> None:
        """o(attend(rotate(q), rotate(k), v)). The projections live until both are rotated."""
        for name, size in (("q", "query"), ("k", "key"), ("v", "key")):
            self.heads(name, size)
        for name, size in (("q", "query"), ("k", "key")):
            self.rotate(name, size)
        self.ledger.free(*(f"{name}_{'normed' if self.s.qk_norm else 'projected'}" for name in "qk"))
        if self.s.infer:
            self.cache()
        self.attend()

    def heads(self, name: str, size: str) -> None:
        """Queries, keys or values; of Qwen3, the first two are normed."""
        weight = "q" if name == "q" else "k"
        projected = "v" if name == "v" else f"{name}_projected"
        self.project(name, weight, projected, size, bias=f"{weight}_bias" if self.s.bias else "")
        if self.s.qk_norm and name != "v":
            self.norm(Norm(self.s, f"{name}_normed", projected, size))
            (self.ledger.free if self.s.half else self.saved)(projected)

    def cache(self) -> None:
        """DynamicCache: what it holds and what is new are put together in new tensors, keys before values."""
        for name in ("cached_keys", "cached_values"):
            self.ledger.take("kv_cache", **{name: name})
            if self.decodes:
                self.ledger.add("kv_cache", f"{name}_before", -1)
        for given, name in (("k_rotated", "cached_keys"), ("v", "cached_values")):
            self.ledger.free(given, name)
            self.ledger.add("kv_cache", name)

    def attend(self) -> None:
        """Attention proper, and the projection of its output. Autocast casts what is float32: queries and
        keys."""
        s, take, free = self.s, self.ledger.take, self.ledger.free
        rotated = ["q_rotated"] if s.infer else ["q_rotated", "k_rotated"]
        if s.mixed:
            take(q="query")
            take(k="attended")
        else:
            for name in rotated:
                self.ledger.rename(name, name[0])
        kernel = KERNELS[s.kernel](self.ledger, s, graph=self.graph)
        kernel.forward()
        if s.mixed:
            self.saved("q", "k")
        self.copy("o", "o")
        take(a="hidden")
        if s.mixed:
            free(*rotated, "n1")
            self.saved("o", *([] if s.infer else ["v"]))
        else:
            self.saved("o", "q", *([] if s.infer else ["k", "v"]))

    def rotate(self, name: str, size: str) -> None:
        """x * cos + halves(x) * sin, where halves(x) = (-second, first)."""
        take, free = self.ledger.take, self.ledger.free
        given, result = rotation_sizes(self.s, size)
        take(times_cos=result)
        take(negative=f"half_{given}")
        take(halves=given)
        free("negative")
        take(times_sin=result)
        free("halves")
        take(**{f"{name}_rotated": result})
        free("times_cos", "times_sin")


def rotation_sizes(s: Setting, size: str) -> tuple[str, str]:
    """Sizes of what is rotated and of the products with cos and sin."""
    return f"{size}32" if s.mixed and s.qk_norm else size, f"{size}32" if s.mixed else size


def norm_backward(ledger: Ledger, norm: Norm, *, gradient: str, into: str, recomputed: bool = False) -> None:
    """The gradient of its result becomes that of its input, `into`, or is added to the one that is there.

    What was recomputed, only the running node holds: it dies before the node's results are summed.
    """
    take, free, name = ledger.take, ledger.free, norm.name
    take(d_weighed=norm.result)
    take(full_sum=norm.result)
    if recomputed:
        free(norm.weighed)
    take(d_norm=norm.weight)
    free("full_sum", gradient, *([] if recomputed else [norm.weighed]))
    ledger.settle("d_norm")
    if norm.casts:
        take(d_normed=norm.full)
        free("d_weighed")
        ledger.rename("d_normed", "d_weighed")
    take(d_x=norm.full)
    take(full_sum=norm.full)
    take(d_rstd=norm.mean)
    free("full_sum", "d_weighed")
    added = not norm.casts and into in ledger.names()
    if added:
        free("d_x")
    take(cube=norm.mean)
    take(scaled=norm.mean)
    take(d_shifted=norm.mean)
    free("cube", "scaled", "d_rstd", f"{name}_rstd")
    take(d_squares=norm.full)
    free("d_shifted")
    take(power=norm.full)
    take(doubled=norm.full)
    take(d_x_too=norm.full)
    free("power", "doubled", "d_squares", norm.x32, "d_x_too")
    if added:
        return
    if norm.casts:
        take(d_given=norm.given)
        free("d_x")
        ledger.rename("d_given", "d_x")
    if into in ledger.names():
        free("d_x")
    else:
        ledger.rename("d_x", into)


class Backward(Lines):
    """The backward pass of one layer: dx, the gradient of its output, becomes that of its input.

    Args:
        frees_tables: the first layer, the last one that reads cos and sin.
    """

    def __init__(self, ledger: Ledger, setting: Setting, *, frees_tables: bool = False) -> None:
        super().__init__(ledger, setting)
        self.frees_tables = frees_tables
        self.summed: set[str] = set()
        """Gradients of normed states that are sums already, and so no views: the next one is added in place."""

    def block(self) -> None:
        self.feedforward(self.enter_branch(last=True))
        self.norm(Norm(self.s, "n2", "x1"), gradient="d_n2", into="dx")
        self.attention(self.enter_branch())
        self.norm(Norm(self.s, "n1", "x"), gradient="d_n1", into="dx")
        if self.s.checkpointed:  # the arguments of the call that was recomputed
            self.ledger.free(
                *(["x"] if self.s.narrow else []), *(["cos", "sin", "positions"] if self.frees_tables else [])
            )

    def enter_branch(self, *, last: bool = False) -> list[str]:
        """The gradient of a branch's end: dx itself, or its cast. The layer's last branch comes first, and starts the
        recomputation of a checkpointed layer."""
        if self.s.mixed:
            self.ledger.take(branch="hidden")
        if last and self.s.checkpointed:
            self.recompute()
        return ["branch"] if self.s.mixed else []

    def recompute(self) -> None:
        ledger, part = self.ledger, self.ledger.part
        ledger.part = "activations"
        Forward(ledger, self.s).block(recomputed=True)
        ledger.part = part
        if self.s.bias and self.s.mixed:
            ledger.free("copy_q_bias", "copy_k_bias", "copy_v_bias")  # autocast's cache ends with the recomputation

    def norm(self, norm: Norm, *, gradient: str, into: str) -> None:
        norm_backward(self.ledger, norm, gradient=gradient, into=into, recomputed=self.s.checkpointed)

    def linear(self, weight: str, size: str, output: str, output_size: str, *dead: str) -> None:
        """Gradients of a matrix and of its input; then its output's gradient and its saved input die."""
        s, ledger = self.s, self.ledger
        ledger.take(d_copy=s.compute(size))
        ledger.take(**{output: output_size})
        ledger.free(*dead, *([f"copy_{weight}"] if s.mixed else []))

    def weight(self, size: str) -> None:
        """A weight's gradient: cast to float32 if it is one of autocast's copy."""
        if self.s.mixed:
            self.ledger.take(d_weight=f"w_{size}")
            self.ledger.free("d_copy")
            self.ledger.settle("d_weight")
        else:
            self.ledger.settle("d_copy")

    def project(self, weight: str, size: str, gradient: str, into: str, *dead: str, bias: str = "") -> None:
        """A projection of normed states, whose gradient starts `into`, or is added to it."""
        s, ledger = self.s, self.ledger
        saved = [f"{weight}_in"] if s.mixed else dead
        if bias:
            self.biased(weight, size, gradient, bias, *saved)
        else:
            self.linear(weight, size, "d_in", "hidden", gradient, *saved)
        if s.mixed:
            ledger.take(d_in32="stream")
            ledger.free("d_in")
            ledger.rename("d_in32", "d_in")
        if into not in ledger.names():
            ledger.rename("d_in", into)
        elif s.mixed or into in self.summed:
            ledger.free("d_in")
        else:
            ledger.merge(into, "d_in")
            self.summed.add(into)
        self.weight(size)
        if bias and s.mixed:
            ledger.take(d_weight=f"w_{bias}")
            ledger.free("d_bias")
            ledger.settle("d_weight")
        elif bias:
            ledger.settle("d_bias")

    def biased(self, weight: str, size: str, gradient: str, bias: str, *saved: str) -> None:
        """addmm: the input's gradient, the matrix's, the sum for the bias. Recomputed tensors die before that sum."""
        s, ledger = self.s, self.ledger
        saved = (*saved, *([f"copy_{weight}"] if s.mixed else []))
        ledger.take(d_in="hidden")
        ledger.take(d_copy=s.compute(size))
        if s.checkpointed:
            ledger.free(*saved)
        ledger.take(d_bias=s.compute(bias))
        ledger.free(gradient, *([] if s.checkpointed else saved))

    def feedforward(self, gradient: list[str]) -> None:
        take, free = self.ledger.take, self.ledger.free
        self.linear("down", "ff", "d_product", "wide", *gradient, "product")
        self.weight("ff")
        take(d_silu="wide")
        take(d_up="wide")
        free("d_product", "silu", "up")
        self.project("up", "ff", "d_up", "d_n2")
        take(d_gate="wide")
        free("d_silu", "gate")
        self.project("gate", "ff", "d_gate", "d_n2", "n2")

    def attention(self, gradient: list[str]) -> None:
        s, take, free = self.s, self.ledger.take, self.ledger.free
        kernel = KERNELS[s.kernel](self.ledger, s)
        self.linear("o", "o", "d_o", "query", *gradient, *(["o"] if kernel.own_output else []))
        self.weight("o")
        kernel.backward()
        if s.mixed:
            for name, size in (("k", "key32"), ("q", "query32")):
                take(**{f"d_{name}32": size})
                free(f"d_{name}")
                self.ledger.rename(f"d_{name}32", f"d_{name}")
        self.rotate("k", "key")
        self.rotate("q", "query")
        self.project("v", "k", "d_v", "d_n1", bias="k_bias" if s.bias else "")
        for name, size in (("k", "key"), ("q", "query")):
            if s.qk_norm:
                self.ledger.rename(f"d_{name}", "d_normed_head")
                norm = Norm(s, f"{name}_normed", f"{name}_projected", size)
                self.norm(norm, gradient="d_normed_head", into=f"d_{name}")
            if not (s.one_kv_head if name == "k" else s.one_head):  # its heads come before its tokens
                take(contiguous=size)
                free(f"d_{name}")
                self.ledger.rename("contiguous", f"d_{name}")
            self.project(
                name, name, f"d_{name}", "d_n1", *(["n1"] if name == "q" else []), bias=f"{name}_bias" if s.bias else ""
            )

    def rotate(self, name: str, size: str) -> None:
        """d_q or d_k back through the rotation."""
        s, take, free = self.s, self.ledger.take, self.ledger.free
        given, result = rotation_sizes(s, size)
        frees = self.frees_tables and name == "q" and not s.checkpointed
        take(d_halves=result)
        if given != result:
            take(d_halves_cast=given)
            free("d_halves")
            self.ledger.rename("d_halves_cast", "d_halves")
        if frees:
            free("sin")
        take(negative=f"half_{given}")
        take(d_second=given)
        free("negative")
        take(d_first=given)
        free("d_first", "d_halves")
        take(d_times_cos=result)
        if given != result:
            take(d_cast=given)
            free("d_cast")
        free("d_times_cos", f"d_{name}", *(["cos"] if frees else []))
        self.ledger.rename("d_second", f"d_{name}")
