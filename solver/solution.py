"""What is answered: frozen values, plain enough to be printed, compared and sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from diymodel.config import ConfigError, DIYConfig
from solver.compute.plan import Training
from solver.errors import InputFileError, RequestError
from solver.memory.budget import MemoryReport
from solver.query import Query
from solver.ranking.score import Score

if TYPE_CHECKING:
    from solver.interop.blueprints import Config

Row = dict[str, Any]
"""One row of a table: column -> plain value."""

T = TypeVar("T")

MEMORY = (
    "peak_bytes", "allocated_bytes", "device_bytes", "binding", "budget_bytes", "verdict", "max_micro_batch",
)  # fmt: skip
"""What a candidate's row has of its memory report; None where memory is not known."""


def _built(kind: type[T], values: Mapping[str, Any], **made: Any) -> T:
    """An instance from what its `to_dict` wrote: `made` are the fields that are values of their own. Keys that are not
    known here are a later version's."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{**{name: values[name] for name in names if name in values}, **made})


def _config_to_dict(config: Config) -> dict[str, Any]:
    """A config as the keys of the answer that hold it. A config.json names its dimensions as its type does, so what is
    not a DIYConfig has them once more, in our names."""
    if isinstance(config, DIYConfig):
        return {"config": config.to_dict()}
    return {"config": config.to_dict(), "shape": config.dimensions()}


def _config_from_dict(values: Mapping[str, Any]) -> Config:
    if "model_type" not in values:
        return DIYConfig.from_dict(dict(values))
    from solver.interop.blueprints import foreign_config  # here: most answers need none of it

    return foreign_config("solution", dict(values))


def config_row(config: Config) -> Row:
    """The fields of a DIYConfig; of any other config its model type and its dimensions, under the same names."""
    return config.to_dict() if isinstance(config, DIYConfig) else config.row()


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
    """predicted, counted: int; equal: bool (per component, not only in total). The last two are None where the model
    could not be built."""
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
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Verification:
        return _built(cls, values)

    def row(self) -> Row:
        """The same as one flat row."""
        simulated, measured = self.simulated or {}, self.measured or {}
        return {
            "verified_on": self.device,
            "params_predicted": self.params["predicted"],
            "params_counted": self.params["counted"],
            "params_equal": self.params["equal"],
            "forward_finite": self.forward_finite,
            "first_loss": self.loss,
            "simulated_peak_bytes": simulated.get("peak_bytes"),
            "simulated_ratio": simulated.get("ratio"),
            "measured_peak_bytes": measured.get("peak_bytes"),
            "measured_reserved_bytes": measured.get("reserved_bytes"),
            "measured_ratio": measured.get("ratio"),
            "step_seconds": measured.get("step_seconds"),
            "tokens_per_second": measured.get("tokens_per_second"),
            "agrees": self.agrees,
            "note": self.note,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """An admissible shape, counted, fitted into the budget and scored."""

    rank: int
    config: Config
    params: dict[str, int]
    """total, embedding, attention, mlp, norm, lm_head; position where the family learns them."""
    target_error: float | None
    """(params - target) / target; None without a target."""
    memory: MemoryReport | None
    """None for a family that DIYConfig does not express, whose memory and time are not known."""
    score: Score
    relative_step_time: float | None
    """Predicted time per token against that of rank 1, each at its own micro-batch."""
    pareto: bool | None
    """True where no listed candidate is as good in all of quality (the score without preference), relative step time
    and peak memory, and better in one."""
    verification: Verification | None = None
    training: Training | None = None
    """The run at the query's tokens, where it has a budget for it or a card whose speed is known."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "rank": self.rank,
            "config_format": "diy" if isinstance(self.config, DIYConfig) else "hf",
            **_config_to_dict(self.config),
            "params": self.params,
            "target_error": self.target_error,
            "memory": self.memory.to_dict() if self.memory else None,
            "score": self.score.to_dict(),
            "relative_step_time": self.relative_step_time,
            "pareto": self.pareto,
            "training": self.training.to_dict() if self.training else None,
            "verification": self.verification.to_dict() if self.verification else None,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Candidate:
        verification, training = values["verification"], values["training"]
        return _built(
            cls,
            values,
            config=_config_from_dict(values["config"]),
            memory=MemoryReport.from_dict(values["memory"]) if values["memory"] else None,
            score=Score(**values["score"]),
            training=_built(Training, training) if training else None,
            verification=Verification.from_dict(verification) if verification else None,
        )

    def row(self) -> Row:
        """The same as one flat row."""
        return {
            "rank": self.rank,
            **config_row(self.config),
            **{f"params_{component}": value for component, value in self.params.items()},
            "target_error": self.target_error,
            **{name: getattr(self.memory, name, None) for name in MEMORY},
            "predicted_loss": self.score.predicted_loss,
            "score": self.score.total,
            "tie": self.score.tie,
            **{f"term_{term}": value for term, value in self.score.terms.items()},
            "relative_step_time": self.relative_step_time,
            "pareto": self.pareto,
            **(training_row(self.training) if self.training else {}),
            **(self.verification.row() if self.verification else {}),
        }


def training_row(run: Training) -> Row:
    """A training run as flat columns."""
    return {
        "train_tokens": run.tokens,
        "train_flops": run.flops,
        "train_days": run.days,
        "train_cost": run.cost,
        "train_tokens_per_second": run.tokens_per_second,
        "train_speed": run.speed,
        "train_published_runs": run.published_runs,
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

    config: Config
    params: int
    device_bytes: int | None
    """None for a family whose memory is not known."""
    breaks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            **_config_to_dict(self.config),
            "params": self.params,
            "device_bytes": self.device_bytes,
            "breaks": list(self.breaks),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NearMiss:
        return _built(cls, values, config=_config_from_dict(values["config"]), breaks=tuple(values["breaks"]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Relaxation:
    """One constraint loosened, everything else as it was, and what that would buy."""

    constraint: str
    """The word of the option that is changed."""
    change: str
    config: Config | None = None
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
        return {**values, "config": None, **(_config_to_dict(self.config) if self.config else {})}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Relaxation:
        return _built(cls, values, config=_config_from_dict(values["config"]) if values["config"] else None)


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

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Explanation:
        return cls(
            relaxations=tuple(map(Relaxation.from_dict, values["relaxations"])),
            readings=tuple(_built(Reading, reading) for reading in values["terms"]),
            neighbours=tuple(
                _built(Neighbour, near, config=DIYConfig.from_dict(near["config"])) for near in values["neighbours"]
            ),
        )


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
        if self.query.device and self.query.device.caveat:
            values["budget_note"] = self.query.device.caveat
        if self.status is Status.INFEASIBLE:
            values["nearest"] = [miss.to_dict() for miss in self.nearest]
            values["largest_target_that_fits"] = self.largest_target_that_fits
        if self.explanation:
            values["explanation"] = self.explanation.to_dict()
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Solution:
        """The inverse of `to_dict`: an equal value, from what JSON gives back.

        Raises:
            InputFileError: it is not the JSON of a solve, or not a whole one.
            QueryError, ConfigError: a query or a config in it that is refused.
        """
        if not isinstance(values, Mapping) or not str(values.get("schema")).startswith("diysolve.solution/"):
            raise InputFileError("solution", values, "is not the JSON of a solve: its schema is diysolve.solution/1")
        try:
            return cls._from_known(values)
        except (RequestError, ConfigError):
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputFileError("solution", SCHEMA, f"is not whole: {error!r}") from None

    @classmethod
    def _from_known(cls, values: Mapping[str, Any]) -> Solution:
        binding, explanation = values["binding"], values.get("explanation")
        return _built(
            cls,
            values,
            status=Status(values["status"]),
            query=Query.from_dict(values["query"]),
            stats=_built(Stats, values["stats"]),
            candidates=tuple(map(Candidate.from_dict, values["candidates"])),
            binding=_built(Binding, binding) if binding else None,
            nearest=tuple(map(NearMiss.from_dict, values.get("nearest", ()))),
            explanation=Explanation.from_dict(explanation) if explanation else None,
        )

    def rows(self) -> list[Row]:
        """One flat row per candidate, of plain values: `pandas.DataFrame(solution.rows())`. Empty when infeasible."""
        return [candidate.row() for candidate in self.candidates]
