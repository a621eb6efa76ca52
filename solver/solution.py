"""What is answered: frozen values, plain enough to be printed, compared and sent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from diymodel.config import DIYConfig
from solver.compute.plan import Training
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
    relative_step_time: float
    """Predicted time per token against that of rank 1, each at its own micro-batch."""
    pareto: bool
    """True where no listed candidate is as good in all of quality (the score without preference), relative step time
    and peak memory, and better in one."""
    verification: Verification | None = None
    training: Training | None = None
    """The run at the query's tokens, where it has a budget for it or a card whose speed is known."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "rank": self.rank,
            "config_format": "diy",
            "config": self.config.to_dict(),
            "params": self.params,
            "target_error": self.target_error,
            "memory": self.memory.to_dict(),
            "score": self.score.to_dict(),
            "relative_step_time": self.relative_step_time,
            "pareto": self.pareto,
            "training": self.training.to_dict() if self.training else None,
            "verification": self.verification.to_dict() if self.verification else None,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Binding:
    """The constraint that keeps a better shape out of the answer."""

    constraint: str
    """memory, tolerance, lattice (an end of the default one), the word of a dimension that was given, or none."""
    change: str
    """The loosening that was tried: "no budget", "layers 33"."""
    gain: float
    """Nats of score that it would gain at the least; 0 for none."""

    def __str__(self) -> str:
        if self.constraint == "none":
            return "none"
        return f"{self.constraint} (with {self.change} the score falls by at least {self.gain:.2g} nats)"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


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
class Relaxation:
    """One constraint loosened, everything else as it was, and what that would buy."""

    constraint: str
    """The word of the option that is changed."""
    change: str
    config: DIYConfig | None = None
    """The best shape then; None where still nothing satisfies the query."""
    predicted_loss: float | None = None
    loss_gain: float | None = None
    """Nats by which the predicted loss would fall; None without a shape before and after."""
    score_gain: float | None = None
    """The same of the score, by which the shapes are ordered; None too where a preference has other prices then."""
    note: str = ""
    """What the numbers do not say."""

    def to_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__slots__}
        return {**values, "config": self.config.to_dict() if self.config else None}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One term of one candidate's score, in words."""

    rank: int
    term: str
    nats: float
    shape: str
    """What the term looks at, in this shape."""
    meaning: str
    """What it charges, and whose evidence that rests on."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbour:
    """A published model of a size near the winner's."""

    name: str
    params: int
    config: DIYConfig
    source: str

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "params": self.params, "config": self.config.to_dict(), "source": self.source}


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """Why the answer is what it is."""

    relaxations: tuple[Relaxation, ...]
    readings: tuple[Reading, ...]
    """Every term of the first candidates, by rank."""
    neighbours: tuple[Neighbour, ...]
    """Nearest first."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "relaxations": [relaxation.to_dict() for relaxation in self.relaxations],
            "terms": [reading.to_dict() for reading in self.readings],
            "neighbours": [neighbour.to_dict() for neighbour in self.neighbours],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Solution:
    """The answer to one query."""

    status: Status
    message: str
    query: Query
    stats: Stats
    candidates: tuple[Candidate, ...] = ()
    binding: Binding | None = None
    """Only when solved."""
    nearest: tuple[NearMiss, ...] = ()
    """Only when infeasible."""
    largest_target_that_fits: int | None = None
    """Only when infeasible for want of memory: params of the largest admissible shape that fits the budget."""
    caution: str = ""
    """What to keep in mind about the order, where there is something."""
    explanation: Explanation | None = None
    """Only where it was asked for, of `solver.explain`."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `diysolve solve --format json`."""
        values: dict[str, Any] = {
            "schema": SCHEMA,
            "status": self.status.value,
            "message": self.message,
            "query": self.query.to_dict(),
            "stats": asdict(self.stats),
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "binding": self.binding.to_dict() if self.binding else None,
        }
        if self.caution:
            values["caution"] = self.caution
        if self.status is Status.INFEASIBLE:
            values["nearest"] = [miss.to_dict() for miss in self.nearest]
            values["largest_target_that_fits"] = self.largest_target_that_fits
        if self.explanation:
            values["explanation"] = self.explanation.to_dict()
        return values
