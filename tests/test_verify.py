"""Verification: the count of the real model, real steps, and what becomes of a trial that goes wrong."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given, settings

from diymodel import DIYConfig
from solver import Query, Recipe, Solution, counts, solve
from solver.errors import DeviceError, RecipeError
from solver.memory import report
from solver.memory.budget import CUBLAS_WORKSPACE_BYTES
from solver.verify import card as card_reader
from solver.verify import trial as trial_module
from solver.verify import verification, verify_candidates, verify_config
from solver.verify.count import count_on_meta, differences
from solver.verify.job import build, inference_step, tokens
from solver.verify.measure import WORKER, Outcome, Trial, run_worker
from solver.verify.trial import Gauge, run_trial
from solver.verify.verdict import judge
from tests.strategies import configs

CONFIG = DIYConfig(vocab_size=100, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64, max_seq_len=32)
RECIPE = Recipe(seq_len=32)
MEMORY = report(CONFIG, RECIPE)
COUNT = counts.count(CONFIG)
CARD = "cuda: a card"
ROOT = Path(__file__).parents[1]


def trial(**changes: Any) -> Trial:
    recipe = Recipe(precision="32-true", seq_len=16)
    return replace(Trial(config=CONFIG, recipe=recipe, device="cpu", warm_up=1, timed=0), **changes)


def outcome(**changes: Any) -> Outcome:
    """A measurement that agrees with the prediction, but for the changes."""
    values: dict[str, Any] = {
        "kind": "done",
        "device": CARD,
        "stage": "done",
        "loss": math.log(CONFIG.vocab_size),
        "forward_finite": True,
        "peak_bytes": MEMORY.peak_bytes,
        "reserved_bytes": 2 * MEMORY.peak_bytes,
        "step_seconds": 0.5,
        "tokens_per_second": 64.0,
    }
    return Outcome(**{**values, **changes})


def python(code: str) -> tuple[str, ...]:
    """A command that stands in for the worker."""
    return (sys.executable, "-c", code)


# the count


@settings(max_examples=25)
@given(configs())
def test_the_unfilled_model_has_the_predicted_params(config: DIYConfig) -> None:
    assert count_on_meta(config) == counts.count(config)


def test_counting_makes_no_weights_and_is_quick() -> None:
    config = DIYConfig(hidden_size=8192, num_layers=80, num_heads=64, num_kv_heads=8, intermediate_size=28672)
    started = time.perf_counter()
    assert count_on_meta(config)["total"] > 60_000_000_000
    assert time.perf_counter() - started < 5  # about 0.1 s; filling the weights would take far longer, if they fitted


def test_differences_name_the_component() -> None:
    assert differences(COUNT, COUNT) == []
    assert differences({"norm": 1000, "total": 1}, {"norm": 1001, "total": 1}) == [
        "norm: 1,000 predicted, 1,001 counted"
    ]


# the verdict


def test_what_agrees() -> None:
    verification = judge(CONFIG, MEMORY, predicted=COUNT, counted=COUNT, outcome=outcome())
    assert verification.agrees
    assert verification.device == CARD
    assert verification.params == {"predicted": COUNT["total"], "counted": COUNT["total"], "equal": True}
    assert verification.measured is not None
    assert verification.measured["ratio"] == 1
    assert verification.note == ""


def test_counts_that_differ_only_in_their_parts_disagree() -> None:
    counted = {**COUNT, "norm": COUNT["norm"] + 1, "mlp": COUNT["mlp"] - 1}
    verification = judge(CONFIG, MEMORY, predicted=COUNT, counted=counted)
    assert not verification.agrees
    assert not verification.params["equal"]
    assert "norm" in verification.note


@pytest.mark.parametrize(
    ("changes", "agrees", "note"),
    [
        ({"peak_bytes": MEMORY.peak_bytes * 101 // 100}, True, ""),
        ({"peak_bytes": MEMORY.peak_bytes + CUBLAS_WORKSPACE_BYTES, "workspace_bytes": 0}, True, ""),
        ({"peak_bytes": 102 * MEMORY.peak_bytes // 100}, False, "the measured peak is 2.0 % above the predicted one"),
        ({"peak_bytes": MEMORY.peak_bytes // 2}, True, ""),
        ({"peak_bytes": None}, True, ""),
        ({"loss": math.nan}, False, "not finite"),
        ({"loss": math.inf}, False, "not finite"),
        ({"loss": 9.0}, True, "far from ln(vocab)"),
        ({"forward_finite": False}, False, "logits"),
        ({"kind": "timed out", "stage": "steps", "error": "after 1 s"}, True, "timed out in steps (after 1 s)"),
        ({"kind": "crashed", "error": "killed"}, True, "not measured: crashed"),
    ],
)
def test_what_refutes_a_prediction(changes: dict[str, Any], agrees: bool, note: str) -> None:
    verification = judge(CONFIG, MEMORY, predicted=COUNT, counted=COUNT, outcome=outcome(**changes))
    assert verification.agrees is agrees
    assert note in verification.note
    json.dumps(verification.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("free_bytes", "verdict", "agrees"),
    [
        (MEMORY.device_bytes, None, False),
        (MEMORY.device_bytes - 1, "fits", True),  # the card is smaller than the budget
        (None, "fits", False),
        (None, "uncertain", False),
        (None, "does not fit", True),
        (None, None, True),
    ],
)
def test_out_of_memory_refutes_where_it_should_have_fitted(free_bytes: int | None, verdict: Any, agrees: bool) -> None:
    memory = replace(MEMORY, verdict=verdict)
    ended = outcome(kind="out of memory", stage="warm-up", free_bytes=free_bytes, peak_bytes=3 * 2**30, loss=None)
    verification = judge(CONFIG, memory, predicted=COUNT, counted=COUNT, outcome=ended)
    assert verification.agrees is agrees
    expected = "out of memory in warm-up, with 3.000 GiB allocated"
    assert verification.note == (expected if agrees else f"{expected}; it was predicted to fit")
    assert verification.measured is not None
    assert verification.measured["peak_bytes"] == 3 * 2**30
    assert verification.measured["ratio"] is None


def test_a_step_on_the_cpu_measures_nothing() -> None:
    ended = outcome(device="cpu", peak_bytes=None, reserved_bytes=None)
    assert judge(CONFIG, MEMORY, predicted=COUNT, counted=COUNT, outcome=ended).measured is None


# a trial in this process


@pytest.mark.parametrize("mode", ["train", "infer"])
def test_a_trial_runs_on_the_cpu(mode: Any) -> None:
    stages: list[str] = []
    state = torch.get_rng_state()
    recipe = Recipe(mode=mode, precision="32-true", seq_len=16)
    ended = run_trial(trial(recipe=recipe, warm_up=2, timed=2), say=stages.append)
    assert (ended.kind, ended.device, ended.forward_finite, ended.peak_bytes) == ("done", "cpu", True, None)
    assert stages == ["build", "forward", "warm-up", "steps", "done"]
    assert ended.step_seconds
    assert ended.tokens_per_second == 16 / ended.step_seconds
    if mode == "train":
        assert ended.loss == pytest.approx(math.log(CONFIG.vocab_size), abs=0.5)
    else:
        assert ended.loss is None
    assert torch.equal(state, torch.get_rng_state()), "the random state of the process was changed"


@pytest.mark.parametrize(
    "failure",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ],
)
def test_out_of_memory_is_an_outcome(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    def fail(*_: Any) -> None:
        raise failure

    monkeypatch.setattr(trial_module, "tokens", fail)
    ended = run_trial(trial())
    assert (ended.kind, ended.stage) == ("out of memory", "build")
    assert ended.error


def test_another_failure_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(trial_module, "tokens", fail)
    with pytest.raises(RuntimeError, match="device-side"):
        run_trial(trial())


class FakeCard:
    """torch's counters of a card: 100 bytes of workspace, and 50 bytes of the device for each look at it."""

    def __init__(self) -> None:
        self.allocated, self.free, self.calls = 1000, 10_000, list[str]()

    def get_device_name(self) -> str:
        return "Fake 1"

    def memory_allocated(self) -> int:
        return self.allocated

    def max_memory_allocated(self) -> int:
        return 5000

    def max_memory_reserved(self) -> int:
        return 6000

    def mem_get_info(self) -> tuple[int, int]:
        self.free -= 50
        return self.free, 20_000

    def reset_peak_memory_stats(self) -> None:
        self.calls.append("reset")

    def synchronize(self) -> None:
        self.calls.append("synchronize")

    def clear_workspaces(self) -> None:
        self.allocated -= 100


def test_what_a_card_says_is_taken_in_the_right_order(monkeypatch: pytest.MonkeyPatch) -> None:
    card = FakeCard()
    gauge = Gauge("cpu")
    monkeypatch.setattr(gauge, "_torch", card)
    monkeypatch.setattr(gauge, "_device", "cuda")
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", card.clear_workspaces, raising=False)
    monkeypatch.setattr(trial_module, "Gauge", lambda device: gauge)
    ended = run_trial(trial(timed=2))
    assert card.calls == ["synchronize", "reset", "synchronize", "synchronize"]
    assert ended.device == "cuda: Fake 1"
    assert (ended.peak_bytes, ended.workspace_bytes, ended.reserved_bytes) == (4900, 100, 6000)
    assert (ended.process_bytes, ended.free_bytes, ended.total_bytes) == (50, 9950, 20_000)


def test_the_steady_state_begins_after_the_steps_that_the_scaler_skips() -> None:
    scales = iter([8.0, 4.0, 4.0, 2.0, 2.0, 2.0, 1.0])
    steps: list[int] = []
    scaler: Any = SimpleNamespace(get_scale=lambda: next(scales))
    trial_module._settle(lambda: steps.append(1), scaler)  # type: ignore[arg-type, func-returns-value]
    assert len(steps) == 3


# what is run


def test_weights_and_tables_take_the_dtype_of_the_recipe_as_in_the_dry_run() -> None:
    """The forward pass casts the tables in any case; a model that is cast whole has them so already."""
    model = build(CONFIG, Recipe(precision="bf16-true"), "cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert {buffer.dtype for buffer in model.buffers()} == {torch.bfloat16}
    assert {buffer.dtype for buffer in build(CONFIG, Recipe(), "cpu").buffers()} == {torch.float32}
    assert model.training
    assert model.lm_head.weight is model.embedding.weight
    assert torch.get_default_dtype() == torch.float32


def test_an_inference_step_ends_with_the_logits_of_the_last_token() -> None:
    recipe = Recipe(mode="infer", precision="32-true", micro_batch=2, seq_len=9)
    model = build(CONFIG, recipe, "cpu")
    moments: list[str] = []
    input_ids = tokens(CONFIG, recipe, "cpu")
    logits = inference_step(model, input_ids, recipe, mark=moments.append)
    assert moments == ["prefill", "decode"]
    torch.testing.assert_close(logits, model(input_ids)[:, -1:])


# a trial in a process of its own


def test_the_worker_runs_a_trial() -> None:
    ended = run_worker(trial())
    assert (ended.kind, ended.device, ended.forward_finite) == ("done", "cpu", True), ended
    assert ended.loss == pytest.approx(math.log(CONFIG.vocab_size), abs=0.5)


def test_what_is_sent_and_answered_survives_the_pipe() -> None:
    asked = trial(recipe=Recipe(mode="infer"), timed=7)
    assert Trial.from_json(asked.to_json()) == asked
    answer = outcome()
    code = f"import sys; assert 'hidden_size' in sys.stdin.read(); print({answer.to_json()!r})"
    assert run_worker(asked, command=python(code)) == answer


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit('CUDA went away')", "exit code 1: CUDA went away"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9; often the machine ran out of RAM"),
        ("print('not json')", "cannot be read"),
        ("print('[]')", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_a_crash_is_an_outcome(code: str, said: str) -> None:
    ended = run_worker(trial(), command=python(code))
    assert ended.kind == "crashed"
    assert said in ended.error


PARENT_AND_CHILD = """
import os, subprocess, sys, time
child = subprocess.Popen(["sleep", "60"])
with open({path!r}, "w") as file:
    file.write(f"{{os.getpid()}} {{child.pid}}")
os.rename({path!r}, {path!r} + ".done")
print("warm-up", file=sys.stderr, flush=True)
time.sleep(60)
"""


def written_pids(path: Path) -> list[int]:
    return [int(word) for word in path.with_name(path.name + ".done").read_text().split()]


def is_running(pid: int) -> bool:
    """False for a process that ended and was not waited for, too."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def assert_ended(pids: list[int], seconds: float = 10) -> None:
    assert pids
    deadline = time.monotonic() + seconds
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still running: {pids}"
        time.sleep(0.05)


def test_a_timeout_kills_the_worker_and_its_children(tmp_path: Path) -> None:
    path = tmp_path / "pids"
    ended = run_worker(trial(), timeout_seconds=2, command=python(PARENT_AND_CHILD.format(path=str(path))))
    assert (ended.kind, ended.stage, ended.error) == ("timed out", "warm-up", "after 2 s")
    assert_ended(written_pids(path))


def test_an_interrupt_kills_the_worker_and_its_children(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "pids"

    def interrupted(*_: Any, **__: Any) -> Any:
        while not path.with_name("pids.done").exists():
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_worker(trial(), command=python(PARENT_AND_CHILD.format(path=str(path))))
    monkeypatch.undo()
    assert_ended(written_pids(path))


def test_a_worker_does_not_outlive_its_parent(tmp_path: Path) -> None:
    """The parent ends without a chance to kill it, while the worker waits for its trial."""
    reader, writer = os.pipe()  # stays open: it is not the end of the input that ends the worker
    log = tmp_path / "stderr"
    code = f"""
import os, subprocess
command = ({", ".join(map(repr, WORKER))}, str(os.getpid()))
with open({str(log)!r}, "w") as stderr:
    worker = subprocess.Popen(command, stdin={reader}, stdout=stderr, stderr=stderr, start_new_session=True)
print(worker.pid, flush=True)
os._exit(0)
"""
    parent = subprocess.run(python(code), capture_output=True, text=True, pass_fds=[reader], cwd=ROOT, check=True)
    assert_ended([int(parent.stdout)], seconds=60)
    assert log.read_text() == ""
    os.close(reader)
    os.close(writer)


# devices


def no_accelerator() -> None:
    return None


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without an accelerator."""
    monkeypatch.setattr(verification, "accelerator", no_accelerator)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[Trial]]:
    """A machine with a card whose worker answers as it is told to, one answer or exception after the other."""

    def with_answers(answers: Any) -> list[Trial]:
        asked: list[Trial] = []

        def answer(trial: Trial) -> Outcome:
            asked.append(trial)
            given = answers[len(asked) - 1]
            if isinstance(given, BaseException):
                raise given
            return given

        monkeypatch.setattr(verification, "run_worker", answer)
        return asked

    monkeypatch.setattr(verification, "accelerator", lambda: "cuda")
    return with_answers


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("cuda", "torch finds no accelerator"),
        ("mps", "use auto, cpu or meta"),
        ("cud", "did you mean cuda?"),
        ("tpu9", "device='tpu9'"),
    ],
)
@pytest.mark.usefixtures("bare")
def test_a_device_that_is_not_there_is_refused(device: str, said: str) -> None:
    with pytest.raises(DeviceError) as refusal:
        verify_config(CONFIG, RECIPE, device=device)
    assert said in str(refusal.value)


def test_another_accelerator_is_refused_by_naming_the_one_that_is_there(card: Any) -> None:
    card([])
    with pytest.raises(DeviceError, match="this machine has cuda"):
        verify_config(CONFIG, RECIPE, device="mps")


@pytest.mark.usefixtures("bare")
def test_a_small_model_takes_a_step_on_the_cpu_unasked() -> None:
    verified = verify_config(CONFIG, RECIPE)
    assert (verified.agrees, verified.device, verified.forward_finite, verified.measured) == (True, "cpu", True, None)
    assert verified.loss == pytest.approx(math.log(CONFIG.vocab_size), abs=0.5)
    assert verified.note.startswith("not measured (no GPU); a training step on the CPU in float32, 1 sequence of 32")


@pytest.mark.usefixtures("bare")
def test_a_larger_model_is_only_counted() -> None:
    large = DIYConfig(hidden_size=1024, num_layers=8, num_heads=16, intermediate_size=2048)
    verified = verify_config(large, RECIPE)
    assert (verified.device, verified.forward_finite, verified.note) == ("meta", None, "not measured (no GPU)")
    assert verified.agrees


@pytest.mark.usefixtures("bare")
def test_without_enough_ram_the_step_that_nobody_asked_for_is_left_out() -> None:
    assert verify_config(CONFIG, RECIPE, memory_bytes_limit=10**6).note == "not measured (no GPU)"


@pytest.mark.usefixtures("bare")
def test_without_enough_ram_the_step_that_was_asked_for_is_refused() -> None:
    large = DIYConfig(hidden_size=4096, num_layers=32, num_heads=32, intermediate_size=14336)
    with pytest.raises(DeviceError, match=r"takes about .* GiB of RAM, and 8\.000 GiB is available") as refusal:
        verify_config(large, RECIPE, device="cpu", memory_bytes_limit=2**33)
    assert "use meta" in str(refusal.value)


def test_float16_is_not_for_the_cpu() -> None:
    with pytest.raises(RecipeError, match="needs a GPU"):
        verify_config(CONFIG, replace(RECIPE, precision="16-mixed"), device="cpu")


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.usefixtures("bare")
def test_candidates_too_large_for_ram_are_refused_before_anything_is_started(count: int) -> None:
    with pytest.raises(DeviceError, match="RAM"):
        verify_candidates(solution(), count, device="cpu", memory_bytes_limit=10**6)


def test_a_torch_without_cuda_builds_and_says_that_it_does_not_simulate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "accelerator", no_accelerator)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    verified = verify_config(CONFIG, RECIPE)
    assert verified.agrees
    assert verified.simulated is None
    assert verified.note.endswith("not simulated (this torch is built without CUDA)")


def test_meta_only_counts(card: Any) -> None:
    card([])
    verified = verify_config(CONFIG, RECIPE, device="meta")
    assert (verified.device, verified.note, verified.measured, verified.simulated) == (
        "meta",
        "counted only",
        None,
        None,
    )


def test_a_sequence_that_is_too_long_is_refused() -> None:
    with pytest.raises(RecipeError, match="max_seq_len=32"):
        verify_config(CONFIG, Recipe(seq_len=64))


def test_an_accelerator_is_measured_at_the_recipe_itself(card: Any) -> None:
    asked = card([outcome()])
    recipe = Recipe(precision="16-mixed", micro_batch=3, seq_len=32, optimizer="adamw-foreach")
    verified = verify_config(CONFIG, recipe)
    assert [trial.recipe for trial in asked] == [recipe]
    assert asked[0].device == "cuda"
    assert verified.device == CARD
    assert verified.measured is not None
    assert verified.measured["ratio"] == report(CONFIG, recipe).peak_bytes / MEMORY.peak_bytes


# candidates


def solution() -> Solution:
    return solve(Query(target_params=3_000_000, tolerance=0.05, top=5, recipe=Recipe(seq_len=64)))


def test_each_candidate_has_its_own_result(card: Any) -> None:
    found = solution()
    peaks = [candidate.memory.allocated_bytes for candidate in found.candidates]
    asked = card([
        outcome(peak_bytes=peaks[0]),
        outcome(kind="crashed", error="killed", peak_bytes=None),
        outcome(peak_bytes=2 * peaks[2]),
    ])  # fmt: skip
    done: list[tuple[int, int]] = []
    verified = verify_candidates(found, 3, progress=lambda *now: done.append(now))
    results = [candidate.verification for candidate in verified.candidates]
    assert [result.agrees if result else None for result in results] == [True, True, False, None, None]
    assert results[1] is not None
    assert "crashed" in results[1].note
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert [trial.config for trial in asked] == [candidate.config for candidate in found.candidates[:3]]
    assert [trial.recipe for trial in asked] == [candidate.memory.recipe for candidate in found.candidates[:3]]
    assert replace(verified, candidates=found.candidates) == found, "nothing but the candidates may change"


def test_a_measured_speed_replaces_the_estimate_of_the_same_card_only(card: Any) -> None:
    for asked_about, speed in (("h100", "measured"), ("rtx4090", "estimated")):
        query = Query.parse(target="3M", tolerance="5%", gpu=asked_about, tokens="1B", seq=64, gpus=2, top=1, price=3)
        found = solve(query)
        alone = outcome(
            device="cuda: NVIDIA H100 80GB HBM3",
            peak_bytes=report(found.candidates[0].config, replace(query.recipe, gpus=1)).peak_bytes,
        )
        card([alone])
        verified = verify_candidates(found, 1).candidates[0]
        assert verified.verification is not None
        assert verified.verification.measured is not None
        assert "one card by itself" in verified.verification.note
        assert verified.verification.agrees
        assert verified.training is not None
        assert verified.training.speed == speed
        if speed == "measured":
            of_one = verified.verification.measured["tokens_per_second"]
            assert of_one < (verified.training.tokens_per_second or 0) <= 2 * of_one
            assert verified.training.cost == pytest.approx(3 * 2 * (verified.training.seconds or 0) / 3600)


@pytest.mark.usefixtures("bare")
def test_the_card_that_is_here_cannot_be_read_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_reader, "accelerator", no_accelerator)
    with pytest.raises(DeviceError, match="torch finds no accelerator on this machine; name a card"):
        card_reader.read_card()


def test_an_interrupt_keeps_what_is_verified(card: Any) -> None:
    found = solution()
    card([outcome(peak_bytes=found.candidates[0].memory.allocated_bytes), KeyboardInterrupt()])
    verified = verify_candidates(found, 3)
    assert len(verified.candidates) == len(found.candidates)
    assert verified.candidates[0].verification is not None
    assert verified.candidates[1:] == found.candidates[1:]


@pytest.mark.usefixtures("bare")
def test_without_a_gpu_candidates_are_counted_and_not_stepped() -> None:
    found = solution()
    verified = verify_candidates(found, 100)
    for candidate in verified.candidates:
        assert candidate.verification is not None
        assert candidate.verification.agrees
        assert candidate.verification.note == "not measured (no GPU)"
    assert verify_candidates(found, 0) == found


def test_a_candidate_whose_count_was_misreported_is_found_out(card: Any) -> None:
    found = solution()
    wrong = replace(found.candidates[0], params={**found.candidates[0].params, "mlp": 1})
    card([outcome()])
    verified = verify_candidates(replace(found, candidates=(wrong,)), 1)
    assert verified.candidates[0].verification is not None
    assert not verified.candidates[0].verification.agrees
