"""The lattice lists exactly what its definition admits, no more and no less."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from solver import counts
from solver.errors import QueryError
from solver.lattice import Lattice, Shapes, lattice
from solver.query import Query
from solver.units import band
from tests import brute_force
from tests.strategies import small_queries


def listed(blocks: list[Shapes]) -> list[object]:
    return [block.config(row) for block in blocks for row in range(len(block))]


def lattice_or_none(query: Query) -> Lattice | None:
    try:
        return lattice(query)
    except QueryError:
        return None


@settings(max_examples=150)
@given(small_queries())
def test_band_is_exactly_the_brute_force(query: Query) -> None:
    low, high = band(query.target_params or 0, query.tolerance)
    everything = list(brute_force.shapes(query))
    expected = [shape for shape in everything if low <= brute_force.params(shape) <= high]
    grid = lattice_or_none(query)
    if grid is None:
        assert everything == []
        return
    assert grid.size == len(everything)
    found = listed([grid.in_band(low, high).listed()])
    assert len(found) == len(set(found))
    assert set(found) == set(expected)


@settings(max_examples=50)
@given(small_queries())
def test_nearest_is_the_nearest_by_brute_force(query: Query) -> None:
    grid = lattice_or_none(query)
    if grid is None:
        return
    target = query.target_params or 0
    expected = sorted(abs(brute_force.params(shape) - target) for shape in brute_force.shapes(query))[0]
    nearest = grid.nearest(target, 1)
    assert len(nearest) == 1
    assert abs(int(counts.total(nearest)[0]) - target) == expected


def test_default_lattice_of_one_width_is_the_definition() -> None:
    query = Query(target_params=10**6, hidden_size=(576,))
    assert lattice(query).size == sum(1 for _ in brute_force.shapes(query))


def test_blocks_do_not_change_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = lattice(Query.parse(target="20M", hidden="128:512", tolerance="20%"))
    low, high = band(20_000_000, 0.2)
    whole = listed([grid.in_band(low, high).listed()])
    monkeypatch.setattr("solver.lattice.BLOCK_SHAPES", 100)
    blocks = list(grid.in_band(low, high).blocks())
    assert len(blocks) > 5
    assert listed(blocks) == whole


def test_a_fixed_width_and_heads_override_the_head_dims() -> None:
    grid = lattice(Query.parse(target="100M", hidden="768", heads="16"))
    assert set(grid.columns.head_dim.tolist()) == {48}


def test_heads_that_no_fused_kernel_takes_are_not_on_the_lattice() -> None:
    words = {"target": "100M", "hidden": "1040,1088", "heads": "4"}
    assert set(lattice(Query.parse(**words)).columns.head_dim.tolist()) == {272}
    assert set(lattice(Query.parse(**words, attention="eager")).columns.head_dim.tolist()) == {260, 272}


def test_a_width_off_the_grid_still_has_heads() -> None:
    grid = lattice(Query.parse(target="100M", hidden="700"))
    assert set(grid.columns.head_dim.tolist()) == {50, 70, 100, 140}


@pytest.mark.parametrize(
    "words",
    [
        {"heads": "7", "hidden": "512"},
        {"heads": "8", "kv_heads": "3"},
        {"hidden": "65:100"},
        {"head_dim": "33"},
        {"intermediate": "65:100"},
    ],
)
def test_contradictory_constraints_are_refused(words: dict[str, str]) -> None:
    with pytest.raises(QueryError, match=next(iter(words))):
        lattice(Query.parse(target="100M", **words))


def test_largest_target_stays_within_64_bits() -> None:
    grid = lattice(
        Query.parse(target="1000T", hidden="131072", layers="4096", vocab="16777216", intermediate="1048576")
    )
    widest = grid.at(np.arange(len(grid.columns)), grid.widths - 1)
    assert np.all(counts.total(widest) > 0)
