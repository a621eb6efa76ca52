"""The score of a shape: a sum of named terms in nats, lower is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One candidate's score, taken apart."""

    total: float
    """Sum of the terms, in nats."""
    terms: dict[str, float]
    """Each term by name, in nats; `MEANINGS` has the meaning and the source of each."""
    predicted_loss: float
    """The part of the total that predicts a loss: nats per token on the law's own data."""
    tie: bool
    """True where the evidence cannot tell whether this candidate or rank 1 is better; not that they are as good."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "terms": dict(self.terms),
            "predicted_loss": self.predicted_loss,
            "tie": self.tie,
        }
