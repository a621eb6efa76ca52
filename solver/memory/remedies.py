"""What would make a config fit: every change that people know, by itself, and the smallest combination that does."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

from diymodel.config import DIYConfig
from solver.counts import Int
from solver.memory.budget import Remedy, device_bytes
from solver.recipe import Recipe

Peak = Callable[[Any, Recipe], Int]


def remedies(config: DIYConfig, recipe: Recipe, budget_bytes: int, peak: Peak) -> tuple[Remedy, ...]:
    """Single changes, those that cost the user least first; then, if none is enough, the smallest combination that is;
    last, fewer layers.

    Each is measured from the recipe and the config as given. Changes that save nothing are left out.
    """
    before = peak(config, recipe)
    single = []
    for words in _changes(recipe):
        remedy = _remedy([words], peak(config, replace(recipe, **_fields([words]))), budget_bytes)
        if remedy.peak_bytes < before:
            single.append((words, remedy))
    found = [remedy for _, remedy in single]
    if not any(remedy.fits for remedy in found):
        found += _smallest_combination(config, recipe, budget_bytes, peak, [words for words, _ in single])
    return (*found, *_fewer_layers(config, recipe, budget_bytes, peak))


def _changes(recipe: Recipe) -> list[tuple[tuple[str, Any], ...]]:
    """Each change as (field, value) pairs; those that leave the training as it was come first."""
    changes: list[tuple[tuple[str, Any], ...]] = []
    if recipe.attention == "eager":
        changes.append((("attention", "sdpa"),))
    if recipe.mode == "train":
        if recipe.optimizer == "adamw-foreach":
            changes.append((("optimizer", "adamw"),))
        if recipe.loss == "plain":
            changes.append((("loss", "chunked"),))
        if recipe.checkpointing == "none":
            changes.append((("checkpointing", "full"),))
    if recipe.precision == "32-true":
        changes.append((("precision", "bf16-mixed"),))
    if recipe.micro_batch > 1:
        changes.append((("micro_batch", 1),))
    if recipe.precision != "bf16-true":
        changes.append((("precision", "bf16-true"),))
    if recipe.seq_len >= 256:
        changes.append((("seq_len", recipe.seq_len // 2),))
    return changes


_WORDS = {"seq_len": "seq", "micro_batch": "micro-batch"}


def _text(change: tuple[tuple[str, Any], ...]) -> str:
    text = " ".join(f"--{_WORDS.get(name, name)} {value}" for name, value in change)
    return text + " with gradient accumulation" if change[0][0] == "micro_batch" else text


def _fields(changes: list[tuple[tuple[str, Any], ...]]) -> dict[str, Any]:
    return {name: value for change in changes for name, value in change}


def _remedy(changes: list[tuple[tuple[str, Any], ...]], peak_bytes: int, budget_bytes: int) -> Remedy:
    fits = device_bytes(peak_bytes) <= budget_bytes
    return Remedy(change=" + ".join(map(_text, changes)), peak_bytes=peak_bytes, fits=fits)


def _smallest_combination(
    config: DIYConfig, recipe: Recipe, budget_bytes: int, peak: Peak, changes: list[tuple[tuple[str, Any], ...]]
) -> list[Remedy]:
    for size in range(2, len(changes) + 1):
        for chosen in combinations(changes, size):
            fields = _fields(list(chosen))
            if len(fields) < size:  # two values of one field
                continue
            remedy = _remedy(list(chosen), peak(config, replace(recipe, **fields)), budget_bytes)
            if remedy.fits:
                return [remedy]
    return []


def _fewer_layers(config: DIYConfig, recipe: Recipe, budget_bytes: int, peak: Peak) -> list[Remedy]:
    def too_deep(layers: int) -> bool:
        return bool(device_bytes(peak(replace(config, num_layers=layers), recipe)) > budget_bytes)

    layers = bisect_left(range(1, config.num_layers), True, key=too_deep)
    if layers == 0:
        return []
    smaller = peak(replace(config, num_layers=layers), recipe)
    return [Remedy(change=f"{layers} layers instead of {config.num_layers}", peak_bytes=smaller, fits=True)]
