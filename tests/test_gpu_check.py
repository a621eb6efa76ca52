"""benchmarks/gpu_check.py on a machine without a GPU: its bookkeeping, with a worker that answers as it is told to."""

from __future__ import annotations

import io
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from benchmarks import gpu_check, gpu_probes
from diymodel import DIYConfig
from solver import Recipe
from solver.compute import step_seconds
from solver.devices import device
from solver.memory import report
from solver.verify.measure import Ended, Outcome, Trial

CASE = gpu_check.Case(name="small", config=DIYConfig(), recipe=Recipe(seq_len=64))


def answer(trial: Trial, timeout_seconds: float = 0.0) -> Outcome:
    """A measurement of twice what was predicted."""
    return Outcome(
        kind="done",
        device="cuda: a card",
        stage="done",
        loss=8.76,
        forward_finite=True,
        peak_bytes=2 * report(trial.config, trial.recipe).allocated_bytes,
        workspace_bytes=2**25,
        reserved_bytes=2**30,
        process_bytes=2**30 + 2**20,
        step_seconds=0.01,
        tokens_per_second=6400.0,
    )


def test_every_case_can_be_predicted_and_the_whole_range_is_there() -> None:
    params = [gpu_check.counts.count(case.config)["total"] for case in gpu_check.CASES]
    assert min(params) < 3.5e6
    assert max(params) > 1.4e9
    assert len({case.name for case in gpu_check.CASES}) == len(gpu_check.CASES) >= 8
    for case in gpu_check.CASES:
        assert report(case.config, case.recipe).peak_bytes > 0


def test_the_error_is_of_the_prediction() -> None:
    row = gpu_check.row(CASE, answer(Trial(config=CASE.config, recipe=CASE.recipe, device="cuda")))
    assert row["error_percent"] == -50
    assert row["estimated_seconds"] is row["time_error_percent"] is None  # of a card that is not known
    assert not row["agrees"]


def test_cases_for_which_no_time_is_left_are_named() -> None:
    other, told = replace(CASE, name="other"), list[str]()
    timeouts: list[float] = []

    def slow(trial: Trial, timeout_seconds: float) -> Outcome:
        timeouts.append(timeout_seconds)
        return answer(trial)

    soon = time.monotonic() + gpu_check.LEAST_SECONDS + 30
    rows, skipped = gpu_check.run_cases((CASE, other), "cuda", soon, run=slow, tell=told.append)
    assert ([row["name"] for row in rows], skipped) == (["small", "other"], [])
    assert all(gpu_check.LEAST_SECONDS < seconds <= gpu_check.CASE_SECONDS for seconds in timeouts)
    assert told == ["1/2 small: done", "2/2 other: done"]
    assert gpu_check.run_cases((CASE, other), "cuda", time.monotonic(), run=slow) == ([], ["small", "other"])


def test_a_whole_check_is_shown_and_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = {
        "card": {"name": "NVIDIA H100 80GB HBM3", "total_bytes": 85_520_809_984},
        "workspace": {"float32": {"after_matmul": 2**25}},
        "speed": {"launch_seconds": 5e-6},
    }
    attention = {
        "mode": "train", "dtype": "float32", "kv_heads": 2, "head_dim": 64, "dropout": 0.0, "chosen": "attention_math",
        "backends": {"flash": {"accepted": False}, "math": {"accepted": True}},
    }  # fmt: skip

    def probe(command: Any, text: str, timeout_seconds: float) -> Ended:
        name = command[-2]
        if name == "context":
            return Ended(exit_code=1, stdout="", stderr="Traceback\nRuntimeError: no context")
        return Ended(exit_code=0, stdout=json.dumps([attention] if name == "attention" else said[name]), stderr="")

    bad_loss = replace(answer(Trial(config=CASE.config, recipe=CASE.recipe, device="cuda")), loss=math.nan)
    monkeypatch.setattr(gpu_check, "run_process", probe)
    result = gpu_check.check("cuda", (CASE,), tmp_path, 100.0, run=lambda *_, **__: bad_loss)
    (written,) = tmp_path.iterdir()
    assert written.name.startswith("gpu_check-nvidia-h100-80gb-hbm3-20")
    read = json.loads(written.read_text())
    assert read["environment"]["torch"] == torch.__version__
    assert read["probes"]["context"] == {"failed": "RuntimeError: no context"}
    assert read["cases"][0]["outcome"]["loss"] == "nan"
    seconds = float(step_seconds(CASE.config, CASE.recipe, device("h100")))
    assert read["cases"][0]["estimated_seconds"] == pytest.approx(seconds)
    assert read["cases"][0]["time_error_percent"] == pytest.approx(100 * (seconds / 0.01 - 1))
    console = Console(width=200, record=True, file=io.StringIO())
    gpu_check.show(result, console)
    text = console.export_text()
    for word in ("NVIDIA H100", "small", "-50.00 %", "attention_math", "no context", "0 of 1 cases agree"):
        assert word in text


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "accelerator", lambda: None)
    ended = CliRunner().invoke(gpu_check.main, [])
    assert ended.exit_code == 0
    assert ended.output.startswith("No GPU: ")
    assert ended.output.count("\n") == 1


def test_the_speed_probe_runs_on_the_cpu() -> None:
    rates = gpu_probes.speed("cpu", side=64, tokens=16)
    assert rates["products"]["float32"] > 0
    assert rates["attention"]["float32"] > 0
    assert rates["bytes_per_second"] > 0
    assert 0 < rates["launch_seconds"] < 1
    json.dumps(rates)


@pytest.mark.parametrize("mode", ["train", "decode"])
def test_the_attention_probe_runs_on_the_cpu(mode: str) -> None:
    row = gpu_probes._row(gpu_probes.Case(mode, torch.float32, 2, 64, 0.0), "cpu")
    assert row["chosen"]
    assert row["backends"]["math"]["accepted"]
    assert not row["backends"]["cudnn"]["accepted"]
    assert row["backends"]["cudnn"]["reason"]
    json.dumps(row)
