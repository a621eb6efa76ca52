"""From a peak to a card: what the device must hold besides the tensors, and whether it fits a budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from solver.counts import Int
from solver.recipe import Recipe

CUBLAS_WORKSPACE_BYTES = 2 * 32 * 2**20
"""What torch hands to cuBLAS, from its own allocator, at the first matrix product of each thread: the forward pass has
one and autograd's backward pass another. 32 MiB each on Hopper (torch, `CUDABlas.cpp`, the default of
CUBLAS_WORKSPACE_CONFIG), 8.125 MiB on older cards. The larger is assumed, and two of them for inference too."""

CUDA_CONTEXT_BYTES = 512 * 2**20
"""The CUDA context, outside torch's allocator. 426 MiB were seen bare (RTX 6000 Ada, torch 2.10, CUDA 13.0:
unslothai/unsloth-zoo#1053); the kernels that a step loads into it add to that (assumption: up to 512 MiB)."""

SLACK_PER_MILLE = 38
"""Reserved over allocated memory less one: the median of 25 published pairs of max_memory_reserved and
max_memory_allocated of one run, 1.038 (`benchmarks/evidence/reserved_over_allocated.csv`). What is allocated counts
the rests that stay with large blocks (`solver.memory.tensors.counted`)."""

RESERVE_PER_MILLE = 129
"""From the median to the 90th percentile of the same 25 pairs, 1.167: a config `fits` with this much of what it
allocates to spare, and is `uncertain` without."""

SCHEMA = "diysolve.memory/1"

Verdict = Literal["fits", "uncertain", "does not fit"]


def device_bytes(allocated_bytes: Int) -> Int:
    """What the card must hold: what is allocated, cuBLAS workspace, CUDA context, and the allocator's median slack."""
    return allocated_bytes + allocated_bytes * SLACK_PER_MILLE // 1000 + CUBLAS_WORKSPACE_BYTES + CUDA_CONTEXT_BYTES


def largest_allocation(budget_bytes: int) -> int:
    """The most allocated bytes whose device bytes are within the budget; negative where nothing is."""
    room = budget_bytes - CUBLAS_WORKSPACE_BYTES - CUDA_CONTEXT_BYTES
    most = room * 1000 // (1000 + SLACK_PER_MILLE)
    return most + 1 if device_bytes(most + 1) <= budget_bytes else most


def reserve_bytes(allocated_bytes: Int) -> Int:
    """What must be left for `fits`: the allocator's slack where it is unusually large."""
    return allocated_bytes * RESERVE_PER_MILLE // 1000


def fits(allocated_bytes: Int, budget_bytes: int) -> Any:
    """Whether the budget holds it with the reserve: a bool, or an array of them."""
    return device_bytes(allocated_bytes) + reserve_bytes(allocated_bytes) <= budget_bytes


def verdict(allocated_bytes: int, budget_bytes: int) -> Verdict:
    """fits: with the reserve; uncertain: only without it; does not fit: not even then."""
    if fits(allocated_bytes, budget_bytes):
        return "fits"
    return "uncertain" if device_bytes(allocated_bytes) <= budget_bytes else "does not fit"


@dataclass(frozen=True, kw_only=True, slots=True)
class Remedy:
    """One change of the recipe or the shape, by itself."""

    change: str
    """In words, with the option that makes it: `--checkpointing full`."""
    peak_bytes: int
    saved_bytes: int
    """By how much the peak falls."""
    fits: bool | None
    """True where the change alone brings the verdict to fits; None without a budget."""
    max_micro_batch: int | None
    """The largest micro-batch that fits with it; 0 if none does; None without a budget."""
    verdict: Verdict | None = None
    """With the change; None without a budget."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryReport:
    """The predicted memory of one config under one recipe, in bytes."""

    recipe: Recipe
    peak_bytes: int
    """Largest total over the moments: the bytes of all tensors, each in blocks of 512."""
    allocated_bytes: int
    """The same with the rests that the caching allocator leaves in large blocks: what `max_memory_allocated` shows,
    less cuBLAS' workspace."""
    device_bytes: int
    """That, cuBLAS' workspace, allocator slack and CUDA context: what must fit into the card."""
    reserve_bytes: int
    """What must be left over besides for the verdict `fits`."""
    binding: str
    """The moment whose total is the peak."""
    moments: dict[str, dict[str, int]]
    """moment -> "total" and every part."""
    budget_bytes: int | None = None
    verdict: Verdict | None = None
    max_micro_batch: int | None = None
    """Largest micro-batch whose verdict is "fits"; 0 if none; None without a budget."""
    remedies: tuple[Remedy, ...] = ()
    """What would make it fit; empty where it fits. Without a budget, what would save memory, if that was asked for."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "recipe": self.recipe.to_dict(),
            "peak_bytes": self.peak_bytes,
            "allocated_bytes": self.allocated_bytes,
            "device_bytes": self.device_bytes,
            "reserve_bytes": self.reserve_bytes,
            "binding": self.binding,
            "moments": {moment: dict(parts) for moment, parts in self.moments.items()},
            "budget_bytes": self.budget_bytes,
            "verdict": self.verdict,
            "max_micro_batch": self.max_micro_batch,
            "remedies": [{name: getattr(remedy, name) for name in remedy.__slots__} for remedy in self.remedies],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MemoryReport:
        """The inverse of `to_dict`. A key that is missing raises KeyError, one that is not known is left out."""
        made: dict[str, Any] = {
            "recipe": Recipe(**values["recipe"]),
            "remedies": tuple(Remedy(**remedy) for remedy in values["remedies"]),
        }
        return cls(**{name: made.get(name, values[name]) for name in cls.__slots__})
