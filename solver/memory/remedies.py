"""What would make a config fit: every change that people know, by itself, and the smallest combination that does."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import Any

from diymodel.config import DIYConfig
from solver.memory.budget import Remedy, device_bytes, fits, reserve_bytes, verdict
from solver.memory.moments import allocated_bytes, peak_bytes
from solver.recipe import MAX_TOKENS, Recipe

SEQ_STEP = 128
"""Sequences are shortened to a multiple of this."""

Change = tuple[str, Any]
"""A field of the recipe and its new value; a smaller micro-batch is accumulated to as many sequences a step."""

ORDER = ("fits", "uncertain", "does not fit")
"""Remedies that fit come before those that are uncertain, and those before the ones that are not enough."""


def remedies(config: DIYConfig, recipe: Recipe, budget_bytes: int) -> tuple[Remedy, ...]:
    """Single changes, those that cost the user least first; if none is enough, the smallest combination that is; fewer
    layers. Sorted by ORDER.

    Each is measured from the recipe and the config as given. Changes that save nothing are left out.
    """
    before = peak_bytes(config, recipe)
    single = []
    for change in _changes(config, recipe, budget_bytes):
        remedy = _remedy(config, recipe, budget_bytes, before, [change])
        if remedy.saved_bytes > 0:
            single.append((change, remedy))
    found = [remedy for _, remedy in single]
    if not any(remedy.fits for remedy in found):
        found += _smallest_combination(config, recipe, budget_bytes, before, [change for change, _ in single])
    found += _fewer_layers(config, recipe, budget_bytes, before)
    return tuple(sorted(found, key=lambda remedy: ORDER.index(remedy.verdict or "fits")))


def savings(config: DIYConfig, recipe: Recipe) -> tuple[Remedy, ...]:
    """The same single changes where no budget is given: what each saves. Micro-batch and sequence are halved."""
    found = [_remedy(config, recipe, None, peak_bytes(config, recipe), [change]) for change in _changes(config, recipe)]
    return tuple(remedy for remedy in found if remedy.saved_bytes > 0)


def max_micro_batch(
    config: DIYConfig,
    recipe: Recipe,
    budget_bytes: int,
    *,
    allocated: Callable[[DIYConfig, Recipe], int] = allocated_bytes,
) -> int:
    """The largest micro-batch whose verdict is "fits", at most MAX_TOKENS / seq_len; 0 if none is.

    Memory is nearly affine in it, so the search starts at the affine guess from 1 and 2 and widens from there.
    `allocated` is `allocated_bytes`, or what remembers it.
    """
    return _largest_micro_batch(
        recipe,
        budget_bytes,
        lambda changed: device_bytes(taken := allocated(config, changed), changed) + reserve_bytes(taken),
    )


def _largest_micro_batch(recipe: Recipe, budget_bytes: int, bytes_of: Callable[[Recipe], int]) -> int:
    limit = MAX_TOKENS // recipe.seq_len

    @cache
    def needed(micro_batch: int) -> int:
        return int(bytes_of(replace(recipe, micro_batch=micro_batch)))

    def too_large(micro_batch: int) -> bool:
        return needed(micro_batch) > budget_bytes

    if too_large(1) or limit == 1:
        return 0 if too_large(1) else 1
    slope = max(needed(2) - needed(1), 1)
    fitting = beyond = min(1 + (budget_bytes - needed(1)) // slope, limit)
    step = 1
    while fitting > 1 and too_large(fitting):
        fitting, beyond, step = max(fitting - step, 1), fitting, 2 * step
    while beyond <= limit and not too_large(beyond):
        fitting, beyond, step = beyond, beyond + step, 2 * step
    return fitting + bisect_left(range(fitting + 1, min(beyond, limit + 1)), True, key=too_large)


def _changed(recipe: Recipe, *changes: Change) -> Recipe:
    """The recipe with other values; a prompt is cut to a shorter sequence, and a step keeps its sequences."""
    fields = dict(changes)
    if recipe.prompt and "seq_len" in fields:
        fields["prompt"] = min(recipe.prompt, fields["seq_len"])
    if "micro_batch" in fields and recipe.mode == "train":
        fields["accumulation"] = _accumulation(recipe, fields["micro_batch"])
    return replace(recipe, **fields)


def _accumulation(recipe: Recipe, micro_batch: int) -> int:
    """Micro-batches of this size that hold at least as many sequences as a step of the recipe does."""
    return -(-recipe.micro_batch * (recipe.accumulation or 1) // micro_batch)


def _fits(config: DIYConfig, recipe: Recipe, budget_bytes: int) -> bool:
    return bool(fits(allocated_bytes(config, recipe), budget_bytes, recipe))


def _changes(config: DIYConfig, recipe: Recipe, budget_bytes: int | None = None) -> Iterator[Change]:
    """What can be changed, those changes first that leave the training as it was."""
    if recipe.attention == "eager":
        yield "attention", "sdpa"
    if recipe.mode == "train":
        if recipe.optimizer == "adamw-foreach":
            yield "optimizer", "adamw"
        if recipe.optimizer in ("adamw", "adamw-foreach"):
            yield "optimizer", "adamw-8bit"
        if recipe.loss == "plain" and recipe.profile == "diy":
            yield "loss", "chunked"
        if recipe.checkpointing == "none":
            yield "checkpointing", "full"
    if recipe.micro_batch > 1:
        half = recipe.micro_batch // 2
        yield "micro_batch", half if budget_bytes is None else _smaller(config, recipe, budget_bytes)
    if recipe.precision == "32-true":
        yield "precision", "bf16-mixed"
    if recipe.precision != "bf16-true":
        yield "precision", "bf16-true"
    if recipe.seq_len > SEQ_STEP:
        half = max(recipe.seq_len // 2, SEQ_STEP)
        yield "seq_len", half if budget_bytes is None else _shorter(config, recipe, budget_bytes)


def _smaller(config: DIYConfig, recipe: Recipe, budget_bytes: int) -> int:
    """The largest micro-batch that fits where it is accumulated, without one that does the largest that is uncertain;
    1 where none is."""
    accumulated = _changed(recipe, ("micro_batch", 1)) if recipe.mode == "train" else recipe
    largest = max_micro_batch(config, accumulated, budget_bytes)
    if not largest:
        largest = _largest_micro_batch(
            accumulated, budget_bytes, lambda changed: int(device_bytes(allocated_bytes(config, changed), changed))
        )
    return min(max(1, largest), recipe.micro_batch - 1)


def _shorter(config: DIYConfig, recipe: Recipe, budget_bytes: int) -> int:
    """The longest sequence that fits; half of it where none does."""
    lengths = range(SEQ_STEP, recipe.seq_len, SEQ_STEP)
    fitting = bisect_left(
        lengths, True, key=lambda length: not _fits(config, _changed(recipe, ("seq_len", length)), budget_bytes)
    )
    return lengths[fitting - 1] if fitting else max(recipe.seq_len // 2, SEQ_STEP)


def _text(recipe: Recipe, change: Change) -> str:
    """As it is written on the command line."""
    name, value = change
    if name == "micro_batch" and recipe.mode == "train":
        return f"--micro-batch {value} --accumulate {_accumulation(recipe, value)}"
    option = {"seq_len": "seq", "micro_batch": "micro-batch"}.get(name, name)
    return f"--{option} {value}"


def _remedy(config: DIYConfig, recipe: Recipe, budget_bytes: int | None, before: int, changes: list[Change]) -> Remedy:
    change = " + ".join(_text(recipe, change) for change in changes)
    return _measured(change, config, _changed(recipe, *changes), budget_bytes, before)


def _measured(change: str, config: DIYConfig, recipe: Recipe, budget_bytes: int | None, before: int) -> Remedy:
    """What a config needs under a recipe, of which one or both are changed."""
    peak = peak_bytes(config, recipe)
    found = None if budget_bytes is None else verdict(int(allocated_bytes(config, recipe)), budget_bytes, recipe)
    return Remedy(
        change=change,
        peak_bytes=peak,
        saved_bytes=before - peak,
        fits=None if found is None else found == "fits",
        max_micro_batch=None if budget_bytes is None else max_micro_batch(config, recipe, budget_bytes),
        verdict=found,
    )


def _smallest_combination(
    config: DIYConfig, recipe: Recipe, budget_bytes: int, before: int, changes: list[Change]
) -> Iterator[Remedy]:
    for size in range(2, len(changes) + 1):
        for chosen in map(list, combinations(changes, size)):
            fields = dict(chosen)
            if len(fields) == size and _fits(config, _changed(recipe, *chosen), budget_bytes):  # one value per field
                yield _remedy(config, recipe, budget_bytes, before, chosen)
                return


def _fewer_layers(config: DIYConfig, recipe: Recipe, budget_bytes: int, before: int) -> Iterator[Remedy]:
    def too_deep(layers: int) -> bool:
        return not _fits(replace(config, num_layers=layers), recipe, budget_bytes)

    layers = bisect_left(range(1, config.num_layers), True, key=too_deep)
    if layers:
        change = f"{layers} layers instead of {config.num_layers}"
        yield _measured(change, replace(config, num_layers=layers), recipe, budget_bytes, before)
