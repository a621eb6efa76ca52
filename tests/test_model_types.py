"""Every model type counts like the module that transformers builds from the same config, component by component."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver import counts
from solver.interop.architecture import of_hugging_face
from solver.interop.model_types import MODEL_TYPES, ModelType
from tests.hugging_face import active, build, components, hugging_face_configs, number_of_experts

TYPES = pytest.mark.parametrize("entry", MODEL_TYPES.values(), ids=lambda entry: entry.name)


@TYPES
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_drawn_config_counts_like_its_module(entry: ModelType, data: st.DataObject) -> None:
    values = data.draw(hugging_face_configs(entry))
    model = build(values)
    architecture = of_hugging_face("drawn", values)
    counts_of = counts.count(architecture.shape, architecture.family)
    counted = {name: params for name, params in counts_of.items() if params}
    assert counted == {name: params for name, params in components(model).items() if params}
    experts = number_of_experts(entry, values)
    assert counts.active(architecture.shape, architecture.family) == active(
        model, experts, values.get("num_experts_per_tok", 1)
    )


NEEDED: dict[str, dict[str, Any]] = {
    "deepseek_v2": {"num_experts_per_tok": 6},  # null in its config class, with which its module cannot run
    "glm4_moe": {"head_dim": 128},  # 4096 / 96 is not whole
    "ministral": {"head_dim": 128},  # null likewise, with which it cannot be built
    "nemotron": {"num_key_value_heads": 48},  # likewise
}
"""What a type's own defaults leave open."""


@TYPES
def test_what_a_file_omits_is_the_types_own_default(entry: ModelType) -> None:
    values = {"model_type": entry.name, **NEEDED.get(entry.name, {})}
    known = of_hugging_face("empty", values)
    assert counts.count(known.shape, known.family)["total"] == components(build(values))["total"]
