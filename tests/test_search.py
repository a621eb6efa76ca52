"""What the answer of `solve` is: admissible, within the tolerance, fitting, and the best by brute force."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diymodel.config import DIYConfig
from solver import Query, Recipe, Solution, Status, counts, memory, rank_configs, ranking, solve
from solver.compute import step_time
from solver.devices import device
from solver.errors import QueryError
from solver.lattice import lattice
from solver.query import Prefer, Span
from solver.ranking import law
from solver.ranking.total import FITTED
from solver.search import order
from solver.search.known import Band
from solver.search.passes import how_many_fit
from solver.units import band
from tests import brute_force
from tests.strategies import small_queries

PREFERENCES: tuple[Prefer, ...] = get_args(Prefer)

CLOSE = 1e-6
"""Nats within which two orders of the same rows are both right: the oracle scores row by row, the engine in columns."""


def total_by_hand(config: Any, query: Query) -> float:
    """The total of one shape, its terms evaluated alone."""
    params = query.target_params or counts.total(config)
    terms = ranking.evaluate(config, tokens=tokens_by_hand(config, query, params), params=params)
    priced = preference_by_hand(config, query) if query.prefer != "quality" else 0.0
    return float(sum(terms.values())) + priced


def tokens_by_hand(config: DIYConfig, query: Query, params: int) -> int:
    """The tokens of one shape: what its budget of FLOPs or of time buys, or those of the query."""
    seq_len = query.recipe.seq_len
    if query.train_flops:
        lookups = 0 if config.tie_embeddings else config.vocab_size * config.hidden_size
        weights = counts.total(config) - counts.count(config)["norm"] - lookups
        scores = config.num_layers * config.num_heads * config.head_dim * seq_len
        return max(1, query.train_flops // (6 * weights + 12 * scores))
    if query.train_days and query.device:
        times = 2**19 // query.recipe.tokens  # micro-batches of an optimizer step
        step = step_time.step_seconds(config, query.recipe, query.device, accumulation=times)
        return max(1, int(query.train_days * 86_400 / step * times * query.recipe.tokens))
    return query.tokens_at(params)


def preference_by_hand(config: DIYConfig, query: Query) -> float:
    """What the preference charges, from the law's slopes by finite differences and the scalar memory report."""
    if query.prefer == "quality":
        return 0.0
    size = query.target_params or (query.vram_bytes or 0) // 16
    recipe = query.recipe
    shares = {"quality": (0, 0), "speed": (1, 0), "memory": (0, 1), "balanced": (0.5, 0.5)}[query.prefer]
    timed = recipe.micro_batch
    if query.largest_micro_batch:
        most = memory.max_micro_batch(config, recipe, query.vram_bytes or 0)
        timed = max([1, *(number for number in (2, 3, 4, 6, 8, 12, 16, 24, 32) if number <= most)])
    seconds = ranking.relative_step_time(config, recipe.seq_len, timed) * recipe.micro_batch / timed
    arithmetic = 6 * size * recipe.seq_len * recipe.micro_batch / (312e12 * step_time.fitted().products)
    peak = memory.report(config, recipe).peak_bytes
    return float(
        shares[0] * slope("tokens", size, query.tokens_at(size)) * math.log(seconds / arithmetic)
        + shares[1] * slope("params", size, query.tokens_at(size)) * math.log(peak / (16 * size))
    )


def slope(name: str, params: int, tokens: int, step: float = 1e-4) -> float:
    """Nats by which the loss of 32 layers falls per ln of the tokens or of the params, all of them in the layers."""

    def loss(factor: float) -> float:
        size = params * (factor if name == "params" else 1)
        return float(
            law.predicted_loss(
                layers=32,
                width=law.effective_width(layers=32, layer_params=size),
                params=size,
                tokens=tokens * (factor if name == "tokens" else 1),
            )
        )

    return (loss(math.exp(-step)) - loss(math.exp(step))) / (2 * step)


def fits_by_hand(config: Any, query: Query) -> bool:
    if query.vram_bytes is None:
        return True
    return memory.device_bytes(memory.allocated_bytes(config, query.recipe), query.recipe) <= query.vram_bytes


def best_totals(shapes: list[Any], query: Query) -> list[float]:
    """The totals of the best rows, of which no two share layers and hidden size."""
    best: dict[tuple[int, int], float] = {}
    for shape in shapes:
        key = (shape.num_layers, shape.hidden_size)
        best[key] = min(best.get(key, float("inf")), total_by_hand(shape, query))
    return sorted(best.values())[: query.top]


def check_against_brute_force(query: Query, solution: Solution) -> None:
    everything = list(brute_force.shapes(query))
    admissible = everything
    if query.target_params:
        low, high = band(query.target_params, query.tolerance)
        admissible = [shape for shape in everything if low <= brute_force.params(shape) <= high]
    fitting = [shape for shape in admissible if fits_by_hand(shape, query)]
    assert solution.stats.in_band == len(admissible)
    assert solution.stats.fitting == len(fitting)
    assert (solution.status is Status.SOLVED) == bool(fitting)
    rows = [candidate.config for candidate in solution.candidates]
    assert set(rows) <= set(fitting)
    assert len({(row.num_layers, row.hidden_size) for row in rows}) == len(rows)
    totals = [candidate.score.total for candidate in solution.candidates]
    assert totals == sorted(totals)
    assert totals == pytest.approx(best_totals(fitting, query), abs=CLOSE)
    if query.vram_bytes and not fitting:
        check_what_comes_nearest(query, solution, everything, admissible)


def check_what_comes_nearest(
    query: Query, solution: Solution, everything: list[DIYConfig], of_this_size: list[DIYConfig]
) -> None:
    sizes = [brute_force.params(shape) for shape in everything if fits_by_hand(shape, query)]
    assert solution.largest_target_that_fits == max(sizes, default=None)
    if of_this_size:
        needed = [
            memory.device_bytes(memory.allocated_bytes(shape, query.recipe), query.recipe) for shape in of_this_size
        ]
        assert min(needed) in {miss.device_bytes for miss in solution.nearest}


@settings(max_examples=60)
@given(
    small_queries(),
    st.sampled_from([None, 800 * 2**20, 900 * 2**20, 2**30, 2 * 2**30]),
    st.sampled_from(PREFERENCES),
    st.booleans(),
)
def test_solve_is_the_brute_force(query: Query, vram: int | None, prefer: Prefer, largest: bool) -> None:
    query = replace(query, vram_bytes=vram, prefer=prefer, largest_micro_batch=largest and vram is not None)
    try:
        solution = solve(query)
    except QueryError:
        assert next(brute_force.shapes(query), None) is None
        return
    check_against_brute_force(query, solution)


@settings(max_examples=60)
@given(
    small_queries(),
    st.sampled_from([700 * 2**20, 800 * 2**20, 900 * 2**20, 2**30]),
    st.sampled_from(PREFERENCES),
    st.sampled_from([None, 0.1, 20.0]),
    st.booleans(),
)
def test_solve_without_a_target_is_the_brute_force(
    query: Query, vram: int, prefer: Prefer, tokens_per_param: float | None, largest: bool
) -> None:
    query = replace(
        query,
        target_params=None,
        vram_bytes=vram,
        prefer=prefer,
        tokens_per_param=tokens_per_param,
        largest_micro_batch=largest,
    )
    try:
        solution = solve(query)
    except QueryError:
        assert next(brute_force.shapes(query), None) is None
        return
    check_against_brute_force(query, solution)


@settings(max_examples=60)
@given(
    small_queries(),
    st.sampled_from([None, 700 * 2**20, 900 * 2**20]),
    st.booleans(),
    st.sampled_from([{"train_flops": 10**13}, {"train_flops": 10**16}, {"train_days": 0.01}, {"train_days": 3.0}]),
    st.sampled_from(["quality", "memory"]),
)
def test_solve_within_flops_or_days_is_the_brute_force(
    query: Query, vram: int | None, targeted: bool, budget: dict[str, Any], prefer: Prefer
) -> None:
    query = replace(
        query,
        target_params=query.target_params if targeted else None,
        vram_bytes=vram or (None if targeted or "train_flops" in budget else 2**30),
        device=device("rtx4090"),
        prefer="quality" if vram is None else prefer,
        **budget,
    )
    try:
        solution = solve(query)
    except QueryError:
        assert next(brute_force.shapes(query), None) is None
        return
    check_against_brute_force(query, solution)


@pytest.mark.parametrize("target", [12_000_000, None])
@pytest.mark.parametrize("prefer", ["speed", "balanced"])
def test_solve_at_the_largest_micro_batches_is_the_brute_force(target: int | None, prefer: Prefer) -> None:
    """Budgets in which shapes have room for one sequence, for six, and for numbers between that are not timed."""
    largest = set()
    for vram in (1000 * 2**20, 1350 * 2**20, 2700 * 2**20):
        query = Query(
            target_params=target,
            vram_bytes=vram,
            prefer=prefer,
            largest_micro_batch=True,
            tokens_per_param=20.0,
            tolerance=0.2,
            top=200,
            hidden_size=(320, 512),
            num_layers=Span(start=3, stop=8, step=1),
            intermediate_size=(1024, 1408),
        )
        solution = solve(query)
        check_against_brute_force(query, solution)
        largest |= {candidate.memory.recipe.micro_batch for candidate in solution.candidates}
    assert largest >= {1, 5, 6}


@pytest.fixture(scope="module")
def main_job() -> Solution:
    return solve(Query.parse(target="500M", vram="24GB"))


def test_main_job_answers_with_ten_deep_shapes_that_fit(main_job: Solution) -> None:
    assert main_job.status is Status.SOLVED
    assert [candidate.rank for candidate in main_job.candidates] == list(range(1, 11))
    for candidate in main_job.candidates:
        config = candidate.config
        assert abs(candidate.params["total"] - 500_000_000) <= 5_000_000
        assert candidate.target_error == (candidate.params["total"] - 500_000_000) / 500_000_000
        assert candidate.memory.verdict in ("fits", "uncertain")
        assert candidate.memory.device_bytes <= 24_000_000_000
        assert config.num_layers >= 24, "deep rather than shallow"
        assert config.max_seq_len == 2048


@pytest.mark.parametrize("target", ["125M", "350M", "500M", "1B", "1.5B", "7B"])
def test_winners_lie_inside_the_lattice(target: str) -> None:
    """A winner in a corner of the lattice would be the sign of a missing term."""
    config = solve(Query.parse(target=target)).candidates[0].config
    assert 20 <= config.num_layers <= 90
    assert 1.8 * config.hidden_size < config.intermediate_size < 4 * config.hidden_size
    assert config.num_kv_heads >= 4


def test_the_same_query_has_the_same_answer(main_job: Solution) -> None:
    again = solve(Query.parse(target="0.5B", vram="24000MB"))
    assert again.candidates == main_job.candidates


def test_a_fixed_shape_is_the_only_candidate() -> None:
    words = {"layers": "29", "hidden": "1024", "heads": "16", "kv_heads": "16", "intermediate": "4096"}
    solution = solve(Query.parse(target="493M", **words))
    assert [candidate.params["total"] for candidate in solution.candidates] == [493_153_280]


def test_only_a_budget_uses_it(main_job: Solution) -> None:
    solution = solve(Query.parse(vram="24GB"))
    assert solution.candidates[0].score.predicted_loss < main_job.candidates[0].score.predicted_loss
    assert solution.candidates[0].target_error is None
    assert solution.candidates[0].memory.device_bytes > 0.95 * 24e9


def test_only_a_target_has_no_verdict() -> None:
    solution = solve(Query.parse(target="500M"))
    assert {candidate.memory.verdict for candidate in solution.candidates} == {None}


@pytest.mark.parametrize("words", [{"vram": "24GB"}, {"vram": "2GB", "micro_batch": 4}])
def test_what_fits_is_counted_as_if_every_shape_were_looked_at(words: dict[str, Any]) -> None:
    query = Query.parse(**words)
    grid = lattice(query)
    rows = np.repeat(np.arange(len(grid.columns)), grid.widths)
    numbers = np.concatenate([np.arange(width) for width in grid.widths])
    most_bytes = memory.largest_allocation(query.vram_bytes or 0, query.recipe)
    deepest = memory.most_layers(grid.at(rows, numbers), query.recipe, most_bytes)
    fitting = np.searchsorted(grid.layers, deepest, side="right").sum()
    assert solve(query).stats.fitting == fitting > 1000


def test_more_budget_never_hurts() -> None:
    losses = [solve(Query.parse(target="500M", vram=vram)).candidates for vram in ("10GB", "12GB", "14GB", "24GB")]
    best = [candidates[0].score.total for candidates in losses if candidates]
    assert best == sorted(best, reverse=True)


def test_target_that_no_shape_reaches() -> None:
    solution = solve(Query.parse(target="1000T", vram="24GB"))
    assert solution.status is Status.INFEASIBLE
    assert solution.candidates == ()
    assert solution.nearest
    assert all(any(broken.startswith("target") for broken in miss.breaks) for miss in solution.nearest)
    assert solution.largest_target_that_fits


def test_budget_that_is_too_small() -> None:
    solution = solve(Query.parse(target="7B", vram="1GB"))
    assert solution.status is Status.INFEASIBLE
    assert any(broken.startswith("vram") for miss in solution.nearest for broken in miss.breaks)
    largest = solution.largest_target_that_fits
    assert largest
    again = solve(Query(target_params=largest, vram_bytes=10**9, tolerance=0.0))
    assert again.status is Status.SOLVED
    beyond = solve(Query(target_params=largest + 1, vram_bytes=10**9, tolerance=0.0))
    assert beyond.status is Status.INFEASIBLE


def test_budget_that_holds_nothing_at_all() -> None:
    solution = solve(Query.parse(vram="1MB"))
    assert solution.status is Status.INFEASIBLE
    assert solution.largest_target_that_fits is None
    assert solution.nearest


def test_fixed_shape_that_contradicts_the_target() -> None:
    solution = solve(Query.parse(target="500M", layers="2", hidden="64"))
    assert solution.status is Status.INFEASIBLE
    assert solution.nearest[0].params < 10**6


def test_a_remedy_is_named_where_the_recipe_is_the_trouble() -> None:
    solution = solve(Query.parse(target="500M", vram="24GB", layers="30:40", micro_batch=16))
    assert solution.status is Status.INFEASIBLE
    assert "--checkpointing full" in solution.message


def test_largest_micro_batch_fits_and_one_more_does_not() -> None:
    solution = solve(Query.parse(target="500M", vram="24GB", micro_batch="max", top=3))
    for candidate in solution.candidates:
        recipe = candidate.memory.recipe
        assert recipe.micro_batch == candidate.memory.max_micro_batch > 1
        assert candidate.memory.verdict == "fits"
        more = memory.report(candidate.config, replace(recipe, micro_batch=recipe.micro_batch + 1), 24 * 10**9)
        assert more.verdict != "fits"


def test_largest_micro_batch_needs_a_budget() -> None:
    with pytest.raises(QueryError, match="needs a budget"):
        Query.parse(target="500M", micro_batch="max")


def test_sizes_beyond_64_bits_are_refused() -> None:
    with pytest.raises(QueryError, match="seq="):
        solve(Query.parse(target="1T", vram="24GB", seq=2**24, attention="eager"))


def test_rank_does_not_depend_on_the_order() -> None:
    configs = [DIYConfig(num_layers=layers, hidden_size=64 * 8) for layers in (2, 30, 8)]
    forward = rank_configs([(config, 10**12) for config in configs])
    backward = rank_configs([(config, 10**12) for config in reversed(configs)])
    assert forward == list(reversed(backward))
    assert forward[1].total < forward[2].total < forward[0].total
    assert rank_configs([]) == []


def test_rank_agrees_with_a_solve_without_a_target() -> None:
    solution = solve(Query.parse(vram="4GB"))
    scores = rank_configs([(candidate.config, 10**12) for candidate in solution.candidates])
    assert [score.total for score in scores] == pytest.approx([c.score.total for c in solution.candidates], abs=CLOSE)


def test_infer_needs_less_than_training() -> None:
    train = solve(Query.parse(target="500M", vram="24GB")).candidates[0].config
    assert memory.report(train, Recipe(mode="infer")).peak_bytes < memory.report(train, Recipe()).peak_bytes


# preferences


@pytest.mark.parametrize("words", [{}, {"tokens_per_param": 20.0}, {"micro_batch": 4}, {"layers": "8:16"}])
def test_a_preference_gets_what_it_pays_for(words: dict[str, Any]) -> None:
    firsts = {
        prefer: solve(Query.parse(target="500M", vram="80GB", prefer=prefer, **words)).candidates[0]
        for prefer in PREFERENCES
    }
    seconds = {
        prefer: ranking.relative_step_time(first.config, 2048, first.memory.recipe.micro_batch)
        for prefer, first in firsts.items()
    }
    assert seconds["speed"] <= seconds["quality"]
    assert firsts["memory"].memory.peak_bytes <= firsts["quality"].memory.peak_bytes
    losses = {prefer: first.score.predicted_loss for prefer, first in firsts.items()}
    assert losses["quality"] <= min(losses.values()) + CLOSE


def test_speed_is_judged_at_the_micro_batch_that_fits() -> None:
    """Launches of kernels, which depth pays for, outlast the work of a short micro-batch, not that of a large one."""
    words = {"target": "500M", "vram": "24GB", "prefer": "speed", "tokens_per_param": 20, "seq": 512}
    one, largest = (solve(Query.parse(**words, micro_batch=number)).candidates[0] for number in (1, "max"))
    assert largest.memory.recipe.micro_batch > 4
    assert largest.config.num_layers > one.config.num_layers
    assert largest.score.terms["speed"] < one.score.terms["speed"]


@pytest.mark.parametrize("prefer", PREFERENCES)
def test_the_terms_of_a_preference_are_named_and_sum_up(prefer: Prefer) -> None:
    names = {"quality": set(), "speed": {"speed"}, "memory": {"memory"}, "balanced": {"speed", "memory"}}[prefer]
    for candidate in solve(Query.parse(target="500M", vram="24GB", prefer=prefer)).candidates:
        score = candidate.score
        assert score.total == pytest.approx(sum(score.terms.values()), abs=1e-8)
        assert set(score.terms) & {"speed", "memory"} == names
        assert set(score.terms) <= set(ranking.MEANINGS)


@pytest.mark.parametrize("prefer", PREFERENCES)
def test_a_tie_is_with_rank_1_in_loss_whatever_is_preferred(prefer: Prefer) -> None:
    """The same rows, ranked by quality: where rank 1 is the best in loss too, the same rows are tied with it."""
    solution = solve(Query.parse(target="500M", micro_batch=4, prefer=prefer, top=40, layers="8:60"))
    candidates = solution.candidates
    assert candidates[0].score.tie
    losses = np.array([sum(candidate.score.terms[term] for term in FITTED) for candidate in candidates])
    away = np.abs(losses - losses[0]) > 0.05
    assert not any(candidate.score.tie for candidate, far in zip(candidates, away, strict=True) if far)
    near = np.abs(losses - losses[0]) < law.scatter()
    assert all(candidate.score.tie for candidate, close in zip(candidates, near, strict=True) if close)


def test_prices_are_those_of_the_target_and_its_tokens() -> None:
    short, long = (order.prices(Query.parse(target="500M", prefer="speed", tokens=n)) for n in ("10B", "1T"))
    assert short.speed_rate > long.speed_rate > 0 == long.memory_rate
    without = order.prices(Query.parse(vram="16GB", prefer="balanced"))
    assert without == order.prices(Query.parse(target="1B", prefer="balanced"))


def test_an_unknown_preference_is_refused() -> None:
    with pytest.raises(QueryError, match="did you mean speed"):
        Query(target_params=10**6, prefer="sped")  # type: ignore[arg-type]


# the front, and step times


@pytest.mark.parametrize("words", [{}, {"prefer": "balanced"}, {"vram": "24GB", "micro_batch": "max"}])
def test_pareto_marks_what_no_listed_candidate_beats(words: dict[str, Any]) -> None:
    candidates = solve(Query.parse(target="500M", top=20, **words)).candidates
    preferred = ("speed", "memory")
    costs = [
        (
            round(sum(nats for term, nats in c.score.terms.items() if term not in preferred), 9),
            c.relative_step_time,
            c.memory.peak_bytes,
        )
        for c in candidates
    ]
    for candidate, own in zip(candidates, costs, strict=True):
        beaten = any(other != own and all(a <= b for a, b in zip(other, own, strict=True)) for other in costs)
        assert candidate.pareto is not beaten
    assert {candidate.pareto for candidate in candidates} == {True, False}


def test_step_time_is_relative_to_rank_1_and_per_token(main_job: Solution) -> None:
    assert main_job.candidates[0].relative_step_time == 1
    larger = solve(Query.parse(target="500M", vram="24GB", micro_batch="max", top=3)).candidates
    assert all(0.5 < candidate.relative_step_time < 2 for candidate in larger)


# what binds


@pytest.mark.parametrize(
    ("words", "constraint", "change"),
    [
        ({"target": "500M"}, "none", ""),
        ({"target": "500M", "vram": "24GB"}, "none", ""),
        ({"target": "500M", "vram": "24GB", "micro_batch": 6}, "memory", "no budget"),
        ({"vram": "24GB"}, "memory", None),
        ({"target": "500M", "layers": "20"}, "layers", "layers 27"),
        ({"target": "500M", "layers": "24:60"}, "none", ""),
        ({"target": "500M", "hidden": "2048"}, "hidden", "hidden 1536"),
        ({"target": "500M", "intermediate": "2048"}, "intermediate", "intermediate 2432"),
        ({"target": "500M", "kv_heads": "1"}, "kv_heads", None),
        ({"target": "500M", "heads": "8"}, "heads", "heads 16"),
        ({"target": "500M", "head_dim": "128"}, "head_dim", "head_dim 64"),
        ({"target": "500M", "tolerance": "0.001%"}, "tolerance", "tolerance 0.1 %"),
        ({"vram": "24GB", "layers": "12"}, "layers", "layers 16"),
    ],
)
def test_the_binding_constraint_is_named(words: dict[str, Any], constraint: str, change: str | None) -> None:
    solution = solve(Query.parse(**words))
    bound = solution.binding
    assert bound is not None
    assert bound.constraint == constraint
    assert change is None or bound.change == change
    assert (bound.gain > 0) == (constraint != "none")
    assert f"binding constraint: {constraint}" in solution.message


@pytest.mark.parametrize("prefer", PREFERENCES)
def test_what_binds_is_proved_by_a_better_answer_without_it(prefer: Prefer) -> None:
    tight = Query.parse(target="500M", vram="24GB", micro_batch=8, prefer=prefer, checkpointing="none", layers="6:30")
    solution = solve(tight)
    assert solution.binding is not None
    free = solve(replace(tight, vram_bytes=None))
    gain = solution.candidates[0].score.total - free.candidates[0].score.total
    if solution.binding.constraint == "memory":
        assert solution.binding.gain == pytest.approx(gain, abs=CLOSE)
    else:
        assert gain <= solution.binding.gain + CLOSE


def test_an_end_of_the_lattice_can_bind() -> None:
    """A trillion params are wider than the default lattice."""
    solution = solve(Query.parse(target="1T", tolerance="0.1%"))
    assert solution.candidates[0].config.hidden_size == 16384
    assert solution.binding is not None
    assert solution.binding.constraint == "lattice"
    assert int(solution.binding.change.removeprefix("hidden ")) > 16384


def test_an_infeasible_answer_has_no_binding_constraint() -> None:
    assert solve(Query.parse(target="7B", vram="1GB")).binding is None


BOUNDED: list[dict[str, Any]] = [
    {"vram": "80GB"},
    {"vram": "80GB", "tokens_per_param": 20.0},
    {"vram": "80GB", "prefer": "balanced"},
    {"vram": "24GB", "prefer": "speed", "micro_batch": "max"},
    {"vram": "640GB", "prefer": "memory", "checkpointing": "full"},
    {"flops": "1e21"},
    {"flops": "1e19", "vram": "80GB", "prefer": "balanced"},
    {"gpu": "rtx4090", "train_days": 3.0},
    {"gpu": "h100", "train_days": 30.0, "checkpointing": "full", "loss": "chunked"},
]


@pytest.mark.parametrize("words", BOUNDED, ids=lambda words: ",".join(map(str, words.values())))
@given(seed=st.integers(0, 2**32 - 1), log_spread=st.floats(0, 6))
def test_no_shape_of_a_box_is_better_than_its_bound(words: dict[str, Any], seed: int, log_spread: float) -> None:
    query, draw = Query.parse(**words), np.random.default_rng(seed)
    grid = lattice(query)
    rows = draw.integers(0, len(grid.columns), 64)
    spread = round(math.exp(log_spread))
    narrow, shallow = draw.integers(0, grid.widths[rows]), draw.integers(0, len(grid.layers), 64)
    wide = np.minimum(narrow + draw.integers(0, spread, 64), grid.widths[rows] - 1)
    deep = np.minimum(shallow + draw.integers(0, spread, 64), len(grid.layers) - 1)
    least = order.with_layers(grid.at(rows, narrow), grid.layers[shallow])
    most = order.with_layers(grid.at(rows, wide), grid.layers[deep])
    bounds = order.lower_bounds(least, most, query)
    for inside in (least, most, *(
        order.with_layers(grid.at(rows, draw.integers(narrow, wide + 1)), grid.layers[draw.integers(shallow, deep + 1)])
        for _ in range(4)
    )):  # fmt: skip
        assert (bounds <= order.totals(inside, query) + order.BOUND_SLACK).all()


@pytest.mark.parametrize(
    "words",
    [
        {"target": "7B", "vram": "80GB"},
        {"target": "60M", "tolerance": "20%", "prefer": "balanced", "vram": "24GB"},
        {"target": "1B", "flops": "1e21", "tolerance": "5%"},
        {"target": "500M", "family": "gpt2", "vocab": "6400"},
    ],
    ids=lambda words: ",".join(words.values()),
)
def test_no_shape_of_a_run_is_better_than_its_bound(words: dict[str, Any]) -> None:
    query = Query.parse(**words)
    runs = lattice(query).in_band(*band(query.target_params or 0, query.tolerance))
    bounds = order.lower_bounds(runs.shapes, runs.largest, query)
    assert (np.repeat(bounds, runs.lengths) <= order.totals(runs.listed(), query) + order.BOUND_SLACK).all()


def test_runs_are_cut_where_they_are_told_to() -> None:
    runs = lattice(Query.parse(target="125M")).in_band(*band(125_000_000, 0.01))
    numbers = np.arange(len(runs)) % (runs.lengths + 1)
    first, rest = runs.up_to(numbers).listed(), runs.beyond(numbers).listed()
    both = [shapes.config(row) for shapes in (first, rest) for row in range(len(shapes))]
    every = runs.listed()
    assert len(both) == len(every)
    assert set(both) == {every.config(row) for row in range(len(every))}


@settings(max_examples=20)
@given(st.integers(108, 140))
def test_what_fits_of_a_band_is_what_fits_one_by_one(gigabytes: int) -> None:
    query = Query.parse(target="7B", tolerance="5%", vram=f"{gigabytes}GB", hidden="2048:4096:512")
    shapes = Band(lattice(query).in_band(*band(7_000_000_000, 0.05)))
    needed = memory.device_bytes(memory.allocated_bytes(shapes.runs.listed(), query.recipe), query.recipe)
    assert how_many_fit(shapes, query).sum() == (needed <= query.vram_bytes).sum()


def test_what_fits_beside_days_holds_the_gradients_of_the_plan() -> None:
    """The days are those of steps that accumulate, so the memory is too: that of no candidate is one micro-batch's."""
    solution = solve(Query.parse(target="125M", gpu="rtx3060", micro_batch=2, top=3))
    for candidate in solution.candidates:
        assert candidate.training
        assert candidate.memory
        assert isinstance(candidate.config, DIYConfig)
        recipe = candidate.memory.recipe
        assert recipe.accumulation == candidate.training.accumulation > 1
        assert candidate.memory.moments["forward_end"]["gradients"] > 0
        alone = memory.report(candidate.config, replace(recipe, accumulation=1))
        assert candidate.memory.peak_bytes > alone.peak_bytes


def test_the_largest_micro_batch_of_a_candidate_fits_with_its_accumulation() -> None:
    query = Query.parse(target="125M", gpu="rtx3060", micro_batch="max", top=3)
    for candidate in solve(query).candidates:
        assert candidate.memory
        assert isinstance(candidate.config, DIYConfig)
        assert candidate.memory.verdict == "fits"
        recipe = candidate.memory.recipe
        larger = replace(recipe, micro_batch=recipe.micro_batch + 1)
        assert memory.report(candidate.config, larger, query.vram_bytes).verdict != "fits"
