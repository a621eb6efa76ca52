"""The stages put together: lattice, pass, best rows, and the finished answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from diymodel.config import DIYConfig
from solver import counts, memory, ranking
from solver.compute.plan import Training, pace
from solver.compute.step_time import is_known
from solver.lattice import Shapes, lattice
from solver.memory.budget import MemoryReport
from solver.query import Query
from solver.ranking import Score, law
from solver.ranking.total import Floats, total
from solver.recipe import Recipe
from solver.search.binding import binding
from solver.search.known import Known
from solver.search.misses import infeasible
from solver.search.order import preferred, regime, spends
from solver.search.passes import search
from solver.solution import Binding, Candidate, Solution, Stats, Status
from solver.units import short_bytes

if TYPE_CHECKING:
    from solver.interop.blueprints import Config

V = TypeVar("V")


def solve(query: Query) -> Solution:
    """The admissible shapes of a query, best first; or, where there are none, what comes nearest.

    The order is exact under the score: total, then relative step time, then |target error|, then the shape itself.
    No two candidates share layers and hidden size.

    Raises:
        QueryError: constraints that contradict each other, or sizes beyond 64-bit arithmetic.
    """
    return solve_knowing(query, None)


def solve_knowing(query: Query, known: Known | None) -> Solution:
    """The same answer, with what other queries have left in `known`."""
    started = time.perf_counter()
    grid = known.lattice(query) if known else lattice(query)
    found = search(grid, query, known)
    stats = Stats(
        lattice=grid.size,
        in_band=found.in_band,
        fitting=found.fitting,
        seconds=time.perf_counter() - started,
    )
    if not found.fitting:
        return infeasible(grid, query, stats, found, known)
    bound = binding(grid, query, found, known)
    candidates = _candidates(found.best, query, known)
    return Solution(
        status=Status.SOLVED,
        message=solved_message(query, stats, bound),
        query=query,
        stats=replace(stats, seconds=time.perf_counter() - started),
        candidates=candidates,
        binding=bound,
        caution=_caution(candidates[0], query),
    )


def rank_configs(entries: Sequence[tuple[DIYConfig, int]]) -> list[Score]:
    """Score given configs, each at its own training tokens, without searching; in the order of the input.

    Each is scored at its own parameter count. A tie is one with the best of them.
    """
    if not entries:
        return []
    rows = [config.to_dict() for config, _ in entries]
    columns = SimpleNamespace(**{name: np.array([row[name] for row in rows]) for name in rows[0]})
    tokens = np.array([tokens for _, tokens in entries], dtype=np.float64)
    return ranking.scores(columns, tokens=tokens)


def solved_message(query: Query, stats: Stats, bound: Binding) -> str:
    """How many shapes there are, and which constraint keeps better ones out."""
    where = f"in the band of {100 * query.tolerance:g} %" if query.target_params else "on the lattice"
    if query.vram_bytes is None:
        count = f"{stats.in_band:,} shapes lie {where}"
    else:
        count = f"{stats.fitting:,} of the {stats.in_band:,} shapes {where} fit {short_bytes(query.vram_bytes)}"
    return f"{count}; binding constraint: {bound}"


def _candidates(shapes: Shapes, query: Query, known: Known | None) -> tuple[Candidate, ...]:
    scored = regime(shapes, query)
    scores = ranking.scores(shapes, **scored, preferred=preferred(shapes, query))
    configs = [shapes.config(row) for row in range(len(shapes))]
    recall = known.recall if known else _made
    costs = _costs(configs, total(ranking.evaluate(shapes, **scored)), query, known)
    candidates = []
    for row, (config, cost, score) in enumerate(zip(configs, costs, scores, strict=True)):
        params = dict(recall(("params", config), partial(counts.count, config)))
        target = query.target_params
        candidates.append(
            Candidate(
                rank=row + 1,
                config=config,
                params=params,
                target_error=None if target is None else (params["total"] - target) / target,
                memory=cost.memory,
                score=score,
                relative_step_time=cost.relative_step_time,
                pareto=cost.pareto,
                training=cost.training,
            )
        )
    return tuple(candidates)


def _made(key: Hashable, make: Callable[[], V]) -> V:
    """What `Known.recall` is where nothing is remembered."""
    return make()


class _Cost(NamedTuple):
    """What a candidate costs; None where it is not known."""

    memory: MemoryReport | None = None
    relative_step_time: float | None = None
    pareto: bool | None = None
    training: Training | None = None


def _costs(configs: list[Config], quality: Floats, query: Query, known: Known | None) -> list[_Cost]:
    if query.is_foreign:
        return [_Cost()] * len(configs)
    ours = [config for config in configs if isinstance(config, DIYConfig)]
    report, recall = (known.report, known.recall) if known else (memory.report, _made)
    reports = [report(config, _recipe(config, query), query.vram_bytes) for config in ours]
    times = np.array([
        recall(("seconds", config, own.recipe), partial(_seconds_per_token, config, own))
        for config, own in zip(ours, reports, strict=True)
    ])  # fmt: skip
    peaks = np.array([report.peak_bytes for report in reports], dtype=np.float64)
    front = _front(np.stack([quality, times, peaks], axis=1))
    return [
        _Cost(
            memory=own,
            relative_step_time=float(times[row] / times[0]),
            pareto=bool(front[row]),
            training=_training(config, own.recipe, query, recall),
        )
        for row, (config, own) in enumerate(zip(ours, reports, strict=True))
    ]


def _training(config: DIYConfig, recipe: Recipe, query: Query, recall: Callable[..., Any]) -> Training | None:
    """The run at the query's tokens; None where it neither has a budget for it nor a card whose speed is known."""
    card = query.device if query.device and is_known(query.device, recipe) else None
    if recipe.mode != "train" or not (card or spends(query)):
        return None
    own = recall(("pace", config, recipe, card), partial(pace, config, recipe, card=card))
    return own.over(int(regime(config, query)["tokens"]), query.price)


def _caution(first: Candidate, query: Query) -> str:
    """Where a budget of time or FLOPs leads the law out of what it is fitted on."""
    run = first.training
    return law.caution([(first.params["total"], run.tokens)]) if run and spends(query) else ""


def _recipe(config: DIYConfig, query: Query) -> Recipe:
    """The query's recipe, at the config's own micro-batch where the largest is asked for."""
    if not query.largest_micro_batch or not query.vram_bytes:
        return query.recipe
    return query.recipe_at(max(1, memory.max_micro_batch(config, query.recipe, query.vram_bytes)))


def _seconds_per_token(config: DIYConfig, report: MemoryReport) -> float:
    recipe = report.recipe
    return float(ranking.relative_step_time(config, recipe.seq_len, recipe.micro_batch)) / recipe.tokens


def _front(costs: Floats) -> NDArray[np.bool_]:
    """The rows that no other row dominates: none is as low in every column and lower in one."""
    others, own = costs[:, None], costs[None, :]
    dominates = (others <= own).all(axis=2) & (others < own).any(axis=2)
    return np.logical_not(dominates.any(axis=0))
