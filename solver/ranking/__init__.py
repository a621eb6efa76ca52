"""Which of the admissible shapes is best, and why: the law of depth and width, priced terms, and their sum."""

from solver.ranking.preference import Preference, preference
from solver.ranking.score import Score
from solver.ranking.speed import relative_step_time
from solver.ranking.terms import MEANINGS, alignment, best_intermediate, meaning, mlp_share
from solver.ranking.total import evaluate, scores

__all__ = [
    "MEANINGS",
    "Preference",
    "Score",
    "alignment",
    "best_intermediate",
    "evaluate",
    "meaning",
    "mlp_share",
    "preference",
    "relative_step_time",
    "scores",
]
