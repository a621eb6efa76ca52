"""Steps of the real model on a device: first to see that it computes, then for time and memory in the steady state."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from diymodel.step import autocast, make_optimizer, make_scaler
from solver.recipe import Recipe
from solver.verify.job import build, inference_step, logits_of, tokens, training_step
from solver.verify.measure import Outcome, Trial

FORWARD_TOKENS = 128
"""Tokens of the forward pass whose logits are all looked at: few, so that it never needs more than a step does."""

MAX_SKIPPED_STEPS = 16
"""Steps that the loss scaler may skip before the steady state: it starts at 2^16 and halves at each."""

_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")


class Gauge:
    """The counters of one kind of device. None where torch has none: the CPU has no memory counters, mps no peak."""

    def __init__(self, device: str) -> None:
        self._torch: Any = torch.get_device_module(device)
        self._device = device

    @property
    def name(self) -> str:
        """The kind of device and, where torch knows it, the name of the card."""
        get_name = getattr(self._torch, "get_device_name", None)
        return f"{self._device}: {get_name()}" if get_name else self._device

    def read(self, counter: str) -> int | None:
        """`memory_allocated`, `max_memory_allocated`, `max_memory_reserved`."""
        function = getattr(self._torch, counter, None)
        return int(function()) if function else None

    def free_and_total(self) -> tuple[int | None, int | None]:
        mem_get_info = getattr(self._torch, "mem_get_info", None)
        return mem_get_info() if mem_get_info else (None, None)

    def reset_peak(self) -> None:
        reset = getattr(self._torch, "reset_peak_memory_stats", None)
        if reset:
            reset()

    def synchronize(self) -> None:
        self._torch.synchronize()

    def drop_workspace(self) -> int | None:
        """Free what cuBLAS keeps in the allocator from one call to the next; returns how many bytes that was."""
        clear = getattr(torch._C, "_cuda_clearCublasWorkspaces", None)
        if self._device != "cuda" or clear is None:
            return None
        before = self.read("memory_allocated") or 0
        clear()
        return before - (self.read("memory_allocated") or 0)


class _Seen:
    """What is known so far, for the case that the trial ends early."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.stage = ""
        self.loss: float | None = None
        self.forward_finite: bool | None = None
        self.seconds: list[float] = []

    def enter(self, stage: str) -> None:
        self.stage = stage
        self.say(stage)


MOST_MICRO_BATCHES = 4
"""Of a step that accumulates more, so many are taken, so that a trial takes seconds and the peak is that of all. Its
tokens per second then bear more of the optimizer's time than a whole step's do."""


def run_trial(trial: Trial, say: Callable[[str], None] = lambda stage: None) -> Outcome:
    """Run a trial in this process. Out of memory is an outcome; any other failure is raised.

    Args:
        say: called with the name of each stage as it begins.
    """
    gauge, seen = Gauge(trial.device), _Seen(say)
    free, total = gauge.free_and_total()
    error = ""
    try:
        with torch.random.fork_rng(devices=[]):
            _run(trial, gauge, seen)
    except (RuntimeError, MemoryError) as failure:
        if not is_out_of_memory(failure):
            raise
        error = str(failure).splitlines()[0] if str(failure) else "MemoryError"
    return _outcome(trial, gauge, seen, free, total, error)


def is_out_of_memory(failure: BaseException) -> bool:
    """Every back end says it in its own way; torch has a class for it only on some."""
    if isinstance(failure, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(failure, RuntimeError) and any(phrase in str(failure) for phrase in _OUT_OF_MEMORY)


def _run(trial: Trial, gauge: Gauge, seen: _Seen) -> None:
    seen.enter("build")
    torch.manual_seed(0)
    model = build(trial.config, trial.recipe, trial.device)
    input_ids = tokens(trial.config, trial.recipe, trial.device)
    seen.enter("forward")
    seen.forward_finite = _forward_is_finite(model, input_ids, trial.recipe)
    seen.enter("warm-up")
    step = _warm_up(model, input_ids, trial, seen)
    gauge.synchronize()
    gauge.reset_peak()
    seen.enter("steps")
    for _ in range(trial.timed):
        started = time.perf_counter()
        step()
        gauge.synchronize()
        seen.seconds.append(time.perf_counter() - started)
    seen.enter("done")


@torch.no_grad()
def _forward_is_finite(model: nn.Module, input_ids: Tensor, recipe: Recipe) -> bool:
    with autocast(recipe.precision, input_ids.device.type):
        logits = logits_of(model, input_ids[:1, :FORWARD_TOKENS], recipe)
    return bool(torch.isfinite(logits).all())


def _warm_up(model: nn.Module, input_ids: Tensor, trial: Trial, seen: _Seen) -> Callable[[], Tensor]:
    """Take the first steps; returns what takes one more."""
    recipe = trial.recipe
    if recipe.mode == "infer":
        for _ in range(trial.warm_up):
            logits = inference_step(model, input_ids, recipe)
            seen.forward_finite = bool(seen.forward_finite and torch.isfinite(logits).all())
        return lambda: inference_step(model, input_ids, recipe)
    optimizer = make_optimizer(model.parameters(), recipe.optimizer)
    scaler = make_scaler(recipe.precision, trial.device)

    batch = [input_ids] * micro_batches(recipe)

    def step() -> Tensor:
        return training_step(model, batch, recipe, optimizer=optimizer, scaler=scaler)

    seen.loss = float(step())
    for _ in range(trial.warm_up - 1):
        step()
    if scaler:
        _settle(step, scaler)
    return step


def micro_batches(recipe: Recipe) -> int:
    """How many of a step's micro-batches are taken: all are alike from the second one on."""
    return min(recipe.accumulation or 1, MOST_MICRO_BATCHES)


def _settle(step: Callable[[], Tensor], scaler: torch.amp.GradScaler) -> None:
    """Take steps until one is not skipped: before that the optimizer has no states, and no steady state is reached."""
    for _ in range(MAX_SKIPPED_STEPS):
        scale = scaler.get_scale()
        step()
        if scaler.get_scale() >= scale:
            return


def _outcome(trial: Trial, gauge: Gauge, seen: _Seen, free: int | None, total: int | None, error: str) -> Outcome:
    peak, reserved = gauge.read("max_memory_allocated"), gauge.read("max_memory_reserved")
    still_free, _ = gauge.free_and_total()
    workspace = gauge.drop_workspace()
    seconds = statistics.median(seen.seconds) if seen.seconds else None
    return Outcome(
        kind="out of memory" if error else "done",
        device=gauge.name,
        stage=seen.stage,
        error=error,
        loss=seen.loss,
        forward_finite=seen.forward_finite,
        peak_bytes=None if peak is None else peak - (workspace or 0),
        workspace_bytes=workspace,
        reserved_bytes=reserved,
        process_bytes=None if free is None or still_free is None else free - still_free,
        free_bytes=free,
        total_bytes=total,
        step_seconds=seconds,
        tokens_per_second=micro_batches(trial.recipe) * trial.recipe.tokens / seconds if seconds else None,
    )
