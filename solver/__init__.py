"""The engine: what to build for a target size and a memory budget. Integers and numpy; torch only in `solver.verify`.

from solver import Query, solve
solution = solve(Query(target_params=500_000_000, vram_bytes=24_000_000_000))
best = solution.candidates[0].config
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solver.query import Query, Span
    from solver.recipe import Recipe
    from solver.search import rank_configs, solve
    from solver.search.many import solve_many
    from solver.solution import Solution, Status

__all__ = ["Query", "Recipe", "Solution", "Span", "Status", "rank_configs", "solve", "solve_many"]

_HOME = {
    "Query": "solver.query",
    "Recipe": "solver.recipe",
    "Solution": "solver.solution",
    "Span": "solver.query",
    "Status": "solver.solution",
    "rank_configs": "solver.search",
    "solve": "solver.search",
    "solve_many": "solver.search.many",
}


def __getattr__(name: str) -> Any:
    """Load a public name's room when it is asked for: an error message needs no numpy."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
