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
from solver.lattice import Ints, Lattice, Shapes, lattice
from solver.query import OPTIONS, Query
from solver.search.known import Block, Known
from solver.search.order import best, lower_bounds, totals, with_layers
from solver.units import band

if TYPE_CHECKING:
    from solver.interop.blueprints import Config

BOUND_SLACK = 1e-8
"""Nats by which the rounding of a total may hide a row that is as good as the last one kept."""

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
    blocks = known.band(grid, query, low, high) if known else map(Block, grid.in_band(low, high))
    most_bytes = memory.largest_allocation(query.vram_bytes or 0)
    in_band = fitting = 0
    first = too_large = smallest = grid.columns.take([])
    for block in blocks:
        shapes = block.shapes
        remembered = known is not None and query.vram_bytes is not None
        admitted = block.allocated(query.recipe) <= most_bytes if remembered else fits(shapes, query)
        in_band, fitting = in_band + len(shapes), fitting + int(admitted.sum())
        first = _merged(first, block.best(admitted, query), query)
        if admitted.all():
            continue
        too_large = _merged(too_large, block.best(~admitted, query), query)
        if not fitting:
            narrowest = shapes.take(_first_of_each_run(shapes))
            smallest = least_memory(Shapes.concatenate([smallest, narrowest]), query)
    return Found(in_band=in_band, fitting=fitting, best=first, too_large=too_large, smallest=smallest)


def _merged(first: Shapes, second: Shapes, query: Query) -> Shapes:
    """The first rows of the order in two lists that are each in order."""
    if not len(first) or not len(second):
        return first if len(first) else second
    return best(Shapes.concatenate([first, second]), query)


def _without_target(grid: Lattice, query: Query) -> Found:
    """The shapes of lowest total that fit the budget, whatever their count.

    At everything else fixed more layers raise the memory, so each column and intermediate size has a deepest row that
    fits. Above it the total is bounded over any range of depths: ranges whose bound is no better than the best rows
    found so far are dropped, the others halved.
    """
    rows, last = deepest_that_fit(grid, query)
    return Found(
        in_band=grid.size,
        fitting=int((last + 1).sum()),
        best=_best_of_depths(rows, last, grid.layers, query),
        too_large=grid.columns.take([]),
        smallest=least_memory(grid.columns, query),
    )


def _best_of_depths(rows: Shapes, last: Ints, layers: Ints, query: Query) -> Shapes:
    """The best among all rows at every number of layers from the first to layers[last]."""
    first = np.zeros_like(last)
    found = best(with_layers(rows, layers[last]), query)
    while len(rows):
        bound = lower_bounds(with_layers(rows, layers[last]), layers[first], query)
        worst = totals(found, query)[-1] if len(found) == query.top else np.inf
        open_ranges = (bound <= worst + BOUND_SLACK) & (first < last)
        rows, first, last = rows.take(open_ranges), first[open_ranges], last[open_ranges]
        middle = np.sqrt(layers[first] * layers[last]).astype(np.int64)
        middle = np.clip(np.searchsorted(layers, middle, side="right") - 1, first, last - 1)
        found = best(Shapes.concatenate([found, with_layers(rows, layers[middle])]), query)
        rows = Shapes.concatenate([rows, rows])
        first, last = np.concatenate([first, middle + 1]), np.concatenate([middle, last])
    return found


def deepest_that_fit(grid: Lattice, query: Query) -> tuple[Shapes, Ints]:
    """Every column and intermediate size of which some depth fits, with the index of the largest admissible number of
    layers that does. Without a budget of memory that is the deepest there is."""
    last = np.cumsum(grid.widths) - 1
    first = last + 1 - grid.widths
    rows = np.repeat(np.arange(len(grid.columns)), grid.widths)
    numbers = np.arange(len(rows)) - first[rows]
    if query.vram_bytes is None:
        return grid.at(rows, numbers), np.full(len(rows), len(grid.layers) - 1)
    most_bytes = memory.largest_allocation(query.vram_bytes)

    def deepest_at(positions: Ints) -> Ints:
        shapes = grid.at(rows[positions], numbers[positions])
        deepest = memory.most_layers(shapes, query.recipe, most_bytes)
        return np.searchsorted(grid.layers, deepest, side="right") - 1

    deepest = _falling(first, last, deepest_at)
    some = deepest >= 0
    return grid.at(rows[some], numbers[some]), deepest[some]


def _falling(first: Ints, last: Ints, value_at: Callable[[Ints], Ints]) -> Ints:
    """The values at all positions of the ranges first..last, which follow one another from 0.

    In each range they never rise. So a range with equal ends has one value; the others are cut in PARTS. With the
    depths that fit, that asks for a twentieth of the positions of the default lattice.
    """
    values = np.zeros(last[-1] + 1, np.int64)
    known = np.zeros(len(values), np.bool_)
    asked = np.unique(np.concatenate([first, last]))
    while len(asked):
        values[asked], known[asked] = value_at(asked), True
        uneven = values[first] != values[last]
        first, last = first[uneven], last[uneven]
        cuts = [first + (last - first) * part // PARTS for part in range(PARTS + 1)]
        asked = np.unique(np.concatenate(cuts))
        asked = asked[~known[asked]]
        first, last = np.concatenate(cuts[:-1]), np.concatenate(cuts[1:])
    before = np.maximum.accumulate(np.where(known, np.arange(len(values)), 0))
    return values[before]


def fits(shapes: Shapes, query: Query) -> NDArray[np.bool_]:
    """Where the verdict is fits or uncertain.

    Memory grows with the intermediate size, so in a run of shapes that differ in it alone, ascending, all fit if the
    last does and none if the first does not. Only the runs in between are looked at shape by shape.
    """
    within = np.ones(len(shapes), dtype=np.bool_)
    if query.vram_bytes is None or not len(shapes):
        return within
    first = _first_of_each_run(shapes)
    last = np.append(first[1:], len(shapes)) - 1
    all_fit = _each_fits(shapes.take(last), query)
    none_fits = ~all_fit
    none_fits[none_fits] = ~_each_fits(shapes.take(first[none_fits]), query)
    lengths = last - first + 1
    within[np.repeat(none_fits, lengths)] = False
    between = np.repeat(~(all_fit | none_fits), lengths)
    within[between] = _each_fits(shapes.take(between), query)
    return within


def _each_fits(shapes: Shapes, query: Query) -> NDArray[np.bool_]:
    needed = memory.device_bytes(memory.allocated_bytes(shapes, query.recipe))
    within: NDArray[np.bool_] = needed <= query.vram_bytes
    return within


def _first_of_each_run(shapes: Shapes) -> Ints:
    """Where shapes begin that differ from the one before in more than a larger intermediate size."""
    begins = np.ones(len(shapes), dtype=np.bool_)
    begins[1:] = np.diff(shapes.intermediate_size) <= 0
    for name in ("vocab_size", "hidden_size", "num_layers", "num_heads", "num_kv_heads", "head_dim"):
        begins[1:] |= np.diff(getattr(shapes, name)) != 0
    return np.flatnonzero(begins)


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
    most_bytes = memory.largest_allocation(query.vram_bytes)
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


def least_memory(shapes: Shapes, query: Query) -> Shapes:
    """The row that needs least memory."""
    needed = memory.allocated_bytes(shapes, query.recipe)
    return shapes.take(np.lexsort([counts.total(shapes), needed])[:1])


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
