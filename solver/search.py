"""solve(query): the one place where the stages meet. Lattice, memory, score, the best rows, the answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diymodel.config import DIYConfig
from solver import counts, memory, ranking
from solver.errors import QueryError
from solver.lattice import Ints, Lattice, Shapes, lattice
from solver.query import Query
from solver.ranking import Score
from solver.ranking.total import total
from solver.solution import Candidate, NearMiss, Solution, Stats, Status
from solver.units import band, short_bytes, short_count

BOUND_SLACK = 1e-8
"""Nats by which the rounding of a total may hide a row that is as good as the last one kept."""

NEAREST = 3
"""Near misses of each kind that an infeasible answer names."""


def solve(query: Query) -> Solution:
    """The admissible shapes of a query, best first; or, where there are none, what comes nearest.

    The order is exact under the score: total, then relative step time, then |target error|, then the shape itself.
    No two candidates share layers and hidden size.

    Raises:
        QueryError: constraints that contradict each other, or sizes beyond 64-bit arithmetic.
    """
    started = time.perf_counter()
    grid = lattice(query)
    _check_arithmetic(grid, query)
    found = _with_target(grid, query) if query.target_params else _without_target(grid, query)
    stats = Stats(
        lattice=grid.size,
        in_band=found.in_band,
        fitting=found.fitting,
        seconds=time.perf_counter() - started,
    )
    if not found.fitting:
        return _infeasible(grid, query, stats, found)
    candidates = _candidates(found.best, query)
    return Solution(
        status=Status.SOLVED,
        message=_solved_message(query, stats),
        query=query,
        stats=replace(stats, seconds=time.perf_counter() - started),
        candidates=candidates,
    )


def rank_configs(entries: Sequence[tuple[DIYConfig, int]]) -> list[Score]:
    """Score given configs, each at its own training tokens, without searching; in the order of the input.

    Each is scored at its own parameter count. A tie is one with the best of them.
    """
    if not entries:
        return []
    rows = [config.to_dict() for config, _ in entries]
    columns = SimpleNamespace(**{name: np.array([row[name] for row in rows]) for name in rows[0]})
    tokens = np.array([tokens for _, tokens in entries], dtype=np.float64)
    return ranking.scores(columns, tokens=tokens)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """What a pass over the shapes leaves: counts, the best rows in order, and the smallest where nothing fits."""

    in_band: int
    fitting: int
    best: Shapes
    smallest: Shapes
    """Where nothing fits: the shape of this size that needs least memory."""
    best_too_large: Shapes
    """Where nothing fits: the best of this size, memory aside."""


def _with_target(grid: Lattice, query: Query) -> _Found:
    low, high = band(query.target_params or 0, query.tolerance)
    in_band = fitting = 0
    best = smallest = too_large = grid.columns.take([])
    for shapes in grid.in_band(low, high):
        admitted = shapes.take(_fits(shapes, query)) if query.vram_bytes else shapes
        in_band, fitting = in_band + len(shapes), fitting + len(admitted)
        best = _best(Shapes.concatenate([best, admitted]), query)
        if not fitting:
            smallest = _smallest(Shapes.concatenate([smallest, shapes]), query)
            too_large = _best(Shapes.concatenate([too_large, shapes]), query)
    return _Found(in_band=in_band, fitting=fitting, best=best, smallest=smallest, best_too_large=too_large)


def _without_target(grid: Lattice, query: Query) -> _Found:
    """The shapes of lowest total that fit the budget, whatever their count.

    At everything else fixed more layers raise the memory, so each column and intermediate size has a deepest row that
    fits. Above it the total is bounded, over any range of depths, by what the deeper end gains and the shallower end
    learns faster: ranges whose bound is no better than the best rows found so far are dropped, the others halved.
    """
    deepest = list(_deepest_that_fit(grid, query))
    fitting = sum(int((number + 1).sum()) for _, number in deepest)
    rows = Shapes.concatenate([shapes.take(number >= 0) for shapes, number in deepest])
    last = np.concatenate([number[number >= 0] for _, number in deepest])
    return _Found(
        in_band=grid.size,
        fitting=fitting,
        best=_best_of_depths(rows, last, grid.layers, query),
        smallest=_smallest(grid.columns, query),
        best_too_large=grid.columns.take([]),
    )


def _best_of_depths(rows: Shapes, last: Ints, layers: Ints, query: Query) -> Shapes:
    """The best among all rows at every number of layers from the first to layers[last]."""
    first = np.zeros_like(last)
    best = _best(_with_layers(rows, layers[last]), query)
    while len(rows):
        ends = _with_layers(rows, layers[last])
        bound = total(ranking.evaluate(ends, **_regime(ends, query), learning_layers=layers[first]))
        worst = total(_terms(best, query))[-1] if len(best) == query.top else np.inf
        open_ranges = (bound <= worst + BOUND_SLACK) & (first < last)
        rows, first, last = rows.take(open_ranges), first[open_ranges], last[open_ranges]
        middle = np.sqrt(layers[first] * layers[last]).astype(np.int64)
        middle = np.clip(np.searchsorted(layers, middle, side="right") - 1, first, last - 1)
        best = _best(Shapes.concatenate([best, _with_layers(rows, layers[middle])]), query)
        rows = Shapes.concatenate([rows, rows])
        first, last = np.concatenate([first, middle + 1]), np.concatenate([middle, last])
    return best


def _deepest_that_fit(grid: Lattice, query: Query) -> Iterator[tuple[Shapes, Ints]]:
    """Every column and intermediate size with the index of the largest admissible number of layers that fits, or -1."""
    for shapes in grid.widths_at_one_layer():
        low, high = np.full(len(shapes), -1), np.full(len(shapes), len(grid.layers) - 1)
        while (low < high).any():  # the invariant: low fits (or is -1), high + 1 does not
            middle = (low + high + 1) // 2
            fits = _fits(_with_layers(shapes, grid.layers[middle]), query)
            low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
        yield shapes, low


def _with_layers(shapes: Shapes, layers: Ints) -> Shapes:
    return replace(shapes, num_layers=layers)


def _at_layers(shapes: Shapes, layers: Ints, number: Ints) -> Shapes:
    some = number >= 0
    return _with_layers(shapes.take(some), layers[number[some]])


def _fits(shapes: Shapes, query: Query) -> NDArray[np.bool_]:
    """Where the verdict is fits or uncertain."""
    if query.vram_bytes is None:
        return np.ones(len(shapes), dtype=np.bool_)
    fits: NDArray[np.bool_] = memory.device_bytes(memory.peak_bytes(shapes, query.recipe)) <= query.vram_bytes
    return fits


def _terms(shapes: Shapes, query: Query) -> dict[str, Any]:
    return ranking.evaluate(shapes, **_regime(shapes, query))


def _regime(shapes: Shapes, query: Query) -> dict[str, Any]:
    """The tokens and the size to score at; the target's size, so that overshooting it gains nothing."""
    target = query.target_params
    if target is not None:
        return {"tokens": query.tokens_at(target), "params": target}
    params = counts.total(shapes)
    ratio = query.tokens_per_param
    return {"tokens": query.tokens_at(0) if ratio is None else ratio * params, "params": params}


def _best(shapes: Shapes, query: Query) -> Shapes:
    """The first `top` rows of the order, of which no two share layers and hidden size."""
    if not len(shapes):
        return shapes
    totals = total(_terms(shapes, query))
    size = min(len(shapes), 64 * query.top)
    while True:  # order the rows with the smallest totals; more of them where too many share layers and hidden
        chosen = np.flatnonzero(totals <= np.partition(totals, size - 1)[size - 1])
        rows = shapes.take(chosen)
        ordered = rows.take(np.lexsort(_order_keys(rows, totals[chosen], query)[::-1]))
        first = _first_of_each_width_and_depth(ordered)[: query.top]
        if len(first) == query.top or size == len(shapes):
            return ordered.take(first)
        size = min(4 * size, len(shapes))


def _order_keys(shapes: Shapes, totals: Any, query: Query) -> list[Any]:
    """The keys of the order, first key first."""
    return [
        totals,
        ranking.relative_step_time(shapes, query.recipe.seq_len, query.recipe.micro_batch),
        np.abs(counts.total(shapes) - (query.target_params or 0)) if query.target_params else np.zeros(len(shapes)),
        shapes.num_layers,
        shapes.hidden_size,
        shapes.num_heads,
        shapes.num_kv_heads,
        shapes.head_dim,
        shapes.intermediate_size,
        shapes.vocab_size,
    ]


def _first_of_each_width_and_depth(shapes: Shapes) -> Ints:
    """Positions of the first row of every (layers, hidden), ascending."""
    pair = shapes.num_layers * 2**20 + shapes.hidden_size
    return np.sort(np.unique(pair, return_index=True)[1])


def _candidates(shapes: Shapes, query: Query) -> tuple[Candidate, ...]:
    scores = ranking.scores(shapes, **_regime(shapes, query))
    candidates = []
    for row, score in enumerate(scores):
        config = shapes.config(row)
        params = counts.count(config)
        target = query.target_params
        recipe = query.recipe
        if query.largest_micro_batch and query.vram_bytes:
            recipe = replace(recipe, micro_batch=memory.max_micro_batch(config, recipe, query.vram_bytes))
        candidates.append(
            Candidate(
                rank=row + 1,
                config=config,
                params=params,
                target_error=None if target is None else (params["total"] - target) / target,
                memory=memory.report(config, recipe, query.vram_bytes),
                score=score,
            )
        )
    return tuple(candidates)


def _solved_message(query: Query, stats: Stats) -> str:
    where = f"in the band of {100 * query.tolerance:g} %" if query.target_params else "on the lattice"
    if query.vram_bytes is None:
        return f"{stats.in_band:,} shapes lie {where}"
    return f"{stats.fitting:,} of the {stats.in_band:,} shapes {where} fit {short_bytes(query.vram_bytes)}"


def _infeasible(grid: Lattice, query: Query, stats: Stats, found: _Found) -> Solution:
    largest = _largest_that_fits(grid, query)
    misses = [found.best_too_large, found.smallest, largest]
    if query.target_params and not stats.in_band:
        misses.insert(0, grid.nearest(query.target_params, 4 * NEAREST))
    rows = [shapes.config(row) for shapes in misses for row in _first_of_each_width_and_depth(shapes)[:NEAREST]]
    nearest = tuple(_near_miss(config, query) for config in dict.fromkeys(rows))
    fits = int(counts.total(largest)[0]) if len(largest) else None
    return Solution(
        status=Status.INFEASIBLE,
        message=_infeasible_message(query, stats, found, fits),
        query=query,
        stats=stats,
        nearest=nearest,
        largest_target_that_fits=fits,
    )


def _largest_that_fits(grid: Lattice, query: Query) -> Shapes:
    """The one admissible shape of most params that fits the budget; none without a budget, or if none fits."""
    best = grid.columns.take([])
    if query.vram_bytes is None:
        return best
    for shapes, number in _deepest_that_fit(grid, query):
        rows = Shapes.concatenate([best, _at_layers(shapes, grid.layers, number)])
        if len(rows):
            best = rows.take([int(np.argmax(counts.total(rows)))])
    return best


def _smallest(shapes: Shapes, query: Query) -> Shapes:
    """The row that needs least memory."""
    peak = memory.peak_bytes(shapes, query.recipe)
    return shapes.take(np.lexsort([counts.total(shapes), peak])[:1])


def _near_miss(config: DIYConfig, query: Query) -> NearMiss:
    params = counts.count(config)["total"]
    needed = memory.device_bytes(memory.peak_bytes(config, query.recipe))
    breaks = []
    if query.target_params:
        low, high = band(query.target_params, query.tolerance)
        if not low <= params <= high:
            error = 100 * (params - query.target_params) / query.target_params
            breaks.append(
                f"target: {short_count(params)} params, {error:+.3g} % (tolerance {100 * query.tolerance:g} %)"
            )
    if query.vram_bytes and needed > query.vram_bytes:
        over = short_bytes(needed - query.vram_bytes)
        breaks.append(f"vram: needs {short_bytes(needed)} on the device, {over} more than the budget")
    return NearMiss(config=config, params=params, device_bytes=needed, breaks=tuple(breaks))


def _infeasible_message(query: Query, stats: Stats, found: _Found, fits: int | None) -> str:
    if not stats.in_band:
        low, high = band(query.target_params or 0, query.tolerance)
        return f"none of the {stats.lattice:,} admissible shapes has {low:,} to {high:,} params"
    of_this_size = "shapes of this size" if query.target_params else "admissible shapes"
    smallest = found.smallest.config(0)
    needed = memory.device_bytes(memory.peak_bytes(smallest, query.recipe))
    text = (
        f"none of the {stats.in_band:,} {of_this_size} fits {short_bytes(query.vram_bytes or 0)}: "
        f"the least that one needs is {short_bytes(needed)}"
    )
    text += "" if fits else "; no admissible shape fits at all"
    return text + _what_would_fit(query, found)


def _what_would_fit(query: Query, found: _Found) -> str:
    """The first change of the recipe that makes the best-ranked shape of this size fit, as the end of a sentence."""
    if not query.vram_bytes or not len(found.best_too_large):
        return ""
    report = memory.report(found.best_too_large.config(0), query.recipe, query.vram_bytes)
    enough = [remedy.change for remedy in report.remedies if remedy.fits and remedy.change.startswith("--")]
    return f"; the best-ranked one would fit with {enough[0]}" if enough else ""


def _check_arithmetic(grid: Lattice, query: Query) -> None:
    """The largest shape of the lattice, in Python's ints, must stay within what int64 columns can hold."""
    columns = grid.columns
    heads = int(columns.num_heads.max())
    corner = DIYConfig(
        vocab_size=int(columns.vocab_size.max()),
        hidden_size=int(columns.hidden_size.max()),
        num_layers=int(grid.layers[-1]),
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=int(columns.head_dim.max()),
        intermediate_size=int((columns.intermediate_size + grid.widths * grid.steps).max()),
        max_seq_len=query.recipe.seq_len,
        tie_embeddings=query.tie_embeddings,
    )
    if memory.peak_bytes(corner, query.recipe) >= 2**60:
        raise QueryError(
            "seq",
            query.recipe.seq_len,
            f"at micro-batch {query.recipe.micro_batch} the largest admissible shape would need more than 10^18 bytes; "
            "shorten it, or bound hidden, heads and layers",
        )
