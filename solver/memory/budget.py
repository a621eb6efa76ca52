"""From a peak to a card: what the device must hold besides the tensors, and whether it fits a budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from solver.recipe import Recipe

SCHEMA = "diysolve.memory/1"

Verdict = Literal["fits", "uncertain", "does not fit"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Remedy:
    """One change of the recipe or the shape, by itself."""

    change: str
    """In words, with the option that makes it: `--checkpointing full`."""
    peak_bytes: int
    fits: bool
    """True where the change alone brings the verdict to fits or uncertain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryReport:
    """The predicted memory of one config under one recipe, in bytes."""

    recipe: Recipe
    peak_bytes: int
    """Largest total over the moments, as the caching allocator counts it (`max_memory_allocated`)."""
    device_bytes: int
    """Peak, allocator slack and CUDA context: what must fit into the card."""
    binding: str
    """The moment whose total is the peak."""
    moments: dict[str, dict[str, int]]
    """moment -> "total" and every part."""
    budget_bytes: int | None = None
    verdict: Verdict | None = None
    max_micro_batch: int | None = None
    """Largest micro-batch whose verdict is not "does not fit"; 0 if none; None without a budget."""
    remedies: tuple[Remedy, ...] = ()
    """What would make it fit; empty where it fits."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "recipe": self.recipe.to_dict(),
            "peak_bytes": self.peak_bytes,
            "device_bytes": self.device_bytes,
            "binding": self.binding,
            "moments": {moment: dict(parts) for moment, parts in self.moments.items()},
            "budget_bytes": self.budget_bytes,
            "verdict": self.verdict,
            "max_micro_batch": self.max_micro_batch,
            "remedies": [
                {"change": remedy.change, "peak_bytes": remedy.peak_bytes, "fits": remedy.fits}
                for remedy in self.remedies
            ],
        }
