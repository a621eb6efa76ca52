"""The calibration of step times: it gives what the engine loads, and rows that it has not seen lie near it."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from benchmarks.fit_time import Run, calibration, fit, read, unpacked
from benchmarks.time_error import GOAL, engine_errors
from solver.compute.step_time import fitted


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
