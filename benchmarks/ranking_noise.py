"""What noisy runs let a sweep say of an order: the score that the true order would reach, and which misses are real.

The ceiling: take the true values to be what is smooth in the measured ones, draw noise on top many times, and score the
true order against each draw. Its mean Spearman and regret are what no law can be expected to pass, and where it often
misses the goal, an order that meets it has shown little.

A miss is real where noise alone does not explain it. A regret: the gap between the first pick and the best of the sweep
exceeds the goal by more than two noisy runs differ. A correlation: the measured values lie farther from the nearest
values that our order would allow (an isotonic regression) than noise takes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import norm, rankdata

from benchmarks.fit_ranking import POINTS_NOISE
from benchmarks.ranking_table import LEAST, Agreement, Floats, Table, agreements, regret_goal

SEED_NOISE = 0.0013
"""Standard deviation, in nats, of ten runs of one 124M model that differ in nothing but chance
(github.com/KellerJordan/modded-nanogpt, pull request 323: 0.00134). Tuned, cooled down and evaluated on 10M tokens, so
about the least that can be expected; Kaplan et al. 2020 (arXiv:2001.08361) speak of 0.02."""

COOLED, HOT = "train loss after cooldown", "train loss"
"""Metrics of Gemstones that are read at several budgets of the same run."""

FEW = 5
"""Models of a sweep from which on a smooth curve is told from noise."""

DRAWS = 4000
RARE = 0.05
"""What happens in fewer of the draws counts as too rare to be chance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """Standard deviations of one run about its true value, by what is read."""

    cooled: float
    """Nats: Gemstones after cooldown."""
    hot: float
    """Nats: Gemstones at a high learning rate, whatever the data it is evaluated on."""
    morph: float
    """Nats."""
    points: float
    """Points of accuracy."""

    def of(self, table: Table) -> Floats:
        """One per row."""
        gemstones = np.char.startswith(table.ladder, "gemstones")
        nats = np.where(gemstones, np.where(table.metric == COOLED, self.cooled, self.hot), self.morph)
        found: Floats = np.where(table.higher_is_better, self.points, nats)
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """One sweep: what the true order would score, and what ours is worth."""

    ours: Agreement
    noise: float
    """Standard deviation of a run."""
    spread: float
    """Standard deviation of the true values."""
    spearman: float
    """Mean correlation of the true order with the draws."""
    regret: float
    """Mean regret of the true order."""
    misses: float
    """Share of the draws in which the true order misses the goal."""
    chance: float
    """Probability that noise alone makes ours miss as it does; 1 where it does not miss."""

    @property
    def verdict(self) -> str:
        if self.ours.single_task:
            return "reported"
        if self.ours.misses:
            return "fails" if self.chance < RARE else "cannot tell (a miss)"
        return "passes" if self.misses < RARE else "cannot tell (a pass)"


def measure_noise(table: Table, predicted: Floats) -> Noise:
    """From the table itself, and from the published noise of repeated runs.

    Gemstones has no repeated runs, but reads each run at several budgets: what is left about a smooth curve in the
    tokens is the noise of a reading, and repeated runs add theirs. Morph reads each run once: what is left about a
    smooth curve in depth, the law subtracted, bounds its noise.
    """
    morph = np.char.startswith(table.ladder, "morph")
    return Noise(
        cooled=float(np.hypot(SEED_NOISE, reading_noise(table, COOLED))),
        hot=float(np.hypot(SEED_NOISE, reading_noise(table, HOT))),
        morph=depth_noise(table.take(morph), predicted[morph]),
        points=POINTS_NOISE,
    )


def reading_noise(table: Table, metric: str) -> float:
    """Robust standard deviation of readings about a parabola in ln(tokens) per model, what all models share removed."""
    rows = table.take(table.metric == metric)
    budgets, models = np.unique(rows.tokens), np.unique(rows.model)
    values = np.array([[rows.value[(rows.model == one) & (rows.tokens == at)][0] for at in budgets] for one in models])
    basis = np.vander(np.log(budgets / budgets[0]), 3)
    apart = values - np.median(values, axis=0)
    left = apart - np.linalg.lstsq(basis, apart.T)[0].T @ basis.T
    left -= np.median(left, axis=0)
    freedom = (len(budgets) - 3) / len(budgets)
    return float(1.4826 * np.median(np.abs(left)) / np.sqrt(freedom))


def depth_noise(table: Table, predicted: Floats) -> float:
    """Root mean square about the smooth values of the sweeps of five or more models, per degree of freedom."""
    squares, freedom = 0.0, 0
    for sweep in np.unique(table.sweep):
        rows = np.flatnonzero(table.sweep == sweep)
        if len(rows) >= FEW:
            left = table.value[rows] - smooth(table.take(rows), predicted[rows])
            squares, freedom = squares + float(left @ left), freedom + len(rows) - 3
    return float(np.sqrt(squares / freedom))


def smooth(sweep: Table, predicted: Floats) -> Floats:
    """The values of one sweep without what is not smooth.

    Losses: the law, and a parabola in ln(layers) through what it leaves; with fewer than five models a parabola would
    follow the noise as well, and the values stay as they are. Accuracies: a line in the law.
    """
    if sweep.higher_is_better[0]:
        return _least_squares(np.vander(predicted, 2), sweep.value)
    if len(sweep) < FEW:
        return sweep.value
    depth = np.log(sweep.num_layers / sweep.num_layers.mean())
    return predicted + _least_squares(np.vander(depth, 3), sweep.value - predicted)


def _least_squares(basis: Floats, value: Floats) -> Floats:
    found: Floats = basis @ np.linalg.lstsq(basis, value)[0]
    return found


def judgements(table: Table, law: Floats, order: Floats, noise: Noise) -> list[Judgement]:
    """Per sweep of three or more models. `law` smooths the true values, `order` is judged; lower is better in both."""
    by_row = noise.of(table)
    found = []
    for one in agreements(table, order):
        rows = np.flatnonzero(table.sweep == one.sweep)
        sign = 1.0 if one.in_points else -1.0
        true = sign * smooth(table.take(rows), law[rows])
        found.append(judge(one, sign * table.value[rows], true, order[rows], float(by_row[rows[0]])))
    return found


def judge(ours: Agreement, measured: Floats, true: Floats, order: Floats, noise: float) -> Judgement:
    """One sweep, from its measured and its smooth qualities (higher is better)."""
    draws = true + noise * np.random.default_rng(0).normal(size=(DRAWS, len(true)))
    spearman = correlations(true, draws)
    regret = draws.max(axis=1) - draws[:, true.argmax()]
    chance = 1.0
    if ours.short_in_order:
        chance = min(chance, chance_of_order(measured, order, noise))
    if ours.short_in_regret:
        chance = min(chance, float(norm.sf(ours.regret - regret_goal(ours.in_points), scale=np.sqrt(2) * noise)))
    return Judgement(
        ours=ours,
        noise=noise,
        spread=float(true.std()),
        spearman=float(spearman.mean()),
        regret=float(regret.mean()),
        misses=float(np.mean((spearman < LEAST) | (regret > regret_goal(ours.in_points)))),
        chance=chance,
    )


def correlations(quality: Floats, draws: Floats) -> Floats:
    """Spearman's correlation of one order with each row of draws."""
    order, drawn = rankdata(quality), rankdata(draws, axis=1)
    order, drawn = order - order.mean(), drawn - drawn.mean(axis=1, keepdims=True)
    found: Floats = drawn @ order / np.sqrt((order @ order) * (drawn**2).sum(axis=1))
    return found


def chance_of_order(measured: Floats, order: Floats, noise: float) -> float:
    """How often noise takes values that obey an order as far from it as the measured ones are (Robertson et al. 1988,
    order restricted inference): the true values are the nearest ones that obey it."""
    rows = np.lexsort((-measured, order))

    def fitted(values: Floats) -> Floats:
        found: Floats = isotonic_regression(values, increasing=False).x
        return found

    true = fitted(measured[rows])
    distance = ((measured[rows] - true) ** 2).sum()
    draws = true + noise * np.random.default_rng(0).normal(size=(DRAWS // 4, len(true)))
    return float(np.mean([((draw - fitted(draw)) ** 2).sum() >= distance for draw in draws]))
