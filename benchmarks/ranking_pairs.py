"""Pairs of models inside the sweeps: which of them an order gets right, and how far its intervals reach.

A pair differs where its values lie farther apart than noise takes them. Every pair is predicted by a fit that has seen
nothing of its source, so that what is counted is what the ranking is worth on runs that nobody fitted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.ranking_table import Floats, Names, Table

DIFFER_NATS, DIFFER_POINTS = 0.004, 0.5
"""From which on two single runs differ: about three times the noise of a run, in nats and in points of accuracy."""

NEAR = 1.25
"""Ratio of sizes, and of tokens, up to which two models are an alternative to each other."""

SCORED = ("fit", "share", "check", "apart")
"""Uses whose sweeps compare shapes. `tokens` has one shape at many budgets, and `report` is noise or something else."""

COVERED, CLOSE = 0.9, 0.02
"""Share of the measured differences of sources left out that the interval of a tie is to contain, among the pairs that
are predicted to lie so close, in nats: only such pairs can be ties or nearly so, and a law that is wrong by a tenth of
a large difference still tells the two apart."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """Pairs of rows of one sweep, as columns."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    source: Names
    measured: Floats
    """What the first loses against the second: nats, or points."""
    in_points: Flags
    near: Flags
    """Of nearly equal size and tokens."""

    def __len__(self) -> int:
        return len(self.first)

    @property
    def differ(self) -> Flags:
        """Whether the two differ by more than noise."""
        least = np.where(self.in_points, DIFFER_POINTS, DIFFER_NATS)
        found: Flags = np.abs(self.measured) > least
        return found

    def between(self, predicted: Floats) -> Floats:
        """The predicted difference of each pair, of one prediction or of a row of each draw."""
        found: Floats = predicted[..., self.first] - predicted[..., self.second]
        return found

    def right(self, predicted: Floats) -> Flags:
        """Whether each is ordered as it was measured."""
        found: Flags = np.sign(self.between(predicted)) == np.sign(self.measured)
        return found


def pairs_of(table: Table) -> Pairs:
    """All pairs inside the sweeps of shapes."""
    parts = []
    for sweep in np.unique(table.sweep[np.isin(table.use, SCORED)]):
        rows = np.flatnonzero(table.sweep == sweep)
        first, second = np.triu_indices(len(rows), 1)
        parts.append((rows[first], rows[second]))
    first, second = (np.concatenate(ends) for ends in zip(*parts, strict=True))
    in_points = table.higher_is_better[first]
    return Pairs(
        first=first,
        second=second,
        source=table.source[first],
        measured=np.where(in_points, -1.0, 1.0) * (table.value[first] - table.value[second]),
        in_points=in_points,
        near=_ratio(table.params, first, second) & _ratio(table.tokens, first, second),
    )


def _ratio(values: Floats, first: NDArray[np.intp], second: NDArray[np.intp]) -> Flags:
    found: Flags = np.abs(np.log(values[first] / values[second])) <= np.log(NEAR)
    return found


def ordered(pairs: Pairs, right: Flags, which: Flags) -> dict[str, tuple[int, int]]:
    """Of some of the pairs, how many are right and how many there are, by source."""
    sources = dict.fromkeys(pairs.source.tolist())
    return {
        one: (int(right[which & (pairs.source == one)].sum()), int((which & (pairs.source == one)).sum()))
        for one in sources
    }


def by_source(table: Table, predict: Callable[[str], Callable[[Table], Floats]]) -> Floats:
    """Predictions of all rows: `predict` gives for a source what predicts its rows. A row a draw where it draws."""
    found: Floats = np.empty(0)
    for source in np.unique(table.source):
        rows = table.source == source
        values = predict(source)(table.take(rows))
        if not len(found):
            found = np.empty((*values.shape[:-1], len(table)))
        found[..., rows] = values
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Intervals:
    """Where the difference of each pair is predicted to lie, before it is widened."""

    pairs: Pairs
    low: Floats
    high: Floats

    @property
    def close(self) -> Flags:
        """Whether the middle of the interval is near 0."""
        found: Flags = np.abs(self.low + self.high) / 2 <= CLOSE
        return found

    def inside(self, width: float) -> Flags:
        """Whether the interval, widened by so many nats at either end, contains the measured difference."""
        found: Flags = (self.low - width <= self.pairs.measured) & (self.pairs.measured <= self.high + width)
        return found

    def ties(self, width: float) -> Flags:
        """Whether the widened interval contains 0."""
        found: Flags = (self.low - width <= 0) & (self.high + width >= 0)
        return found


def intervals(table: Table, drawn: Floats, outside: float) -> Intervals:
    """Intervals of the pairs of losses of nearly equal size; `outside` is the share of the draws that is left out at
    either end."""
    pairs = pairs_of(table)
    chosen = np.flatnonzero(pairs.near & ~pairs.in_points)
    some = Pairs(
        first=pairs.first[chosen],
        second=pairs.second[chosen],
        source=pairs.source[chosen],
        measured=pairs.measured[chosen],
        in_points=pairs.in_points[chosen],
        near=pairs.near[chosen],
    )
    differences = np.sort(some.between(drawn), axis=0)
    cut = int(outside * len(differences))
    return Intervals(pairs=some, low=differences[cut], high=differences[-1 - cut])


def calibrated_width(found: Intervals) -> float:
    """The least width at which intervals of close pairs contain COVERED of what was measured; sources weigh alike."""
    close = found.close
    needed = np.maximum(np.maximum(found.low - found.pairs.measured, found.pairs.measured - found.high), 0.0)[close]
    source = found.pairs.source[close]
    names, number = np.unique(source, return_counts=True)
    weights = 1 / number[np.searchsorted(names, source)] / len(names)
    order = np.argsort(needed)
    reached = int(np.searchsorted(np.cumsum(weights[order]), COVERED - 1e-9))
    return float(needed[order][min(reached, len(order) - 1)])
