"""The passes over the shapes of a query: with a target, through its band; without one, down from what fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diymodel.config import DIYConfig
from solver import counts, memory
from solver.errors import QueryError
from solver.families import Dimensions
from solver.lattice import Ints, Lattice, Runs, Shapes, lattice
from solver.query import OPTIONS, Query
from solver.recipe import Recipe
from solver.search.boxes import best_of_boxes
from solver.search.known import Band, Known
from solver.search.order import totals, with_layers
from solver.units import band

if TYPE_CHECKING:
    from solver.interop.blueprints import Config

PARTS = 4
"""Into which a range of intermediate sizes is cut where its ends differ: fewer take more rounds, more look at more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a pass over the shapes leaves: counts, the best rows in order, and what does not fit."""

    in_band: int
    fitting: int
    best: Shapes
    too_large: Shapes
    """With a target: the best of those in the band that do not fit."""
    smallest: Shapes
    """Where nothing fits: the shape of this size that needs least memory."""


def search(grid: Lattice, query: Query, known: Known | None = None) -> Found:
    """The best shapes of the lattice that a query admits.

    Raises:
        QueryError: sizes beyond 64-bit arithmetic.
    """
    _check_arithmetic(grid, query)
    return _with_target(grid, query, known) if query.target_params else _without_target(grid, query)


def winner(query: Query, known: Known | None = None) -> tuple[Config, float] | None:
    """The first row of a query and its total. None where nothing satisfies it, nor can: constraints that were loosened
    one by one may contradict each other, or reach beyond the arithmetic."""
    query = replace(query, top=1)
    try:
        grid = known.lattice(query) if known else lattice(query)
        first = search(grid, query, known).best
    except QueryError:
        return None
    return (first.config(0), float(totals(first, query)[0])) if len(first) else None


def _with_target(grid: Lattice, query: Query, known: Known | None) -> Found:
    low, high = band(query.target_params or 0, query.tolerance)
    shapes = known.band(grid, query, low, high) if known else Band(grid.in_band(low, high))
    numbers = how_many_fit(shapes, query)
    in_band, fitting = int(shapes.runs.lengths.sum()), int(numbers.sum())
    none = grid.columns.take([])
    refused, fit_all = shapes.runs.beyond(numbers), fitting == in_band
    return Found(
        in_band=in_band,
        fitting=fitting,
        best=shapes.best(query) if fit_all else shapes.best_of(shapes.runs.up_to(numbers), query),
        too_large=none if fit_all else shapes.best_of(refused, query),
        smallest=none if fitting or not in_band else _least(shapes.runs.shapes, shapes.smallest_bytes(query.recipe)),
    )


def how_many_fit(shapes: Band, query: Query) -> Ints:
    """How many of each run have the verdict fits or uncertain: memory grows with the intermediate size, so it is the
    first so many."""
    runs = shapes.runs
    if query.vram_bytes is None or not len(runs):
        return runs.lengths
    most_bytes = memory.largest_allocation(query.vram_bytes, query.recipe)
    one = runs.shapes.config(0)
    assert isinstance(one, DIYConfig)  # a budget is refused for any other
    one_fits = memory.allocated_bytes(one, query.recipe) <= most_bytes
    if not one_fits and not (shapes.smallest_bytes(query.recipe) <= most_bytes).any():
        return np.zeros_like(runs.lengths)
    fits_whole = shapes.largest_bytes(query.recipe) <= most_bytes
    if fits_whole.all():
        return runs.lengths
    some = shapes.smallest_bytes(query.recipe) <= most_bytes
    numbers = np.where(fits_whole, runs.lengths, some.astype(np.int64))
    between = np.flatnonzero(some & ~fits_whole)
    numbers[between] = _most_that_fit(runs.take(between), query.recipe, most_bytes)
    return numbers


def _most_that_fit(runs: Runs, recipe: Recipe, most_bytes: int) -> Ints:
    """How many of each run need at most so many bytes, where the first does and the last does not."""
    fit, do_not = np.ones_like(runs.lengths), runs.lengths.copy()
    while (open_runs := np.flatnonzero(do_not - fit > 1)).size:
        middle = (fit[open_runs] + do_not[open_runs]) // 2
        needed = memory.allocated_bytes(runs.take(open_runs).at(middle - 1), recipe)
        fit[open_runs] = np.where(needed <= most_bytes, middle, fit[open_runs])
        do_not[open_runs] = np.where(needed <= most_bytes, do_not[open_runs], middle)
    return fit


def _without_target(grid: Lattice, query: Query) -> Found:
    """The shapes of lowest total that fit the budget, whatever their count."""
    depths = deepest_that_fit(grid, query)
    return Found(
        in_band=grid.size,
        fitting=int((depths + 1).sum()),
        best=best_of_boxes(grid, depths, query),
        too_large=grid.columns.take([]),
        smallest=_least(grid.columns, memory.allocated_bytes(grid.columns, query.recipe)),
    )


def deepest_that_fit(grid: Lattice, query: Query) -> Ints:
    """For every intermediate size of every column, one column after the other, the number (from 0) of the deepest
    admissible layers that fit; -1 where none do. Without a budget of memory that is the deepest there is."""
    begins = np.cumsum(grid.widths) - grid.widths
    if query.vram_bytes is None:
        return np.full(grid.widths.sum(), len(grid.layers) - 1)
    most_bytes = memory.largest_allocation(query.vram_bytes, query.recipe)

    def deepest_at(positions: Ints) -> Ints:
        rows = np.searchsorted(begins, positions, side="right") - 1
        shapes = grid.at(rows, positions - begins[rows])
        deepest = memory.most_layers(shapes, query.recipe, most_bytes)
        return np.searchsorted(grid.layers, deepest, side="right") - 1

    return _falling(begins, begins + grid.widths - 1, deepest_at)


def _falling(first: Ints, last: Ints, value_at: Callable[[Ints], Ints]) -> Ints:
    """The values at all positions of the ranges first..last, which follow one another from 0.

    In each range they never rise. So a range with equal ends has one value; the others are cut in PARTS. With the
    depths that fit, that asks for a twentieth of the positions of the default lattice.
    """
    values = np.zeros(last[-1] + 1, np.int64)
    known, wanted = np.zeros(len(values), np.bool_), np.zeros(len(values), np.bool_)
    cuts = [first, last]
    while True:
        for cut in cuts:
            wanted[cut] = True
        asked = np.flatnonzero(wanted & ~known)
        if not len(asked):
            break
        values[asked], known[asked] = value_at(asked), True
        uneven = values[first] != values[last]
        first, last = first[uneven], last[uneven]
        cuts = [first + (last - first) * part // PARTS for part in range(PARTS + 1)]
        first, last = np.concatenate(cuts[:-1]), np.concatenate(cuts[1:])
    before = np.maximum.accumulate(np.where(known, np.arange(len(values)), 0))
    return values[before]


def fits(shapes: Shapes, query: Query) -> NDArray[np.bool_]:
    """Where the verdict is fits or uncertain."""
    if query.vram_bytes is None:
        return np.ones(len(shapes), dtype=np.bool_)
    needed = memory.allocated_bytes(shapes, query.recipe)
    within: NDArray[np.bool_] = needed <= memory.largest_allocation(query.vram_bytes, query.recipe)
    return within


def largest_that_fits(grid: Lattice, query: Query) -> Shapes:
    """The one admissible shape of most params that fits the budget; none without a budget, or if none fits. Of several
    the first in the lattice.

    Memory grows with layers and intermediate size. So in a range of intermediate sizes of one column no shape that
    fits is deeper than what fits at the smallest of them, and none of that depth has more params than at the largest.
    Ranges that this leaves behind the best shape found so far are dropped, the others halved.
    """
    largest = grid.columns.take([])
    if query.vram_bytes is None:
        return largest
    most_bytes = memory.largest_allocation(query.vram_bytes, query.recipe)
    key = (0, 0, 0)
    rows = np.arange(len(grid.columns))
    first, last = np.zeros_like(rows), grid.widths - 1
    while len(rows):
        shapes = grid.at(rows, first)
        deepest = memory.most_layers(shapes, query.recipe, most_bytes)
        number = np.searchsorted(grid.layers, deepest, side="right") - 1
        some = number >= 0
        rows, first, last = rows[some], first[some], last[some]
        shapes = with_layers(shapes.take(some), grid.layers[number[some]])
        params = counts.total(shapes)
        for index in np.lexsort((first, rows, -params))[:1]:
            found = (int(params[index]), -int(rows[index]), -int(first[index]))
            if found > key:
                key, largest = found, shapes.take([index])
        bound = counts.total(replace(shapes, intermediate_size=grid.at(rows, last).intermediate_size))
        open_ranges = (bound >= key[0]) & (first < last)
        rows, first, last = _halved(rows[open_ranges], first[open_ranges] + 1, last[open_ranges])
    return largest


def _halved(rows: Ints, first: Ints, last: Ints) -> tuple[Ints, Ints, Ints]:
    """Each range first..last of a row as two, or as one where it has a single member."""
    middle = (first + last) // 2
    second = middle < last
    return (
        np.concatenate([rows, rows[second]]),
        np.concatenate([first, middle[second] + 1]),
        np.concatenate([middle, last[second]]),
    )


def _least(shapes: Shapes, allocated: Ints) -> Shapes:
    """The row that needs least memory."""
    return shapes.take(np.lexsort([counts.total(shapes), allocated])[:1])


def _check_arithmetic(grid: Lattice, query: Query) -> None:
    """The largest shape of the lattice, in Python's ints, must stay within what int64 columns can hold."""
    columns = grid.columns
    corner: dict[str, Any] = {name: int(getattr(columns, name).max()) for name in OPTIONS}
    corner["num_kv_heads"], corner["num_layers"] = corner["num_heads"], int(grid.layers[-1])
    corner["intermediate_size"] = int((columns.intermediate_size + grid.widths * grid.steps).max())
    if columns.family is not None:
        if counts.total(Dimensions(**corner), columns.family) >= 2**60:
            allowed = "the largest admissible shape would have more than 10^18 params; bound it"
            raise QueryError("hidden", corner["hidden_size"], allowed)
        return
    largest = DIYConfig(**corner, max_seq_len=query.recipe.seq_len, tie_embeddings=columns.tie_embeddings)
    if memory.peak_bytes(largest, query.recipe) >= 2**60:
        raise QueryError(
            "seq",
            query.recipe.seq_len,
            f"at micro-batch {query.recipe.micro_batch} the largest admissible shape would need more than 10^18 bytes; "
            "shorten it, or bound hidden, heads and layers",
        )
