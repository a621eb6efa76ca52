"""Verdicts and remedies mean what they say: each is tried, and does what it promises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.caching_allocator import CachingAllocator
from diymodel.config import DIYConfig
from solver import Recipe, counts, memory
from solver.errors import RecipeError
from solver.memory import budget, tensors
from solver.presets import find
from solver.query import Query
from solver.report.listings import memory_page
from solver.search import solve
from solver.solution import Status

CONFIG = DIYConfig(hidden_size=1024, num_layers=29, num_heads=16, intermediate_size=4096, max_seq_len=2048)
LARGE = Recipe(micro_batch=16)
BUDGET = 24 * 10**9


def test_states_of_adamw_in_float32_are_16_bytes_a_parameter() -> None:
    """4 of weights, 4 of gradients, 8 of optimizer states: before activations, and up to the allocator's rounding."""
    step = memory.report(CONFIG, Recipe(precision="32-true")).moments["optimizer_step"]
    states = step["weights"] + step["gradients"] + step["optimizer"]
    assert states == pytest.approx(16 * counts.total(CONFIG), rel=1e-3)


MIB = 2**20


@pytest.mark.parametrize(
    ("request_bytes", "held"),
    [
        (1, 512),
        (MIB, MIB),
        (10 * MIB, 10 * MIB),
        (11 * MIB, 12 * MIB),
        (11 * MIB - 512, 11 * MIB - 512),  # 512 bytes more than 1 MiB are split off
        (25 * MIB + 1, 26 * MIB),
        (100 * MIB, 100 * MIB),
    ],
)
def test_what_a_request_counts_is_what_the_allocator_holds(request_bytes: int, held: int) -> None:
    """On a fresh allocator; in between, where blocks are cut from one segment, it is a mean that a test of the
    published figures holds."""
    allocator = CachingAllocator()
    allocator.request(1, request_bytes)
    assert tensors.counted(request_bytes) == allocator.allocated == held
    assert tensors.counted(np.array([request_bytes])).tolist() == [held]


@given(st.integers(1, 30 * MIB), st.integers(0, 2 * MIB))
def test_a_larger_request_never_counts_less(request_bytes: int, more: int) -> None:
    """The search over shapes relies on it: memory grows with every side."""
    assert tensors.counted(request_bytes) <= tensors.counted(request_bytes + more)
    assert tensors.rounded(request_bytes) <= tensors.counted(request_bytes) <= tensors.rounded(request_bytes) + MIB


def test_the_budget_is_compared_with_what_is_allocated() -> None:
    """A feed-forward of 11 MiB a weight has segments of 12."""
    odd = replace(CONFIG, intermediate_size=2816)
    report = memory.report(odd, Recipe())
    assert report.allocated_bytes > 1.02 * report.peak_bytes
    assert report.device_bytes == budget.device_bytes(report.allocated_bytes, Recipe())


def test_totals_are_the_sums_of_the_parts() -> None:
    for mode in ("train", "infer"):
        report = memory.report(CONFIG, Recipe(mode=mode))  # type: ignore[arg-type]
        for parts in report.moments.values():
            assert parts["total"] == sum(value for part, value in parts.items() if part != "total")
            assert set(parts) == {"total", *memory.PARTS}
        assert report.peak_bytes == report.moments[report.binding]["total"]
        assert report.peak_bytes == max(parts["total"] for parts in report.moments.values())


def test_verdict_has_three_steps() -> None:
    peak = 10 * 10**9
    needed = budget.device_bytes(peak, Recipe())
    assert needed > peak + budget.CUBLAS_WORKSPACE_BYTES + budget.CUDA_CONTEXT_BYTES
    assert budget.verdict(peak, needed - 1, Recipe()) == "does not fit"
    assert budget.verdict(peak, needed, Recipe()) == "uncertain"
    assert budget.verdict(peak, needed + budget.reserve_bytes(peak) - 1, Recipe()) == "uncertain"
    assert budget.verdict(peak, needed + budget.reserve_bytes(peak), Recipe()) == "fits"


@given(st.integers(1, 10**13), st.integers(1, 10**12))
def test_more_peak_never_fits_better(peak: int, more: int) -> None:
    recipe = Recipe()
    assert budget.device_bytes(peak + more, recipe) > budget.device_bytes(peak, recipe)
    order = ["fits", "uncertain", "does not fit"]
    assert order.index(budget.verdict(peak, BUDGET, recipe)) <= order.index(budget.verdict(peak + more, BUDGET, recipe))


@pytest.mark.parametrize(("gpus", "mebibytes"), [(1, 0), (2, 544), (3, 688), (8, 688)])
def test_data_parallel_holds_what_nccl_takes(gpus: int, mebibytes: int) -> None:
    """NVIDIA/nccl#964: 544 MiB for a group of two A100, 688 for more; in the report, the verdict and the inverse."""
    alone, recipe = Recipe(), Recipe(gpus=gpus)
    needed = budget.device_bytes(10**9, recipe)
    assert needed - budget.device_bytes(10**9, alone) == mebibytes * 2**20
    assert budget.largest_allocation(needed, recipe) == 10**9
    assert (budget.verdict(10**9, needed, recipe), budget.verdict(10**9, needed - 1, recipe)) == (
        "uncertain", "does not fit",
    )  # fmt: skip
    report = memory.report(CONFIG, recipe)
    assert report.device_bytes == budget.device_bytes(report.allocated_bytes, recipe)


def test_a_search_counts_nccl() -> None:
    words: dict[str, Any] = {"target": "20M", "seq": 512, "gpus": 2, "top": 1}
    best = solve(Query.parse(**words)).candidates[0]
    assert best.memory is not None
    assert best.memory.device_bytes == budget.device_bytes(best.memory.allocated_bytes, Recipe(gpus=2))
    tight = Query.parse(**words, vram="100MB")
    needed = min(miss.device_bytes or 0 for miss in solve(tight).nearest)
    assert needed > 544 * 2**20
    assert solve(replace(tight, vram_bytes=needed)).status is Status.SOLVED
    assert solve(replace(tight, vram_bytes=needed - 1)).status is Status.INFEASIBLE


def test_one_workspace_of_cublas_as_torch_2_15_has_it() -> None:
    assert budget.fixed_bytes(Recipe()) == (32 + 512) * 2**20


@pytest.mark.parametrize("profile", ["diy", "hf"])
def test_serving_says_what_its_peak_is_held_against(profile: str) -> None:
    served = memory.report(CONFIG, Recipe.parse(mode="infer", profile=profile))
    assert "Qwen's own figures" in served.note
    assert "are no peaks" in served.note
    assert "within 0.5 %" in served.note
    assert served.to_dict()["note"] == served.note
    trained = memory.report(CONFIG, Recipe())
    assert trained.to_dict()["note"] == trained.note == ""
    pages = {mode: str(memory_page(report)) for mode, report in (("infer", served), ("train", trained))}
    assert (served.note in pages["infer"], "no peaks" in pages["train"]) == (True, False)


def test_a_config_that_fits_needs_no_remedy() -> None:
    assert memory.report(CONFIG, Recipe(), BUDGET).remedies == ()
    assert memory.report(CONFIG, LARGE).remedies == ()


@pytest.mark.parametrize("checkpointing", ["none", "full"])
def test_without_a_budget_every_change_says_what_it_saves(checkpointing: str) -> None:
    recipe = replace(LARGE, checkpointing=checkpointing)  # type: ignore[arg-type]
    found = memory.savings(CONFIG, recipe)
    assert ("--checkpointing full" in [remedy.change for remedy in found]) == (checkpointing == "none")
    for remedy in found:
        peak = memory.peak_bytes(CONFIG, changed(recipe, remedy.change))
        assert remedy.saved_bytes == memory.peak_bytes(CONFIG, recipe) - peak > 0
        assert (remedy.fits, remedy.max_micro_batch) == (None, None)


def words(change: str) -> dict[str, str]:
    """The options of a remedy's text, as words for `Recipe.parse`."""
    parts = change.replace(" + ", " ").split()
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {option.removeprefix("--").replace("-", "_"): value for option, value in pairs}


def changed(recipe: Recipe, change: str) -> Recipe:
    given_words = words(change)
    numbers = {name: int(value) for name, value in given_words.items() if value.isdigit()}
    same = {name: value for name, value in recipe.to_dict().items() if name != "accumulation"}
    return Recipe.parse(**{**same, "accumulate": recipe.accumulation, **given_words, **numbers})


@pytest.mark.parametrize(
    ("recipe", "vram"),
    [
        (LARGE, BUDGET),
        (replace(LARGE, attention="eager", optimizer="adamw-foreach", precision="32-true"), BUDGET),
        (replace(LARGE, optimizer="adamw-foreach"), 8 * 10**9),
        (Recipe(mode="infer", micro_batch=64, precision="32-true"), 4 * 10**9),
    ],
)
def test_every_remedy_does_what_it_promises(recipe: Recipe, vram: int) -> None:
    report = memory.report(CONFIG, recipe, vram)
    assert report.verdict == "does not fit"
    assert report.remedies
    for remedy in report.remedies:
        assert remedy.saved_bytes == report.peak_bytes - remedy.peak_bytes > 0
        if remedy.change.startswith("--"):
            tried = changed(recipe, remedy.change)
            again = memory.report(CONFIG, tried, vram)
            assert again.peak_bytes == remedy.peak_bytes
            assert remedy.verdict == again.verdict
            assert remedy.fits == (again.verdict == "fits")
            assert again.max_micro_batch == remedy.max_micro_batch

    verdicts = [remedy.verdict for remedy in report.remedies]
    assert verdicts == sorted(verdicts, key=["fits", "uncertain", "does not fit"].index)


def test_a_smaller_micro_batch_is_measured_with_the_gradients_that_it_accumulates() -> None:
    """As many sequences a step as before, and gradients that live through all micro-batches but the first: the remedy
    that was found without them would not fit the card."""
    preset, recipe = find("llama-3.2-1b"), Recipe(micro_batch=300, seq_len=512, checkpointing="full", loss="chunked")
    assert preset is not None
    config, budget_bytes = preset.config, 32 * 10**9
    report = memory.report(config, recipe, budget_bytes)
    (remedy,) = [remedy for remedy in report.remedies if "--micro-batch" in remedy.change]
    tried = changed(recipe, remedy.change)
    assert tried.accumulation == -(-300 // tried.micro_batch) > 1
    assert memory.report(config, tried, budget_bytes).verdict == "fits"
    assert memory.report(config, replace(tried, micro_batch=tried.micro_batch + 1), budget_bytes).verdict != "fits"
    without = memory.report(config, replace(tried, accumulation=1), budget_bytes)
    assert remedy.peak_bytes > 1.04 * without.peak_bytes


def test_the_largest_micro_batch_is_the_last_that_fits() -> None:
    report = memory.report(CONFIG, LARGE, BUDGET)
    assert report.max_micro_batch
    verdicts = [
        memory.report(CONFIG, replace(LARGE, micro_batch=report.max_micro_batch + more), BUDGET).verdict
        for more in (0, 1)
    ]
    assert verdicts[0] == "fits"
    assert verdicts[1] != "fits"


def test_fewer_layers_are_as_many_as_fit() -> None:
    remedies = memory.report(CONFIG, LARGE, BUDGET).remedies
    (remedy,) = [remedy for remedy in remedies if "layers instead of" in remedy.change]
    layers = int(remedy.change.split()[0])
    assert memory.report(replace(CONFIG, num_layers=layers), LARGE, BUDGET).verdict == "fits"
    assert memory.report(replace(CONFIG, num_layers=layers + 1), LARGE, BUDGET).verdict != "fits"


def test_a_combination_is_named_only_where_no_single_change_is_enough() -> None:
    for vram in range(3, 24):
        remedies = memory.report(CONFIG, LARGE, vram * 10**9).remedies
        single = [remedy for remedy in remedies if remedy.change.startswith("--") and " + " not in remedy.change]
        combined = [remedy for remedy in remedies if " + " in remedy.change]
        assert len(combined) <= 1
        if combined:
            assert combined[0].fits
            assert not any(remedy.fits for remedy in single)


@given(st.integers(1, 64), st.integers(1, 64))
def test_memory_grows_with_every_size(micro_batch: int, more: int) -> None:
    small = Recipe(micro_batch=micro_batch, seq_len=256)
    large = replace(small, micro_batch=micro_batch + more)
    assert memory.peak_bytes(CONFIG, large) >= memory.peak_bytes(CONFIG, small)
    deeper = replace(CONFIG, num_layers=CONFIG.num_layers + more)
    assert memory.peak_bytes(deeper, small) > memory.peak_bytes(CONFIG, small)


def test_a_sequence_beyond_the_config_is_refused() -> None:
    with pytest.raises(RecipeError, match="seq=4096"):
        memory.report(CONFIG, Recipe(seq_len=4096))
