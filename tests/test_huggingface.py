"""What goes out builds the same model in transformers, what comes in is the model that transformers would build."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from diymodel import DIYConfig, DIYForCausalLM
from diymodel.config import ConfigError
from solver.counts import count
from solver.errors import ExchangeError, InputFileError
from solver.interop import draft, from_huggingface, load, load_config, to_huggingface
from solver.interop.export import litgpt_fields
from solver.interop.huggingface import NAMES, left_out, model_type
from solver.interop.weights import (
    dtype_name,
    from_huggingface_state,
    layout,
    read_weights,
    save_weights,
    to_huggingface_state,
)
from solver.presets import PRESETS
from tests.strategies import configs

os.environ["HF_HUB_OFFLINE"] = "1"

ROOT = Path(__file__).parents[1]
SMALL = DIYConfig(
    vocab_size=97, hidden_size=32, num_layers=2, num_heads=4, num_kv_heads=2, intermediate_size=48, max_seq_len=24
)
KINDS = {
    "llama": SMALL,
    "llama, equal heads, untied": replace(SMALL, num_kv_heads=4, tie_embeddings=False),
    "llama, wide heads, another theta": replace(SMALL, head_dim=12, rope_theta=500.0, eps=1e-3),
    "mistral": replace(SMALL, hidden_size=30, head_dim=8),
    "qwen2": replace(SMALL, qkv_bias=True, rope_theta=1e6),
    "qwen2, wide heads": replace(SMALL, qkv_bias=True, hidden_size=30, head_dim=10, tie_embeddings=False),
    "qwen3": replace(SMALL, qk_norm=True, head_dim=16, eps=1e-6),
    "qwen3, untied": replace(SMALL, qk_norm=True, num_kv_heads=1, tie_embeddings=False),
}
"""One of each kind of model."""


@st.composite
def expressible(draw: st.DrawFn) -> DIYConfig:
    """Configs of every kind that transformers has too."""
    config = replace(
        draw(configs()),
        final_norm=True,
        dropout=draw(st.sampled_from([0.0, 0.1]) | st.floats(0, 0.99)),
        eps=draw(st.floats(1e-12, 1.0)),
        rope_theta=draw(st.floats(1.0, 1e9)),
        max_seq_len=draw(st.integers(3, 200_000)),
    )
    return replace(config, qk_norm=config.qk_norm and not config.qkv_bias)


def hf() -> Any:
    """transformers, loaded by the first test that needs it: it takes seconds, and collecting need not wait."""
    return importlib.import_module("transformers")


def theirs(config: DIYConfig, folder: Path, **changes: Any) -> Any:
    """transformers' config, as it reads it from a folder."""
    (folder / "config.json").write_text(json.dumps({**to_huggingface(config), **changes}))
    return hf().AutoConfig.from_pretrained(folder)


def filled(config: DIYConfig, seed: int = 0) -> DIYForCausalLM:
    """A model in which no weight is 0 or 1, so that none can hide."""
    torch.manual_seed(seed)
    model = DIYForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


# out


@settings(max_examples=60)
@given(config=expressible())
def test_out_and_back_loses_nothing(config: DIYConfig) -> None:
    values = json.loads(json.dumps(to_huggingface(config)))
    assert from_huggingface(values) == config


@settings(max_examples=25)
@given(config=expressible())
def test_transformers_builds_the_same_number_of_parameters(config: DIYConfig, tmp_path_factory: Any) -> None:
    built = theirs(replace(config, max_seq_len=min(config.max_seq_len, 64)), tmp_path_factory.mktemp("hf"))
    with torch.device("meta"):
        model = hf().AutoModelForCausalLM.from_config(built)
    assert sum(parameter.numel() for parameter in model.parameters()) == count(config)["total"]
    assert type(model).__name__ == to_huggingface(config)["architectures"][0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_is_the_one_that_it_needs(kind: str) -> None:
    assert model_type(KINDS[kind]) == kind.split(",")[0]


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_itself_keeps_everything(kind: str, tmp_path: Path) -> None:
    """Read and written by transformers, the config is still the same."""
    config = replace(KINDS[kind], dropout=0.125)
    theirs(config, tmp_path).save_pretrained(tmp_path)
    assert load_config(str(tmp_path)) == config
    assert load(str(tmp_path)).left_out == ()


@pytest.mark.parametrize(
    ("changes", "argument"),
    [({"final_norm": False}, "final_norm=False"), ({"qkv_bias": True, "qk_norm": True}, "qkv_bias=True")],
)
def test_what_transformers_does_not_have_is_refused(changes: dict[str, Any], argument: str) -> None:
    with pytest.raises(ExchangeError, match=argument):
        to_huggingface(replace(SMALL, **changes))


def test_new_weights_are_as_wide_as_ours(tmp_path: Path) -> None:
    config = replace(SMALL, hidden_size=256, vocab_size=2000)
    torch.manual_seed(0)
    built = hf().AutoModelForCausalLM.from_config(theirs(config, tmp_path))
    wanted = float(DIYForCausalLM(config).embedding.weight.detach().std())
    assert float(built.model.embed_tokens.weight.detach().std()) == pytest.approx(wanted, rel=0.02)


# in


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3"])
def test_what_a_config_does_not_say_is_what_transformers_takes(kind: str) -> None:
    found, wanted = from_huggingface({"model_type": kind}), hf().AutoConfig.for_model(kind)
    for field, key in NAMES.items():
        default = getattr(wanted, key, None) or wanted.hidden_size // wanted.num_attention_heads
        assert getattr(found, field) == (default if key != "tie_word_embeddings" else wanted.tie_word_embeddings)
    assert found.rope_theta == wanted.rope_parameters["rope_theta"]
    assert found.dropout == wanted.attention_dropout


@settings(max_examples=25)
@given(data=st.data())
def test_a_config_that_says_little_is_counted_as_transformers_builds_it(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["llama", "mistral", "qwen2", "qwen3"]))
    kv_heads = data.draw(st.integers(1, 3))
    heads = kv_heads * data.draw(st.integers(1, 3))
    said = {
        "hidden_size": heads * 2 * data.draw(st.integers(1, 8)),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "num_hidden_layers": data.draw(st.integers(1, 3)),
    }
    optional = {
        "vocab_size": 50,
        "intermediate_size": 30,
        "head_dim": 6,
        "tie_word_embeddings": True,
        "num_key_value_heads": None,
    }
    said |= {key: optional[key] for key in data.draw(st.sets(st.sampled_from(sorted(optional))))}
    if kind == "mistral" and said["num_key_value_heads"] is None:  # refused there
        said["num_key_value_heads"] = 1
    with torch.device("meta"):
        built = hf().AutoModelForCausalLM.from_config(hf().AutoConfig.for_model(kind, **said))
    counted = count(from_huggingface({"model_type": kind, **said}))["total"]
    assert counted == sum(parameter.numel() for parameter in built.parameters())


def test_rope_theta_is_read_where_any_version_writes_it() -> None:
    base = {"model_type": "llama"}
    assert from_huggingface({**base, "rope_theta": 5e5}).rope_theta == 5e5
    assert from_huggingface({**base, "rope_parameters": {"rope_theta": 5e5}}).rope_theta == 5e5
    assert from_huggingface({**base, "rope_theta": 5e5, "rope_scaling": None}).rope_theta == 5e5
    with pytest.raises(ExchangeError, match=r"rope_theta=1\.0: rope_parameters say 2.0"):
        from_huggingface({**base, "rope_theta": 1.0, "rope_parameters": {"rope_theta": 2.0}})


def test_a_config_without_model_type_is_known_by_its_class() -> None:
    assert from_huggingface({"architectures": ["Qwen3ForCausalLM"]}).qk_norm


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model_type": "llama", "rope_scaling": {"rope_type": "llama3"}}, ["RoPE scaling ('llama3')"]),
        ({"model_type": "llama", "rope_scaling": {"type": "linear"}}, ["RoPE scaling ('linear')"]),
        ({"model_type": "llama", "sliding_window": 8}, []),
        ({"model_type": "mistral"}, ["a sliding window of 4096 tokens"]),
        ({"model_type": "mistral", "sliding_window": None}, []),
        ({"model_type": "mistral", "max_position_embeddings": 4096}, []),
        ({"model_type": "qwen2", "sliding_window": 8}, []),
        ({"model_type": "qwen2", "use_sliding_window": True}, ["a sliding window of 4096 tokens"]),
        ({"model_type": "qwen3", "attention_dropout": 0.1}, ["attention_dropout=0.1 (DIYConfig's is on the residuals"]),
        ({"model_type": "qwen3", "quantization_config": {"bits": 4}}, ["quantized weights"]),
    ],
)
def test_what_changes_no_count_is_left_out_and_named(values: dict[str, Any], said: list[str]) -> None:
    assert from_huggingface(values).dropout == 0
    found = list(left_out(values))
    assert len(found) == len(said)
    assert all(phrase.startswith(start) for phrase, start in zip(found, said, strict=True))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"model_type": "gemma2"}, "model_type='gemma2': DIYConfig expresses llama, mistral, qwen2, qwen3"),
        ({"model_type": ["llama"]}, "model_type="),
        ({"architectures": ["BertModel"]}, "BertModel"),
        ({"architectures": "LlamaForCausalLM"}, "architectures='LlamaForCausalLM': write a list"),
        ({"model_type": "llama", "architectures": ["MixtralForCausalLM"]}, "one of the two is wrong"),
        ({"model_type": "llama", "attention_bias": True}, "attention_bias=True"),
        ({"model_type": "llama", "mlp_bias": True}, "mlp_bias=True"),
        ({"model_type": "qwen3", "attention_bias": True}, "attention_bias=True"),
        ({"model_type": "qwen3", "head_dim": None}, "head_dim=null"),
        ({"model_type": "llama", "hidden_act": "gelu"}, "hidden_act='gelu'"),
        ({"model_type": "llama", "rope_parameters": 3}, "rope_parameters=3"),
        ({"model_type": "llama", "num_hidden_layers": 0}, "num_hidden_layers=0: write a whole number from 1"),
        ({"model_type": "llama", "num_hidden_layers": "3"}, "num_hidden_layers='3'"),
        ({"model_type": "llama", "num_attention_heads": 7}, "num_attention_heads=7: it has to divide the hidden"),
        ({"model_type": "llama", "num_key_value_heads": 5}, "num_key_value_heads=5: it has to divide num_attention"),
        ({"model_type": "mistral", "num_attention_heads": 0}, "num_attention_heads=0"),
        ({"model_type": "llama", "tie_word_embeddings": None}, "tie_word_embeddings=null"),
        ({"model_type": "llama", "rope_theta": "x"}, "rope_theta='x'"),
        ({"model_type": "llama", "attention_dropout": 2, "residual_dropout": 2}, "dropout=2"),
    ],
)
def test_a_config_that_has_no_equal_here_is_refused_in_its_own_words(
    values: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises((ExchangeError, InputFileError, ConfigError)) as caught:
        from_huggingface(values)
    assert complaint in str(caught.value)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(values))
    with pytest.raises((InputFileError, ConfigError)) as in_file:
        load_config(str(tmp_path))
    assert str(tmp_path) in str(in_file.value)
    assert complaint in str(in_file.value)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["rope_type", "rope_theta"]), inner),
    max_leaves=4,
)
KEYS = [*NAMES.values(), "rope_theta", "rope_parameters", "rope_scaling", "attention_bias", "mlp_bias", "hidden_act",
        "attention_dropout", "residual_dropout", "sliding_window", "use_sliding_window", "architectures",
        "quantization_config"]  # fmt: skip


@settings(max_examples=300)
@given(
    kind=st.sampled_from(["llama", "mistral", "qwen2", "qwen3"]) | JSON_VALUES,
    values=st.dictionaries(st.sampled_from(KEYS), JSON_VALUES, max_size=5),
)
def test_whatever_a_config_holds_it_is_read_or_refused(kind: Any, values: dict[str, Any]) -> None:
    values = {"model_type": kind, **values}
    try:
        config = from_huggingface(values)
    except (ExchangeError, InputFileError, ConfigError):
        return
    assert count(config)["total"] > 0
    assert all(left_out(values))


# weights


def same_logits(ours: DIYForCausalLM, built: Any) -> None:
    input_ids = torch.randint(ours.config.vocab_size, (2, 17), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(ours(input_ids), built.eval()(input_ids).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_ours_has_the_same_logits_there(kind: str, tmp_path: Path) -> None:
    config = KINDS[kind]
    model = filled(config)
    built_config = theirs(config, tmp_path)
    built = hf().AutoModelForCausalLM.from_config(built_config)
    built.load_state_dict(to_huggingface_state(model.state_dict(), config))
    same_logits(model, built)
    save_weights(str(tmp_path / "model.safetensors"), to_huggingface_state(model.state_dict(), config))
    loaded, info = hf().AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    same_logits(model, loaded)


def test_a_model_of_ours_writes_the_same_text_there(tmp_path: Path) -> None:
    config = KINDS["qwen3"]
    model = filled(config)
    built = hf().AutoModelForCausalLM.from_config(theirs(config, tmp_path))
    built.load_state_dict(to_huggingface_state(model.state_dict(), config))
    prompt = torch.tensor([[3, 1, 4], [1, 5, 9]])
    text = model.generate(prompt, 20, temperature=0)
    assert torch.equal(text, built.eval().generate(prompt, max_new_tokens=20, do_sample=False))
    assert len(set(text[0].tolist())) > 5


@settings(max_examples=25)
@given(config=expressible(), seed=st.integers(0, 5))
def test_weights_go_out_and_back_unchanged(config: DIYConfig, seed: int) -> None:
    config = replace(config, max_seq_len=8)
    state = filled(config, seed).state_dict()
    there = to_huggingface_state(state, config)
    back = from_huggingface_state(there, config)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)
    assert (
        sum(tensor.numel() for name, tensor in there.items() if name != "lm_head.weight" or not config.tie_embeddings)
        == (count(config)["total"])
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_that_transformers_saved_is_a_model_here(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(2)
    built = hf().AutoModelForCausalLM.from_config(theirs(KINDS[kind], tmp_path))
    built.save_pretrained(tmp_path / "saved")
    folder = str(tmp_path / "saved")
    config = load_config(folder)
    model = DIYForCausalLM(config).eval()
    model.load_state_dict(read_weights(folder, config))
    same_logits(model, built)


def test_a_folder_of_shards_is_read_whole(tmp_path: Path) -> None:
    built = hf().AutoModelForCausalLM.from_config(theirs(SMALL, tmp_path))
    built.save_pretrained(tmp_path / "saved", max_shard_size="20KB")
    assert len(list((tmp_path / "saved").glob("*.safetensors"))) > 1
    model = DIYForCausalLM(SMALL).eval()
    model.load_state_dict(read_weights(str(tmp_path / "saved"), SMALL))
    same_logits(model, built)


def test_buffers_of_old_checkpoints_are_read_past() -> None:
    there = to_huggingface_state(filled(SMALL).state_dict(), SMALL)
    there["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    assert from_huggingface_state(there, SMALL).keys() == DIYForCausalLM(SMALL).state_dict().keys()


def without(state: dict[str, torch.Tensor], *names: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if name not in names}


def test_weights_of_another_config_are_refused_by_name() -> None:
    state = filled(SMALL).state_dict()
    there = to_huggingface_state(state, SMALL)
    gate = "layers.1.feedforward.gate.weight"
    for wrong, name, complaint in (
        (without(state, gate), gate, "missing"),
        ({**state, "extra": state[gate]}, "extra", "unknown"),
        ({**state, gate: state[gate][:-1]}, gate, r"of shape \(47, 32\), and by the config it is \(48, 32\)"),
        ({**state, gate: state[gate].to(torch.int8)}, gate, r"of torch\.int8; wanted"),
        ({**state, "lm_head.weight": state["lm_head.weight"] + 1}, "lm_head.weight", "differs from the embedding"),
    ):
        with pytest.raises(ExchangeError, match=f"weights='{name}': {complaint}"):
            to_huggingface_state(wrong, SMALL)
    with pytest.raises(ExchangeError, match=r"weights='model.norm.weight': missing"):
        from_huggingface_state(without(there, "model.norm.weight"), SMALL)


def test_the_layout_names_every_tensor_of_both_models(tmp_path: Path) -> None:
    for config in KINDS.values():
        tied = {"lm_head.weight"} if config.tie_embeddings else set()
        assert layout(config).keys() | tied == DIYForCausalLM(config).state_dict().keys()
        built = hf().AutoModelForCausalLM.from_config(theirs(config, tmp_path))
        assert {
            piece.name for pieces in layout(config).values() for piece in pieces
        } | tied == built.state_dict().keys()


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_weights_are_read_from_files_of_ours(name: str, tmp_path: Path) -> None:
    model, path = filled(SMALL).bfloat16(), tmp_path / name
    if name.endswith(".pt"):
        torch.save(model.state_dict(), path)
    else:
        save_weights(str(path), model.state_dict())
        assert "lm_head.weight" not in load_file(path)
    state = read_weights(str(path), SMALL)
    DIYForCausalLM(SMALL).load_state_dict(state)
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in state.items())
    assert dtype_name(state) == "bfloat16"


def saved(state: dict[str, torch.Tensor]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


CUT = saved(filled(SMALL).state_dict())[:5000]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("none.pt", None, "cannot be read: no such file"),
        ("none.safetensors", None, "cannot be read"),
        ("text.pt", b"hello", "holds no weights"),
        ("text.safetensors", b"hello", "holds no weights"),
        ("empty.pt", b"", "holds no weights"),
        ("cut.pt", CUT, "is cut off"),
    ],
)
def test_a_file_that_holds_no_weights_is_one_sentence(
    name: str, content: bytes | None, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputFileError, match=complaint):
        read_weights(str(path), SMALL)


def test_a_checkpoint_with_more_than_weights_is_told_what_is_wanted(tmp_path: Path) -> None:
    torch.save({"model": {}, "step": 3}, tmp_path / "a.pt")
    with pytest.raises(InputFileError, match=r"more than tensors.*torch.save\(model.state_dict\(\)"):
        read_weights(str(tmp_path / "a.pt"), SMALL)
    with pytest.raises(InputFileError, match=r"a folder without model\.safetensors"):
        read_weights(str(tmp_path), SMALL)
    save_file({"a": torch.ones(1)}, tmp_path / "b.safetensors")
    with pytest.raises(ExchangeError, match=r"embedding.weight.*missing"):
        read_weights(str(tmp_path / "b.safetensors"), SMALL)


# the files of other programs


@pytest.mark.parametrize("eps", [1e-05, 1e-6, 1.5e-05, 0.1, 1.0])
def test_litgpt_reads_what_was_meant(eps: float) -> None:
    config = replace(KINDS["qwen3"], eps=eps, rope_theta=1e6)
    text = draft(config, "litgpt").files["model_config.yaml"]
    assert yaml.safe_load(text) == litgpt_fields(config)
    assert yaml.safe_load(text)["norm_eps"] == eps


def test_litgpt_is_told_to_tie_and_what_it_does_not_have() -> None:
    assert "--train.tie_embeddings true" in draft(SMALL, "litgpt").notes[0]
    assert draft(KINDS["qwen3, untied"], "litgpt").notes == ()
    for changes in ({"final_norm": False}, {"rope_theta": 0.5}):
        with pytest.raises(ExchangeError):
            draft(replace(SMALL, **changes), "litgpt")  # type: ignore[arg-type]


def test_the_script_runs_and_counts(tmp_path: Path) -> None:
    config = replace(SMALL, qkv_bias=True, qk_norm=True, final_norm=False)
    (tmp_path / "model.py").write_text(draft(config, "python").files["model.py"])
    done = subprocess.run(
        [sys.executable, tmp_path / "model.py"], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == f"{count(config)['total']:,} parameters\n"


@pytest.mark.parametrize("known", PRESETS, ids=lambda known: known.name)
def test_every_preset_goes_out_and_comes_back(known: Any) -> None:
    assert from_huggingface(to_huggingface(known.config)) == known.config
    assert draft(known.config, "litgpt").files
    assert DIYConfig.from_dict(json.loads(draft(known.config, "diy").files["config.json"])) == known.config
