"""The band as columns, for pictures: every depth and width in it, best first, without a full answer to each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from solver import counts, memory
from solver.lattice import Shapes, lattice
from solver.query import Query
from solver.ranking.total import Floats, total
from solver.search.known import Known
from solver.search.order import step_time, terms
from solver.search.passes import search

SCHEMA = "diysolve.band/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """The best shape of each depth and width that the query admits, in the order of the answer."""

    shapes: Shapes
    params: Floats
    predicted_loss: Floats
    score: Floats
    peak_bytes: Floats | None
    step_time: Floats | None
    """Relative to the first. Both are None for a family whose memory and time are not known."""

    def to_dict(self) -> dict[str, Any]:
        """Columns of equal length."""
        shape = {
            name: getattr(self.shapes, name).tolist()
            for name in ("num_layers", "hidden_size", "num_heads", "num_kv_heads", "head_dim", "intermediate_size")
        }
        return {
            "schema": SCHEMA,
            **shape,
            "params": self.params.tolist(),
            "predicted_loss": np.round(self.predicted_loss, 6).tolist(),
            "score": np.round(self.score, 6).tolist(),
            "peak_bytes": None if self.peak_bytes is None else self.peak_bytes.tolist(),
            "relative_step_time": None if self.step_time is None else np.round(self.step_time, 4).tolist(),
        }


def band(query: Query, known: Known | None = None) -> Band:
    """The first `top` depths and widths of a query; none where nothing satisfies it.

    Memory and time are those of the query's own micro-batch. Raises as `solve`.
    """
    grid = known.lattice(query) if known else lattice(query)
    shapes = search(grid, query, known).best
    by_term = terms(shapes, query)
    times = None if query.is_foreign else step_time(shapes, query)
    return Band(
        shapes=shapes,
        params=counts.total(shapes),
        predicted_loss=by_term["predicted_loss"],
        score=total(by_term),
        peak_bytes=None if query.is_foreign else memory.peak_bytes(shapes, query.recipe),
        step_time=None if times is None else times / times[:1],
    )
