"""Small valid configs of every model type to draw, and what transformers itself builds from them."""

from __future__ import annotations

import re
from typing import Any

import torch
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from solver.interop.model_types import ModelType

COMPONENTS = (
    ("other", r"project_(in|out)\."),
    ("lm_head", r"^(lm_head|output_projection|embed_out)\."),
    ("position", r"\b(wpe|embed_positions|positions_embed)\."),
    ("norm", r"norm|\bln_"),
    ("embedding", r"\b(embed_tokens|wte|word_embeddings|embed_in|tokens_embed|transformer\.w)\."),
    ("router", r"\b(router|gate|shared_expert_gate)\.|\.expert_bias"),
    ("mlp", r"\b(mlp|feed_forward|ffn|fc1|fc2|block_sparse_moe|shared_mlp)\."),
    ("attention", r"\b(attn|self_attn|attention|self_attention|multi_head_attention)\."),
)
"""Component -> part of the name of its parameters; the first that fits."""


def build(values: dict[str, Any]) -> torch.nn.Module:
    """The model of a config, without bytes."""
    values = dict(values)
    if values["model_type"] == "gpt_neo":
        layers = values.get("num_layers", values.get("num_hidden_layers", 24))
        values["attention_types"] = [[["global"], layers]]
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def components(model: torch.nn.Module) -> dict[str, int]:
    """Params of a module by component, a tied one once, and the total."""
    found: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        name = name.replace("norm_attn_norm.", "")  # what DBRX calls its attention with the norms around it
        component = next(component for component, pattern in COMPONENTS if re.search(pattern, name))
        found[component] = found.get(component, 0) + parameter.numel()
    return {"total": sum(found.values()), **found}


def active(model: torch.nn.Module, experts: int, per_token: int) -> int:
    """Params without those of the routed experts that a token does not visit."""
    parameters = dict(model.named_parameters())
    routed = sum(p.numel() for name, p in parameters.items() if re.search(r"\.experts\.", name))
    if not routed:
        return sum(p.numel() for p in parameters.values())
    assert routed % experts == 0
    return sum(p.numel() for p in parameters.values()) - routed // experts * (experts - per_token)


NEEDED: dict[str, dict[str, Any]] = {
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}},
    "dbrx": {"attn_config": {"rope_theta": 1e4}},
    "deepseek_v2": {"num_experts_per_tok": 6},  # null in its config class, with which its module cannot run
    "dots1": {"n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2},  # likewise
    "glm4_moe": {"head_dim": 128},  # 4096 / 96 is not whole
    "granitemoehybrid": {"layer_types": ["full_attention"] * 32},  # without it a hybrid
    "hunyuan_v1_dense": {"head_dim": 128},  # null, with which it cannot be built
    "hunyuan_v1_moe": {"head_dim": 128},  # likewise
    "ministral": {"head_dim": 128},  # likewise
    "nemotron": {"num_key_value_heads": 48},  # likewise
}
"""What a type's own defaults leave open."""

SIZES: dict[str, st.SearchStrategy[Any]] = {
    "vocab_size": st.integers(2, 99),
    "max_position_embeddings": st.integers(2, 40),
    "output_vocab_size": st.none() | st.integers(1, 2),  # 2 is the smallest vocabulary
    "word_embed_proj_dim": st.none() | st.integers(1, 30),
    "q_lora_rank": st.none() | st.integers(1, 30),
    "kv_lora_rank": st.integers(1, 30),
    "qk_rope_head_dim": st.sampled_from([2, 4, 6]),
    "qk_nope_head_dim": st.integers(1, 20),
    "v_head_dim": st.integers(1, 20),
    "index_n_heads": st.integers(1, 4),
    "index_head_dim": st.sampled_from([8, 16]),
    "index_topk_freq": st.integers(1, 3),
    "index_skip_topk_offset": st.integers(0, 3),
    "moe_intermediate_size": st.integers(1, 30),
    "intermediate_size_mlp": st.integers(1, 30),
    "intermediate_multiple_size": st.integers(1, 5),
    "prefix_dense_intermediate_size": st.none() | st.integers(1, 30),
    "shared_intermediate_size": st.integers(0, 30),
    "shared_expert_intermediate_size": st.integers(1, 30),
    "n_shared_experts": st.integers(1, 3),
    "num_shared_experts": st.integers(1, 3),
    "moe_num_shared_experts": st.integers(1, 3),
    "num_dense_layers": st.integers(0, 5),
    "first_k_dense_replace": st.integers(0, 5),
    "moe_layer_freq": st.integers(1, 3),
    "moe_layer_start_index": st.integers(0, 3),
    "moe_layer_end_index": st.integers(-1, 5),
    "moe_layer_interval": st.integers(1, 3),
    "decoder_sparse_step": st.integers(1, 3),
    "mlp_only_layers": st.none() | st.lists(st.integers(0, 5), max_size=3),
    "moe_layers": st.none() | st.lists(st.integers(0, 3), max_size=3, unique=True),
    "interleave_moe_layer_step": st.integers(1, 3),
    "num_ln_in_parallel_attn": st.none() | st.integers(1, 2),
    "expansion_ratio": st.just(4),
    "gating": st.sampled_from([True, "per-head", "per-element"]),
    "index_topk_pattern": st.none(),
}
"""Fields that are drawn by themselves."""

LAYERS: dict[tuple[str, str], st.SearchStrategy[Any]] = {
    ("granitemoehybrid", "layer_types"): st.sampled_from(["attention", "full_attention"]),
    ("mimo_v2_flash", "layer_types"): st.sampled_from(["full_attention", "sliding_attention"]),
    ("glm_moe_dsa", "indexer_types"): st.sampled_from(["full", "shared"]),
}
"""Type and field -> one entry of a list that has one for each layer."""

HEADS_FILL_HIDDEN = ("helium", "olmoe", "phi")
"""Types whose modules need heads * head_dim = hidden."""

NEEDS_HEAD_DIM = ("ministral", "hunyuan_v1_dense", "hunyuan_v1_moe")
NEEDS_QUERY_RANK = ("axk1", "deepseek_v32", "glm_moe_dsa")
REFUSES_HEAD_DIM = ("falcon", "dbrx")

EXPERT_NUMBERS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


@st.composite
def hugging_face_configs(draw: st.DrawFn, entry: ModelType) -> dict[str, Any]:
    """A small valid config.json of one model type, every field that decides its count drawn."""
    layers, kv_heads = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    kv_heads *= 2 if entry.name == "diffllama" else 1
    heads = kv_heads * draw(st.integers(1, 3)) * (2 if entry.name == "mimo_v2_flash" else 1)
    head_dim = 2 * draw(st.integers(2, 5))
    ours: dict[str, Any] = {
        "hidden_size": heads * head_dim,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": draw(st.integers(1, 40)),
    }
    needs_head_dim = entry.defaults["head_dim"] is not None or entry.name in NEEDS_HEAD_DIM
    if needs_head_dim or (entry.name not in REFUSES_HEAD_DIM and draw(st.booleans())):
        ours["head_dim"] = head_dim if entry.name in HEADS_FILL_HIDDEN else 2 * draw(st.integers(1, 8))
    for name, default in entry.defaults.items():
        if name == "mlp_layer_types":
            ours[name] = draw(st.none() | one_a_layer(st.sampled_from(["dense", "sparse"]), layers))
        elif (entry.name, name) in LAYERS:
            listed = one_a_layer(LAYERS[entry.name, name], layers)
            ours[name] = draw(listed if entry.name == "granitemoehybrid" else st.none() | listed)
        elif name == "num_attention_heads_per_layer":
            ours[name] = draw(st.none() | one_a_layer(st.integers(1, 3).map(lambda n: n * kv_heads), layers))
        elif name in SIZES:
            ours[name] = draw(SIZES[name])
        elif isinstance(default, bool):
            ours[name] = draw(st.booleans())
        elif name in EXPERT_NUMBERS:
            ours[name] = draw(st.integers(1, 4))
            ours["num_experts_per_tok"] = draw(st.integers(1, ours[name]))
    return {"model_type": entry.name, **named(draw, entry, adapted(draw, entry, ours)), "pad_token_id": None}


def one_a_layer(entries: st.SearchStrategy[Any], layers: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(entries, min_size=layers, max_size=layers)


def adapted(draw: st.DrawFn, entry: ModelType, ours: dict[str, Any]) -> dict[str, Any]:
    """What single types do not take, or take besides."""
    if entry.name == "dbrx":
        return {**ours, "tie_word_embeddings": False}
    if entry.name == "internlm3":
        return {**ours, "mlp_bias": ours["attention_bias"]}
    if entry.name == "hunyuan_v1_moe" and draw(st.booleans()):
        return {**ours, "num_experts_per_tok": [ours["num_experts_per_tok"]] * ours["num_hidden_layers"]}
    if entry.name == "granitemoehybrid":
        ours |= {"shared_intermediate_size": draw(st.integers(1, 30)), "mamba_n_heads": 1, "mamba_d_head": "auto"}
        return {**ours, "num_local_experts": draw(st.sampled_from([0, ours["num_local_experts"]]))}
    if entry.name == "cohere2_moe":
        return {**ours, "first_k_dense_replace": min(ours["first_k_dense_replace"], ours["num_hidden_layers"])}
    if entry.name in NEEDS_QUERY_RANK:
        return {**ours, "q_lora_rank": draw(st.integers(1, 30))}
    return ours


def named(draw: st.DrawFn, entry: ModelType, ours: dict[str, Any]) -> dict[str, Any]:
    """The fields under one of the names that the type has for each."""
    needed = NEEDED.get(entry.name, {})
    values: dict[str, Any] = {key: value for key, value in needed.items() if isinstance(value, dict)}
    for name, value in ours.items():
        names = entry.names.get(name, (name,))
        if names:
            outer, _, inner = draw(st.sampled_from(names)).rpartition(".")
            if outer:
                values[outer] = {**values.get(outer, {}), inner: value}
            else:
                values[inner] = value
    return values


def experts_of(entry: ModelType, values: dict[str, Any]) -> tuple[int, int]:
    """How many experts the config says there are, and how many a token visits, under whatever names."""
    number = next((found for name in EXPERT_NUMBERS if (found := said(entry, values, name)) is not None), 1)
    per_token = said(entry, values, "num_experts_per_tok")
    return number, per_token[0] if isinstance(per_token, list) else per_token


def said(entry: ModelType, values: dict[str, Any], name: str) -> Any:
    flat = {
        f"{key}.{inner}": v for key, value in values.items() if isinstance(value, dict) for inner, v in value.items()
    }
    found = {**values, **flat}
    return next((found[key] for key in entry.names.get(name, (name,)) if key in found), None)
