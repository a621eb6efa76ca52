"""The coefficients come from the table of published figures, and the order they give agrees with the sweeps."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from benchmarks import ranking_table
from benchmarks.fit_ranking import fit, fitted_rows, leave_out
from benchmarks.ranking_evidence import (
    CAUSES,
    THROUGHPUT,
    aspect_order,
    engine_order,
    gemstones_order,
    step_times,
    thumb_order,
)
from benchmarks.ranking_forms import ENGINE
from benchmarks.ranking_noise import Judgement, Noise, judgements, measure_noise
from benchmarks.ranking_table import Agreement, Floats, Table, agreements
from solver import counts
from solver.ranking import law


@pytest.fixture(scope="module")
def table() -> Table:
    return ranking_table.read()


def stored() -> Floats:
    return np.array([getattr(law.fitted(), name) for name in law.NAMES])


def mean_spearman(found: list[Agreement]) -> float:
    return float(np.mean([one.spearman for one in found]))


def test_every_count_is_that_of_the_shape(table: Table) -> None:
    assert (counts.total(table) == table.params).all()


def test_every_row_is_cited_and_is_there_once(table: Table) -> None:
    rows = ranking_table.TABLE.read_text().splitlines()[1:]
    assert all(row.split(",")[0].strip() for row in rows)
    assert all("arXiv:" in row.split(",")[0] for row in rows)
    assert len(set(rows)) == len(rows)
    assert set(table.use.tolist()) == {"fit", "check", "report"}


def test_no_sweep_is_both_fitted_and_checked(table: Table) -> None:
    fitted, rest = table.sweep[table.use == "fit"], table.sweep[table.use != "fit"]
    assert not set(fitted.tolist()) & set(rest.tolist())


def test_refit_gives_the_stored_coefficients(table: Table) -> None:
    """From the published start, not from the stored answer."""
    rows = fitted_rows(table)
    again = fit(ENGINE, rows, start=np.array(ENGINE.parameters)[:, 0])
    assert again.theta == pytest.approx(stored(), abs=0.02, rel=0.01)
    assert again.predict(rows) == pytest.approx(ENGINE.predict(stored(), rows), abs=1e-3)


def test_draws_lie_about_the_fit() -> None:
    for name in law.NAMES:
        low, high = np.percentile(getattr(law.draws(), name), (2, 98))
        assert low <= getattr(law.fitted(), name) <= high
    assert law.draws().floor.shape == (100, 1)


def test_coefficient_file_is_small() -> None:
    assert law.COEFFICIENTS.stat().st_size < 20_000
    assert set(json.loads(law.COEFFICIENTS.read_text())) == {"fitted", "scatter", "draws"}


def test_order_agrees_with_the_sweeps_better_than_the_rules_do(table: Table) -> None:
    for rows in (fitted_rows(table), table.take(table.use == "check")):
        ours = mean_spearman(agreements(rows, engine_order(rows)))
        rules = (gemstones_order, thumb_order, aspect_order)
        assert ours > max(mean_spearman(agreements(rows, rule(rows))) for rule in rules)


def test_order_agrees_with_ladders_that_the_fit_has_not_seen(table: Table) -> None:
    """The goal, of a mean of 0.9 and no sweep that misses; but for what noise explains, and one of our failures."""
    rows = fitted_rows(table)
    unseen = leave_out(fit(ENGINE, rows, start=stored()), rows, rows.ladder)
    assert mean_spearman(agreements(rows, unseen)) > 0.9
    failed = failures(judgements(rows, engine_order(rows), unseen, noise_of(table)))
    assert failed == {"gemstones-100m-hot50b"}


def test_order_agrees_with_sweeps_that_were_never_fitted(table: Table) -> None:
    """But for one run that went wrong. The mean is short of 0.9, and of what the true order would reach."""
    rows = table.take(table.use == "check")
    judged = judgements(rows, engine_order(rows), engine_order(rows), noise_of(table))
    assert failures(judged) == {"gemstones-1b-cool22b"}
    assert mean_spearman([one.ours for one in judged]) > 0.8
    assert np.mean([one.spearman for one in judged]) > 0.9


def test_every_failure_has_its_cause_in_the_report(table: Table) -> None:
    for name in ("gemstones-100m-hot50b", "gemstones-1b-cool22b", "morph-80m-20n", "mobilellm-heads-125m"):
        assert name in CAUSES
    assert set(CAUSES) <= set(table.sweep.tolist())


def noise_of(table: Table) -> Noise:
    return measure_noise(table, engine_order(table))


def failures(judged: list[Judgement]) -> set[str]:
    return {one.ours.sweep for one in judged if one.verdict == "fails"}


def test_morph_and_mobilellm_come_out(table: Table) -> None:
    """The two regimes: the picks of the sweeps at 20 tokens per param, and the plateau of long training."""
    rows = fitted_rows(table)
    found = {one.sweep: one for one in agreements(rows, engine_order(rows))}
    assert found["morph-116m-20n"].regret == 0
    assert found["morph-80m-20n"].spearman > 0.85
    assert found["mobilellm-125m"].spearman > 0.85
    assert found["mobilellm-125m"].regret == 0


def test_step_time_orders_published_throughputs() -> None:
    with THROUGHPUT.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for group, least in (("gemstones", 0.99), ("vtrain-a100-4x2", 0.95), ("cs336-h100-512", 0.95)):
        estimate, _, measured = step_times([row for row in rows if row["group"] == group])
        assert spearmanr(estimate, measured).statistic > least
