"""What several queries have in common, computed once: lattices, bands, and what of a band no budget changes.

A `Known` belongs to the one call that made it, and to its thread. An answer is the same with and without one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from numpy.typing import NDArray

from diymodel.config import DIYConfig
from solver import memory
from solver.lattice import Ints, Lattice, Shapes, lattice
from solver.memory.budget import MemoryReport
from solver.query import Query
from solver.ranking.total import Floats
from solver.recipe import Recipe
from solver.search.order import best, totals

MOST_SHAPES = 2**19
"""Shapes of bands that are remembered at a time; with their bytes and totals about 100 bytes each."""

MOST_LATTICES = 32
MOST_REPORTS = 4096
MOST_TOTALS = 8
"""Orders of one band that are remembered: token budgets and preferences."""

V = TypeVar("V")


class Recent:
    """Values by key, the least recently used dropped first. `size` says what a value weighs."""

    def __init__(self, most: int, size: Callable[[Any], int] = lambda value: 1) -> None:
        self._most, self._size = most, size
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._total = 0

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of the key, made where it is not there."""
        found = self._values.pop(key, None)
        if found is None:
            found = make()
            self._total += self._size(found)
        self._values[key] = found
        while self._total > self._most and len(self._values) > 1:
            self._total -= self._size(self._values.popitem(last=False)[1])
        value: V = found
        return value


class Block:
    """Shapes of a band, and what is known of them."""

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes
        self._allocated, self._totals, self._best = Recent(MOST_TOTALS), Recent(MOST_TOTALS), Recent(MOST_TOTALS)

    def allocated(self, recipe: Recipe) -> Ints:
        """The allocated bytes of each shape."""
        found: Ints = self._allocated.get(recipe, lambda: memory.allocated_bytes(self.shapes, recipe))
        return found

    def best(self, admitted: NDArray[Any], query: Query) -> Shapes:
        """The first rows of the order among those that are admitted."""
        key = _order(query)
        sums: Floats = self._totals.get(key, lambda: totals(self.shapes, query))
        if admitted.all():
            return self._best.get((key, query.top), lambda: best(self.shapes, query, sums))
        return best(self.shapes.take(admitted), query, sums[admitted])


class Known:
    """What is remembered from one query to the next."""

    def __init__(self) -> None:
        self._lattices = Recent(MOST_LATTICES)
        self._bands = Recent(MOST_SHAPES, size=lambda blocks: sum(len(block.shapes) for block in blocks))
        self._reports, self._allocated = Recent(MOST_REPORTS), Recent(4 * MOST_REPORTS)
        self._largest, self._facts = Recent(MOST_REPORTS), Recent(4 * MOST_REPORTS)

    def lattice(self, query: Query) -> Lattice:
        """The admissible shapes of a query."""
        return self._lattices.get(_constraints(query), lambda: lattice(query))

    def band(self, grid: Lattice, query: Query, low: int, high: int) -> Iterator[Block]:
        """The shapes of its lattice in a band. One that is too large to be remembered is listed again each time."""
        key = (_constraints(query), low, high)
        blocks: list[Block] = []
        for block in self._bands.get(key, lambda: self._listed(grid, low, high)):
            blocks.append(block)
            yield block
        if not blocks:
            yield from map(Block, grid.in_band(low, high))

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

    @staticmethod
    def _listed(grid: Lattice, low: int, high: int) -> list[Block]:
        """The blocks of a band; none where they are more than is remembered."""
        blocks, shapes = [], 0
        for block in grid.in_band(low, high):
            shapes += len(block)
            if shapes > MOST_SHAPES:
                return []
            blocks.append(Block(block))
        return blocks


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
