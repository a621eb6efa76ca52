"""Fits the law of the ranking on the published sweeps and writes the coefficients that the engine loads.

    python benchmarks/fit_ranking.py [--draws 100] [--out FILE]       the fit, its bootstrap, the coefficient file
    python benchmarks/fit_ranking.py --compare                        the forms side by side, leaving ladders out

What is fitted are differences inside a sweep: each sweep has an offset of its own, and an accuracy a slope against the
law besides, which are projected out. Only Gemstones' own losses anchor the level: the mean of each of its sweeps, one
offset per learning-rate schedule. A ladder weighs the same however many budgets it was measured at, since its models
share their accidents. Residuals enter by a soft l1 loss.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import ranking_table
from benchmarks.ranking_forms import ENGINE, OTHERS, PRICES, Form
from benchmarks.ranking_pairs import SCORED, Intervals, by_source, calibrated_width, intervals
from benchmarks.ranking_table import Agreement, Floats, Names, Table, agreements
from solver.ranking import law
from solver.ranking.total import OUTSIDE

RESULTS = Path(__file__).parent / "results"

NOISE = 0.008
"""Nats by which a run may lie off the law before it counts less: the noise of runs (about 0.003 nats, `ranking_noise`),
and what a law of so few terms leaves out."""
POINTS_NOISE = 0.4
"""The same in points of accuracy: what neighbouring rows of MobileLLM's table 11 scatter by."""
ANCHOR_NOISE = 0.13
"""The level of a sweep counts for little: the order inside it is what the ranking needs."""
PRIOR_SHARE, PRIOR_LEAST = 0.5, 0.15
"""How far a parameter may lie from its start, as a share of it and at least. The start is the published fit of
Gemstones; without a pull, width and size, which move together, trade their exponents freely."""
HEADS_SPREAD = 0.015
"""Nats: how large a price of heads may be before the evidence has to argue for it."""
SHARE_CENTRE, SHARE_SPREAD = (float(np.log(8)), 0.02, 0.02), (0.25, 0.02, 0.02)
"""Optimum and curvatures of the MLP's share before evidence. The optimum is where models are built, 8/3 of hidden with
a gate and 4 without, give or take a quarter; the curvatures are a few percent of the loss at a tenth or ten times the
optimum, after what Kaplan et al. 2020 (arXiv:2001.08361) say of d_ff / d_model, give or take all of it."""
SHARES = len(SHARE_CENTRE)
HEADS = len(PRICES) - SHARES

LOOSE = {"gadre-": 4.0, "petty-": 2.0}
"""Ladders whose runs count as that much noisier. Gadre's: one learning rate for all sizes and budgets, and losses that
scatter by up to 0.03 nats about a smooth curve in the tokens. Petty's: perplexities printed to 0.1, which is 0.005
nats, and depths down to three layers in exchange for the MLP."""

SCHEDULES = ("train loss after cooldown", "train loss", "train loss, half learning rate")
"""Gemstones' own losses. The first is what the law predicts; the others have an offset of their own."""

STARTS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """A fitted form."""

    form: Form
    theta: Floats
    cost: float

    def predict(self, table: Table) -> Floats:
        return self.form.predict(self.theta, table)


def fit(
    form: Form,
    table: Table,
    weights: Floats | None = None,
    start: Floats | None = None,
    centre: tuple[float, ...] = SHARE_CENTRE,
) -> Fit:
    """The law first, on the rows that are not about the share of the MLP; then that share, with the law held.

    What the sources of the share say of depth must not bend the law: admitted to it they would order MobileLLM's
    models worse. The law is of least robust cost over several starts; from `start` alone where it is given.
    """
    weights = np.ones(len(table)) if weights is None else weights
    about_share = table.use == "share"
    problem = _Problem(form=form, table=table.take(~about_share), weights=weights[~about_share])
    best = min((problem.solve(origin) for origin in _starts(form, start)), key=lambda solved: float(solved.cost))
    theta = np.concatenate([best.x, SHARE_CENTRE])
    if about_share.any():
        theta[-SHARES:] = fit_share(form, theta, table.take(about_share), weights[about_share], centre)
    return Fit(form=form, theta=theta, cost=float(best.cost))


def _starts(form: Form, start: Floats | None) -> list[Floats]:
    if start is not None:
        return [start[:-SHARES]]
    first = np.array(form.parameters)[:-SHARES, 0]
    spread = np.maximum(np.abs(first), 0.1)
    random = np.random.default_rng(0)
    return [first, *(first + 0.15 * spread * random.normal(size=(STARTS - 1, len(first))))]


def fit_share(form: Form, theta: Floats, table: Table, weights: Floats, centre: tuple[float, ...]) -> Floats:
    """Optimum and curvatures of the MLP's share at a given law, from a given centre of what is known before."""
    problem = _Problem(form=form, table=table, weights=weights)

    def residuals(share: Floats) -> Floats:
        predicted = form.predict(np.concatenate([theta[:-SHARES], share]), table)
        pull = (share - np.array(centre)) / np.array(SHARE_SPREAD)
        return np.concatenate([problem.inside_sweeps(predicted), pull])

    _, lower, upper = np.array(form.parameters)[-SHARES:].T
    start = np.clip(centre, lower + 1e-6, upper - 1e-6)
    found: Floats = least_squares(residuals, start, bounds=(lower, upper), loss="soft_l1").x
    return found


@dataclass(frozen=True, kw_only=True)
class _Problem:
    form: Form
    table: Table
    weights: Floats
    """One per row; a model that a bootstrap draws twice weighs twice."""

    def solve(self, origin: Floats) -> Any:
        """The law's parameters of least robust cost from one start."""
        first, lower, upper = np.array(self.form.parameters)[:-SHARES].T
        return least_squares(
            self.residuals,
            np.clip(origin, lower + 1e-6, upper - 1e-6),
            bounds=(lower, upper),
            loss="soft_l1",
            x_scale=np.maximum(np.abs(first), 0.1),
            max_nfev=200,
        )

    def residuals(self, law_parameters: Floats) -> Floats:
        predicted = self.form.predict(np.concatenate([law_parameters, SHARE_CENTRE]), self.table)
        pull = (law_parameters - self.centre) / self.spread
        return np.concatenate([self.inside_sweeps(predicted), self._levels(predicted), pull])

    @cached_property
    def budgets(self) -> Floats:
        return _budgets(self.table)

    @cached_property
    def loose(self) -> Floats:
        return np.array(
            [next((LOOSE[name] for name in LOOSE if one.startswith(name)), 1.0) for one in self.table.ladder]
        )

    @cached_property
    def group(self) -> NDArray[np.intp]:
        return self.table.group

    @cached_property
    def centre(self) -> Floats:
        """Where each parameter stays if the evidence says nothing: prices of heads at 0, the others at their start."""
        first = np.array(self.form.parameters)[:-SHARES, 0]
        first[-HEADS:] = 0.0
        return first

    @cached_property
    def spread(self) -> Floats:
        """How far each may go before the evidence has to argue for it."""
        first = np.array(self.form.parameters)[:-SHARES, 0]
        found = np.maximum(PRIOR_SHARE * np.abs(first), PRIOR_LEAST)
        found[-HEADS:] = HEADS_SPREAD
        return found

    def inside_sweeps(self, predicted: Floats) -> Floats:
        """Differences to the mean of the sweep: nats against nats, and points against nats by a slope per metric."""
        table, points = self.table, self.table.higher_is_better
        measured, expected = self._centred(table.value), self._centred(predicted)
        residual = (measured - expected) / (NOISE * self.loose)
        for metric in np.unique(table.metric[points]):
            rows = table.metric == metric
            share = self.weights[rows] * expected[rows]
            slope = min(float(share @ measured[rows] / max(share @ expected[rows], 1e-12)), 0.0)
            residual[rows] = (measured[rows] - slope * expected[rows]) / POINTS_NOISE
        weighted: Floats = np.sqrt(self.weights / self.budgets) * residual
        return weighted

    def _levels(self, predicted: Floats) -> Floats:
        """Means of Gemstones' sweeps, less what a learning-rate schedule adds to all of them."""
        found = []
        for schedule in SCHEDULES:
            rows = np.flatnonzero(self.table.metric == schedule)
            if not len(rows):
                continue
            off = self._means(self.table.value - predicted)[rows]
            sweeps = np.unique(self.table.sweep[rows], return_index=True)[1]
            level = off[sweeps]
            found.append((level if schedule == SCHEDULES[0] else level - level.mean()) / ANCHOR_NOISE)
        return np.concatenate(found) if found else np.empty(0)

    def _means(self, values: Floats) -> Floats:
        group = self.group
        means: Floats = (np.bincount(group, self.weights * values) / np.bincount(group, self.weights))[group]
        return means

    def _centred(self, values: Floats) -> Floats:
        return values - self._means(values)


def _budgets(table: Table) -> Floats:
    """The number of sweeps of each row's ladder."""
    pairs = {(ladder, sweep) for ladder, sweep in zip(table.ladder, table.sweep, strict=True)}
    count = {ladder: sum(1 for other, _ in pairs if other == ladder) for ladder, _ in pairs}
    return np.array([count[ladder] for ladder in table.ladder], dtype=float)


def bootstrap(best: Fit, table: Table, draws: int, seed: int = 1) -> Floats:
    """Parameters refitted with the models, and the ladders they belong to, weighted at random (Rubin 1981).

    What is known of the MLP's share before the evidence is drawn anew as well: few sweeps leave much of it standing.
    """
    random = np.random.default_rng(seed)
    models, of_model = np.unique(table.model, return_inverse=True)
    ladders, of_ladder = np.unique(table.ladder, return_inverse=True)
    found = []
    for _ in range(draws):
        weights = random.exponential(size=len(models))[of_model] * random.exponential(size=len(ladders))[of_ladder]
        centre = tuple(random.normal(SHARE_CENTRE, SHARE_SPREAD))
        found.append(fit(best.form, table, weights / weights.mean(), best.theta, centre).theta)
    return np.array(found)


DRAWS_LEFT_OUT = 25
"""Draws of a fit that has not seen a source: enough for an interval that leaves out a twentieth at either end."""


def without(form: Form, table: Table, start: Floats | None = None) -> Callable[[str], Fit]:
    """The fit that has seen nothing of a source."""
    rows = fitted_rows(table)
    return lambda source: fit(form, rows.take(rows.source != source), start=start)


def width_of_ties(best: Fit, table: Table) -> float:
    """Nats by which the bootstrap interval of a difference must be widened to hold on sources that the fit has not
    seen (`ranking_pairs.calibrated_width`)."""
    return calibrated_width(intervals_left_out(best, table))


def intervals_left_out(best: Fit, table: Table) -> Intervals:
    """Of the pairs of every source, by draws of a fit without it."""
    rows = fitted_rows(table)

    def draws_without(source: str) -> Callable[[Table], Floats]:
        unseen = rows.take(rows.source != source)
        drawn = bootstrap(fit(best.form, unseen, start=best.theta), unseen, DRAWS_LEFT_OUT)
        return lambda some: np.array([best.form.predict(theta, some) for theta in drawn])

    scored = table.take(np.isin(table.use, SCORED))
    return intervals(scored, by_source(scored, draws_without), OUTSIDE)


def leave_out(best: Fit, table: Table, groups: Names) -> Floats:
    """Predictions of every row by a fit that has seen none of its group: `table.ladder` leaves out a ladder with all
    its budgets and metrics, `table.sweep` one sweep. Rows of the group "" are in every fit and have no prediction."""
    predicted = np.full(len(table), np.nan)
    for group in filter(None, np.unique(groups)):
        out = groups == group
        predicted[out] = fit(best.form, table.take(~out), start=best.theta).predict(table.take(out))
    return predicted


def fitted_rows(table: Table) -> Table:
    return table.take(np.isin(table.use, ("fit", "tokens", "share")))


def summary(found: list[Agreement]) -> str:
    """Mean and least Spearman, the largest regret in nats and the sweeps that miss the goal, as cells of a table."""
    spearman = [one.spearman for one in found]
    regret = max(one.regret for one in found if not one.in_points)
    missed = sum(one.misses for one in found)
    return f"{np.mean(spearman):.3f} | {min(spearman):.2f} | {regret:.4f} | {missed}"


FORMS_HEAD = """# Forms of the law, compared

Written by `python benchmarks/fit_ranking.py --compare`. Spearman (mean, least) over the sweeps of three or more models,
the largest regret in nats and the number of sweeps that miss the goal: on the sweeps of the fit, on the same sweeps
predicted by a fit that has not seen their ladder (one size class of one source, at all budgets and metrics), and on
sweeps that were never fitted. All forms are fitted on the same rows. Parameters count the prices of the terms; the cost
is the robust cost of the fit, the pull towards its start included.

| form | formula | parameters | cost | fit | | | | left out | | | | never fitted | | | |
|--|--|--|--|--|--|--|--|--|--|--|--|--|--|--|--|"""


def compare(table: Table) -> str:
    """The forms side by side, as a page."""
    rows, checking = fitted_rows(table), table.take(table.use == "check")
    shown = rows.use == "fit"
    fitting = rows.take(shown)
    lines = [FORMS_HEAD]
    for form in (ENGINE, *OTHERS):
        best = fit(form, rows)
        unseen = leave_out(best, rows, np.where(shown, rows.ladder, ""))[shown]
        cells = [
            summary(agreements(fitting, best.predict(fitting))),
            summary(agreements(fitting, unseen)),
            summary(agreements(checking, best.predict(checking))),
        ]
        head = f"| {form.name} | {form.formula} | {len(best.theta)} | {best.cost:.1f} | "
        lines.append(head + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def coefficient_file(best: Fit, draws: Floats, width: float) -> str:
    """The file that the engine loads."""
    named = {name: round(float(value), 6) for name, value in zip(law.NAMES, best.theta, strict=True)}
    columns = {name: [round(float(value), 5) for value in draws[:, at]] for at, name in enumerate(law.NAMES)}
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(values)}" for name, values in columns.items())
    return f'{{"fitted": {json.dumps(named, indent=1)},\n "scatter": {width:.4f},\n "draws": {{\n{rows}\n }}}}\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--out", type=Path, default=law.COEFFICIENTS)
    parser.add_argument("--compare", action="store_true")
    options = parser.parse_args()
    table = ranking_table.read()
    started = time.perf_counter()
    if options.compare:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "ranking-forms.md").write_text(compare(table))
    else:
        rows = fitted_rows(table)
        best = fit(ENGINE, rows)
        options.out.write_text(coefficient_file(best, bootstrap(best, rows, options.draws), width_of_ties(best, table)))
        print(f"cost {best.cost:.2f}", dict(zip(law.NAMES, best.theta.round(4).tolist(), strict=True)))
    print(f"{time.perf_counter() - started:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
