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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import ranking_table
from benchmarks.ranking_forms import ENGINE, OTHERS, Form
from benchmarks.ranking_table import Agreement, Floats, Names, Table, agreements
from solver.ranking import law

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
PRICE_SPREAD = 0.015
"""Nats: how large a price of heads may be before the evidence has to argue for it."""

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


def fit(form: Form, table: Table, weights: Floats | None = None, start: Floats | None = None) -> Fit:
    """The parameters of least robust cost, over several starts; from `start` alone where it is given."""
    first, lower, upper = np.array(form.parameters).T
    problem = _Problem(form=form, table=table, weights=np.ones(len(table)) if weights is None else weights)
    spread = np.maximum(np.abs(first), 0.1)
    random = np.random.default_rng(0)
    starts = [first, *(first + 0.15 * spread * random.normal(size=(STARTS - 1, len(first))))]
    solved = [
        least_squares(
            problem.residuals,
            np.clip(origin, lower + 1e-6, upper - 1e-6),
            bounds=(lower, upper),
            loss="soft_l1",
            x_scale=spread,
            max_nfev=200,
        )
        for origin in (starts if start is None else [start])
    ]
    best = min(solved, key=lambda result: float(result.cost))
    return Fit(form=form, theta=best.x, cost=float(best.cost))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Problem:
    form: Form
    table: Table
    weights: Floats
    """One per row; a model that a bootstrap draws twice weighs twice."""

    def residuals(self, theta: Floats) -> Floats:
        predicted = self.form.predict(theta, self.table)
        first = np.array(self.form.parameters)[:, 0]
        return np.concatenate(
            [
                self.inside_sweeps(predicted),
                self._levels(predicted),
                ((theta - first) / np.maximum(PRIOR_SHARE * np.abs(first), PRIOR_LEAST))[:-3],
                theta[-3:] / PRICE_SPREAD,
            ]
        )

    def inside_sweeps(self, predicted: Floats) -> Floats:
        """Differences to the mean of the sweep: nats against nats, and points against nats by a slope per metric."""
        table, points = self.table, self.table.higher_is_better
        measured, expected = self._centred(table.value), self._centred(predicted)
        residual = (measured - expected) / NOISE
        for metric in np.unique(table.metric[points]):
            rows = table.metric == metric
            share = self.weights[rows] * expected[rows]
            slope = min(float(share @ measured[rows] / max(share @ expected[rows], 1e-12)), 0.0)
            residual[rows] = (measured[rows] - slope * expected[rows]) / POINTS_NOISE
        weighted: Floats = np.sqrt(self.weights / _budgets(table)) * residual
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
        group = self.table.group
        means: Floats = (np.bincount(group, self.weights * values) / np.bincount(group, self.weights))[group]
        return means

    def _centred(self, values: Floats) -> Floats:
        return values - self._means(values)


def _budgets(table: Table) -> Floats:
    """The number of sweeps of each row's ladder."""
    pairs = {(ladder, sweep) for ladder, sweep in zip(table.ladder, table.sweep, strict=True)}
    count = {ladder: sum(1 for other, _ in pairs if other == ladder) for ladder, _ in pairs}
    return np.array([count[ladder] for ladder in table.ladder], dtype=float)


def bootstrap(best: Fit, table: Table, draws: int) -> Floats:
    """Parameters refitted with the models, and the ladders they belong to, weighted at random (Rubin 1981)."""
    random = np.random.default_rng(1)
    models, of_model = np.unique(table.model, return_inverse=True)
    ladders, of_ladder = np.unique(table.ladder, return_inverse=True)
    found = []
    for _ in range(draws):
        weights = random.exponential(size=len(models))[of_model] * random.exponential(size=len(ladders))[of_ladder]
        found.append(fit(best.form, table, weights / weights.mean(), best.theta).theta)
    return np.array(found)


def scatter(best: Fit, table: Table) -> float:
    """Root mean square of what is left of the differences inside the sweeps of losses, in nats; ladders weigh alike."""
    losses = table.take(~table.higher_is_better)
    problem = _Problem(form=best.form, table=losses, weights=np.ones(len(losses)))
    left = NOISE * problem.inside_sweeps(best.predict(losses))
    return float(np.sqrt(left @ left / (1 / _budgets(losses)).sum()))


def leave_out(best: Fit, table: Table, groups: Names) -> Floats:
    """Predictions of every row by a fit that has seen none of its group: `table.ladder` leaves out a ladder with all
    its budgets and metrics, `table.sweep` one sweep."""
    predicted = np.empty(len(table))
    for group in np.unique(groups):
        out = groups == group
        predicted[out] = fit(best.form, table.take(~out), start=best.theta).predict(table.take(out))
    return predicted


def fitted_rows(table: Table) -> Table:
    return table.take(table.use == "fit")


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
sweeps that were never fitted. Parameters count the three prices of heads; the cost is the robust cost of the fit, the
pull towards its start included.

| form | formula | parameters | cost | fit | | | | left out | | | | never fitted | | | |
|--|--|--|--|--|--|--|--|--|--|--|--|--|--|--|--|"""


def compare(table: Table) -> str:
    """The forms side by side, as a page."""
    fitting, checking = fitted_rows(table), table.take(table.use == "check")
    lines = [FORMS_HEAD]
    for form in (ENGINE, *OTHERS):
        best = fit(form, fitting)
        cells = [
            summary(agreements(fitting, best.predict(fitting))),
            summary(agreements(fitting, leave_out(best, fitting, fitting.ladder))),
            summary(agreements(checking, best.predict(checking))),
        ]
        head = f"| {form.name} | {form.formula} | {len(best.theta)} | {best.cost:.1f} | "
        lines.append(head + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def coefficient_file(best: Fit, draws: Floats, left: float) -> str:
    """The file that the engine loads."""
    named = {name: round(float(value), 6) for name, value in zip(law.NAMES, best.theta, strict=True)}
    columns = {name: [round(float(value), 5) for value in draws[:, at]] for at, name in enumerate(law.NAMES)}
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(values)}" for name, values in columns.items())
    return f'{{"fitted": {json.dumps(named, indent=1)},\n "scatter": {left:.4f},\n "draws": {{\n{rows}\n }}}}\n'


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
        options.out.write_text(coefficient_file(best, bootstrap(best, rows, options.draws), scatter(best, rows)))
        print(f"cost {best.cost:.2f}", dict(zip(law.NAMES, best.theta.round(4).tolist(), strict=True)))
    print(f"{time.perf_counter() - started:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
