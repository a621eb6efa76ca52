"""Many queries at once: the same answers as one by one, in order; and answers that travel as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diymodel.config import ConfigError
from solver import Query, Solution, Span, solve, solve_many
from solver.errors import InputFileError, QueryError
from solver.report.serialize import records
from solver.search import known as known_room
from solver.search import many
from tests.finished import EXPLAINED, INFEASIBLE, REFUTED, SOLVED, UNLIMITED
from tests.strategies import small_queries


def timeless(solution: Solution) -> Solution:
    return replace(solution, stats=replace(solution.stats, seconds=0.0))


def query(target: str, **words: Any) -> Query:
    return Query.parse(**{"target": target, "hidden": "64:512", "layers": "1:12", "top": 3, **words})


MIXED = [
    query("5M", vram="1GB"),
    query("5M", vram="4GB"),
    query("5M", vram="4GB", tokens="1B"),
    query("5M", vram="4GB", tokens="1B", prefer="speed"),
    query("5M", vram="600MB"),
    query("5M", vram="650MB", micro_batch=4),
    query("8M", vram="2GB", micro_batch="max", tolerance="5%"),
    query("5M", vram="4GB", tokens="1B", top=5),
    query("5M", vram="4GB", precision="32-true", attention="eager", seq=256),
    query("300M", vram="4GB"),
    query("5M", family="gpt2", vocab=6400),
    query("5M", family="opt", vocab=6400),
    query("5M", family="qwen2", vocab=6400, vram="4GB"),
    query("5M", like="smollm2-135m", vocab=6400, vram="4GB", tolerance="5%"),
    Query.parse(vram="2GB", hidden="64:256", layers="1:6"),
]
"""Queries that share a lattice, a band, an order or none of them, of several families; some are infeasible."""


def test_answers_are_those_of_single_solves() -> None:
    assert [timeless(found) for found in solve_many(MIXED)] == [timeless(solve(asked)) for asked in MIXED]


def test_the_order_of_the_queries_changes_no_answer() -> None:
    backwards = list(solve_many(MIXED[::-1]))[::-1]
    assert [timeless(found) for found in backwards] == [timeless(found) for found in solve_many(MIXED)]


def test_processes_give_the_same_answers() -> None:
    many_times = [replace(asked, top=top) for top in range(1, 4) for asked in MIXED]
    alone, together = solve_many(many_times), solve_many(many_times, workers=2)
    assert [timeless(found) for found in together] == [timeless(found) for found in alone]


@given(st.lists(small_queries(), min_size=1, max_size=4), st.integers(10**8, 4 * 10**9))
def test_drawn_queries_under_two_budgets(queries: list[Query], budget: int) -> None:
    asked = [replace(drawn, vram_bytes=vram) for drawn in queries for vram in (None, budget, 2 * budget)]
    for found, drawn in zip(many.answers(asked), asked, strict=True):
        if isinstance(found, Solution):
            assert timeless(found) == timeless(solve(drawn))
        else:
            with pytest.raises(QueryError) as refused:
                solve(drawn)
            assert str(found) == str(refused.value)


def test_what_no_longer_fits_into_memory_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_room, "MOST_RUNS", 10)
    assert [timeless(found) for found in solve_many(MIXED)] == [timeless(solve(asked)) for asked in MIXED]


def test_queries_are_read_as_they_are_answered() -> None:
    read = 0

    def endless() -> Iterator[Query]:
        nonlocal read
        while True:
            read += 1
            yield MIXED[0]

    assert len(list(islice(solve_many(endless()), 5))) == 5
    assert read <= many.WINDOW


def test_a_query_without_an_answer_ends_the_iterator_or_is_its_own_row() -> None:
    contradiction = replace(MIXED[0], num_heads=7, hidden_size=64)
    found = list(many.answers([MIXED[0], contradiction, MIXED[1]]))
    assert [type(answer) for answer in found] == [Solution, QueryError, Solution]
    with pytest.raises(QueryError, match="no shape satisfies"):
        list(solve_many([contradiction]))


def test_least_recently_used_goes_first() -> None:
    recent = known_room.Recent(10, size=lambda text: len(text))
    for text in ("aaaa", "bbbb", "aaaa", "cccc"):
        recent.get(text, lambda text=text: text)
    made: list[str] = []
    for text in ("aaaa", "cccc", "bbbb"):
        recent.get(text, lambda text=text: made.append(text) or text)
    assert made == ["bbbb"]


# there and back


@pytest.mark.parametrize("solution", [SOLVED, UNLIMITED, EXPLAINED, INFEASIBLE], ids=lambda found: found.message)
def test_a_solution_comes_back_from_its_json(solution: Solution) -> None:
    assert Solution.from_dict(json.loads(json.dumps(solution.to_dict()))) == solution


@given(small_queries())
def test_drawn_solutions_come_back(asked: Query) -> None:
    try:
        solution = solve(replace(asked, vram_bytes=10**9))
    except QueryError:
        return
    assert Solution.from_dict(json.loads(json.dumps(solution.to_dict()))) == solution


def test_a_refuted_verification_comes_back_refuted() -> None:
    refuted = replace(SOLVED, candidates=(replace(SOLVED.candidates[0], verification=REFUTED),))
    back = Solution.from_dict(refuted.to_dict()).candidates[0].verification
    assert back is not None
    assert not back.agrees


def test_keys_of_a_later_version_are_left_out() -> None:
    values = SOLVED.to_dict()
    later = {**values, "weather": "fine", "stats": {**values["stats"], "moon": 1}}
    assert Solution.from_dict(later) == SOLVED


@pytest.mark.parametrize(
    ("change", "error", "complaint"),
    [
        ({"schema": "diysolve.count/1"}, InputFileError, "not the JSON of a solve"),
        ({"stats": {}}, InputFileError, "not whole"),
        ({"status": "tired"}, InputFileError, "not whole"),
        ({"candidates": 3}, InputFileError, "not whole"),
        ({"query": {}}, QueryError, "give a target"),
        ({"query": {"target_parms": 5}}, QueryError, "did you mean target_params?"),
    ],
)
def test_json_that_is_no_solution_is_refused(change: dict[str, Any], error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint.replace("?", r"\?")):
        Solution.from_dict({**SOLVED.to_dict(), **change})


def test_a_config_that_cannot_be_built_is_refused() -> None:
    values = SOLVED.to_dict()
    values["candidates"][0]["config"]["num_heads"] = 0
    with pytest.raises(ConfigError, match="num_heads"):
        Solution.from_dict(values)


@given(small_queries())
def test_queries_come_back(asked: Query) -> None:
    assert Query.from_dict(json.loads(json.dumps(asked.to_dict()))) == asked


def test_spans_come_back_as_spans() -> None:
    asked = Query(target_params=10**6, num_layers=Span(2, 8), hidden_size=Span(64, 256, 32))
    assert Query.from_dict(asked.to_dict()).hidden_size == Span(64, 256, 32)


# rows


def test_rows_are_flat_and_plain() -> None:
    rows = SOLVED.rows()
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert all(value is None or isinstance(value, int | float | str) for row in rows for value in row.values())
    assert rows == records(SOLVED)


def test_an_infeasible_solution_has_no_rows() -> None:
    assert INFEASIBLE.rows() == []
