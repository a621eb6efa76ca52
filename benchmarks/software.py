"""How the models of published runs are written, where it costs time: what each way moves through memory in a step.

    python benchmarks/software.py

writes `evidence/software.csv`: the figures that `solver.compute.traffic` has for our own model, for five other ways of
writing one. What is made of torch's operators is counted: the small models below do what the published code does
between its products, and a dispatch mode adds up what each operator reads and writes. Kernels written for a purpose
show their traffic nowhere; FUSED is what they must move at least.

    llama     Llama's reference code, as litgpt, torchtitan and torchao follow it: RMSNorm and rotary embedding out of
              elementary operators in float32
    course    Stanford's course CS336: the same, and softmax, SiLU and the loss written out, too
    book      "Build a Large Language Model (From Scratch)": GPT-2, LayerNorm and GELU written out, dropout of 0.1
    fused     one kernel each for norm, rotary embedding and gate: MPT, TinyLlama, InternEvo
    compiled  torch.compile of any of them: as fused, and the loss in two passes over the logits
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).parents[1]))

from diymodel import DIYConfig, DIYForCausalLM
from diymodel.step import autocast, token_loss, weight_dtype
from solver.compute.traffic import Pass, Software
from solver.recipe import Precision
from solver.verify.dry_run.engine import run_backward
from solver.verify.dry_run.meter import tensors_in
from solver.verify.dry_run.tracing import cast_module, fake_device

TABLE = Path(__file__).parent / "evidence" / "software.csv"

PRECISIONS: tuple[Precision, ...] = ("bf16-true", "bf16-mixed", "32-true")


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of all operators but products and fused attention, and kernels of all: [forward, backward]."""

    PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")
    WRITE_ONLY = ("zeros", "zeros_like", "new_zeros", "ones", "full", "nll_loss_backward")
    FREE = ("empty", "empty_like", "detach", "device", "nll_loss_forward", "_unsafe_view", "arange")
    """No traffic, or none that counts: the loss of a token reads one logit."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.backward = False
        self.bytes, self.kernels = [0, 0], [0, 0]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name, outputs = func._schema.name.split("::")[1], list(tensors_in(result))
        if name in self.FREE or (not func._schema.is_mutable and _are_views(outputs, args)):
            return result
        self.kernels[self.backward] += 1
        if name not in self.PRODUCTS and "attention" not in name:
            read = [] if name in self.WRITE_ONLY else tensors_in(args)
            self.bytes[self.backward] += sum(map(_bytes, [*read, *outputs]))
        return result


def _are_views(outputs: list[Tensor], args: Any) -> bool:
    storages = {tensor.untyped_storage()._cdata for tensor in tensors_in(args)}
    return all(tensor.untyped_storage()._cdata in storages for tensor in outputs)


def _bytes(tensor: Tensor) -> int:
    """Of what lies in memory: an expanded tensor repeats it."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


Factory = Callable[[DIYConfig, str], nn.Module]
"""Of a config and `sdpa` or `eager`: a module that maps int (B, T) to the loss."""


def count(factory: Factory, config: DIYConfig, precision: Precision, *, attention: str = "sdpa", batch: int) -> Counter:
    """A step without its optimizer, on fake tensors, on sequences of max_seq_len."""
    with fake_device("cuda"):
        module = factory(config, attention)
        cast_module(module, weight_dtype(precision))
        ids = torch.zeros(batch, config.max_seq_len, dtype=torch.int64, device="cuda")
        with Counter() as counter:
            with autocast(precision, "cuda"):
                loss = module(ids)
            counter.backward = True
            run_backward(loss, on_node=lambda _: None, on_gradient=lambda _: None)
    return counter


BATCH, SEQ, HEAD_DIM = 32, 256, 64
"""Of the counts. Many tokens, so that weights and rotary tables, which are read for all of them at once, vanish."""

SHAPES = ((512, 8, 8, 1024), (512, 8, 2, 1536), (512, 4, 4, 1024), (768, 8, 4, 1536), (1024, 12, 3, 512))
"""hidden, heads, kv heads, intermediate: enough to tell the widths apart."""


def counted(factory: Factory, precision: Precision) -> Software:
    """What a way of writing moves, in whole bytes for each value, from differences between counts."""
    kinds = [kind(factory, precision) for kind in (_widths, _normed, _scores, _logits)]
    passes = [
        Pass(**widths, normed=normed, score=score, logit=logit)
        for widths, normed, score, logit in zip(*kinds, strict=True)
    ]
    return Software(forward=passes[0], backward=passes[1])


def _config(shape: tuple[int, int, int, int], **changes: Any) -> DIYConfig:
    hidden, heads, kv_heads, inner = shape
    values = {"num_layers": 2, "vocab_size": 1024, "max_seq_len": SEQ, "head_dim": HEAD_DIM, **changes}
    return DIYConfig(
        hidden_size=hidden, num_heads=heads, num_kv_heads=kv_heads, intermediate_size=inner, dropout=0.1, **values
    )


def _widths(factory: Factory, precision: Precision) -> list[dict[str, float]]:
    """Of a layer's forward and backward pass: the difference that a third layer makes, over shapes."""
    sides, moved = [], []
    for shape in SHAPES:
        two, three = (count(factory, _config(shape, num_layers=n), precision, batch=BATCH) for n in (2, 3))
        hidden, queries, keys, inner = shape[0], shape[1] * HEAD_DIM, shape[2] * HEAD_DIM, shape[3]
        weights = 2 * hidden * (queries + keys) + 3 * hidden * inner
        casts = 6 * weights if precision.endswith("mixed") else 0  # the weights' own, and no token's
        sides.append((hidden, queries, keys, inner))
        moved.append([(b - a - casts) / (BATCH * SEQ) for a, b in zip(two.bytes, three.bytes, strict=True)])
        kernels = [b - a for a, b in zip(two.kernels, three.kernels, strict=True)]
    solved = np.linalg.lstsq(np.array(sides, float), np.array(moved), rcond=None)[0].T
    names = ("hidden", "queries", "keys", "inner")
    return [
        {**dict(zip(names, map(_whole, of_pass), strict=True)), "kernels": float(number)}
        for of_pass, number in zip(solved, kernels, strict=True)
    ]


def _normed(factory: Factory, precision: Precision) -> list[float]:
    """Of queries and keys where they are normed."""
    configs = [_config(SHAPES[0], qk_norm=normed) for normed in (False, True)]
    without, with_norms = (count(factory, config, precision, batch=BATCH) for config in configs)
    values = BATCH * SEQ * configs[0].num_layers * sum(SHAPES[0][1:3]) * HEAD_DIM
    return [_whole((b - a) / values) for a, b in zip(without.bytes, with_norms.bytes, strict=True)]


def _scores(factory: Factory, precision: Precision) -> list[float]:
    """Of a score more: sequences twice as long, and half as many."""
    config = _config(SHAPES[0])
    short = count(factory, config, precision, attention="eager", batch=BATCH)
    twice = _config(SHAPES[0], max_seq_len=2 * SEQ)
    long = count(factory, twice, precision, attention="eager", batch=BATCH // 2)
    scores = BATCH * SEQ * SEQ * config.num_heads * config.num_layers
    return [_whole((b - a) / scores) for a, b in zip(short.bytes, long.bytes, strict=True)]


def _logits(factory: Factory, precision: Precision) -> list[float]:
    """Of a logit more, in a model so narrow that the head's own weights vanish."""
    narrow = (HEAD_DIM, 1, 1, HEAD_DIM)
    few, many = (count(factory, _config(narrow, vocab_size=v), precision, batch=BATCH) for v in (1024, 2048))
    return [_whole((b - a) / (BATCH * SEQ * 1024)) for a, b in zip(few.bytes, many.bytes, strict=True)]


def _whole(number: float) -> float:
    return float(round(number))


class Ours(nn.Module):
    """Our own model and the loss of its training step."""

    def __init__(self, config: DIYConfig, attention: str) -> None:
        super().__init__()
        self.attention = attention
        self.model = DIYForCausalLM(replace(config, dropout=0.0))

    def forward(self, ids: Tensor) -> Tensor:
        logits = self.model(ids, attention=self.attention).float()
        return token_loss(logits, ids) / ids.numel()


class Decoder(nn.Module):
    """Embedding, blocks, norm, head and loss: what the ways below have in common."""

    def __init__(self, config: DIYConfig, attention: str, block: type[LlamaBlock], loss: Any = F.cross_entropy) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(block(config, attention) for _ in range(config.num_layers))
        self.norm = block.norm(config.hidden_size)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        angles = torch.zeros(config.max_seq_len, config.head_dim // 2)
        self.register_buffer("cos", angles)
        self.register_buffer("sin", angles.clone())
        self.loss = loss

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, self.cos.float(), self.sin.float())
        return self.loss(self.head(self.norm(x)).flatten(0, 1), ids.flatten())


class WrittenRMSNorm(nn.Module):
    """In float32, out of elementary operators; `late`: the weight after the cast back."""

    late = True

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)
        return normed.type_as(x) * self.weight if self.late else (normed * self.weight).type_as(x)


class EarlyRMSNorm(WrittenRMSNorm):
    late = False


class LlamaBlock(nn.Module):
    """A layer as Llama's reference code has it."""

    norm: type[nn.Module] = WrittenRMSNorm

    def __init__(self, config: DIYConfig, attention: str) -> None:
        super().__init__()
        self.attention, self.head_dim = attention, config.head_dim
        hidden, queries = config.hidden_size, config.num_heads * config.head_dim
        keys = config.num_kv_heads * config.head_dim
        self.norms = nn.ModuleList([self.norm(hidden), self.norm(hidden)])
        self.q, self.o = nn.Linear(hidden, queries, bias=False), nn.Linear(queries, hidden, bias=False)
        self.k, self.v = nn.Linear(hidden, keys, bias=False), nn.Linear(hidden, keys, bias=False)
        self.make_feedforward(config)

    def make_feedforward(self, config: DIYConfig) -> None:
        hidden, inner = config.hidden_size, config.intermediate_size
        self.gate, self.up = nn.Linear(hidden, inner, bias=False), nn.Linear(hidden, inner, bias=False)
        self.down = nn.Linear(inner, hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.drop(self.attend(self.norms[0](x), cos, sin))
        return x + self.drop(self.feedforward(self.norms[1](x)))

    def drop(self, x: Tensor) -> Tensor:
        return x

    def attend(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v = (part(x).unflatten(2, (-1, self.head_dim)).transpose(1, 2) for part in (self.q, self.k, self.v))
        q, k = self.rotate(q, cos, sin).type_as(v), self.rotate(k, cos, sin).type_as(v)
        if self.attention == "eager":
            scores = q @ k.transpose(-1, -2) / math.sqrt(self.head_dim)
            mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
            y = self.softmax(torch.where(mask, scores, -math.inf)).type_as(v) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])
        return self.o(y.transpose(1, 2).flatten(2))

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        wide = x.float()
        first, second = wide.chunk(2, dim=-1)
        turned = torch.cat([-second, first], dim=-1)
        return wide * torch.cat([cos, cos], dim=-1) + turned * torch.cat([sin, sin], dim=-1)

    def softmax(self, scores: Tensor) -> Tensor:
        return self.drop(scores.softmax(dim=-1))

    def feedforward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class CourseBlock(LlamaBlock):
    norm = EarlyRMSNorm

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)

    def softmax(self, scores: Tensor) -> Tensor:
        powers = (scores - scores.max(dim=-1, keepdim=True).values).exp()
        return powers / powers.sum(dim=-1, keepdim=True)

    def feedforward(self, x: Tensor) -> Tensor:
        gate = self.gate(x)
        return self.down(gate * gate.sigmoid() * self.up(x))


def written_loss(logits: Tensor, labels: Tensor) -> Tensor:
    shifted = logits - logits.max(dim=-1, keepdim=True).values
    return (shifted.exp().sum(dim=-1).log() - shifted.gather(-1, labels[:, None])[:, 0]).mean()


class WrittenLayerNorm(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.empty(size)), nn.Parameter(torch.empty(size))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        normed = centred / torch.sqrt(x.var(dim=-1, keepdim=True, unbiased=False) + 1e-5)
        return self.scale * normed + self.shift


class BookBlock(LlamaBlock):
    """Two thirds of its inner width stand for the 4h of GPT-2, as everywhere in the table of runs."""

    norm = WrittenLayerNorm

    def make_feedforward(self, config: DIYConfig) -> None:
        wide = config.intermediate_size * 3 // 2
        self.up, self.down = nn.Linear(config.hidden_size, wide), nn.Linear(wide, config.hidden_size)

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return x

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.1)

    def feedforward(self, x: Tensor) -> Tensor:
        x = self.up(x)
        return self.down(0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3)))))


COUNTED: dict[str, Factory] = {
    "llama": lambda config, attention: Decoder(config, attention, LlamaBlock),
    "course": lambda config, attention: Decoder(config, attention, CourseBlock, written_loss),
    "book": lambda config, attention: Decoder(config, attention, BookBlock),
}


def fused(precision: Precision, *, compiled: bool) -> Software:
    """One kernel each for norm, residual, rotary embedding and gate, by the values that it must read and write.

    Forward, of width h: two norms (2 each) and two residuals (3); rotary embedding in place (2); the gate (3 of width
    f). Backward: two norms (3), two residuals (3), and the gradients of four products that share their inputs, added
    up (9); the rotation again; the gate (5). Under autocast the residual stream is in float32 (2 more bytes a value,
    of 8 in the forward pass and 15 in the backward).
    """
    size = 4 if precision == "32-true" else 2
    wide = 2 if precision.endswith("mixed") else 0
    loss = (2 * size, 2 * size) if compiled else (8 if size == 4 else 14, 16 if size == 4 else 22)
    forward = {"hidden": 10 * size + 8 * wide, "queries": 2 * size, "keys": 2 * size, "inner": 3 * size}
    backward = {"hidden": 21 * size + 15 * wide, "queries": 2 * size, "keys": 2 * size, "inner": 5 * size}
    return Software(
        forward=Pass(**forward, score=12 * size, logit=loss[0], kernels=20),
        backward=Pass(**backward, score=14 * size, logit=loss[1], kernels=30),
    )


def table() -> list[dict[str, Any]]:
    """A row for each way, precision and pass."""
    rows = []
    for precision in PRECISIONS:
        found = {name: counted(factory, precision) for name, factory in COUNTED.items()}
        found |= {"fused": fused(precision, compiled=False), "compiled": fused(precision, compiled=True)}
        for name, software in found.items():
            for of_pass in ("forward", "backward"):
                figures = {key: f"{value:g}" for key, value in asdict(getattr(software, of_pass)).items()}
                rows.append({"software": name, "precision": precision, "pass": of_pass, **figures})
    return sorted(rows, key=lambda row: [*COUNTED, "fused", "compiled"].index(row["software"]))


def main() -> None:
    rows = table()
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(TABLE.read_text(), end="")


if __name__ == "__main__":
    main()
