"""What the answer of `solve` is: admissible, within the tolerance, fitting, and the best by brute force."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diymodel.config import DIYConfig
from solver import Query, Recipe, Solution, Status, counts, memory, rank_configs, ranking, solve
from solver.errors import QueryError
from solver.units import band
from tests import brute_force
from tests.strategies import small_queries

CLOSE = 1e-6
"""Nats within which two orders of the same rows are both right: the oracle scores row by row, the engine in columns."""


def total_by_hand(config: DIYConfig, query: Query) -> float:
    """The total of one shape, its terms evaluated alone."""
    params = query.target_params or counts.total(config)
    terms = ranking.evaluate(config, tokens=query.tokens_at(params), params=params)
    return float(sum(terms.values()))


def fits_by_hand(config: DIYConfig, query: Query) -> bool:
    if query.vram_bytes is None:
        return True
    return memory.report(config, query.recipe, query.vram_bytes).verdict != "does not fit"


def best_totals(shapes: list[DIYConfig], query: Query) -> list[float]:
    """The totals of the best rows, of which no two share layers and hidden size."""
    best: dict[tuple[int, int], float] = {}
    for shape in shapes:
        key = (shape.num_layers, shape.hidden_size)
        best[key] = min(best.get(key, float("inf")), total_by_hand(shape, query))
    return sorted(best.values())[: query.top]


def check_against_brute_force(query: Query, solution: Solution) -> None:
    admissible = list(brute_force.shapes(query))
    if query.target_params:
        low, high = band(query.target_params, query.tolerance)
        admissible = [shape for shape in admissible if low <= brute_force.params(shape) <= high]
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


@settings(max_examples=60)
@given(small_queries(), st.sampled_from([None, 800 * 2**20, 900 * 2**20, 2**30, 2 * 2**30]))
def test_solve_is_the_brute_force(query: Query, vram: int | None) -> None:
    query = replace(query, vram_bytes=vram)
    try:
        solution = solve(query)
    except QueryError:
        assert next(brute_force.shapes(query), None) is None
        return
    check_against_brute_force(query, solution)


@settings(max_examples=30)
@given(small_queries(), st.sampled_from([700 * 2**20, 800 * 2**20, 900 * 2**20, 2**30]))
def test_solve_without_a_target_is_the_brute_force(query: Query, vram: int) -> None:
    query = replace(query, target_params=None, vram_bytes=vram)
    try:
        solution = solve(query)
    except QueryError:
        assert next(brute_force.shapes(query), None) is None
        return
    check_against_brute_force(query, solution)


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
    assert 2.2 * config.hidden_size < config.intermediate_size < 4 * config.hidden_size
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
        assert candidate.memory.device_bytes <= 24 * 10**9
        more = memory.report(candidate.config, replace(recipe, micro_batch=recipe.micro_batch + 1), 24 * 10**9)
        assert more.verdict == "does not fit"


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
