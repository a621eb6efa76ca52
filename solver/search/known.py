"""What several queries have in common, computed once: lattices, bands, and what of a band no budget changes.

A `Known` belongs to the one call that made it, and to its thread. An answer is the same with and without one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any, TypeVar

from diymodel.config import DIYConfig
from solver import memory
from solver.lattice import Ints, Lattice, Runs, Shapes, lattice
from solver.memory.budget import MemoryReport
from solver.query import Query
from solver.ranking.total import Floats
from solver.recipe import Recipe
from solver.search.order import best_of_runs, lower_bounds

MOST_RUNS = 2**17
"""Runs of bands that are remembered at a time; with their bytes and bounds about 300 bytes each."""

MOST_LATTICES = 32
MOST_REPORTS = 4096
MOST_ORDERS = 8
"""Recipes and orders (token budgets, preferences) of one band that are remembered."""

V = TypeVar("V")


class Recent:
    """Values by key, the least recently used dropped first. `size` says what a value weighs."""

    def __init__(self, most: int, size: Callable[[Any], int] = lambda value: 1) -> None:
        self._most, self._size = most, size
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._total = 0

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of the key, made where it is not there. One that outweighs all others is not kept."""
        found = self._values.pop(key, None)
        if found is None:
            found = make()
            if self._size(found) > self._most:
                return found
            self._total += self._size(found)
        self._values[key] = found
        while self._total > self._most:
            self._total -= self._size(self._values.popitem(last=False)[1])
        value: V = found
        return value


class Band:
    """The runs of a band, and what is known of them."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self._smallest, self._largest = Recent(MOST_ORDERS), Recent(MOST_ORDERS)
        self._bounds, self._best = Recent(MOST_ORDERS), Recent(MOST_ORDERS)

    def smallest_bytes(self, recipe: Recipe) -> Ints:
        """The allocated bytes of the first of each run, which needs least."""
        found: Ints = self._smallest.get(recipe, lambda: memory.allocated_bytes(self.runs.shapes, recipe))
        return found

    def largest_bytes(self, recipe: Recipe) -> Ints:
        """The allocated bytes of the last of each run, which needs most."""
        found: Ints = self._largest.get(recipe, lambda: memory.allocated_bytes(self.runs.largest, recipe))
        return found

    def best(self, query: Query) -> Shapes:
        """The first rows of the order among all."""
        key = (_order(query), query.top)
        return self._best.get(key, lambda: best_of_runs(self.runs, self._bounds_of(query), query))

    def best_of(self, runs: Runs, query: Query) -> Shapes:
        """The first rows of the order among those of its runs that are left in `runs`, as many as there were."""
        some = runs.lengths > 0
        return best_of_runs(runs.take(some), self._bounds_of(query)[some], query)

    def _bounds_of(self, query: Query) -> Floats:
        return self._bounds.get(_order(query), lambda: lower_bounds(self.runs.shapes, self.runs.largest, query))


class Known:
    """What is remembered from one query to the next."""

    def __init__(self) -> None:
        self._lattices = Recent(MOST_LATTICES)
        self._bands = Recent(MOST_RUNS, size=lambda band: len(band.runs))
        self._reports, self._allocated = Recent(MOST_REPORTS), Recent(4 * MOST_REPORTS)
        self._largest, self._facts = Recent(MOST_REPORTS), Recent(4 * MOST_REPORTS)

    def lattice(self, query: Query) -> Lattice:
        """The admissible shapes of a query."""
        return self._lattices.get(_constraints(query), lambda: lattice(query))

    def band(self, grid: Lattice, query: Query, low: int, high: int) -> Band:
        """The shapes of its lattice in a band."""
        return self._bands.get((_constraints(query), low, high), lambda: Band(grid.in_band(low, high)))

    def report(self, config: DIYConfig, recipe: Recipe, budget_bytes: int | None) -> MemoryReport:
        """The memory of one config."""
        key = (config, recipe, budget_bytes)
        return self._reports.get(key, lambda: memory.report(config, recipe, budget_bytes, allocated=self._allocation))

    def recall(self, key: Hashable, make: Callable[[], V]) -> V:
        """Any fact that follows from its key."""
        return self._facts.get(key, make)

    def largest(self, query: Query, make: Callable[[], Shapes]) -> Shapes:
        """The largest shape that fits: whatever the target, it is the same."""
        return self._largest.get((_constraints(query), query.vram_bytes), make)

    def _allocation(self, config: DIYConfig, recipe: Recipe) -> int:
        return self._allocated.get((config, recipe), lambda: int(memory.allocated_bytes(config, recipe)))


def _constraints(query: Query) -> Hashable:
    """What a lattice depends on: not on the size, the budget, or what the order goes by."""
    plain = replace(
        query, target_params=1, train_flops=None, train_days=None, prefer="quality", largest_micro_batch=False
    )
    return replace(_order(plain), tokens=None, tokens_per_param=None)


def _order(query: Query) -> Query:
    """What an order depends on: everything of the query but its tolerance, its length, the card where no time is
    asked for, and the budget where no step is timed at the largest micro-batch that it holds."""
    query = replace(query, tolerance=0.0, top=1, price=None)
    if query.train_days is None:
        query = replace(query, device=None)
    return query if query.largest_micro_batch else replace(query, vram_bytes=None)
