"""The memory of one config, put together: moments, peak, verdict, largest micro-batch, remedies."""

from __future__ import annotations

from collections.abc import Callable

from diymodel.config import DIYConfig
from solver.errors import RecipeError
from solver.memory import budget
from solver.memory.budget import MemoryReport
from solver.memory.moments import allocated_bytes, predict
from solver.memory.remedies import max_micro_batch, remedies
from solver.recipe import Recipe


def report(
    config: DIYConfig,
    recipe: Recipe,
    budget_bytes: int | None = None,
    *,
    allocated: Callable[[DIYConfig, Recipe], int] = allocated_bytes,
) -> MemoryReport:
    """Everything that is known about the memory of one config under one recipe.

    Args:
        allocated: `allocated_bytes`, or what remembers it for other budgets.

    Raises:
        RecipeError: the recipe's sequence is longer than the config's max_seq_len.
    """
    if recipe.seq_len > config.max_seq_len:
        raise RecipeError(
            "seq", recipe.seq_len, f"is longer than the config's max_seq_len={config.max_seq_len}; shorten it"
        )
    recipe = recipe.said()
    moments = {moment: {"total": sum(parts.values()), **parts} for moment, parts in predict(config, recipe).items()}
    binding = max(moments, key=lambda moment: moments[moment]["total"])
    taken = int(allocated(config, recipe))
    verdict = None if budget_bytes is None else budget.verdict(taken, budget_bytes, recipe)
    largest = None if budget_bytes is None else max_micro_batch(config, recipe, budget_bytes, allocated=allocated)
    return MemoryReport(
        recipe=recipe,
        peak_bytes=moments[binding]["total"],
        allocated_bytes=taken,
        device_bytes=budget.device_bytes(taken, recipe),
        reserve_bytes=budget.reserve_bytes(taken),
        binding=binding,
        moments=moments,
        budget_bytes=budget_bytes,
        verdict=verdict,
        max_micro_batch=largest,
        remedies=remedies(config, recipe, budget_bytes) if verdict == "does not fit" and budget_bytes else (),
    )
