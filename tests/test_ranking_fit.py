"""The coefficients come from the table of published figures, and the order they give agrees with the sweeps."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from benchmarks import ranking_table
from benchmarks.fit_ranking import SHARES, fit, fitted_rows, intervals_left_out, leave_out
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
    assert set(table.use.tolist()) == {"fit", "tokens", "share", "check", "apart", "report"}


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
    """But for one run that went wrong, and one sweep of thin models that are put first before they have learned enough.
    The mean is short of 0.9, and of what the true order would reach."""
    rows = table.take(table.use == "check")
    judged = judgements(rows, engine_order(rows), engine_order(rows), noise_of(table))
    assert failures(judged) == {"gemstones-1b-cool22b", "gemstones-100m-halflr50b"}
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


def test_the_gain_from_tokens_is_that_of_runs_that_were_fitted_on_nothing(table: Table) -> None:
    """StepLaw's models, each at its best learning rate, from first to last budget: it was off by 1.5 to 1.75."""
    for params in np.unique(table.params[table.source == "steplaw"]):
        rows = table.take((table.source == "steplaw") & (table.params == params))
        first, last = rows.tokens.argmin(), rows.tokens.argmax()
        loss = engine_order(rows)
        ratio = (loss[first] - loss[last]) / (rows.value[first] - rows.value[last])
        assert 0.75 < ratio < 1.35


def test_the_gain_from_tokens_is_right_from_11m_to_412m(table: Table) -> None:
    """Gadre's runs from 20 to 320 tokens a param: it was off by 2.3 at 11M."""
    runs = table.take((table.use == "tokens") & (table.tokens < 321 * table.params))
    for params in np.unique(runs.params):
        rows = runs.take(runs.params == params)
        loss, gains = engine_order(rows), []
        for sweep in np.unique(rows.sweep):
            inside = np.flatnonzero(rows.sweep == sweep)
            first, last = inside[rows.tokens[inside].argmin()], inside[rows.tokens[inside].argmax()]
            gains.append((loss[first] - loss[last], rows.value[first] - rows.value[last]))
        predicted, measured = np.sum(gains, axis=0)
        assert 0.75 < predicted / measured < 1.25


def test_deeper_than_the_best_costs_more_than_half_of_what_morph_measured(table: Table) -> None:
    """The sweeps of short training, whose deep side was three times too flat."""
    morph = table.take((table.source == "morph") & np.isin(table.use, ("fit", "check")))
    loss, excess = engine_order(morph), []
    for sweep in np.unique(morph.sweep):
        inside = np.flatnonzero(morph.sweep == sweep)
        best = inside[morph.value[inside].argmin()]
        deeper = inside[morph.num_layers[inside] > morph.num_layers[best]]
        excess += [(loss[row] - loss[best], morph.value[row] - morph.value[best]) for row in deeper]
    predicted, measured = np.sum(excess, axis=0)
    assert 0.5 < predicted / measured < 1.5


def test_pairs_apart_are_ordered_rightly_in_sources_that_the_fit_has_not_seen(table: Table) -> None:
    """Of those that are no ties by the width that is stored nearly all, and of the intervals of close pairs nine in ten
    hold where sources weigh alike. Few draws: the figures of the report have more."""
    found = intervals_left_out(fit(ENGINE, fitted_rows(table), start=stored()), table)
    apart = ~found.ties(law.scatter())
    right = np.sign(found.low + found.high) == np.sign(found.pairs.measured)
    assert apart.mean() > 0.3
    assert right[apart].mean() > 0.97
    inside, source = found.inside(law.scatter())[found.close], found.pairs.source[found.close]
    assert np.mean([inside[source == one].mean() for one in np.unique(source)]) > 0.85


def test_the_share_of_the_mlp_leaves_the_law_alone(table: Table) -> None:
    rows = fitted_rows(table)
    with_share, without_share = (fit(ENGINE, some, start=stored()) for some in (rows, rows.take(rows.use != "share")))
    assert (with_share.theta[:-SHARES] == without_share.theta[:-SHARES]).all()
    assert (with_share.theta[-SHARES:] != without_share.theta[-SHARES:]).any()


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
