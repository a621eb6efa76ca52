"""Every model type counts like the module that transformers builds from the same config, component by component."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from solver import counts
from solver.errors import InputFileError
from solver.interop.architecture import model_type_of, of_hugging_face
from solver.interop.model_types import MODEL_TYPES, ModelType
from solver.interop.other_kinds import OTHER_KINDS
from tests.hugging_face import NEEDED, active, build, components, experts_of, hugging_face_configs

README = Path(__file__).parents[1] / "README.md"

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
    assert counts.active(architecture.shape, architecture.family) == active(model, *experts_of(entry, values))


@TYPES
def test_what_a_file_omits_is_the_types_own_default(entry: ModelType) -> None:
    values = {"model_type": entry.name, **NEEDED.get(entry.name, {})}
    known = of_hugging_face("empty", values)
    assert counts.count(known.shape, known.family)["total"] == components(build(values))["total"]


DAMAGES = [None, "7", -1, 0, 10**12, 2.5, True, False, [], [1], {}]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), entry=st.sampled_from(list(MODEL_TYPES.values())))
def test_a_damaged_config_is_refused_or_counted_as_transformers_builds_it(
    entry: ModelType, data: st.DataObject
) -> None:
    values = data.draw(hugging_face_configs(entry))
    name = data.draw(st.sampled_from(sorted(set(values) - {"model_type"})))
    if data.draw(st.booleans()):
        values[name] = data.draw(st.sampled_from(DAMAGES))
    else:
        del values[name]
    try:
        known = of_hugging_face("damaged", values)
    except InputFileError:
        return
    try:
        model = build(values)
    except Exception:  # transformers refuses in many ways
        return
    assert counts.count(known.shape, known.family)["total"] == components(model)["total"]


def test_every_type_of_transformers_is_counted_or_called_by_its_kind() -> None:
    of_another_kind = {name for names in OTHER_KINDS.values() for name in names}
    assert not set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - set(MODEL_TYPES) - of_another_kind
    assert not set(MODEL_TYPES) - set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert f"\n{len(MODEL_TYPES)} types of `solver/interop/model_types.py`" in README.read_text(encoding="utf-8")


def test_a_class_is_known_as_one_of_the_types_that_it_builds() -> None:
    known = 0
    for name in set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()):
        builds = {kind for kind, its_class in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items() if its_class == name}
        try:
            found = model_type_of("named", {"architectures": [name]})
        except InputFileError:
            continue
        assert found in builds
        known += 1
    assert known > 80
