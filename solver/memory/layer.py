"""One layer: what it takes and frees, forward and backward. Read beside `diymodel/model.py`, from Block down."""

from __future__ import annotations

from solver.memory.attention import KERNELS
from solver.memory.ledger import Ledger
from solver.memory.setting import Lines, Setting


class Forward(Lines):
    """One pass through a layer.

    Args:
        copies: autocast's copies of weights are made (decoding finds them in the cache).
    """

    def __init__(self, ledger: Ledger, setting: Setting, *, graph: bool = True, copies: bool = True) -> None:
        super().__init__(ledger, setting, graph=graph)
        self.copies = copies and setting.mixed

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
        kernel = KERNELS[s.kernel](self.ledger, s, graph=self.graph)
        kernel.forward()
        self.copy("o", "o")
        take(a="hidden")
        self.saved("n1")
        kernel.returns()

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


def norm_backward(
    ledger: Ledger, s: Setting, *, gradient: str, rstd: str, x: str, first: str | None = None, anew: bool = False
) -> None:
    """RMSNorm's: its input's gradient becomes `first`, or is added to the one that is there.

    Where that is a view, the sum is a new tensor (`anew`), while fewer are alive than before.
    """
    if s.mixed:
        ledger.take(gradient32="stream")
        ledger.free(gradient)
        ledger.rename("gradient32", gradient)
    ledger.take(**{first or "d_branch": "stream", "d_norm": "w_norm"})
    ledger.free(gradient, rstd, x)
    if first is None:
        ledger.free("d_branch")
    if anew:
        ledger.move("dx", ledger.part)
    ledger.settle("d_norm")


class Backward(Lines):
    """The backward pass of one layer: dx, the gradient of its output, becomes that of its input.

    Args:
        frees_tables: the first layer, the last one that reads the RoPE tables.
        dx_is_view: of the gradient that the head has made.
    """

    def __init__(
        self, ledger: Ledger, setting: Setting, *, frees_tables: bool = False, dx_is_view: bool = False
    ) -> None:
        super().__init__(ledger, setting)
        self.frees_tables = frees_tables and setting.mixed
        self.dx_is_view = dx_is_view

    def block(self) -> None:
        gradient = self.enter_branch("d")
        self.feedforward(gradient)
        norm_backward(self.ledger, self.s, gradient="d_n2", rstd="n2_rstd", x="x1", anew=self.dx_is_view)
        gradient = self.enter_branch("a")
        self.attention(gradient)
        norm_backward(self.ledger, self.s, gradient="d_n1", rstd="n1_rstd", x="x")
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
        Forward(ledger, self.s).block(recomputed=True)
        ledger.part = part
        if self.s.bias and self.s.mixed:
            ledger.free("copy_qkv_bias")  # autocast's cache ends with the recomputation

    def weight(self, size: str) -> None:
        """A weight's gradient: cast to float32 if it is one of autocast's copy."""
        if self.s.mixed:
            self.ledger.take(d_weight=f"w_{size}")
            self.ledger.free("d_copy")
            self.ledger.settle("d_weight")
        else:
            self.ledger.settle("d_copy")

    def linear(self, weight: str, size: str, output: str, output_size: str, *dead: str) -> None:
        """Gradients of a matrix and of its input; then its output's gradient and its saved input die."""
        self.ledger.take(d_copy=self.s.compute(size))
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
        self.ledger.merge("d_n2", "d_n2_too")
        self.weight("ff")

    def attention(self, gradient: list[str]) -> None:
        s, take, free = self.s, self.ledger.take, self.ledger.free
        kernel = KERNELS[s.kernel](self.ledger, s)
        self.linear("o", "o", "d_o", "query", *gradient, *(["o"] if kernel.own_output else []))
        self.weight("o")
        kernel.backward()
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
        take(d_copy=s.compute("qkv"))
        if s.checkpointed:
            free(*saved)
        take(d_bias=s.compute("qkv_bias"))
        free("d_fused", *([] if s.checkpointed else saved))
        self.weight("qkv")
        if s.mixed:
            take(d_weight="w_qkv_bias")
            free("d_bias")
            self.ledger.settle("d_weight")
        else:
            self.ledger.settle("d_bias")

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
        ledger.settle("d_head_norm")
        if s.mixed:
            ledger.free(f"{name}_32")
            ledger.take(**{gradient: size})
            ledger.free("d_normed")
        else:
            ledger.rename("d_normed", gradient)
            if name == "q":
                ledger.free("fused")
