"""The band of a query as a picture needs it: how wide its shapes are at each depth, and how good."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from solver.lattice import lattice
from solver.query import Query
from solver.search.order import terms
from solver.units import band


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """The shapes within the tolerance of a target, at each number of layers that has any, ascending."""

    layers: tuple[int, ...]
    narrowest: tuple[int, ...]
    """Smallest hidden size."""
    widest: tuple[int, ...]
    losses: tuple[float, ...]
    """Lowest predicted loss, whatever the memory."""


def outline(query: Query) -> Outline | None:
    """The outline of a query's band; None without a target, or where the band is empty."""
    if query.target_params is None:
        return None
    most = 2**12 + 1
    narrowest, widest = np.full(most, np.iinfo(np.int64).max), np.zeros(most, np.int64)
    losses = np.full(most, np.inf)
    # the first of a run learns most: it has as many tokens as any, and the law does not see the intermediate size
    shapes = lattice(query).in_band(*band(query.target_params, query.tolerance)).shapes
    np.minimum.at(narrowest, shapes.num_layers, shapes.hidden_size)
    np.maximum.at(widest, shapes.num_layers, shapes.hidden_size)
    np.minimum.at(losses, shapes.num_layers, terms(shapes, query)["predicted_loss"])
    layers = np.flatnonzero(widest)
    if not len(layers):
        return None
    return Outline(
        layers=tuple(layers.tolist()),
        narrowest=tuple(narrowest[layers].tolist()),
        widest=tuple(widest[layers].tolist()),
        losses=tuple(losses[layers].tolist()),
    )
