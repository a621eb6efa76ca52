"""A DIYConfig is complete, frozen, and refuses what no model can be built from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from diymodel import ConfigError, DIYConfig
from tests.strategies import configs


def test_the_documented_call_works() -> None:
    config = DIYConfig(
        vocab_size=6400, hidden_size=1024, num_layers=29, num_heads=16, intermediate_size=4096,
        max_seq_len=2048, dropout=0.1, eps=1e-5,
    )  # fmt: skip
    assert (config.num_kv_heads, config.head_dim, config.tie_embeddings) == (16, 64, True)


@given(configs())
def test_round_trip(config: DIYConfig) -> None:
    assert DIYConfig.from_dict(config.to_dict()) == config


def test_defaults_are_resolved_and_can_be_derived_again() -> None:
    config = DIYConfig(hidden_size=512, num_heads=8)
    assert config == DIYConfig(hidden_size=512, num_heads=8, num_kv_heads=8, head_dim=64)
    wider = replace(config, hidden_size=1024, head_dim=None, num_kv_heads=None)  # type: ignore[arg-type]
    assert wider.head_dim == 128


def test_frozen() -> None:
    with pytest.raises(AttributeError):
        DIYConfig().num_layers = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"hidden_size": 512, "num_heads": 7}, "num_heads=7"),
        ({"num_heads": 8, "num_kv_heads": 3}, "num_kv_heads=3"),
        ({"hidden_size": 24, "num_heads": 8}, "head_dim=3"),
        ({"head_dim": 33}, "head_dim=33"),
        ({"vocab_size": 0}, "vocab_size=0"),
        ({"num_layers": -1}, "num_layers=-1"),
        ({"num_layers": 2.0}, "num_layers=2.0"),
        ({"num_layers": True}, "num_layers=True"),
        ({"num_layers": "2"}, "num_layers='2'"),
        ({"hidden_size": None}, "hidden_size=None"),
        ({"hidden_size": 10**400}, "hidden_size"),
        ({"max_seq_len": 0}, "max_seq_len=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"dropout": -0.1}, "dropout=-0.1"),
        ({"dropout": float("nan")}, "dropout=nan"),
        ({"dropout": "0"}, "dropout='0'"),
        ({"eps": 0}, "eps=0"),
        ({"eps": float("inf")}, "eps=inf"),
        ({"rope_theta": -1}, "rope_theta=-1"),
        ({"rope_theta": 10**400}, "rope_theta"),
        ({"tie_embeddings": 1}, "tie_embeddings=1"),
    ],
)
def test_refused_by_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        DIYConfig(**fields)
    assert str(caught.value).startswith(named)
    assert len(str(caught.value)) < 300


def test_heads_that_do_not_divide_name_the_nearest_that_do() -> None:
    with pytest.raises(ConfigError, match="try num_heads=8"):
        DIYConfig(hidden_size=512, num_heads=7)


def test_heads_need_not_divide_where_head_dim_is_given() -> None:
    assert DIYConfig(hidden_size=100, num_heads=3, head_dim=64, num_kv_heads=1).head_dim == 64


@pytest.mark.parametrize(("name", "hint"), [("num_layer", "did you mean num_layers?"), ("zzz", "known fields are")])
def test_unknown_field(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint.replace("?", r"\?")):
        DIYConfig.from_dict({name: 1})
