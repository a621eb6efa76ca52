"""The published sweeps that the ranking is fitted on and scored with, as columns.

`evidence/ranking.csv` holds one trained model and one figure a row. `source` cites the row. `ladder` names the models
that belong together (one size class of one source, at all token budgets and under all metrics); `sweep` is one ladder
at one budget under one metric, so that its values can be compared with each other. `use` says what a row may do:

    fit     the law is fitted on it
    tokens  the law is fitted on it, to say what tokens buy: one shape at several budgets, which orders no shapes
    share   the share of the MLP is fitted on it, and not the law
    check   never fitted: other budgets of the published runs, and sweeps kept aside
    apart   never fitted: sources, or shapes of one, that were not admitted; scored where sources are left out
    report  never fitted and no goal: single tasks, roadmaps of several changes at once, other residual designs, models
            far smaller than those of the fit

Every `params` equals the parameter polynomial of the row's shape, which is how head counts and intermediate sizes that
a source leaves out were recovered. Assumed are: for DepthBench (Wang 2026), which says only 400M, two embeddings of
50,304 and as many kv heads as query heads, all of 32; for Petty et al. 2023 heads of 64 and 65.5B tokens, and for their
374M models, whose MLPs are printed in thousands, the sizes of equal count; for StepLaw a vocabulary of 65,536. Of runs
that differ in nothing but the recipe the best is taken: Gadre's grid by warmup, StepLaw's by learning rate and batch.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from solver.families import Family

TABLE = Path(__file__).parent / "evidence" / "ranking.csv"

Floats = NDArray[np.float64]
Names = NDArray[np.str_]

HIGHER_IS_BETTER = ("accuracy", "F1")

LEAST, NATS, POINTS = 0.6, 0.01, 0.3
"""The goal on a sweep outside the fit: least correlation, regret in nats, and in points of an average over tasks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows of the evidence as columns of equal length, under DIYConfig's names where it has them."""

    ladder: Names
    sweep: Names
    metric: Names
    use: Names
    num_layers: Floats
    hidden_size: Floats
    num_heads: Floats
    num_kv_heads: Floats
    head_dim: Floats
    intermediate_size: Floats
    mlp_matrices: Floats
    vocab_size: Floats
    tie_embeddings: Floats
    params: Floats
    tokens: Floats
    value: Floats

    def __len__(self) -> int:
        return len(self.value)

    def take(self, rows: Any) -> Table:
        """The rows at these positions, or where this mask is true."""
        columns: dict[str, Any] = {name: getattr(self, name)[rows] for name in COLUMNS}
        return replace(self, **columns)

    @property
    def higher_is_better(self) -> NDArray[np.bool_]:
        """Where the value is an accuracy and not a loss."""
        return np.array([any(word in metric for word in HIGHER_IS_BETTER) for metric in self.metric])

    @property
    def model(self) -> Names:
        """The trained model of each row: the same name at every budget and under every metric."""
        numbers = zip(self.ladder, self.hidden_size, self.num_layers, self.num_heads, self.num_kv_heads, strict=True)
        return np.array([" ".join(str(part) for part in row) for row in numbers])

    @property
    def source(self) -> Names:
        """Who published each row: the first word of its ladder."""
        return np.array([ladder.split("-")[0] for ladder in self.ladder])

    @property
    def family(self) -> Family:
        """A Llama of each row's options; the MLP of some rows is plain."""
        return Family(tie_embeddings=self.tie_embeddings, mlp_matrices=self.mlp_matrices)

    @property
    def group(self) -> NDArray[np.intp]:
        """A number per sweep, for each row."""
        groups: NDArray[np.intp] = np.unique(self.sweep, return_inverse=True)[1]
        return groups


WORDS = ("ladder", "sweep", "metric", "use")
COLUMNS = tuple(field.name for field in fields(Table))


def read(path: Path = TABLE) -> Table:
    """The whole table."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns: dict[str, Any] = {}
    for name in COLUMNS:
        values = [row[name] for row in rows]
        columns[name] = np.array(values, dtype=str if name in WORDS else float)
    return Table(**columns)


def regret_goal(in_points: bool) -> float:
    """What the first pick may lose."""
    return POINTS if in_points else NATS


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How one order agrees with one sweep."""

    sweep: str
    models: int
    spearman: float
    regret: float
    """What the model that is put first loses against the best of the sweep: nats, or points."""
    in_points: bool
    single_task: bool
    """Noisy, and so only reported."""

    @property
    def short_in_order(self) -> bool:
        """Whether the correlation misses the goal."""
        return self.spearman < LEAST

    @property
    def short_in_regret(self) -> bool:
        """Whether the first pick loses more than the goal allows."""
        return self.regret > regret_goal(self.in_points) + 1e-9

    @property
    def misses(self) -> bool:
        """Whether either does. A single task has no goal."""
        return not self.single_task and (self.short_in_order or self.short_in_regret)


def agreements(table: Table, predicted: Floats, fewest: int = 3) -> list[Agreement]:
    """Per sweep of at least `fewest` models. `predicted` is lower for better."""
    found = []
    quality = np.where(table.higher_is_better, table.value, -table.value)
    for sweep in dict.fromkeys(table.sweep.tolist()):
        rows = np.flatnonzero(table.sweep == sweep)
        if len(rows) < fewest:
            continue
        order, measured = predicted[rows], quality[rows]
        in_points = bool(table.higher_is_better[rows[0]])
        found.append(
            Agreement(
                sweep=sweep,
                models=len(rows),
                spearman=float(spearmanr(-order, measured).statistic) if np.ptp(order) else 0.0,
                regret=float(measured.max() - measured[order.argmin()]),
                in_points=in_points,
                single_task=in_points and "mean" not in str(table.metric[rows[0]]),
            )
        )
    return found
