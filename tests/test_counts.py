"""The polynomial is the count of the instantiated module, component by component, for every config."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diymodel import DIYConfig, DIYForCausalLM, count_by_component
from solver import counts, inverse
from tests.strategies import configs

KNOWN = [
    (DIYConfig(), 2_950_400),
    (DIYConfig(hidden_size=1024, num_layers=29, num_heads=16, intermediate_size=4096), 493_153_280),
    (DIYConfig(hidden_size=1024, num_layers=12, num_heads=16, intermediate_size=4096), 207_905_792),
    (DIYConfig(hidden_size=768, num_layers=24, num_heads=12, intermediate_size=3072), 231_445_248),
    (DIYConfig(hidden_size=768, num_layers=52, num_heads=12, intermediate_size=3072), 495_729_408),
]


def meta_model(config: DIYConfig) -> DIYForCausalLM:
    with torch.device("meta"):
        return DIYForCausalLM(config)


@pytest.mark.parametrize(("config", "params"), KNOWN, ids=[str(params) for _, params in KNOWN])
@pytest.mark.parametrize("final_norm", [True, False])
def test_known_counts(config: DIYConfig, params: int, final_norm: bool) -> None:
    config = DIYConfig.from_dict({**config.to_dict(), "final_norm": final_norm})
    expected = params if final_norm else params - config.hidden_size
    assert counts.count(config)["total"] == counts.total(config) == expected
    assert sum(parameter.numel() for parameter in meta_model(config).parameters()) == expected


@given(configs())
def test_closed_form_is_the_module_by_component(config: DIYConfig) -> None:
    expected = count_by_component(meta_model(config))
    assert counts.count(config) == {"total": sum(expected.values()), **expected}
    assert counts.total(config) == sum(expected.values())


@given(st.lists(configs(), min_size=1, max_size=5), st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_columns_equal_single_configs(
    drawn: list[DIYConfig], tied: bool, bias: bool, qk_norm: bool, final_norm: bool
) -> None:
    options = {"tie_embeddings": tied, "qkv_bias": bias, "qk_norm": qk_norm, "final_norm": final_norm}
    rows = [DIYConfig.from_dict({**config.to_dict(), **options}) for config in drawn]
    names = [name for name in DIYConfig().to_dict() if name not in options]
    columns = SimpleNamespace(**options, **{name: np.array([getattr(row, name) for row in rows]) for name in names})
    by_column = counts.count(columns)
    for index, row in enumerate(rows):
        assert {name: values[index] for name, values in by_column.items()} == counts.count(row)


def test_counts_stay_exact_beyond_64_bits() -> None:
    config = DIYConfig(
        hidden_size=10**9, num_heads=1, head_dim=2, num_kv_heads=1, num_layers=10**9, intermediate_size=10**9
    )
    assert counts.count(config)["mlp"] == 3 * 10**27


@given(configs(), st.integers(0, 400_000), st.integers(0, 100_000))
def test_linear_roots_are_the_edges_of_the_band(config: DIYConfig, low: int, width: int) -> None:
    high = low + width
    for name, between in (
        ("num_layers", inverse.layers_between),
        ("intermediate_size", inverse.intermediate_between),
        ("vocab_size", inverse.vocab_between),
    ):
        first, last = between(low, high, config)

        def params(value: int, name: str = name) -> int:
            values = SimpleNamespace(**{**config.to_dict(), name: value})
            return int(counts.total(values))

        assert params(first) >= low > params(first - 1)
        assert params(last) <= high < params(last + 1)


@given(configs())
def test_hidden_root_finds_the_width_back(config: DIYConfig) -> None:
    assert inverse.hidden_root(counts.total(config), config) == pytest.approx(config.hidden_size, rel=1e-9)
