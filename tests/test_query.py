"""A query that is accepted means one thing; one that is not is refused by the name of what is wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from solver import Query, Recipe, Span
from solver.devices import device
from solver.errors import QueryError, RecipeError, RequestError


def test_words_and_values_make_the_same_query() -> None:
    parsed = Query.parse(target="500M", vram="24GB", layers="24:48", hidden="1024,768", tolerance="1%", seq=1024)
    assert parsed == Query(
        target_params=500_000_000,
        vram_bytes=24_000_000_000,
        num_layers=Span(24, 48),
        hidden_size=[1024, 768, 768],  # type: ignore[arg-type]
        recipe=Recipe(seq_len=1024),
    )


def test_int_is_a_fixed_dimension() -> None:
    assert Query(target_params=1, num_layers=3).num_layers == (3,)  # type: ignore[arg-type]


def test_gpu_is_a_budget() -> None:
    assert (Query.parse(gpu="rtx4090").vram_bytes or 0) > 23 * 10**9


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({}, "target"),
        ({"target": "1M", "layers": "10:5"}, "layers"),
        ({"target": "1M", "layers": "0"}, "layers"),
        ({"target": "1M", "layers": "a"}, "layers"),
        ({"target": "1M", "layers": "1:2:3:4"}, "layers"),
        ({"target": "1M", "layers": "1:9:0"}, "layers"),
        ({"target": "1M", "layers": ""}, "layers"),
        ({"target": "1M", "hidden": "200000"}, "hidden"),
        ({"target": "1M", "top": 0}, "top"),
        ({"target": "1M", "vram": "1GB", "gpu": "rtx4090"}, "gpu"),
        ({"target": "1M", "gpu": "rtx4091"}, "gpu"),
        ({"target": "1M", "tokens": "1B", "tokens_per_param": 20.0}, "tokens_per_param"),
        ({"target": "1M", "tokens_per_param": -1.0}, "tokens_per_param"),
        ({"target": "1M", "tokens_per_param": float("nan")}, "tokens_per_param"),
        ({"target": "1M", "optimizer": "adam"}, "optimizer"),
        ({"target": "1M", "micro_batch": 0}, "micro_batch"),
        ({"target": "1M", "seq": 2**25}, "micro_batch"),
        ({"target": "1M", "sequence": 2}, "sequence"),
    ],
)
def test_refused_by_name(words: dict[str, Any], named: str) -> None:
    with pytest.raises(RequestError) as caught:
        Query.parse(**words)
    assert caught.value.argument == named


def test_unknown_word_suggests_the_nearest() -> None:
    with pytest.raises(RecipeError, match="did you mean adamw"):
        Recipe(optimizer="adamv")  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [{"target_params": True}, {"target_params": 1.5}, {"vram_bytes": 0}])
def test_wrong_types_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(QueryError):
        Query(**values)


def test_query_is_a_value() -> None:
    query = Query.parse(target="500M", layers="24:48:4")
    assert hash(query) == hash(Query.parse(target="0.5B", layers="24:48:4"))
    assert query.to_dict()["num_layers"] == "24:48:4"
    with pytest.raises(AttributeError):
        query.top = 3  # type: ignore[misc]


def test_a_planned_run_accumulates_half_a_million_tokens_unless_told_otherwise() -> None:
    """So that the memory beside its days is that of the run, and a query without a run is about one micro-batch."""
    plain = Query.parse(target="500M", vram="24GB")
    assert not plain.recipe.accumulates
    assert replace(plain, device=device("rtx4090")).recipe.accumulation == 256
    on_card = Query.parse(target="500M", gpu="rtx4090", micro_batch=4, seq=2048)
    assert on_card.recipe.accumulation == 2**19 // (4 * 2048)
    assert Query.parse(target="500M", gpu="rtx4090", gpus=8, micro_batch=4).recipe.accumulation == 8
    assert Query.parse(target="500M", gpu="rtx4090", accumulate=1).recipe.accumulation == 1
    assert Query.parse(target="500M", vram="24GB", accumulate=16).recipe.accumulation == 16
    assert Query.parse(target="500M", gpu="rtx4090", mode="infer").recipe.accumulation == 1


def test_accumulation_follows_the_micro_batch_that_a_candidate_has_room_for() -> None:
    query = Query.parse(target="500M", gpu="rtx4090", micro_batch="max")
    assert query.recipe_at(16).accumulation == 2**19 // (16 * 2048)
    told = Query.parse(target="500M", gpu="rtx4090", micro_batch="max", accumulate=3)
    assert told.recipe_at(16).accumulation == 3


@pytest.mark.parametrize(("accumulate", "mode", "words"), [(0, "train", "from 1 to"), (2, "infer", "in training")])
def test_accumulation_that_makes_no_sense_is_refused(accumulate: int, mode: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words) as refused:
        Query.parse(target="500M", accumulate=accumulate, mode=mode)
    assert refused.value.argument == "accumulate"
