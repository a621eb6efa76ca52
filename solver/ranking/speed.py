"""The second key: how long a training step of one shape takes against that of another, on a card of today.

    t tokens of a step on one device   h hidden_size   f intermediate_size   H, K query and kv heads   d head_dim

A step is the sum over its matrix products of the longer of arithmetic and memory traffic (Williams et al. 2009, the
roofline), the traffic of what runs between them, and the time to launch the kernels, which depth alone pays for.
Matrix sides are rounded up to the tiles that tensor cores work in (Anthony et al. 2024, arXiv:2401.14489: 128 x 256
output tiles, sides in multiples of 64 elements). It gives an order, not milliseconds: its agreement with published
throughputs is in `benchmarks/ranking_evidence.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from solver.ranking.law import Number

FLOPS_PER_SECOND = 2.0e14
"""Dense bf16 arithmetic that large matrix products reach on an A100: about 65 % of its 312 TFLOP/s."""

BYTES_PER_SECOND = 1.5e12
"""Memory traffic of an A100 (1.56 TB/s by its data sheet)."""

LAUNCH_SECONDS = 5e-6
"""One kernel launch. Assumption, of the usual size on current cards and drivers."""

KERNELS_PER_LAYER = 40
"""Kernels of a layer's forward pass without a compiler: products, attention, norms, rotary embedding, gate, residuals,
casts. Assumption."""

PASSES = 3
"""Forward, and a backward pass of about twice its work (Kaplan et al. 2020, arXiv:2001.08361)."""

TILE, DEPTH_TILE = 128, 64
"""Outputs are computed in tiles of 128, inner sides in steps of 64 elements."""

BYTES = 2
ELEMENTWISE_OF_HIDDEN, ELEMENTWISE_OF_INNER = 14, 4
"""Values of width h, and of the products' outputs, that a token moves through memory between a layer's products.
Assumption."""

LOGIT_BYTES = 16
"""Bytes that one logit moves: written in bf16, read and written in float32 by the loss."""


def arithmetic_seconds(params: int, tokens: int) -> float:
    """The arithmetic of so many params alone, at full speed: what a step of any shape of that size takes at least."""
    return PASSES * 2.0 * params * tokens / FLOPS_PER_SECOND


def relative_step_time(shape: Any, seq_len: int, micro_batch: Number = 1) -> Number:
    """Seconds of forward and backward of one micro-batch on the reference card; meant for comparing shapes."""
    tokens = seq_len * micro_batch
    hidden, inner = shape.hidden_size, shape.intermediate_size
    heads = shape.num_heads * shape.head_dim
    fused = heads + 2 * shape.num_kv_heads * shape.head_dim
    products = (
        _product(tokens, hidden, fused)
        + _product(tokens, heads, hidden)
        + _product(tokens, hidden, 2 * inner)
        + _product(tokens, inner, hidden)
    )
    scores = 2 * tokens * seq_len * heads / FLOPS_PER_SECOND  # half of 4 t s H d: causal
    moved = ELEMENTWISE_OF_HIDDEN * hidden + ELEMENTWISE_OF_INNER * (fused + 2 * inner)
    layer = products + scores + BYTES * tokens * moved / BYTES_PER_SECOND + KERNELS_PER_LAYER * LAUNCH_SECONDS
    head = _product(tokens, hidden, shape.vocab_size) + LOGIT_BYTES * tokens * shape.vocab_size / BYTES_PER_SECOND
    return PASSES * (shape.num_layers * layer + head)


def _product(rows: Number, inner: Number, outer: Number) -> Number:
    """Seconds of one product of (rows, inner) with (inner, outer), sides rounded up to tiles."""
    inner, outer = _round_up(inner, DEPTH_TILE), _round_up(outer, TILE)
    arithmetic = 2.0 * rows * inner * outer / FLOPS_PER_SECOND
    traffic = BYTES * (rows * (inner + outer) + inner * outer) / BYTES_PER_SECOND
    return np.maximum(arithmetic, traffic)


def _round_up(side: Number, tile: int) -> Number:
    return -(-side // tile) * tile
