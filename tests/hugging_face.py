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
    ("lm_head", r"^lm_head\."),
    ("position", r"\b(wpe|embed_positions|positions_embed)\."),
    ("norm", r"norm|\bln_"),
    ("embedding", r"\b(embed_tokens|wte|word_embeddings|embed_in|tokens_embed)\."),
    ("router", r"\b(router|gate|shared_expert_gate)\.|\.expert_bias"),
    ("mlp", r"\b(mlp|feed_forward|ffn|fc1|fc2|block_sparse_moe|shared_mlp)\."),
    ("attention", r"\b(attn|self_attn|attention|self_attention)\."),
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
        component = next(component for component, pattern in COMPONENTS if re.search(pattern, name))
        found[component] = found.get(component, 0) + parameter.numel()
    return {"total": sum(found.values()), **found}


def active(model: torch.nn.Module, experts: int, per_token: int) -> int:
    """Params without those of the routed experts that a token does not visit."""
    parameters = dict(model.named_parameters())
    routed = sum(p.numel() for name, p in parameters.items() if re.search(r"\.experts\.", name))
    assert routed % experts == 0
    return sum(p.numel() for p in parameters.values()) - routed // experts * (experts - per_token)


SIZES: dict[str, st.SearchStrategy[Any]] = {
    "vocab_size": st.integers(2, 99),
    "num_hidden_layers": st.integers(1, 4),
    "max_position_embeddings": st.integers(2, 40),
    "word_embed_proj_dim": st.none() | st.integers(1, 30),
    "q_lora_rank": st.none() | st.integers(1, 30),
    "kv_lora_rank": st.integers(1, 30),
    "qk_rope_head_dim": st.sampled_from([2, 4, 6]),
    "qk_nope_head_dim": st.integers(1, 20),
    "v_head_dim": st.integers(1, 20),
    "moe_intermediate_size": st.integers(1, 30),
    "intermediate_size_mlp": st.integers(1, 30),
    "shared_intermediate_size": st.integers(0, 30),
    "shared_expert_intermediate_size": st.integers(1, 30),
    "n_shared_experts": st.integers(1, 3),
    "num_shared_experts": st.integers(1, 3),
    "num_dense_layers": st.integers(0, 5),
    "first_k_dense_replace": st.integers(0, 5),
    "decoder_sparse_step": st.integers(1, 3),
    "mlp_only_layers": st.none() | st.lists(st.integers(0, 5), max_size=3),
    "moe_layers": st.none() | st.lists(st.integers(0, 3), max_size=3, unique=True),
    "interleave_moe_layer_step": st.integers(1, 3),
    "num_ln_in_parallel_attn": st.none() | st.integers(1, 2),
    "expansion_ratio": st.just(4),
}
"""Fields that are drawn by themselves."""

HEADS_FILL_HIDDEN = ("helium", "olmoe", "phi")
"""Types whose modules need heads * head_dim = hidden."""

EXPERT_NUMBERS = ("num_local_experts", "num_experts", "n_routed_experts")


@st.composite
def hugging_face_configs(draw: st.DrawFn, entry: ModelType) -> dict[str, Any]:
    """A small valid config.json of one model type, every field that decides its count drawn."""
    kv_heads = draw(st.integers(1, 3))
    heads = kv_heads * draw(st.integers(1, 3))
    head_dim = 2 * draw(st.integers(2, 5))
    ours: dict[str, Any] = {
        "hidden_size": heads * head_dim,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": draw(st.integers(1, 40)),
    }
    needs_head_dim = entry.defaults["head_dim"] is not None or entry.name == "ministral"
    if needs_head_dim or (entry.name != "falcon" and draw(st.booleans())):  # falcon's class refuses to be given one
        ours["head_dim"] = head_dim if entry.name in HEADS_FILL_HIDDEN else 2 * draw(st.integers(1, 8))
    for name, default in entry.defaults.items():
        if name in SIZES:
            ours[name] = draw(SIZES[name])
        elif isinstance(default, bool):
            ours[name] = draw(st.booleans())
        elif name in EXPERT_NUMBERS:
            ours[name] = draw(st.integers(1, 4))
            ours["num_experts_per_tok"] = draw(st.integers(1, ours[name]))
    names = {name: entry.names.get(name, (name,)) for name in ours}
    named = {draw(st.sampled_from(names[name])): value for name, value in ours.items() if names[name]}
    return {"model_type": entry.name, **named, "pad_token_id": None}


def number_of_experts(entry: ModelType, values: dict[str, Any]) -> int:
    """What the config says under whatever name."""
    for name in EXPERT_NUMBERS:
        for key in entry.names.get(name, (name,)):
            if key in values:
                return int(values[key])
    return 1
