"""The terms put together, for columns of shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from solver import counts
from solver.ranking import law, terms
from solver.ranking.law import Coefficients, Number
from solver.ranking.score import Score

Floats = NDArray[np.float64]

DECIMALS = 9
"""Totals are compared to this many decimals of a nat, so that the last bit of a power function decides nothing."""

OUTSIDE = 0.05
"""Share of the bootstrap draws that is left out at either end of the interval that a difference is taken to lie in.
With `law.scatter` on top the interval holds nine tenths of what sources measured that the law had not seen."""

FITTED = ("predicted_loss", "mlp_share", "kv_heads", "heads")
"""Terms whose size was measured. The others break ties; they do not say that two shapes differ."""


def evaluate(
    shape: Any,
    *,
    tokens: Number,
    params: Number = None,
    learning_layers: Number = None,
    coefficients: Coefficients | None = None,
) -> dict[str, Floats]:
    """Every term by name, in nats, for columns of shapes; `MEANINGS` has the names.

    `params` is the size that the loss is predicted at: the target, so that overshooting it gains nothing; by default
    each shape's own count. `tokens` are the training tokens. `learning_layers` and `coefficients` as in the law.
    """
    size = counts.total(shape) if params is None else params
    elsewhere = counts.embedding(shape) + counts.lm_head(shape) + counts.position(shape) + counts.projections(shape)
    norms = shape.num_layers * counts.norm_per_layer(shape) + counts.final_norm(shape)
    width = law.effective_width(layers=shape.num_layers, layer_params=np.maximum(size - elsewhere - norms, 1))
    by_term = {
        "predicted_loss": law.predicted_loss(
            layers=shape.num_layers,
            width=width,
            params=size,
            tokens=tokens,
            learning_layers=learning_layers,
            coefficients=coefficients,
        ),
        "mlp_share": terms.mlp_share(shape, coefficients),
    }
    if counts.family_of(shape).latent is None:  # MobileLLM's tables are about heads with keys and values of their own
        by_term |= {"kv_heads": terms.kv_heads(shape, coefficients), "heads": terms.heads(shape, coefficients)}
    return {**by_term, "alignment": terms.alignment(shape)}


def total(by_term: dict[str, Floats]) -> Floats:
    """The sum of the terms, to DECIMALS."""
    return np.round(sum(by_term.values(), np.float64(0.0)), DECIMALS)


def scores(
    shape: Any, *, tokens: Number, params: Number = None, preferred: dict[str, Floats] | None = None
) -> list[Score]:
    """One Score per row. A row ties with the best where the evidence does not tell their losses apart.

    `preferred` are the terms of a preference. They move the total, and so which row is best; a tie is about the loss.
    """
    by_term = {**evaluate(shape, tokens=tokens, params=params), **(preferred or {})}
    totals = total(by_term)
    tied = _ties(shape, tokens, params, int(totals.argmin()))
    return [
        Score(
            total=float(totals[row]),
            terms={name: float(values[row]) for name, values in by_term.items()},
            predicted_loss=float(by_term["predicted_loss"][row]),
            tie=bool(tied[row]),
        )
        for row in range(len(totals))
    ]


def _ties(shape: Any, tokens: Number, params: Number, best: int) -> NDArray[np.bool_]:
    """Where the difference to the row `best` may be zero.

    Its interval over the bootstrap draws says how well the evidence fixes the law; what it is widened by says how far
    differences measured by sources that the law has not seen lie outside of such intervals.
    """
    drawn = evaluate(shape, tokens=tokens, params=params, coefficients=law.draws())
    fitted = np.asarray(sum(drawn[name] for name in FITTED if name in drawn))
    differences = np.sort(fitted - fitted[:, [best]], axis=0)  # np.percentile would load numpy.ma, for 90 ms
    cut = int(OUTSIDE * len(differences))
    low, high = differences[cut], differences[-1 - cut]
    tied: NDArray[np.bool_] = (low <= law.scatter()) & (high >= -law.scatter())
    return tied
