"""Hugging Face configs from the outside: published models to the last parameter, and a sentence for what is broken."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from cli import cli
from solver import counts, inverse
from solver.errors import InputFileError
from solver.families import Architecture, Dimensions
from solver.interop import load_architecture, load_config
from solver.interop.architecture import of_hugging_face
from solver.interop.model_types import MODEL_TYPES
from solver.interop.other_kinds import OTHER_KINDS
from solver.presets import PublishedModel, published_models
from tests.hugging_face import hugging_face_configs

with (Path(__file__).parent / "published_counts.csv").open(encoding="utf-8", newline="") as file:
    PUBLISHED_COUNTS = {row["name"]: row for row in csv.DictReader(file)}
"""Counts of the modules that transformers builds from the published configs, by component; their sources are in
solver/published.json, beside the configs. MLP and router are one number."""


@pytest.mark.parametrize("model", published_models(), ids=lambda model: model.name)
def test_a_published_model_counts_to_the_last_parameter(model: PublishedModel) -> None:
    known = load_architecture(model.name)
    params = counts.count(known.shape, known.family)
    expected = {name: int(value) for name, value in PUBLISHED_COUNTS[model.name].items() if name != "name"}
    params["mlp_and_router"] = params.pop("mlp") + params.pop("router", 0)
    assert {"other": 0, "position": 0, **params, "active": counts.active(known.shape, known.family)} == expected
    assert params["total"] == model.params


def test_every_published_count_belongs_to_a_model() -> None:
    assert list(PUBLISHED_COUNTS) == [model.name for model in published_models()]
    assert len({model.config["model_type"] for model in published_models()}) > 30


STATED = [
    # exact counts as the authors state them: model cards of the models
    ("bloom-176b", 176_247_271_424),
    ("bloom-7b1", 7_069_016_064),
    ("gpt-neox-20b", 20_554_567_680),
    ("pythia-70m", 70_426_624),
    ("pythia-2.8b", 2_775_208_960),
    ("salamandra-7b", 7_768_117_248),
]


@pytest.mark.parametrize(("name", "params"), STATED)
def test_counts_that_authors_state_exactly(name: str, params: int) -> None:
    known = load_architecture(name)
    assert counts.total(known.shape, known.family) == params


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    entry = draw(st.sampled_from(list(MODEL_TYPES.values())))
    return of_hugging_face("drawn", draw(hugging_face_configs(entry)))


@settings(max_examples=100, deadline=None)
@given(architectures())
def test_components_sum_to_the_total(known: Architecture) -> None:
    params = counts.count(known.shape, known.family)
    assert counts.total(known.shape, known.family) == params.pop("total") == sum(params.values())
    assert set(params) <= {*counts.COMPONENTS, *counts.MORE_COMPONENTS}


@settings(max_examples=50, deadline=None)
@given(architectures())
def test_columns_equal_single_shapes(known: Architecture) -> None:
    names = Dimensions.__dataclass_fields__
    columns = SimpleNamespace(**{name: np.array([getattr(known.shape, name)] * 2) for name in names})
    columns.hidden_size[1] *= 2
    columns.vocab_size[1] += 1
    twice = {name: int(columns.__dict__[name][1]) for name in names}
    for index, shape in enumerate((known.shape, Dimensions(**twice))):
        by_column = counts.count(columns, known.family)
        assert {name: np.broadcast_to(values, 2)[index] for name, values in by_column.items()} == counts.count(
            shape, known.family
        )


@settings(max_examples=100, deadline=None)
@given(architectures(), st.integers(0, 400_000), st.integers(0, 100_000))
def test_linear_roots_of_every_family_are_the_edges_of_the_band(known: Architecture, low: int, width: int) -> None:
    for name, between in (
        ("num_layers", inverse.layers_between),
        ("intermediate_size", inverse.intermediate_between),
        ("vocab_size", inverse.vocab_between),
    ):
        values = {field: getattr(known.shape, field) for field in Dimensions.__dataclass_fields__}

        def params(value: int, name: str = name, values: dict[str, int] = values) -> int:
            return int(counts.total(Dimensions(**{**values, name: value}), known.family))

        if params(2) == params(1):  # every MLP has a width of its own: the intermediate size decides nothing
            continue
        first, last = between(low, low + width, known.shape, known.family)
        assert params(first) >= low > params(first - 1)
        assert params(last) <= low + width < params(last + 1)


# Broken files

LLAMA = {"model_type": "llama"}
BROKEN: list[tuple[dict[str, Any], str]] = [
    ({**LLAMA, "hidden_size": 100, "num_attention_heads": 3}, "num_attention_heads=3: it has to divide .* 100; or"),
    ({**LLAMA, "num_key_value_heads": 5}, "num_key_value_heads=5: it has to divide num_attention_heads=32"),
    ({**LLAMA, "num_hidden_layers": -3}, "num_hidden_layers=-3: write a whole number from 1"),
    ({**LLAMA, "num_hidden_layers": "12"}, "num_hidden_layers='12': write a whole number"),
    ({**LLAMA, "num_hidden_layers": True}, "num_hidden_layers=true: write a whole number"),
    ({**LLAMA, "hidden_size": 4096.0}, "hidden_size=4096.0: write a whole number"),
    ({**LLAMA, "hidden_size": None}, "hidden_size=null: write a whole number"),
    ({**LLAMA, "vocab_size": 10**30}, "vocab_size=1000"),
    ({**LLAMA, "tie_word_embeddings": "yes"}, "tie_word_embeddings='yes': write true or false"),
    ({**LLAMA, "is_encoder_decoder": True}, "only decoders without an encoder"),
    ({"model_type": "gpt2", "add_cross_attention": True}, "only decoders without cross attention"),
    ({"model_type": "gpt2", "n_embd": 768, "hidden_size": 1024}, "n_embd=768: but hidden_size=1024"),
    ({"model_type": "mixtral", "num_experts_per_tok": 9}, "num_experts_per_tok=9: there are 8 experts"),
    ({"model_type": "qwen3_moe", "mlp_only_layers": "all"}, "mlp_only_layers='all': write a list of layers"),
    ({"model_type": "mpt", "expansion_ratio": 3}, "expansion_ratio=3"),
    ({"model_type": "helium", "head_dim": 64}, "head_dim=64"),
    ({"model_type": "deepseek_v2"}, r"num_experts_per_tok=null \(the default\)"),
    ({"model_type": "mamba"}, "a state-space or recurrent model"),
    ({"model_type": "t5"}, "an encoder-decoder"),
    ({"model_type": "bert"}, "an encoder;"),
    ({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}, "multimodal.*text_config is a config"),
    ({"model_type": "somevl", "text_config": {"model_type": "llama"}}, "more than text.*a config of llama"),
    ({"model_type": "lama"}, "the nearest is llama"),
    ({"model_type": "xyzzy"}, "not one of the .* types that are known: .*llama.*qwen3"),
    ({"model_type": 5}, "model_type=5: write the model's type"),
    ({"architectures": ["XyzzyForCausalLM"]}, "model_type=None and architectures=.*Xyzzy.*: write the model's type"),
    ({"architectures": ["LlamaForCausalLM", "GPT2LMHeadModel"]}, "write the model's type"),
    ({"architectures": "LlamaForCausalLM"}, "architectures='LlamaForCausalLM': write a list"),
    ({"architectures": ["LlamaModel"]}, "write the model's type"),
    ({**LLAMA, "architectures": ["MixtralForCausalLM"]}, "name MixtralForCausalLM, a mixtral; one of the two is wrong"),
    ({"model_type": "granitemoehybrid"}, "layer_types=null .the default.: a hybrid with state-space layers"),
    ({"model_type": "laguna", "gating": False}, "gating=false: write true, per-head"),
    ({"model_type": "laguna", "num_attention_heads_per_layer": [48]}, "write a list of 40 numbers"),
    ({"model_type": "dbrx", "attn_config": 3}, "with attn_config=3: write an object"),
    ({"model_type": "dbrx", "ffn_config": {"moe_top_k": 9}}, r"ffn_config.moe_top_k=9: there are 4 experts"),
    ({"model_type": "hunyuan_v1_moe", "moe_topk": [1, 2] * 16, "num_experts": 4}, "the same in all layers"),
    ({"model_type": "glm_moe_dsa", "index_topk_pattern": "FS"}, "write a text of 78 letters"),
    ({"model_type": "beam", "mlp_layer_types": ["moe"] * 52}, "one a layer: dense or sparse"),
    ({"model_type": "longcat_flash"}, "two attentions in a layer"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "complaint"), BROKEN, ids=[str(number) for number in range(len(BROKEN))])
def test_a_broken_config_gets_one_sentence(tmp_path: Path, values: dict[str, Any], complaint: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(values))
    with pytest.raises(InputFileError, match=complaint) as caught:
        load_architecture(str(tmp_path))
    assert str(caught.value).startswith(f"file={str(tmp_path)!r}: ")
    assert "\n" not in str(caught.value)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_stands_in_a_field_is_counted_or_refused(data: st.DataObject) -> None:
    entry = data.draw(st.sampled_from(list(MODEL_TYPES.values())))
    values = data.draw(hugging_face_configs(entry))
    name = data.draw(st.sampled_from([*values, *entry.defaults]))
    values[name] = data.draw(JSON_VALUES)
    try:
        known = of_hugging_face("drawn", values)
    except InputFileError:
        return
    assert all(params >= 0 for params in counts.count(known.shape, known.family).values())


def test_no_type_is_both_known_and_of_another_kind() -> None:
    assert not set(MODEL_TYPES) & {name for names in OTHER_KINDS.values() for name in names}


# The command line


def test_count_takes_files_folders_and_names_and_a_broken_one_does_not_stop_it(tmp_path: Path) -> None:
    folder, broken = tmp_path / "model", tmp_path / "broken.json"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    broken.write_text('{"model_type": "gpt2", "n_layer": ')
    result = CliRunner().invoke(cli, ["count", str(folder), str(broken), "mixtral-8x7b", "diy-3m", "--format", "json"])
    assert result.exit_code == 2
    gpt2, failed, mixtral, diy = json.loads(result.stdout)["configs"]
    assert gpt2["model_type"] == "gpt2"
    assert gpt2["params"]["total"] == gpt2["active"] == 124_439_808
    assert gpt2["non_embedding"] == gpt2["params"]["total"] - 50257 * 768 - 1024 * 768
    assert "is not JSON" in failed["error"]
    assert mixtral["active"] == 12_879_925_248
    assert diy["model_type"] == "diy"
    assert diy["non_embedding"] == diy["params"]["total"] - diy["params"]["embedding"]


def test_the_table_shows_the_rarer_components_where_a_file_has_them() -> None:
    def titles(*sources: str) -> list[str]:
        return CliRunner().invoke(cli, ["count", *sources]).stdout.splitlines()[0].split()

    plain = ["config", "total", "embedding", "attention", "mlp", "norm", "lm_head"]
    assert titles("diy-3m", "pythia-70m") == plain
    assert titles("opt-350m") == [*plain[:3], "position", *plain[3:], "other"]
    assert titles("mixtral-8x7b") == [*plain[:5], "router", *plain[5:], "active"]


def test_where_a_diyconfig_is_needed_a_family_that_it_lacks_is_refused() -> None:
    with pytest.raises(InputFileError, match=r"gpt_neox.*diysolve count"):
        load_config("pythia-70m")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("Qwen2MoeForCausalLM", "qwen2_moe"), ("GPT2LMHeadModel", "gpt2"), ("Gemma3ForCausalLM", "gemma3_text")],
)
def test_a_config_without_model_type_is_known_by_its_class(name: str, kind: str) -> None:
    assert of_hugging_face("named", {"architectures": [name]}) == of_hugging_face("named", {"model_type": kind})


def test_a_type_that_another_one_builds_may_say_so() -> None:
    assert of_hugging_face("named", {"model_type": "internlm3", "architectures": ["LlamaForCausalLM"]})
