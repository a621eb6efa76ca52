"""The memory of one config, put together: moments, peak, verdict, largest micro-batch, remedies."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from diymodel.config import DIYConfig
from solver.counts import Int
from solver.errors import RecipeError
from solver.memory import budget
from solver.memory.budget import MemoryReport
from solver.memory.moments import predict
from solver.memory.remedies import remedies
from solver.recipe import MAX_TOKENS, Recipe


def peak_bytes(shape: Any, recipe: Recipe) -> Int:
    """The largest total over the moments, for a config or for columns of shapes."""
    totals = [sum(parts.values()) for parts in predict(shape, recipe).values()]
    return max(totals) if all(isinstance(total, int) for total in totals) else reduce(np.maximum, totals)


def report(config: DIYConfig, recipe: Recipe, budget_bytes: int | None = None) -> MemoryReport:
    """Everything that is known about the memory of one config under one recipe.

    Raises:
        RecipeError: the recipe's sequence is longer than the config's max_seq_len.
    """
    if recipe.seq_len > config.max_seq_len:
        raise RecipeError(
            "seq", recipe.seq_len, f"is longer than the config's max_seq_len={config.max_seq_len}; shorten it"
        )
    moments = {moment: {"total": sum(parts.values()), **parts} for moment, parts in predict(config, recipe).items()}
    binding = max(moments, key=lambda moment: moments[moment]["total"])
    peak = moments[binding]["total"]
    verdict = None if budget_bytes is None else budget.verdict(peak, budget_bytes)
    return MemoryReport(
        recipe=recipe,
        peak_bytes=peak,
        device_bytes=budget.device_bytes(peak),
        binding=binding,
        moments=moments,
        budget_bytes=budget_bytes,
        verdict=verdict,
        max_micro_batch=None if budget_bytes is None else max_micro_batch(config, recipe, budget_bytes),
        remedies=remedies(config, recipe, budget_bytes, peak_bytes)
        if verdict == "does not fit" and budget_bytes
        else (),
    )


def max_micro_batch(config: DIYConfig, recipe: Recipe, budget_bytes: int) -> int:
    """The largest micro-batch that still fits or is uncertain, at most MAX_TOKENS / seq_len; 0 if none does."""

    def too_large(micro_batch: int) -> bool:
        peak = peak_bytes(config, replace(recipe, micro_batch=micro_batch))
        return bool(budget.device_bytes(peak) > budget_bytes)

    return bisect_left(range(1, MAX_TOKENS // recipe.seq_len + 1), True, key=too_large)
