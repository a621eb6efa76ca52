"""From a peak to a card: what the device must hold besides the tensors, and whether it fits a budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from solver.counts import Int
from solver.recipe import Recipe

CUBLAS_WORKSPACE_BYTES = 32 * 2**20
"""What torch 2.15 hands to cuBLAS, from its own allocator, for one matrix product, and takes back at once
(pytorch/pytorch#194311; TORCH_CUBLAS_WORKSPACE_CACHE, off by default, keeps it): so there is one, whichever thread
multiplies. 32 MiB on Hopper and Blackwell, 8.125 MiB on older cards (torch, `CublasHandlePool.cpp`, the default of
CUBLAS_WORKSPACE_CONFIG). The larger is assumed. Torch before 2.15 keeps one for each thread: in training, where
autograd's thread has its own, as much again."""

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

NCCL_PAIR_BYTES = 544 * 2**20
"""What NCCL holds on each of two cards that exchange gradients, outside torch's allocator: a group of two on 4 A100
with NVLink, after an all-reduce of 4 MB (NVIDIA/nccl#964). It grows with the channels, so with the bandwidth between
cards, and hardly with their number beyond one node (NVIDIA/nccl#864)."""

NCCL_GROUP_BYTES = 688 * 2**20
"""The same for more than two cards, from the same table."""

PREFILL_EVIDENCE = {
    "hf": "The peak of a prompt is held against five that are published, of Llama-3.1-8B with 8,000 to 128,000 tokens "
    "(NVIDIA/kvpress), and within 0.5 % of them.",
    "diy": "No peak of a prompt is published for this model; with --profile hf the predicted ones are within 0.5 % of "
    "five for Llama-3.1-8B (NVIDIA/kvpress).",
}
"""By the recipe's profile: what the memory of inference is held against. The peaks are the rows of kvpress in
`benchmarks/evidence/measured_memory.csv`."""

NO_PEAKS = (
    "Qwen's own figures for Qwen3 are no peaks (they grow by exactly the cache); up to 19 % above them is predicted."
)
"""The farthest is Qwen3-1.7B with a prompt of 30,720 tokens: 19.1 %."""

SCHEMA = "diysolve.memory/1"

Verdict = Literal["fits", "uncertain", "does not fit"]


def nccl_bytes(recipe: Recipe) -> int:
    """What NCCL holds on each card in data parallel, in bytes; nothing on a card alone."""
    if recipe.gpus == 1:
        return 0
    return NCCL_PAIR_BYTES if recipe.gpus == 2 else NCCL_GROUP_BYTES


def fixed_bytes(recipe: Recipe) -> int:
    """What the card must hold besides what is allocated and its slack, whatever the shape: cuBLAS' workspace, the CUDA
    context and NCCL."""
    return CUBLAS_WORKSPACE_BYTES + CUDA_CONTEXT_BYTES + nccl_bytes(recipe)


def device_bytes(allocated_bytes: Int, recipe: Recipe) -> Int:
    """What each card must hold: what is allocated, the allocator's median slack, and `fixed_bytes`."""
    return allocated_bytes + allocated_bytes * SLACK_PER_MILLE // 1000 + fixed_bytes(recipe)


def largest_allocation(budget_bytes: int, recipe: Recipe) -> int:
    """The most allocated bytes whose device bytes are within the budget; negative where nothing is."""
    room = budget_bytes - fixed_bytes(recipe)
    most = room * 1000 // (1000 + SLACK_PER_MILLE)
    return most + 1 if device_bytes(most + 1, recipe) <= budget_bytes else most


def reserve_bytes(allocated_bytes: Int) -> Int:
    """What must be left for `fits`: the allocator's slack where it is unusually large."""
    return allocated_bytes * RESERVE_PER_MILLE // 1000


def fits(allocated_bytes: Int, budget_bytes: int, recipe: Recipe) -> Any:
    """Whether the budget holds it with the reserve: a bool, or an array of them."""
    return device_bytes(allocated_bytes, recipe) + reserve_bytes(allocated_bytes) <= budget_bytes


def verdict(allocated_bytes: int, budget_bytes: int, recipe: Recipe) -> Verdict:
    """fits: with the reserve; uncertain: only without it; does not fit: not even then."""
    if fits(allocated_bytes, budget_bytes, recipe):
        return "fits"
    return "uncertain" if device_bytes(allocated_bytes, recipe) <= budget_bytes else "does not fit"


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
    """That, cuBLAS' workspace, allocator slack, CUDA context and, in data parallel, NCCL: what the card must hold."""
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

    @property
    def note(self) -> str:
        """What to keep in mind about the figures; empty where there is nothing."""
        return f"{PREFILL_EVIDENCE[self.recipe.profile]} {NO_PEAKS}" if self.recipe.mode == "infer" else ""

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
            "note": self.note,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MemoryReport:
        """The inverse of `to_dict`. A key that is missing raises KeyError, one that is not known is left out."""
        made: dict[str, Any] = {
            "recipe": Recipe(**values["recipe"]),
            "remedies": tuple(Remedy(**remedy) for remedy in values["remedies"]),
        }
        return cls(**{name: made.get(name, values[name]) for name in cls.__slots__})
