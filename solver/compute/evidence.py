"""What published runs say of the estimated speeds, for answers to state: how far off they are, and on which cards.

The figures are those of `benchmarks/time_error.py`, which tells each run to the command as a user would and writes
`benchmarks/results/training-speed.md`. `tests/test_time_fit.py` holds them against it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """How far estimates are from measured speeds, over groups of runs that the command was told of."""

    groups: int
    """Runs of one author, card and precision; they weigh the same, however many runs they have."""
    off: float
    """Median size of estimated / measured - 1."""
    worst: float
    """Largest of estimated / measured and measured / estimated."""


LIKE_A_PROFILE = Accuracy(groups=9, off=0.13, worst=1.5)
"""Runs whose software is written like a profile's: transformers' own model with `hf`, plain torch with `diy`."""

OTHERWISE = Accuracy(groups=59, off=0.27, worst=3.0)
"""Runs of other software: compiled, fused, or with more of the model written out."""

PUBLISHED_RUNS = {
    "rtx3090": 7, "rtx4070": 1, "rtx4070ti-super": 2, "rtx4090": 16, "rtx5090": 7, "rtx-a5000": 2, "rtx-a6000": 6,
    "rtx6000-ada": 1, "rtx-pro-6000": 10, "v100-32gb": 2, "l4": 2, "a10": 12, "l40s": 1, "a40": 1, "a100-40gb": 85,
    "a100-80gb": 100, "h20": 37, "h100": 108, "h200": 1, "b200": 14,
}  # fmt: skip
"""Published runs on a card that the estimate is fitted on or held against, by the name of the card; a card that is not
here has none."""


def published_runs(card: str) -> int:
    """Published runs behind an estimate on the card of that name."""
    return PUBLISHED_RUNS.get(card, 0)
