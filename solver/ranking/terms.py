"""The priced terms of the score, in nats: what the law of depth and width does not see. Zero where nothing is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from solver.ranking.law import Number

NATS_PER_POINT = 0.034
"""Nats that one point of MobileLLM's average accuracy is worth: at 125M, 12 layers lose 0.9 points against the best
(Liu et al. 2024, arXiv:2402.14905, table 11) and 0.031 nats under the law."""

MLP_OPTIMUM = 8 / 3
"""intermediate_size / hidden_size that costs nothing: MobileLLM's own, and Llama's. Published optima lie at 1 to 3
(Petty et al. 2023, arXiv:2310.19956: 1.3 at 41M params, 2.7 at 134M)."""

MLP_CURVATURE = 0.02
"""Nats per squared log of the distance from the optimum. Assumption, of the size that Bian et al. 2025
(arXiv:2510.18245) report at 1B params: 0.021 nats between an MLP:attention ratio of 1.07 and one of 4.8."""

ENOUGH_KV_HEADS = 4
FEW_KV_HEADS_NATS = 0.8 * NATS_PER_POINT
"""With two kv heads or one, MobileLLM's average is 0.8 points below that with four or more (table 13, mean over 8, 16
and 32 query heads at 125M); the ratio of query to kv heads alone costs nothing there."""

ENOUGH_HEADS = 16
NARROW_HEAD, WIDE_HEAD_NATS, NARROW_HEAD_NATS = 64, 0.6 * NATS_PER_POINT, 0.4 * NATS_PER_POINT
"""At width 896, 16 heads of 56 average 0.6 points above 8 heads of 112 and 0.4 above 32 heads of 28 (table 13, over
four or more kv heads); with heads of 64, as few as six lie on the plateau (table 11). So a head wider than 64 is
charged where it leaves fewer than 16 heads, and a head narrower than 64 always, per halving."""

MISALIGNED_NATS = 0.001
"""Price of each dimension that is a multiple of 64 but not of 128. Assumption, small enough to decide among near-ties
only; the rules are those of Anthony et al. 2024 (arXiv:2401.14489): matrix sides in multiples of 64 elements at
the least, output tiles of 128."""

MEANINGS = {
    "predicted_loss": "loss at the token budget by the law of depth and width (McLeish et al. 2025)",
    "mlp_share": "distance of intermediate/hidden from 8/3 (Liu et al. 2024; Petty et al. 2023; Bian et al. 2025)",
    "kv_heads": "fewer than four kv heads (Liu et al. 2024, table 13)",
    "heads": "heads wider than 64 where fewer than 16, or narrower than 64 (Liu et al. 2024, tables 11 and 13)",
    "alignment": "sides that are no multiple of 128 (Anthony et al. 2024)",
}
"""What each term is, and whose evidence it rests on."""


def mlp_share(shape: Any) -> Number:
    """Quadratic in ln(f/h) around MLP_OPTIMUM."""
    return MLP_CURVATURE * np.log(shape.intermediate_size / (MLP_OPTIMUM * shape.hidden_size)) ** 2


def kv_heads(shape: Any) -> Number:
    """FEW_KV_HEADS_NATS at two kv heads or one, half a log step less at three, nothing from four on."""
    steps = np.log2(ENOUGH_KV_HEADS / np.minimum(shape.num_kv_heads, ENOUGH_KV_HEADS))
    return FEW_KV_HEADS_NATS * np.minimum(steps, 1.0)


def heads(shape: Any) -> Number:
    """WIDE_HEAD_NATS per halving of the heads below 16 that a narrower head would have spared; and for narrow heads."""
    spared = np.minimum(shape.head_dim / NARROW_HEAD, ENOUGH_HEADS / shape.num_heads)
    wide = WIDE_HEAD_NATS * np.log2(np.maximum(spared, 1.0))
    return wide + NARROW_HEAD_NATS * np.log2(np.maximum(NARROW_HEAD / shape.head_dim, 1.0))


def alignment(shape: Any) -> Number:
    """MISALIGNED_NATS for each of hidden, intermediate, head_dim * heads off 128; ten times that off 64."""
    sides = (shape.hidden_size, shape.intermediate_size, shape.num_heads * shape.head_dim)
    return MISALIGNED_NATS * sum((side % 128 != 0) * 1.0 + (side % 64 != 0) * 9.0 for side in sides)
