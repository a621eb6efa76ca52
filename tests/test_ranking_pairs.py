"""Pairs inside sweeps: which differ, which are ordered rightly, and how wide an interval must be to hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import ranking_table
from benchmarks.ranking_pairs import Intervals, Pairs, calibrated_width, ordered, pairs_of
from benchmarks.ranking_table import Floats, Table


def sweep(values: list[float], metric: str = "pretraining loss") -> Table:
    """One sweep of equal sizes with these values."""
    rows = ranking_table.read().take([0] * len(values))
    return replace(rows, metric=np.array([metric] * len(values)), value=np.array(values))


def test_a_pair_differs_beyond_noise_only() -> None:
    assert pairs_of(sweep([3.0, 3.003])).differ.tolist() == [False]
    assert pairs_of(sweep([3.0, 3.005])).differ.tolist() == [True]
    points = "mean accuracy of 8 tasks"
    assert pairs_of(sweep([44.0, 44.4], points)).differ.tolist() == [False]
    assert pairs_of(sweep([44.0, 44.6], points)).differ.tolist() == [True]


def test_lower_loss_and_higher_accuracy_are_better() -> None:
    """`predicted` is lower for better."""
    for metric in ("pretraining loss", "mean accuracy of 8 tasks"):
        pairs = pairs_of(sweep([3.0, 4.0], metric))
        right = pairs.right(np.array([1.0, 2.0]))
        assert right.tolist() == [metric == "pretraining loss"]
        assert ordered(pairs, right, pairs.differ)["morph"] == (int(right[0]), 1)


def test_pairs_are_of_one_sweep_and_never_of_reported_ones() -> None:
    table = ranking_table.read()
    pairs = pairs_of(table)
    assert (table.sweep[pairs.first] == table.sweep[pairs.second]).all()
    assert not set(table.use[pairs.first].tolist()) & {"report", "tokens"}


def intervals(measured: list[float], sources: list[str]) -> Intervals:
    """Intervals of no width at 0."""
    number = len(measured)
    nothing, flags = np.zeros(number, dtype=np.intp), np.zeros(number, dtype=np.bool_)
    values: Floats = np.array(measured)
    pairs = Pairs(
        first=nothing, second=nothing, source=np.array(sources), measured=values, in_points=flags, near=~flags
    )
    return Intervals(pairs=pairs, low=np.zeros(number), high=np.zeros(number))


def test_the_width_is_what_holds_nine_in_ten_and_sources_weigh_alike() -> None:
    values = [0.001 * n for n in range(1, 11)]
    assert calibrated_width(intervals(values, ["a"] * 10)) == pytest.approx(0.009)
    many, few = intervals([0.0] * 90 + [0.05] * 10, ["a"] * 90 + ["b"] * 10), intervals([0.0] * 90, ["a"] * 90)
    assert calibrated_width(many) == pytest.approx(0.05)  # half of the weight, in a tenth of the pairs
    assert calibrated_width(few) == 0
    assert many.inside(0.05).all()
    assert many.inside(0.01).sum() == 90
