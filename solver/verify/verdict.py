"""What a count and a trial say about a prediction: one `Verification`. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from diymodel.config import DIYConfig
from solver.memory import MemoryReport
from solver.memory.budget import CUBLAS_WORKSPACE_BYTES
from solver.solution import Verification
from solver.units import short_bytes
from solver.verify.count import differences
from solver.verify.measure import Outcome

MARGIN_PERCENT = 1
"""How far a measured peak may lie above the predicted one (the command line's contract: exit code 1 beyond it). The
predicted one is `allocated_bytes` here: measured is what the allocator counts."""

LOSS_MARGIN = 1.0
"""Nats that the first loss may lie away from ln(vocab_size) without a remark (as in `diymodel.checks`)."""


def judge(
    config: DIYConfig,
    memory: MemoryReport,
    *,
    predicted: Mapping[str, int],
    counted: Mapping[str, int],
    simulated_bytes: int | None = None,
    outcome: Outcome | None = None,
    note: str = "",
) -> Verification:
    """Predicted beside counted, simulated and measured.

    Args:
        predicted, counted: params by component, with their "total".
        simulated_bytes: the peak of a dry run at the report's recipe, if there was one.
        outcome: of a trial, if there was one. Its memory is compared only if it was run at the report's own recipe
            on an accelerator; the CPU has no counters, so there it has none.
        note: what the caller has to say about how it was done.
    """
    unequal = differences(predicted, counted)
    remarks = [note, *(f"count differs: {phrase}" for phrase in unequal)]
    if simulated_bytes and abs(simulated_bytes - memory.peak_bytes) * 1000 > memory.peak_bytes:
        remarks.append(f"simulated {simulated_bytes:,} bytes, predicted {memory.peak_bytes:,}")
    refuted = False
    if outcome:
        refutation = _memory_refutation(outcome, memory)
        remarks += [*_remarks(outcome, config), refutation]
        refuted = _not_finite(outcome) or bool(refutation)
    return Verification(
        device=outcome.device if outcome else "meta",
        params={"predicted": predicted["total"], "counted": counted["total"], "equal": not unequal},
        simulated=_simulated(simulated_bytes, memory),
        measured=_measured(outcome, memory) if outcome else None,
        forward_finite=outcome.forward_finite if outcome else None,
        loss=outcome.loss if outcome and outcome.loss is not None and math.isfinite(outcome.loss) else None,
        note="; ".join(filter(None, remarks)),
        agrees=not unequal and not refuted,
    )


def _simulated(peak_bytes: int | None, memory: MemoryReport) -> dict[str, Any] | None:
    return {"peak_bytes": peak_bytes, "ratio": memory.peak_bytes / peak_bytes} if peak_bytes else None


def _measured(outcome: Outcome, memory: MemoryReport) -> dict[str, Any] | None:
    """None for a trial that told nothing about a device: on the CPU, timed out, crashed."""
    if outcome.device == "cpu" or outcome.kind not in ("done", "out of memory"):
        return None
    out_of_memory = outcome.kind == "out of memory"
    return {
        "peak_bytes": outcome.peak_bytes,
        "reserved_bytes": outcome.reserved_bytes,
        "ratio": memory.allocated_bytes / outcome.peak_bytes if outcome.peak_bytes and not out_of_memory else None,
        "step_seconds": outcome.step_seconds,
        "tokens_per_second": outcome.tokens_per_second,
        "workspace_bytes": outcome.workspace_bytes,
        "process_bytes": outcome.process_bytes,
        "out_of_memory": out_of_memory,
    }


def _not_finite(outcome: Outcome) -> bool:
    return outcome.forward_finite is False or (outcome.loss is not None and not math.isfinite(outcome.loss))


def _memory_refutation(outcome: Outcome, memory: MemoryReport) -> str:
    """How the measurement refutes the prediction; empty where it does not."""
    peak = (outcome.peak_bytes or 0) - _workspace_within(outcome)
    if outcome.kind == "done" and 100 * peak > (100 + MARGIN_PERCENT) * memory.allocated_bytes:
        return f"the measured peak is {100 * (peak / memory.allocated_bytes - 1):.1f} % above the predicted one"
    if outcome.kind == "out of memory" and outcome.device != "cpu" and _should_have_fitted(outcome, memory):
        return "it was predicted to fit"
    return ""


def _workspace_within(outcome: Outcome) -> int:
    """What of a peak may be cuBLAS' workspace: torch 2.15 takes it back after each product, and so cannot say."""
    return CUBLAS_WORKSPACE_BYTES if outcome.workspace_bytes == 0 else 0


def _should_have_fitted(outcome: Outcome, memory: MemoryReport) -> bool:
    """By what was free on the card itself, which may be smaller than the budget; else by the budget's verdict."""
    if outcome.free_bytes is not None:
        return memory.device_bytes <= outcome.free_bytes
    return memory.verdict in ("fits", "uncertain")


def _remarks(outcome: Outcome, config: DIYConfig) -> list[str]:
    remarks = []
    if outcome.kind == "out of memory":
        reached = f", with {short_bytes(outcome.peak_bytes)} allocated" if outcome.peak_bytes else ""
        remarks.append(f"out of memory in {outcome.stage}{reached}")
    elif outcome.kind != "done":
        where = f" in {outcome.stage}" if outcome.stage else ""
        remarks.append(f"not measured: {outcome.kind}{where} ({outcome.error})")
    if outcome.forward_finite is False:
        remarks.append("the logits are not all finite")
    if outcome.loss is not None:
        expected = math.log(config.vocab_size)
        if not math.isfinite(outcome.loss):
            remarks.append("the loss of the first step is not finite")
        elif abs(outcome.loss - expected) > LOSS_MARGIN:
            remarks.append(f"the first loss, {outcome.loss:.2f}, is far from ln(vocab) = {expected:.2f}")
    return remarks
