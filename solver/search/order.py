"""The order of the answer: the terms of a score, for a config or for columns of shapes, and the first rows under it."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt
from typing import Any

import numpy as np

from solver import counts, memory, ranking
from solver.compute.plan import SECONDS_PER_DAY, tokens_in_flops, tokens_in_seconds
from solver.compute.tokens import RULE_OF_THUMB
from solver.lattice import Ints, Runs, Shapes
from solver.query import Query
from solver.ranking.law import Number
from solver.ranking.preference import STATE_BYTES
from solver.ranking.total import Floats, total
from solver.recipe import MAX_TOKENS

BOUND_SLACK = 1e-8
"""Nats by which the rounding of a total may hide a row that is as good as the last one kept."""

TIMED_MICRO_BATCHES = (2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Micro-batches that a step is timed at where the largest is asked for, besides 1. Beyond the last, what a larger one
spreads over more tokens, launches of kernels and reading of weights, takes next to no time."""


def terms(shapes: Any, query: Query, price: ranking.Preference | None = None) -> dict[str, Floats]:
    """Every term of the score by name, those of the preference included."""
    return {**ranking.evaluate(shapes, **regime(shapes, query)), **preferred(shapes, query, price)}


def totals(shapes: Any, query: Query, price: ranking.Preference | None = None) -> Floats:
    """What the order sorts by first. `price` is the query's own, unless totals of several queries are compared."""
    return total(terms(shapes, query, price))


def lower_bounds(least: Shapes, most: Shapes, query: Query) -> Floats:
    """No total of a shape between `least` and `most` is lower. They differ in the intermediate size alone, or where
    the query has no target, in it and the layers.

    More layers and larger MLPs add params and width, but they take longer, need more memory and leave a budget of
    FLOPs or days with fewer tokens, and more layers learn more slowly: the bound gains as much as the most and pays as
    little as the least. The share of the MLP is best where it is nearest to its optimum, the alignment perhaps where
    the share is not.
    """
    scored = regime(most, query)
    if spends(query):  # what a budget trains the smallest on
        scored["tokens"] = regime(least, query)["tokens"]
    smallest, largest = least.intermediate_size, most.intermediate_size
    nearest = np.clip(ranking.best_intermediate(least), smallest, largest)
    aligned = np.where(smallest < largest, 0, smallest)
    return total(
        {
            **ranking.evaluate(most, **scored, learning_layers=least.num_layers),
            "mlp_share": ranking.mlp_share(replace(least, intermediate_size=nearest)),
            "alignment": ranking.alignment(replace(least, intermediate_size=aligned)),
            **preferred(least, query),
        }
    )


def regime(shapes: Any, query: Query) -> dict[str, Any]:
    """The tokens and the size to score at; the target's size, so that overshooting it gains nothing."""
    target = query.target_params
    params = counts.total(shapes) if target is None else target
    if spends(query):
        tokens: Any = np.maximum(np.floor(_bought(shapes, query)), 1.0)
    elif target is None and query.tokens_per_param is not None:
        tokens = np.maximum(np.round(query.tokens_per_param * params), 1)
    else:
        tokens = query.tokens_at(0 if target is None else target)
    return {"tokens": tokens, "params": params}


def spends(query: Query) -> bool:
    """Whether each shape has tokens of its own, those that a budget of FLOPs or of time trains it on."""
    return query.train_flops is not None or query.train_days is not None


def _bought(shapes: Any, query: Query) -> Any:
    if query.train_flops is not None:
        return tokens_in_flops(shapes, query.recipe, query.train_flops)
    assert query.device is not None  # the query has checked it
    seconds = (query.train_days or 0) * SECONDS_PER_DAY
    return tokens_in_seconds(shapes, query.recipe, query.device, seconds)


def preferred(shapes: Any, query: Query, price: ranking.Preference | None = None) -> dict[str, Floats]:
    """The terms of the query's preference: none for quality. Memory counts at the recipe's own micro-batch."""
    if query.prefer == "quality":
        return {}
    peak = memory.peak_bytes(shapes, query.recipe)
    return (price or prices(query)).terms(step_time=step_time(shapes, query), peak_bytes=peak)


def prices(query: Query) -> ranking.Preference:
    """What the query's preference charges: at its target, or without one at the size whose states fill the budget; with
    FLOPs alone at the size that they train on 20 tokens a param."""
    size = query.target_params or (query.vram_bytes or 0) // STATE_BYTES
    size = size or max(1, isqrt((query.train_flops or 0) // (6 * RULE_OF_THUMB)))
    return ranking.preference(query.prefer, params=size, tokens=query.tokens_at(size), step_tokens=query.recipe.tokens)


def step_time(shapes: Any, query: Query) -> Floats:
    """Relative seconds of as many tokens as a step of the query's recipe has, at the micro-batch that is timed."""
    recipe, timed = query.recipe, timed_micro_batch(shapes, query)
    seconds: Floats = ranking.relative_step_time(shapes, recipe.seq_len, timed) * (recipe.micro_batch / timed)
    return seconds


def timed_micro_batch(shapes: Any, query: Query) -> Number:
    """The recipe's; where each shape is to run at its largest, the largest of TIMED_MICRO_BATCHES that fits, or 1.

    It never grows with the layers, since memory does, and time per token never grows with it: so a bound over a range
    of depths may take both at the shallowest.
    """
    if not query.largest_micro_batch:
        return query.recipe.micro_batch
    timed: Number = 1
    before = 1
    for micro_batch in TIMED_MICRO_BATCHES:
        if micro_batch * query.recipe.seq_len > MAX_TOKENS:
            break
        needed = memory.allocated_bytes(shapes, replace(query.recipe, micro_batch=micro_batch))
        within = (timed == before) & memory.fits(
            needed, query.vram_bytes or 0, query.recipe
        )  # far beyond it, int64 ends
        timed, before = np.where(within, micro_batch, timed), micro_batch
        if not np.any(within):
            break
    return timed


def best_of_runs(runs: Runs, bounds: Floats, query: Query) -> Shapes:
    """The first `top` rows of the order, of which no two share layers and hidden size, among the shapes of runs.

    Runs are listed from the lowest bound up: first as many as hold `top` pairs of layers and hidden size, then those
    that may hold a row better than the last one found there.
    """
    ranked = np.argsort(bounds, kind="stable")
    pairs = first_of_each_width_and_depth(runs.shapes.take(ranked))
    enough = 1 + int(pairs[: query.top][-1]) if len(pairs) else 0
    found = best(runs.take(ranked[:enough]).listed(), query)
    if len(found) == query.top:
        worst = totals(found, query)[-1] + BOUND_SLACK
        ranked = ranked[: np.searchsorted(bounds[ranked], worst, side="right")]
    for block in runs.take(ranked[enough:]).blocks():
        found = best(Shapes.concatenate([found, block]), query)
    return found


def best(shapes: Shapes, query: Query) -> Shapes:
    """The first `top` rows of the order, of which no two share layers and hidden size."""
    if not len(shapes):
        return shapes
    sums = totals(shapes, query)
    size = min(len(shapes), 64 * query.top)
    while True:  # order the rows with the smallest totals; more of them where too many share layers and hidden
        chosen = np.flatnonzero(sums <= np.partition(sums, size - 1)[size - 1])
        rows = shapes.take(chosen)
        ordered = rows.take(np.lexsort(_keys(rows, sums[chosen], query)[::-1]))
        first = first_of_each_width_and_depth(ordered)[: query.top]
        if len(first) == query.top or size == len(shapes):
            return ordered.take(first)
        size = min(4 * size, len(shapes))


def _keys(shapes: Shapes, sums: Floats, query: Query) -> list[Any]:
    """The keys of the order, first key first."""
    return [
        sums,
        np.zeros(len(shapes)) if query.is_foreign else step_time(shapes, query),
        np.abs(counts.total(shapes) - (query.target_params or 0)) if query.target_params else np.zeros(len(shapes)),
        shapes.num_layers,
        shapes.hidden_size,
        shapes.num_heads,
        shapes.num_kv_heads,
        shapes.head_dim,
        shapes.intermediate_size,
        shapes.vocab_size,
    ]


def first_of_each_width_and_depth(shapes: Shapes) -> Ints:
    """Positions of the first row of every (layers, hidden), ascending."""
    pair = shapes.num_layers * 2**20 + shapes.hidden_size
    return np.sort(np.unique(pair, return_index=True)[1])


def with_layers(shapes: Shapes, layers: Ints) -> Shapes:
    """The same at other depths."""
    return replace(shapes, num_layers=layers)
