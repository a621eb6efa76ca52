"""What is answered: frozen values, plain enough to be printed, compared and sent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from diymodel.config import DIYConfig
from solver.memory.budget import MemoryReport
from solver.query import Query
from solver.ranking.score import Score

SCHEMA = "diysolve.solution/1"


class Status(StrEnum):
    """How a sound query ended. A contradictory one raises instead."""

    SOLVED = "solved"
    INFEASIBLE = "infeasible"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats:
    """How many shapes the solve saw, and how long it took."""

    lattice: int
    """Shapes that the constraints admit, before the band."""
    in_band: int
    """Of these, shapes whose count lies within the tolerance (all of them, without a target)."""
    fitting: int
    """Of these, shapes that fit the budget or are uncertain."""
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """Predicted beside counted, simulated and measured, for one config. Ratios are predicted / the other."""

    device: str
    params: dict[str, Any]
    """predicted, counted: int; equal: bool (per component, not only in total)."""
    simulated: dict[str, Any] | None
    """peak_bytes: int, ratio: float; None where no dry run was made."""
    measured: dict[str, Any] | None
    """peak_bytes, reserved_bytes, ratio, step_seconds, tokens_per_second; None without an accelerator."""
    forward_finite: bool | None
    loss: float | None
    """Nats per token of an untrained model's first step: near ln(vocab_size)."""
    note: str
    agrees: bool
    """False where a count is unequal, a value is not finite, or the measurement refutes the prediction."""

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        del values["agrees"]
        return values


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """An admissible shape, counted, fitted into the budget and scored."""

    rank: int
    config: DIYConfig
    params: dict[str, int]
    """total, embedding, attention, mlp, norm, lm_head."""
    target_error: float | None
    """(params - target) / target; None without a target."""
    memory: MemoryReport
    score: Score
    verification: Verification | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "rank": self.rank,
            "config_format": "diy",
            "config": self.config.to_dict(),
            "params": self.params,
            "target_error": self.target_error,
            "memory": self.memory.to_dict(),
            "score": self.score.to_dict(),
            "verification": self.verification.to_dict() if self.verification else None,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class NearMiss:
    """A shape that an infeasible query almost admits, and what it breaks."""

    config: DIYConfig
    params: int
    device_bytes: int
    breaks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "config": self.config.to_dict(),
            "params": self.params,
            "device_bytes": self.device_bytes,
            "breaks": list(self.breaks),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Solution:
    """The answer to one query."""

    status: Status
    message: str
    query: Query
    stats: Stats
    candidates: tuple[Candidate, ...] = ()
    nearest: tuple[NearMiss, ...] = ()
    """Only when infeasible."""
    largest_target_that_fits: int | None = None
    """Only when infeasible for want of memory: params of the largest admissible shape that fits the budget."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `diysolve solve --format json`."""
        values: dict[str, Any] = {
            "schema": SCHEMA,
            "status": self.status.value,
            "message": self.message,
            "query": self.query.to_dict(),
            "stats": asdict(self.stats),
            "candidates": [candidate.to_dict() for candidate in self.candidates],
        }
        if self.status is Status.INFEASIBLE:
            values["nearest"] = [miss.to_dict() for miss in self.nearest]
            values["largest_target_that_fits"] = self.largest_target_that_fits
        return values
