"""Published GPU peaks of other people's models, predicted on fake tensors; all of them: benchmarks/memory_error.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.caching_allocator import MIB, CachingAllocator, Event, replay
from benchmarks.evidence_runs import Measurement, Run, dry_run, measurements
from benchmarks.memory_comparisons import agreements, compare, own_results, replay_of, slack_ratios
from diymodel import DIYConfig
from solver.recipe import Recipe
from solver.verify.dry_run.engine import run_backward
from solver.verify.dry_run.meter import Meter
from solver.verify.dry_run.tracing import fake_device

QUICK = (
    "cs336pro-small-512-fp32-allocated",
    "cs336pro-xl-128-fp32-fwd",
    "cs336pro-xl-2048-fp32-fwd",
    "cs336pro-xl-2048-bf16-fwd",
    "cs336enzo-xl-128-fp32-fwd",
    "cs336enzo-xl-512-bf16-fwd",
    "liger-ce-hf-131072",
    "liger-flce-hf-32768",
)
"""Rows that take a second or two."""


@pytest.fixture(scope="module")
def published() -> dict[str, Measurement]:
    return {measured.id: measured for measured in measurements()}


@pytest.mark.parametrize("row", QUICK)
def test_published_peaks_are_predicted(published: dict[str, Measurement], row: str) -> None:
    found = compare(published[row])
    assert -1 < found.error_allocated < 1
    assert -0.5 < found.error_replayed < 0.2


def test_published_peaks_of_prompts_are_predicted(published: dict[str, Measurement]) -> None:
    found = [compare(measured) for measured in published.values() if measured.metric == "prefill"]
    assert len(found) == 5
    for row in found:
        assert -0.3 < row.error < row.error_allocated < 0.3
        assert -0.3 < row.error_replayed < 0.3


def test_the_table_names_its_sources(published: dict[str, Measurement]) -> None:
    assert len(published) == len(measurements())
    assert all(measured.source and measured.bytes > 0 for measured in published.values())


def test_a_loss_alone_to_the_byte() -> None:
    """Five copies of the logits: logits, their kept gradient, the log-softmax, and two gradients on the way."""
    run = Run(model="loss 4096", micro_batch=8, seq_len=2048, precision="32-true", optimizer="none", mode="component")
    logits, targets = 4 * 16_384 * 4096, 8 * 16_384
    scalars = dry_run(run).peak_bytes - 5 * logits - targets
    assert 0 <= scalars <= 8 * 512


def test_blocks_keep_a_rest_of_up_to_a_mebibyte() -> None:
    allocator = CachingAllocator()
    allocator.request(1, 25 * MIB)
    assert (allocator.allocated, allocator.reserved) == (26 * MIB, 26 * MIB)
    allocator.request(2, 3 * MIB)
    assert (allocator.allocated, allocator.reserved) == (29 * MIB, 46 * MIB)
    allocator.release(2)
    allocator.request(3, 20 * MIB)
    assert (allocator.allocated, allocator.reserved) == (46 * MIB, 46 * MIB)
    allocator.request(4, 1)
    assert (allocator.allocated, allocator.reserved) == (46 * MIB + 512, 48 * MIB)


def test_a_workspace_for_each_thread_that_multiplies() -> None:
    events = [Event("step"), Event("product"), Event("product"), Event("backward"), Event("product")]
    peak = replay(events, 8 * MIB)
    assert (peak.allocated, peak.workspaces) == (16 * MIB, 2)


def test_gradients_of_gather_are_filled_in_place() -> None:
    """On fake tensors torch would fill a copy of the zeros, and the peak would be a tensor too high."""
    with fake_device("cuda"):
        x = torch.empty(1024, 1024, requires_grad=True)
        meter = Meter("cuda")
        with meter:
            loss = x.gather(1, torch.zeros(1024, 1, dtype=torch.int64)).sum()
            meter.instants = []
            run_backward(loss)
    assert max(instant.total for instant in meter.instants) < 1.1 * 4 * 1024 * 1024


def test_reserved_over_allocated() -> None:
    ratios = slack_ratios()
    assert len(ratios) >= 25
    assert 1 < ratios[0] <= ratios[-1] < 1.2


def test_drawn_configs_have_the_dry_runs_peak() -> None:
    assert all(found.every_moment and found.allocated for found in agreements(draws=6, seed=1))


def test_what_is_allocated_is_near_what_the_replayed_allocator_counts() -> None:
    """Many blocks of 1 to 10 MiB, whose rests are a mean; those of an odd large feed-forward, which are exact."""
    recipe = Recipe(micro_batch=2, seq_len=512)
    for hidden, intermediate in ((576, 2048), (1024, 2816)):
        config = DIYConfig(hidden_size=hidden, num_layers=6, num_heads=hidden // 64, intermediate_size=intermediate)
        assert -1 < replay_of(config, recipe).error < 2


def test_our_own_results_are_predicted_anew(tmp_path: Path) -> None:
    recipe = Recipe(seq_len=64)
    case = {"name": "tiny", "config": DIYConfig().to_dict(), "predicted": {"recipe": recipe.to_dict()}}
    outcomes = {"kind": "done", "peak_bytes": 10**8}, {"kind": "out of memory", "peak_bytes": 10**8}
    result = {"environment": {"gpu": "a card"}, "cases": [case | {"outcome": outcome} for outcome in outcomes]}
    (tmp_path / "gpu_check-a-card-2026-01-01.json").write_text(json.dumps(result))
    (found,) = own_results(tmp_path)
    assert (found.name, found.measured, found.closed_form) == ("tiny", 10**8, found.dry_run)
