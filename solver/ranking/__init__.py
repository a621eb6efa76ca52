"""Which of the admissible shapes is best, and why: the law of depth and width, priced terms, and their sum."""

from solver.ranking.law import LAW_ERROR, predicted_loss
from solver.ranking.score import Score
from solver.ranking.terms import MEANINGS
from solver.ranking.total import evaluate, relative_step_time, scores

__all__ = ["LAW_ERROR", "MEANINGS", "Score", "evaluate", "predicted_loss", "relative_step_time", "scores"]
