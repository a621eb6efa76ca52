"""Other people's models, written anew from their descriptions, so that their published peaks can be predicted.

What decides the memory is kept, operator by operator; all else (initial values, names, options) is left out.

| class | what | source |
|---|---|---|
| CourseLM, CourseAdamW | model and optimizer of Stanford's CS336 | github.com/stanford-cs336/assignment2-systems |
| BookGPT | GPT-2 of "Build a Large Language Model (From Scratch)" | github.com/rasbt/LLMs-from-scratch, ch05/10 |
| HubGPT2 | transformers' GPT-2 | github.com/huggingface/transformers, models/gpt2 |
| HubQwen3 | transformers' Qwen3, its cache grown by concatenation | github.com/huggingface/transformers, models/qwen3 |
| HubLlama | transformers' Llama, the same without norms of queries and keys | the same, models/llama |
| HeadAndLoss | a head and its cross-entropy, alone | github.com/linkedin/Liger-Kernel, benchmark/scripts |

Shapes: B batch, T tokens, S tokens attended to, C width, H heads, K kv heads, D head width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """The integers of a published model. `num_kv_heads` and `head_dim` of 0 mean the usual."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    num_kv_heads: int = 0
    head_dim: int = 0

    @property
    def kv_heads(self) -> int:
        return self.num_kv_heads or self.num_heads

    @property
    def head_width(self) -> int:
        return self.head_dim or self.hidden_size // self.num_heads


# CS336: every operator by hand, matrix products by einsum


class EinsumLinear(nn.Module):
    """A linear without bias, as one einsum."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("...i,oi->...o", x, self.weight)


class Float32RMSNorm(nn.Module):
    """RMSNorm of single operators in float32, its weight included."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.float32)
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)
        return (self.weight * wide).to(x.dtype)


def hand_softmax(x: Tensor) -> Tensor:
    """Subtract the maximum, exponentiate, divide by the sum: a tensor each."""
    shifted = x - torch.max(x, dim=-1, keepdim=True)[0]  # named, as in the original: it lives until the end
    exponents = torch.exp(shifted)
    return exponents / torch.sum(exponents, dim=-1, keepdim=True)


def hand_silu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def hand_log_softmax(x: Tensor) -> Tensor:
    """Logarithm of the softmax over the last axis, of single operators."""
    x = x - torch.max(x, dim=-1, keepdim=True)[0]
    return x - torch.log(torch.sum(torch.exp(x), dim=-1, keepdim=True))


def hand_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean of the negated log-softmax (B, T, V) at the targets (B, T)."""
    negated = -hand_log_softmax(logits)
    return torch.mean(torch.gather(negated, -1, targets.unsqueeze(-1)))


def hand_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """softmax(q k / sqrt(D)) v with a bool mask that is true where a query may look: (B, H, T, D)."""
    scores = torch.einsum("...qd,...kd->...qk", q, k) / math.sqrt(q.shape[-1])
    scores = torch.where(mask, scores, float("-inf"))
    return torch.einsum("...qk,...kd->...qd", hand_softmax(scores), v)


class CourseBlock(nn.Module):
    """Pre-norm attention and SwiGLU, neither with biases."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, inner = shape.hidden_size, shape.intermediate_size
        self.num_heads = shape.num_heads
        self.norm1, self.norm2 = Float32RMSNorm(width), Float32RMSNorm(width)
        self.q, self.k, self.v, self.o = (EinsumLinear(width, width) for _ in range(4))
        self.gate, self.up = EinsumLinear(width, inner), EinsumLinear(width, inner)
        self.down = EinsumLinear(inner, width)

    def forward(self, x: Tensor, rotation: Tensor) -> Tensor:
        attended = x + self.attend(self.norm1(x), rotation)
        return attended + self.feed(self.norm2(attended))

    def attend(self, x: Tensor, rotation: Tensor) -> Tensor:
        q, k, v = self.q(x), self.k(x), self.v(x)
        heads = (*x.shape[:2], self.num_heads, -1)
        q, k, v = (part.view(heads).transpose(1, 2) for part in (q, k, v))  # (B, H, T, D)
        q, k = rotate_pairs(q, rotation), rotate_pairs(k, rotation)
        positions = torch.arange(x.shape[1], device=x.device)
        mask = (positions[:, None] >= positions)[None, None]
        y = hand_attention(q, k, v, mask)
        return self.o(y.transpose(1, 2).flatten(2).contiguous())

    def feed(self, x: Tensor) -> Tensor:
        return self.down(hand_silu(self.gate(x)) * self.up(x))


def rotate_pairs(x: Tensor, rotation: Tensor) -> Tensor:
    """RoPE of neighbouring elements of (B, H, T, D); `rotation` holds cosines and sines, (2, T, D / 2)."""
    first, second = x.view(*x.shape[:-1], -1, 2).unbind(-1)
    cos, sin = rotation.unbind(0)
    return torch.concat((cos * first - sin * second, sin * first + cos * second), dim=-1)


class CourseLM(nn.Module):
    """The decoder of CS336: int (B, T) -> (B, T, V).

    Args:
        context: tokens for which rotations are tabled.
        segment: blocks per checkpoint, 0 for none, -1 for checkpoints of halves within checkpoints.
    """

    rotation: Tensor

    def __init__(self, shape: Shape, context: int, segment: int = 0) -> None:
        super().__init__()
        self.segment = segment
        self.embedding = nn.Parameter(torch.empty(shape.vocab_size, shape.hidden_size))
        self.layers = nn.ModuleList(CourseBlock(shape) for _ in range(shape.num_layers))
        self.norm = Float32RMSNorm(shape.hidden_size)
        self.lm_head = EinsumLinear(shape.hidden_size, shape.vocab_size)
        self.register_buffer("rotation", torch.empty(2, context, shape.head_width // 2))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding[tokens, :]
        x = self.halves(x, 0, len(self.layers)) if self.segment < 0 else self.segments(x)
        return self.lm_head(self.norm(x))

    def run(self, x: Tensor, start: int, end: int) -> Tensor:
        rotation = self.rotation[:, : x.shape[1]]
        for layer in self.layers[start:end]:
            x = layer(x, rotation)
        return x

    def segments(self, x: Tensor) -> Tensor:
        count = len(self.layers)
        if not self.segment:
            return self.run(x, 0, count)
        for start in range(0, count, self.segment):
            x = checkpoint(self.run, x, start, min(start + self.segment, count), use_reentrant=False)
        return x

    def halves(self, x: Tensor, start: int, end: int) -> Tensor:
        if end - start == 1:
            return self.run(x, start, end)
        middle = (start + end) // 2
        x = checkpoint(self.halves, x, start, middle, use_reentrant=False)
        return checkpoint(self.halves, x, middle, end, use_reentrant=False)


class CourseAdamW(torch.optim.Optimizer):
    """AdamW parameter by parameter, out of place (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2)."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for parameter in self.param_groups[0]["params"]:
            if parameter.grad is not None:
                self._update(parameter.data, parameter.grad, self.state[parameter])

    def _update(self, weight: Tensor, gradient: Tensor, state: dict[str, Tensor]) -> None:
        weight -= 1e-5 * weight
        # The default of `get` is made whether it is needed or not, as in the original.
        old_mean = state.get("m", torch.zeros_like(gradient))
        old_square = state.get("v", torch.zeros_like(gradient))
        mean = 0.9 * old_mean + 0.1 * gradient
        square = 0.999 * old_square + 0.001 * torch.square(gradient)
        weight -= 1e-3 * mean / (torch.sqrt(square) + 1e-8)
        state["m"], state["v"] = mean, square


# "Build a Large Language Model (From Scratch)"


class BookLayerNorm(nn.Module):
    """LayerNorm of single operators."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.empty(size)), nn.Parameter(torch.empty(size))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=-1, keepdim=True)
        variance = x.var(dim=-1, keepdim=True, unbiased=False)
        normed = (x - mean) / torch.sqrt(variance + 1e-5)
        return self.scale * normed + self.shift


class BookGELU(nn.Module):
    """The tanh approximation of GELU, of single operators."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3))))


@dataclass(frozen=True, kw_only=True, slots=True)
class BookVariant:
    """Which of the README's changes are in: 1 mask on the fly, 6 torch's norms and GELU, 7 torch's attention."""

    mask_on_the_fly: bool = False
    torch_classes: bool = False
    torch_attention: bool = False


class BookAttention(nn.Module):
    """Causal attention with biases in the output projection alone, and dropout of the weights."""

    mask: Tensor

    def __init__(self, shape: Shape, context: int, variant: BookVariant) -> None:
        super().__init__()
        width = shape.hidden_size
        self.num_heads = shape.num_heads
        self.variant = variant
        if variant.torch_attention:
            self.qkv = nn.Linear(width, 3 * width, bias=False)
        else:
            self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width)
        if not variant.mask_on_the_fly:
            self.register_buffer("mask", torch.triu(torch.ones(context, context), diagonal=1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.by_torch(x) if self.variant.torch_attention else self.by_hand(x)
        return self.out(y)

    def by_torch(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = 0.1 if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        return y.transpose(1, 2).contiguous().flatten(2)

    def by_hand(self, x: Tensor) -> Tensor:
        k, q, v = (part(x).unflatten(2, (self.num_heads, -1)).transpose(1, 2) for part in (self.k, self.q, self.v))
        scores = q @ k.transpose(2, 3)
        scores.masked_fill_(self.hidden(x), -torch.inf)
        weights = torch.softmax(scores / k.shape[-1] ** 0.5, dim=-1)
        weights = F.dropout(weights, 0.1, self.training)
        return (weights @ v).transpose(1, 2).flatten(2)

    def hidden(self, x: Tensor) -> Tensor:
        """bool (T, T): true where a query may not look."""
        tokens = x.shape[1]
        if self.variant.mask_on_the_fly:
            return torch.triu(torch.ones(tokens, tokens, device=x.device, dtype=torch.bool), diagonal=1)
        return self.mask.bool()[:tokens, :tokens]


class BookBlock(nn.Module):
    def __init__(self, shape: Shape, context: int, variant: BookVariant) -> None:
        super().__init__()
        width, inner = shape.hidden_size, shape.intermediate_size
        norm: Callable[[int], nn.Module] = nn.LayerNorm if variant.torch_classes else BookLayerNorm
        gelu = nn.GELU(approximate="tanh") if variant.torch_classes else BookGELU()
        self.attention = BookAttention(shape, context, variant)
        self.feed = nn.Sequential(nn.Linear(width, inner), gelu, nn.Linear(inner, width))
        self.norm1, self.norm2 = norm(width), norm(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        y = self.attention(y)
        y = F.dropout(y, 0.1, self.training)
        x = y + x
        y = self.norm2(x)
        y = self.feed(y)
        y = F.dropout(y, 0.1, self.training)
        return y + x


class BookGPT(nn.Module):
    """GPT-2 with an untied head: int (B, T) -> (B, T, V)."""

    def __init__(self, shape: Shape, context: int, variant: BookVariant) -> None:
        super().__init__()
        width = shape.hidden_size
        self.tokens, self.positions = nn.Embedding(shape.vocab_size, width), nn.Embedding(context, width)
        self.layers = nn.Sequential(*(BookBlock(shape, context, variant) for _ in range(shape.num_layers)))
        self.norm = nn.LayerNorm(width) if variant.torch_classes else BookLayerNorm(width)
        self.lm_head = nn.Linear(width, shape.vocab_size, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        return self.lm_head(self.norm(self.layers(F.dropout(x, 0.1, self.training))))


# transformers


class HubGPT2Block(nn.Module):
    mask: Tensor

    def __init__(self, shape: Shape, context: int) -> None:
        super().__init__()
        width = shape.hidden_size
        self.num_heads = shape.num_heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, shape.intermediate_size), nn.Linear(shape.intermediate_size, width)
        self.register_buffer("mask", torch.ones(context, context, dtype=torch.bool).tril())

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=0.1 if self.training else 0.0, is_causal=True)
        x = x + F.dropout(self.out(y.transpose(1, 2).flatten(2)), 0.1, self.training)
        y = self.down(BookGELU()(self.up(self.norm2(x))))
        return x + F.dropout(y, 0.1, self.training)


class HubGPT2(nn.Module):
    """GPT-2 with a tied head: int (B, T) -> (B, T, V)."""

    def __init__(self, shape: Shape, context: int) -> None:
        super().__init__()
        width = shape.hidden_size
        self.tokens, self.positions = nn.Embedding(shape.vocab_size, width), nn.Embedding(context, width)
        self.layers = nn.Sequential(*(HubGPT2Block(shape, context) for _ in range(shape.num_layers)))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        return F.linear(self.norm(self.layers(F.dropout(x, 0.1, self.training))), self.tokens.weight)


class HubRMSNorm(nn.Module):
    """RMSNorm of single operators in float32, its weight in the model's dtype."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.float32)
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * wide.to(x.dtype)


KeysAndValues = tuple[Tensor, Tensor]
"""Of one layer, (B, K, S, D) each."""


class HubDecoderBlock(nn.Module):
    """Args: norms_heads: whether queries and keys are normed, as in Qwen3."""

    def __init__(self, shape: Shape, *, norms_heads: bool) -> None:
        super().__init__()
        width, head, inner = shape.hidden_size, shape.head_width, shape.intermediate_size
        self.head = head
        self.norm1, self.norm2 = HubRMSNorm(width), HubRMSNorm(width)
        self.q = nn.Linear(width, shape.num_heads * head, bias=False)
        self.k, self.v = (nn.Linear(width, shape.kv_heads * head, bias=False) for _ in range(2))
        self.o = nn.Linear(shape.num_heads * head, width, bias=False)
        self.q_norm, self.k_norm = (HubRMSNorm(head) if norms_heads else nn.Identity() for _ in range(2))
        self.gate, self.up = (nn.Linear(width, inner, bias=False) for _ in range(2))
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: list[KeysAndValues], index: int) -> Tensor:
        x = x + self.attend(self.norm1(x), cos, sin, cache, index)
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))

    def attend(self, x: Tensor, cos: Tensor, sin: Tensor, cache: list[KeysAndValues], index: int) -> Tensor:
        q = self.q_norm(self.q(x).unflatten(2, (-1, self.head))).transpose(1, 2)
        k = self.k_norm(self.k(x).unflatten(2, (-1, self.head))).transpose(1, 2)
        v = self.v(x).unflatten(2, (-1, self.head)).transpose(1, 2)
        q, k = rotate_halves(q, cos, sin), rotate_halves(k, cos, sin)
        if index < len(cache):
            k = torch.cat((cache[index][0], k), dim=2)
            v = torch.cat((cache[index][1], v), dim=2)
            cache[index] = (k, v)
        else:
            cache.append((k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1, enable_gqa=True)
        return self.o(y.transpose(1, 2).flatten(2))


def rotate_halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE of (i, i + D / 2): x (B, K, T, D), cos and sin (B, T, D)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos[:, None] + torch.cat((-second, first), dim=-1) * sin[:, None]


class HubDecoder(nn.Module):
    """int (B, T) and a cache -> logits of the last token, (B, 1, V)."""

    def __init__(self, shape: Shape, *, norms_heads: bool, tied: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(HubDecoderBlock(shape, norms_heads=norms_heads) for _ in range(shape.num_layers))
        self.norm = HubRMSNorm(shape.hidden_size)
        self.lm_head = self.embedding if tied else nn.Linear(shape.hidden_size, shape.vocab_size, bias=False)
        self.head = shape.head_width

    def forward(self, tokens: Tensor, cache: list[KeysAndValues]) -> Tensor:
        x = embedded = self.embedding(tokens)  # transformers holds the embedded tokens until the last layer is done
        cos, sin = (x.new_empty(*tokens.shape, self.head) for _ in range(2))
        for index, layer in enumerate(self.layers):
            x = layer(x, cos, sin, cache, index)
        del embedded
        return F.linear(self.norm(x)[:, -1:], self.lm_head.weight)


class HubQwen3(HubDecoder):
    """Qwen3 with a tied head."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, norms_heads=True, tied=True)


class HubLlama(HubDecoder):
    """Llama 3.1 with a head of its own."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, norms_heads=False, tied=False)


# Liger-Kernel's references


class HeadAndLoss(nn.Module):
    """float (B, C) and int (B) -> mean cross-entropy of V classes; `hidden_size` of 0: the input holds the logits."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, classes = shape.hidden_size, shape.vocab_size
        self.lm_head = nn.Linear(width, classes, bias=False) if width else nn.Identity()

    def forward(self, x: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(self.lm_head(x), targets)
