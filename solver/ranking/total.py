"""The terms put together, for columns of shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from solver import counts
from solver.ranking import law, terms
from solver.ranking.law import LAW_ERROR, Number
from solver.ranking.score import Score

Floats = NDArray[np.float64]

DECIMALS = 9
"""Totals are compared to this many decimals of a nat, so that the last bit of a power function decides nothing."""


def evaluate(shape: Any, *, tokens: Number, params: Number = None) -> dict[str, Floats]:
    """Every term by name, in nats, for columns of shapes; `MEANINGS` has the names.

    `params` is the size that the loss is predicted at: the target, so that overshooting it gains nothing; by default
    each shape's own count. `tokens` are the training tokens.
    """
    size = counts.total(shape) if params is None else params
    elsewhere = counts.embedding(shape) + counts.lm_head(shape)
    norms = shape.num_layers * counts.norm_per_layer(shape) + counts.final_norm(shape)
    width = law.effective_width(layers=shape.num_layers, layer_params=np.maximum(size - elsewhere - norms, 1))
    return {
        "predicted_loss": law.predicted_loss(layers=shape.num_layers, width=width, params=size, tokens=tokens),
        "mlp_share": terms.mlp_share(shape),
        "kv_heads": terms.kv_heads(shape),
        "heads": terms.heads(shape),
        "alignment": terms.alignment(shape),
    }


def total(by_term: dict[str, Floats]) -> Floats:
    """The sum of the terms, to DECIMALS."""
    return np.round(sum(by_term.values(), np.float64(0.0)), DECIMALS)


def scores(by_term: dict[str, Floats]) -> list[Score]:
    """One Score per row. A row ties with the best where the law's own error is larger than their difference."""
    totals = total(by_term)
    return [
        Score(
            total=float(totals[row]),
            terms={name: float(values[row]) for name, values in by_term.items()},
            predicted_loss=float(by_term["predicted_loss"][row]),
            tie=bool(totals[row] - totals.min() <= LAW_ERROR),
        )
        for row in range(len(totals))
    ]


def relative_step_time(shape: Any, seq_len: int) -> Number:
    """FLOPs per token, up to a factor: what two shapes' step times are to each other at equal efficiency (assumption).

    2 per weight that is multiplied (Kaplan et al. 2020, arXiv:2001.08361, table 1), and 4*s*H*d a layer for the
    attention scores and values.
    """
    weights = shape.num_layers * (counts.attention_per_layer(shape) + counts.mlp_per_layer(shape))
    head = shape.vocab_size * shape.hidden_size
    return 2 * (weights + head) + 4 * seq_len * shape.num_layers * shape.num_heads * shape.head_dim
