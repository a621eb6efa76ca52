"""solve(query): the one place where the stages meet. Lattice, memory, score, the best rows, the answer."""

from solver.search.answer import rank_configs, solve

__all__ = ["rank_configs", "solve"]
