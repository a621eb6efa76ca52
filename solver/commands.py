"""What the commands answer, from configs already read and words already split: for the command line and the service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from diymodel.config import ConfigError, DIYConfig
from solver import counts, memory
from solver.card import Card, card_of_candidate, make_card, tokens_of_budget
from solver.devices import Device, device
from solver.errors import QueryError, RequestError
from solver.families import Architecture
from solver.interop import load_architecture
from solver.presets import PRESETS, published_models
from solver.query import OPTIONS, Query, check_tokens_per_param, tokens_at
from solver.ranking import law
from solver.recipe import Recipe
from solver.report.answers import Counted, ExplainAnswer, MemoryAnswer, PresetsAnswer, RankAnswer, Ranked
from solver.search import rank_configs, solve
from solver.units import parse_bytes, parse_tokens

Find = Callable[[str], Device]
"""From the word of `gpu` to the card."""

TRAINING = ("tokens", "tokens_per_param", "train_days", "flops", "tokens_per_second", "price")
"""The words for how long a model is trained, and what that costs."""

FOR_A_SEARCH = ("target", *OPTIONS.values(), "untied")
"""The words of explain that a config of one's own leaves no room for."""


def card_and_budget(vram: str | None, gpu: str | None, find: Find = device) -> tuple[Device | None, int | None]:
    """The card of the word `gpu`, if it is given, and the budget, of the card or of the word `vram`.

    Raises:
        RequestError: both at once, or what is neither.
    """
    if vram is not None and gpu is not None:
        raise QueryError("gpu", gpu, "give it or vram, not both")
    if gpu is not None:
        card = find(gpu)
        return card, card.memory_bytes
    return None, None if vram is None else parse_bytes(vram, "vram")


def budget_bytes(vram: str | None, gpu: str | None, find: Find = device) -> int | None:
    """The budget of the words `vram` and `gpu`. Raises RequestError for both at once, or what is neither."""
    return card_and_budget(vram, gpu, find)[1]


def recipe_for(config: DIYConfig, words: dict[str, Any], budget: int | None, *, plans: bool = False) -> Recipe:
    """The recipe for a config: its own length unless given, and for micro_batch "max" the largest that fits, or 1.

    Where a run is planned (`plans`) a step accumulates micro-batches, and memory is that of such a step.
    """
    words = {word: value for word, value in words.items() if value is not None}
    largest = words.get("micro_batch") == "max"
    if largest:
        if budget is None:
            raise QueryError("micro_batch", "max", "needs a budget; give vram or gpu along")
        words["micro_batch"] = 1
    recipe = Recipe.parse(**{"seq": config.max_seq_len, **words})
    if largest and budget is not None:
        tried = recipe.planned() if plans else recipe
        recipe = replace(recipe, micro_batch=max(1, memory.max_micro_batch(config, tried, budget)))
    return recipe.planned() if plans else recipe.said()


def counted(source: str, load: Callable[[], Architecture]) -> Counted:
    """One model counted, or why it cannot be: the others are still counted."""
    try:
        known = load()
    except (RequestError, ConfigError) as error:
        return Counted(source=source, error=str(error))
    params, active = counts.count(known.shape, known.family), counts.active(known.shape, known.family)
    return Counted(source=source, model_type=known.model_type, params=params, active=active)


def memory_answer(
    source: str, config: DIYConfig, words: dict[str, Any], budget: int | None, card: Device | None = None
) -> MemoryAnswer:
    """The memory of a config under the recipe that the words ask for; `card` is whose budget it is."""
    report = memory.report(config, recipe_for(config, words, budget), budget)
    if budget is None:
        report = replace(report, remedies=memory.savings(config, report.recipe))
    return MemoryAnswer(source=source, config=config, report=report, device=card)


def rank_answer(
    configs: Sequence[tuple[DIYConfig, int | None]], tokens: str | None, tokens_per_param: float | None
) -> RankAnswer:
    """Configs against each other, each at its own training tokens, or where it has none at those of the words."""
    usual = None if tokens is None else parse_tokens(tokens)
    check_tokens_per_param(tokens_per_param, usual)
    entries = [(config, own or tokens_at(counts.total(config), usual, tokens_per_param)) for config, own in configs]
    scores = rank_configs(entries)
    order = sorted(range(len(entries)), key=lambda index: (scores[index].total, index))
    ranked = [
        Ranked(index=index, rank=place, config=entries[index][0], tokens=entries[index][1], score=scores[index])
        for place, index in enumerate(order, start=1)
    ]
    budgets = {tokens for _, tokens in entries}
    return RankAnswer(
        tokens=budgets.pop() if len(budgets) == 1 else None,
        configs=tuple(ranked),
        caution=law.caution([(counts.total(config), seen) for config, seen in entries]),
    )


def explain_answer(
    words: dict[str, Any], *, load: Callable[[], tuple[str, DIYConfig]] | None, rank: int, sources: bool = False,
    find: Find = device,
) -> ExplainAnswer:  # fmt: skip
    """The card of the config that `load` gives with its name, or without one of the best shape of a search.

    Raises:
        RequestError: neither a config nor what to search for, or both.
    """
    given = {word: value for word, value in words.items() if value is not None and value is not False}
    if load is None:
        if not given.keys() & {"target", "vram", "gpu", "flops"}:
            raise QueryError("file", None, "give a FILE or a preset to explain, or --target 500M to search for one")
        return ExplainAnswer(_card_of_target(given, rank, find), sources)
    for word in FOR_A_SEARCH:
        if word in given:
            raise QueryError(word, given[word], "is for a search; leave it or FILE out")
    given.pop("tolerance", None)
    return ExplainAnswer(card_of_file(load, given, find), sources)


def card_of_file(load: Callable[[], tuple[str, DIYConfig]], words: dict[str, Any], find: Find = device) -> Card:
    """The card of a config, under the words of a recipe, a budget and a training."""
    words = {word: value for word, value in words.items() if value is not None}
    vram, gpu = words.pop("vram", None), words.pop("gpu", None)
    card, budget = card_and_budget(vram, gpu, find)
    training = {word: words.pop(word, None) for word in TRAINING}
    measured, price = training.pop("tokens_per_second"), training["price"]
    source, config = load()
    recipe = recipe_for(config, words, budget, plans=True)
    tokens, chosen = tokens_of_budget(config, recipe, device=card, measured=measured, **training)
    return make_card(
        source, config, recipe, tokens=tokens, chosen=chosen, budget_bytes=budget, device=card, measured=measured,
        price=price,
    )  # fmt: skip


def _card_of_target(words: dict[str, Any], rank: int, find: Find) -> Card:
    words = dict(words)
    if rank > 1:
        words["top"] = rank
    measured = words.pop("tokens_per_second", None)
    if "gpu" in words and "vram" not in words:
        words["gpu"] = find(words["gpu"])
    return card_of_candidate(solve(Query.parse(**words)), rank, measured=measured)


def presets_answer() -> PresetsAnswer:
    """The configs that are known by name."""
    published = ((model, load_architecture(model.name, values=model.config)) for model in published_models())
    return PresetsAnswer(PRESETS, tuple(published))
