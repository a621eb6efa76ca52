"""The engine: what to build for a target size and a memory budget. Integers and numpy; torch only in `solver.verify`.

from solver import Query, solve
solution = solve(Query(target_params=500_000_000, vram_bytes=24_000_000_000))
best = solution.candidates[0].config
"""

from solver.query import Query, Span
from solver.recipe import Recipe
from solver.search import rank_configs, solve
from solver.solution import Solution, Status

__all__ = ["Query", "Recipe", "Solution", "Span", "Status", "rank_configs", "solve"]
