"""The polynomial read backwards: which values of one dimension bring the count into a band, all others fixed.

Linear in layers, intermediate and vocab, so the roots are quotients; quadratic in hidden where the heads' width
follows it, so the root is a square root. Symbols are those of `solver.counts`.
Exact on ints and int64 arrays alike: an interval is empty where its first value exceeds its last.
"""

from __future__ import annotations

import math

from diymodel.config import DIYConfig
from solver import counts
from solver.counts import Int, Shape
from solver.families import Family


def layers_between(low: Int, high: Int, shape: Shape, family: Family | None = None) -> tuple[Int, Int]:
    """Smallest and largest L with low <= P <= high (the shape's own L is not read).

    P = outside + L * layer, hence L = (P - outside) / layer.
    """
    return _quotients(low, high, counts.outside_layers(shape, family), counts.per_layer(shape, family))


def intermediate_between(low: Int, high: Int, shape: Shape, family: Family | None = None) -> tuple[Int, Int]:
    """Smallest and largest f with low <= P <= high (the result does not depend on the shape's own f).

    P = rest + f * 3hL, hence f = (P - rest) / 3hL.
    """
    slope = counts.per_intermediate(shape, family)
    return _quotients(low, high, counts.total(shape, family) - slope * shape.intermediate_size, slope)


def vocab_between(low: Int, high: Int, shape: Shape, family: Family | None = None) -> tuple[Int, Int]:
    """Smallest and largest V with low <= P <= high (the result does not depend on the shape's own V).

    P = rest + V * h, twice h with an untied head.
    """
    slope = counts.per_vocab(shape, family)
    return _quotients(low, high, counts.total(shape, family) - slope * shape.vocab_size, slope)


def hidden_root(params: int, config: DIYConfig) -> float:
    """The real width h at which `config`, scaled with its proportions, has `params` parameters.

    L, V, d and the options stay; H, K and f grow in proportion to h, so with H = a*h, K = b*h and f = c*h
    P = h^2 * L*(2ad + 2bd + 3c) + h * (V*(1 or 2) + L*(2 + d*(a + 2b) with qkv bias) + final norm) + L*2d with qk norm.
    """
    width, layers, d = config.hidden_size, config.num_layers, config.head_dim
    heads, kv_heads, mlp = config.num_heads / width, config.num_kv_heads / width, config.intermediate_size / width
    square = layers * (2 * d * (heads + kv_heads) + 3 * mlp)
    bias = d * (heads + 2 * kv_heads) if config.qkv_bias else 0.0
    linear = config.vocab_size * (1 if config.tie_embeddings else 2) + layers * (2 + bias) + config.final_norm
    constant = layers * 2 * d * config.qk_norm - params
    return (-linear + math.sqrt(linear**2 - 4 * square * constant)) / (2 * square)


def _quotients(low: Int, high: Int, rest: Int, slope: Int) -> tuple[Int, Int]:
    return -((rest - low) // slope), (high - rest) // slope
