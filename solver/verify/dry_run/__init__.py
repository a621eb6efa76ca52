"""The dry run: peak memory of a training step or of serving, simulated on fake tensors, on any machine.

`simulate` runs the same `training_step` as a real one, on tensors that have shapes but no values, with the operators
that a CUDA card takes, and follows every storage. What it leaves out: cuBLAS's workspace, the CUDA context and the
allocator's slack (`solver.memory` adds them), and small workspaces inside kernels (`kernels.workspace_bytes`).

A moment's figure is the peak of the live bytes during the stage that ends there:

| moment | stage |
|---|---|
| forward_end | from the start, where the last step's gradients are dropped, to the logits or to the chunked loss |
| loss | from there to the loss |
| backward | from the loss to the last gradient |
| optimizer_step | from there to the updated weights; with a loss scaler, its unscaling too |
| prefill | the prompt in one pass |
| decode | the last token of the sequence; what stays resident if nothing is decoded |

The step is one of a steady state: the optimizer has its states. Where gradients are accumulated, a moment's figure is
the largest of all micro-batches. Among instants of equal bytes the first one counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import takewhile

import torch

from diymodel.config import DIYConfig
from diymodel.model import DIYForCausalLM
from solver.errors import DeviceError, RecipeError
from solver.memory.moments import PARTS
from solver.recipe import Recipe
from solver.verify.dry_run.meter import Instant
from solver.verify.dry_run.tracing import Curves, ModuleFactory, trace, trace_huggingface

__all__ = ["PARTS", "Simulation", "has_operators_of", "simulate"]

TRACED_LAYERS = 2
"""A model of this depth and one of one layer more are traced; from there on, every instant is affine in the depth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Simulation:
    """Bytes by moment and part. Each moment has every part of PARTS, 0 where absent, and their sum as "total"."""

    moments: dict[str, dict[str, int]]
    allocated_bytes: int
    """The peak with the rests that the caching allocator leaves in large blocks (`solver.memory.tensors.counted`)."""

    @property
    def binding(self) -> str:
        """The moment with the largest total; the first one of equals."""
        return max(self.moments, key=lambda moment: self.moments[moment]["total"])

    @property
    def peak_bytes(self) -> int:
        return self.moments[self.binding]["total"]


def simulate(model: DIYConfig | ModuleFactory, recipe: Recipe, *, device: str = "cuda") -> Simulation:
    """The dry run of a config, or of any module that maps int (B, T) tokens to logits.

    A config is simulated at any depth from traces of two shallow models. A module is traced as it is.

    Args:
        model: a config, or what makes a module; it is called where tensors are fake, so that a large one costs nothing.
        device: "cuda", whether or not this machine has one, or "cpu".

    Raises:
        DeviceError: "cuda" under a torch that is built without it, as those for macOS are.
        RecipeError: a sequence beyond the config's max_seq_len; 16-mixed on the CPU; for a module that is not a
            DIYForCausalLM, inference, the chunked loss or full checkpointing (it may checkpoint itself).
    """
    if not has_operators_of(device):
        raise DeviceError("device", device, "a dry run of a card needs a torch that is built with CUDA; use cpu")
    if recipe.precision == "16-mixed" and device == "cpu":
        raise RecipeError("precision", recipe.precision, "needs a CUDA device; on the CPU use bf16-mixed")
    if not isinstance(model, DIYConfig):
        return _simulation(trace(model, recipe, device=device))
    if recipe.seq_len > model.max_seq_len:
        raise RecipeError("seq_len", recipe.seq_len, f"must be at most max_seq_len={model.max_seq_len} of the config")
    config = model

    def traced(num_layers: int) -> Curves:
        if recipe.profile == "hf":
            return trace_huggingface(replace(config, num_layers=num_layers), recipe, device=device)
        return trace(lambda: DIYForCausalLM(replace(config, num_layers=num_layers)), recipe, device=device)

    if config.num_layers <= TRACED_LAYERS + 1:
        return _simulation(traced(config.num_layers))
    shallow, deeper = traced(TRACED_LAYERS), traced(TRACED_LAYERS + 1)
    more = config.num_layers - TRACED_LAYERS
    return _simulation(
        [
            (moment, _extrapolated(instants, longer, more))
            for (moment, instants), (_, longer) in zip(shallow, deeper, strict=True)
        ]
    )


def has_operators_of(device: str) -> bool:
    """Whether the installed torch is built for a device. Without CUDA its graphs refuse fake tensors of a card."""
    return device != "cuda" or torch.backends.cuda.is_built()  # type: ignore[no-untyped-call]


def _simulation(curves: Curves) -> Simulation:
    stages: dict[str, list[Instant]] = {}
    for moment, instants in curves:
        stages.setdefault(moment, []).extend(instants)
    return Simulation(
        moments={moment: _peak(instants) for moment, instants in stages.items()},
        allocated_bytes=max(instant.allocated for instants in stages.values() for instant in instants),
    )


def _peak(instants: Iterable[Instant]) -> dict[str, int]:
    peak = max(instants, key=lambda instant: instant.total)
    return dict(zip(PARTS, peak.live, strict=True)) | {"total": peak.total}


def _extrapolated(shallow: list[Instant], deeper: list[Instant], more: int) -> list[Instant]:
    """Instants near both ends of a stage in a model of `more` layers more than the shallow one.

    The two traces run the same operators from the start until one has a layer more, and from there to the end. Counted
    from the start, and counted from the end, an instant is affine in the depth. What lies between is affine in the
    position of its layer, so that it exceeds neither its counterpart in the first layers nor that in the last.

    Operators also agree by chance a little beyond the layers that the traces share, for less than a layer; so the
    length of one layer is taken off both ends.
    """
    layer = len(deeper) - len(shallow)
    start = _common(shallow, deeper) - layer
    end = _common(shallow[::-1], deeper[::-1]) - layer
    early = [_line(shallow[i], deeper[i], more) for i in range(start)]
    late = [_line(shallow[i], deeper[i + layer], more) for i in range(len(shallow) - end, len(shallow))]
    return early + late


def _common(first: list[Instant], second: list[Instant]) -> int:
    """Length of the common start of two runs of operators."""
    return sum(1 for _ in takewhile(lambda pair: pair[0].op == pair[1].op, zip(first, second, strict=False)))


def _line(shallow: Instant, deeper: Instant, more: int) -> Instant:
    live = tuple(a + more * (b - a) for a, b in zip(shallow.live, deeper.live, strict=True))
    return Instant(shallow.op, live, shallow.allocated + more * (deeper.allocated - shallow.allocated))
