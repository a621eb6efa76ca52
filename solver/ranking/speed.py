"""The second key: how long a training step of one shape takes against that of another, on a card of today.

The seconds are those of `solver.compute.step_time`, on a card of reference and under the usual recipe: an order, not a
forecast for the card at hand, so that it stays the same whatever card the budget came from. Its agreement with
published throughputs is in `benchmarks/ranking_evidence.py`, that of the seconds in `benchmarks/time_error.py`.
"""

from __future__ import annotations

from typing import Any

from solver.compute.step_time import fitted, micro_batch_seconds
from solver.devices import device
from solver.ranking.law import Number
from solver.recipe import Recipe

REFERENCE = device("a100-80gb")
"""The card of most of the published throughputs."""

FORWARD_AND_BACKWARD = 3
"""Passes of a step: the backward pass takes twice a forward (Kaplan et al. 2020, arXiv:2001.08361)."""

SHORTEST = 2
"""Tokens of the shortest sequence that can be trained on; serving may have one of 1."""


def arithmetic_seconds(params: int, tokens: int) -> float:
    """The arithmetic of so many params alone, at full speed: what a step of any shape of that size takes at least."""
    reached = REFERENCE.peak_flops("bf16-mixed") * fitted().products
    return FORWARD_AND_BACKWARD * 2.0 * params * tokens / reached


def relative_step_time(shape: Any, seq_len: int, micro_batch: Number = 1) -> Number:
    """Seconds of forward and backward of one micro-batch on the reference card; meant for comparing shapes."""
    recipe = Recipe(seq_len=max(seq_len, SHORTEST))
    return micro_batch_seconds(shape, recipe, REFERENCE, micro_batch=micro_batch)
