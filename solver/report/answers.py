"""The finished answers of the commands other than solve, each with its JSON. Plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from solver.solution import Solution

if TYPE_CHECKING:
    from diymodel.config import DIYConfig
    from solver.card import Card, Comparison
    from solver.devices import Device
    from solver.families import Architecture
    from solver.interop.blueprints import Config
    from solver.memory.budget import MemoryReport
    from solver.presets import Preset, PublishedModel
    from solver.ranking.score import Score
    from solver.recipe import Recipe
    from solver.solution import Verification


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """One file of `diysolve count`: its params, or why it has none."""

    source: str
    model_type: str = "diy"
    params: dict[str, int] | None = None
    """total, embedding, attention, mlp, norm, lm_head; position, router, other where the family has them."""
    active: int | None = None
    """Params that take part in the forward of one token."""
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        if self.params is None:
            return {"source": self.source, "error": self.error}
        return {
            "source": self.source,
            "model_type": self.model_type,
            "params": dict(self.params),
            "active": self.active,
            "non_embedding": self.non_embedding,
        }

    @property
    def non_embedding(self) -> int | None:
        """All params but those of the embedding, the positions and the head."""
        if self.params is None:
            return None
        return self.params["total"] - sum(self.params.get(part, 0) for part in ("embedding", "position", "lm_head"))


@dataclass(frozen=True, slots=True)
class CountAnswer:
    """`diysolve count`."""

    configs: tuple[Counted, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"schema": "diysolve.count/1", "configs": [counted.to_dict() for counted in self.configs]}


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryAnswer:
    """`diysolve memory`."""

    source: str
    config: DIYConfig
    report: MemoryReport
    device: Device | None = None
    """The card whose budget it is, where one was named."""

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.report.to_dict(),
            "source": self.source,
            "config": self.config.to_dict(),
            "device": self.device.to_dict() if self.device else None,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """One file of `diysolve verify`."""

    source: str
    config: DIYConfig
    recipe: Recipe
    verification: Verification

    def to_dict(self) -> dict[str, Any]:
        return {"source": self.source, "verification": self.verification.to_dict()}

    def to_record(self, when: str, torch: str) -> dict[str, Any]:
        """Everything that is needed to read the result a year from now: `when` in ISO 8601, and torch's version."""
        return {
            "schema": "diysolve.record/1",
            "when": when,
            "torch": torch,
            "source": self.source,
            "config": self.config.to_dict(),
            "recipe": self.recipe.to_dict(),
            "verification": self.verification.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class VerifyAnswer:
    """`diysolve verify`."""

    configs: tuple[Verified, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"schema": "diysolve.verify/1", "configs": [verified.to_dict() for verified in self.configs]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """One config of `diysolve rank`."""

    index: int
    """Position in the input, from 0."""
    rank: int
    config: DIYConfig
    tokens: int
    score: Score

    def to_dict(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "rank": self.rank,
            "tokens": self.tokens,
            "score": self.score.to_dict(),
            "config": self.config.to_dict(),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class RankAnswer:
    """`diysolve rank`: best first."""

    tokens: int | None
    """Training tokens; None where the configs differ in them."""
    configs: tuple[Ranked, ...]
    caution: str = ""
    """Where the law extrapolates, and what it is fitted on."""

    def to_dict(self) -> dict[str, Any]:
        values = {
            "schema": "diysolve.rank/1",
            "tokens": self.tokens,
            "configs": [ranked.to_dict() for ranked in self.configs],
        }
        return {**values, "caution": self.caution} if self.caution else values


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportAnswer:
    """`diysolve export`."""

    source: str
    program: str
    builds: str
    """What the other program makes of the files."""
    config: Config
    params: dict[str, int]
    files: dict[str, int]
    """path -> bytes, of what was written."""
    notes: tuple[str, ...] = ()
    """What the other program does not have, or wants to be told."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": "diysolve.export/1",
            "source": self.source,
            "to": self.program,
            "builds": self.builds,
            "params": dict(self.params),
            "config": self.config.to_dict(),
            "files": [{"path": path, "bytes": size} for path, size in self.files.items()],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class DevicesAnswer:
    """`diysolve devices`."""

    devices: tuple[Device, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"schema": "diysolve.devices/1", "devices": [device.to_dict() for device in self.devices]}


@dataclass(frozen=True, slots=True)
class PresetsAnswer:
    """`diysolve presets`."""

    presets: tuple[Preset, ...]
    published: tuple[tuple[PublishedModel, Architecture], ...] = ()
    """Models of other families, each with what decides its count."""

    def to_dict(self) -> dict[str, Any]:
        presets = [preset.to_dict() for preset in self.presets] + [model.to_dict() for model, _ in self.published]
        return {"schema": "diysolve.presets/1", "presets": presets}


@dataclass(frozen=True, slots=True)
class ExplainAnswer:
    """`diysolve explain`."""

    card: Card
    sources: bool = False
    """Whether every figure's formula and source are shown; the JSON has them always."""

    def to_dict(self) -> dict[str, Any]:
        return {"schema": "diysolve.explain/1", **self.card.to_dict()}


@dataclass(frozen=True, slots=True)
class CompareAnswer:
    """`diysolve compare`."""

    comparison: Comparison

    def to_dict(self) -> dict[str, Any]:
        return self.comparison.to_dict()


Answer = (
    Solution
    | CountAnswer
    | MemoryAnswer
    | VerifyAnswer
    | RankAnswer
    | ExportAnswer
    | DevicesAnswer
    | PresetsAnswer
    | ExplainAnswer
    | CompareAnswer
)
"""Whatever a command has found."""
