"""The calibration of step times: it gives what the engine loads, rows that it has not seen lie near it, and answers
state what a user of the command gets."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.fit_time import TABLE, Run, calibration, fit, read, unpacked
from benchmarks.time_error import GOAL, RESULTS, engine_errors
from benchmarks.time_told import TRANSFORMERS, Told, accuracy, read_told
from cli import cli
from solver.compute.evidence import LIKE_A_PROFILE, OTHERWISE, PUBLISHED_RUNS
from solver.compute.step_time import fitted
from solver.devices import DEVICES
from solver.report.cards import DOUBT


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return read()


def test_the_engine_has_the_efficiency_of_the_fit(runs: list[Run]) -> None:
    efficiency, _ = unpacked(fit(calibration(runs)))
    assert astuple(efficiency) == pytest.approx(astuple(fitted()), rel=1e-3)


def test_shares_are_shares() -> None:
    efficiency = fitted()
    assert 0 < efficiency.products_power_limited < efficiency.products_hopper < efficiency.products < 1
    assert efficiency.products < efficiency.products_geforce < 1.1  # boost clocks exceed the data sheet's
    assert 0 < efficiency.products_fp32 < efficiency.products_fp32_apart < 1
    assert 0 < efficiency.fused_scores < efficiency.bandwidth < 1
    assert 5e-6 < efficiency.launch_seconds < 5e-5


def test_rows_that_were_not_fitted_lie_near_the_estimate(runs: list[Run]) -> None:
    errors = np.abs(np.expm1(engine_errors(runs)))
    unseen = np.array([run.use != "calibrate" for run in runs])
    assert unseen.sum() > 100
    assert np.median(errors[unseen]) < 0.08
    assert np.mean(errors[unseen] <= GOAL) > 0.85


def test_so_do_most_groups_of_runs(runs: list[Run]) -> None:
    errors = np.expm1(engine_errors(runs))
    groups = {run.group for run in runs if run.use != "calibrate"}
    medians = [abs(np.median(errors[[run.group == group for run in runs]])) for group in groups]
    assert np.mean(np.array(medians) <= GOAL) > 0.75


def test_calibration_and_test_rows_share_no_group(runs: list[Run]) -> None:
    fitted, unseen = ({run.group for run in runs if (run.use == "calibrate") == used} for used in (True, False))
    assert not fitted & unseen
    assert len({run.name for run in runs}) == len(runs)


# what a user gets through the command


@pytest.fixture(scope="module")
def told() -> list[Told]:
    return read_told()


def test_answers_state_what_the_command_gets_of_published_runs(told: list[Told]) -> None:
    for alike, stated in ((True, LIKE_A_PROFILE), (False, OTHERWISE)):
        kind = [run for run in told if run.like_a_profile == alike]
        assert accuracy(kind, np.array([run.ratio() for run in kind])) == stated
        assert f"{100 * stated.off:.0f} % in the middle of {stated.groups} groups" in DOUBT
        assert f"{stated.worst:.1f} at most" in DOUBT


def test_the_report_begins_with_what_answers_state() -> None:
    lines = (RESULTS / "training-speed.md").read_text().splitlines()
    first, other = (next(line for line in lines if title in line) for title in ("**software like", "**other software"))
    for line, stated in ((first, LIKE_A_PROFILE), (other, OTHERWISE)):
        assert line.split("|")[3:5] == [f" {stated.groups} ", f" {100 * stated.off:.0f} % "]
    assert (
        lines.index(first) < lines.index(other) < next(i for i, line in enumerate(lines) if "the engine gets" in line)
    )


@pytest.mark.parametrize("group", ["vectorlm-a100-80gb-bf16-eager-fsdp", "cs336-h100-bf16", "gpt2-script-ada"])
def test_a_run_is_told_as_on_the_command_line(told: list[Told], group: str, tmp_path: Path) -> None:
    run = next(run for run in told if run.group == group)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(run.config.to_dict()))
    options = [word for name, value in run.words.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    result = CliRunner().invoke(cli, ["explain", str(file), *options, "--format", "json"])
    assert result.exit_code == 0, result.output
    training = json.loads(result.stdout)["training"]
    assert training["tokens_per_second"] / training["gpus"] == pytest.approx(run.ratio() * run.tokens_per_second)


def test_every_run_but_those_of_selective_checkpointing_is_told(told: list[Told], runs: list[Run]) -> None:
    assert [run.name for run in told] == [run.name for run in runs if not run.selective]
    measured = {run.name: run.tokens_per_second for run in runs}
    assert all(run.tokens_per_second == measured[run.name] for run in told)
    assert {run.group for run in told} >= set(TRANSFORMERS)
    assert all((run.words["profile"] == "hf") == run.uses_transformers for run in told)


def test_the_cards_with_published_runs_are_those_of_the_evidence() -> None:
    with TABLE.open(newline="") as file:
        assert Counter(row["device"] for row in csv.DictReader(file)) == PUBLISHED_RUNS
    assert {card.name for card in DEVICES if card.speed_source} - set(PUBLISHED_RUNS) == {
        "rtx3060", "rtx3080", "rtx4060ti-16gb", "rtx4080", "rtx5070ti", "rtx5080", "rtx-a4000", "t4", "v100-16gb",
        "a10g", "mi250x-gcd", "mi300x",
    }  # fmt: skip
