"""The best shapes of a lattice whatever their count: by branch and bound over boxes of layers and intermediate sizes.

A box is a column at a range of intermediate sizes and a range of layers. Its total is bounded from its two corners;
boxes whose bound is no better than the rows found so far are dropped, the others halved, and their halves.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from solver.lattice import Ints, Lattice, Shapes
from solver.query import Query
from solver.search.order import BOUND_SLACK, best, lower_bounds, totals, with_layers


@dataclass(frozen=True, kw_only=True, slots=True)
class Boxes:
    """Boxes of a lattice as columns of equal length. All ends are numbers, from 0, and inclusive."""

    rows: Ints
    """The column of the lattice."""
    narrowest: Ints
    widest: Ints
    """Of its intermediate sizes."""
    shallowest: Ints
    deepest: Ints
    """Of the lattice's layers."""

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: NDArray[np.bool_]) -> Boxes:
        """Those where the mask is true."""
        return Boxes(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


def best_of_boxes(grid: Lattice, depths: Ints, query: Query) -> Shapes:
    """The first rows of the order among all shapes of the lattice that are no deeper than `depths` allows.

    `depths` has the number of the deepest layers for every intermediate size of every column, one column after the
    other, -1 where there is none; within a column it never rises.
    """
    begins = np.cumsum(grid.widths) - grid.widths
    rows = np.arange(len(grid.columns))
    zeros = np.zeros_like(rows)
    boxes = Boxes(rows=rows, narrowest=zeros, widest=grid.widths - 1, shallowest=zeros, deepest=depths[begins])
    found = grid.columns.take([])
    while len(boxes):
        boxes = _within(boxes, depths, begins)
        found = best(Shapes.concatenate([found, _middles(grid, boxes, depths, begins)]), query)
        least = with_layers(grid.at(boxes.rows, boxes.narrowest), grid.layers[boxes.shallowest])
        most = with_layers(grid.at(boxes.rows, boxes.widest), grid.layers[boxes.deepest])
        better = np.ones(len(boxes), np.bool_)
        if len(found) == query.top:
            better = lower_bounds(least, most, query) <= totals(found, query)[-1] + BOUND_SLACK
        several = (boxes.narrowest < boxes.widest) | (boxes.shallowest < boxes.deepest)
        # twice: a round costs a millisecond, however few its boxes are
        boxes = _halved(grid, _halved(grid, boxes.take(better & several)))
    return found


def _within(boxes: Boxes, depths: Ints, begins: Ints) -> Boxes:
    """The boxes, none deeper than its narrowest shapes may be; without those that nothing is left of."""
    deepest = np.minimum(boxes.deepest, depths[begins[boxes.rows] + boxes.narrowest])
    within = Boxes(
        rows=boxes.rows,
        narrowest=boxes.narrowest,
        widest=boxes.widest,
        shallowest=boxes.shallowest,
        deepest=deepest,
    )
    return within.take(deepest >= boxes.shallowest)


def _middles(grid: Lattice, boxes: Boxes, depths: Ints, begins: Ints) -> Shapes:
    """Of each box a shape: the deepest one half way between its intermediate sizes, or where none is admissible there,
    the deepest of the narrowest."""
    middle = (boxes.narrowest + boxes.widest) // 2
    layers = np.minimum(boxes.deepest, depths[begins[boxes.rows] + middle])
    some = layers >= boxes.shallowest
    middle, layers = np.where(some, middle, boxes.narrowest), np.where(some, layers, boxes.deepest)
    return with_layers(grid.at(boxes.rows, middle), grid.layers[layers])


def _halved(grid: Lattice, boxes: Boxes) -> Boxes:
    """Each box as two, cut where its sides differ by the larger factor."""
    low, high = grid.layers[boxes.shallowest], grid.layers[boxes.deepest]
    narrow = grid.at(boxes.rows, boxes.narrowest).intermediate_size
    wide = grid.at(boxes.rows, boxes.widest).intermediate_size
    by_width = wide * low > high * narrow
    layers = np.searchsorted(grid.layers, np.sqrt(low * high).astype(np.int64), side="right") - 1
    layers = np.clip(layers, boxes.shallowest, np.maximum(boxes.deepest - 1, boxes.shallowest))
    middle = (boxes.narrowest + boxes.widest) // 2
    return Boxes(
        rows=np.tile(boxes.rows, 2),
        narrowest=np.concatenate([boxes.narrowest, np.where(by_width, middle + 1, boxes.narrowest)]),
        widest=np.concatenate([np.where(by_width, middle, boxes.widest), boxes.widest]),
        shallowest=np.concatenate([boxes.shallowest, np.where(by_width, boxes.shallowest, layers + 1)]),
        deepest=np.concatenate([np.where(by_width, boxes.deepest, layers), boxes.deepest]),
    )
