"""A DIYConfig as the config.json of transformers, and back. Neither torch nor transformers is needed.

What DIYConfig expresses are four models of transformers (version 5, models/*/modeling_*.py) that differ in little:

    llama     hidden_size must be a multiple of num_attention_heads
    mistral   the same model without that condition; a sliding window, which an export turns off
    qwen2     with biases on q, k and v, and none on o
    qwen3     with an RMSNorm on q and one on k

All are pre-norm decoders with RMSNorm, rotary positions in the layout of `diymodel.model`, gated SiLU and a final norm.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from diymodel.config import ConfigError, DIYConfig
from solver.errors import ExchangeError, shown
from solver.families import Dimensions
from solver.interop.architecture import model_type_of, of_hugging_face
from solver.interop.model_types import MODEL_TYPES

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
"""model_type -> the class that transformers builds for it."""

NAMES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "intermediate_size": "intermediate_size",
    "max_seq_len": "max_position_embeddings",
    "eps": "rms_norm_eps",
    "tie_embeddings": "tie_word_embeddings",
}
"""Field of DIYConfig -> key of config.json, where both hold the same value."""

_SOURCE = "config.json"
"""What complaints about a config call it; who knows its file says so instead."""

RESIDUAL_DROPOUT = "residual_dropout"
"""A key of our own: transformers keeps what it does not know, and drops out attention weights only."""

_RUN_DEFAULTS: dict[str, dict[str, int]] = {
    "llama": {"max_position_embeddings": 2048},
    "mistral": {"max_position_embeddings": 131072, "sliding_window": 4096},
    "qwen2": {"max_position_embeddings": 32768, "sliding_window": 4096},
    "qwen3": {"max_position_embeddings": 32768, "sliding_window": 4096},
}
"""What a config.json need not say about how it is run (transformers 5, models/*/configuration_*.py); what decides a
count is in `solver.interop.model_types`."""

_DEFAULT_EPS = 1e-6
_DEFAULT_THETA = 10_000.0

_BIASES = {"llama": ("attention_bias", "mlp_bias"), "qwen3": ("attention_bias",)}
"""Keys that put a bias where DIYConfig has none: attention_bias is one on o too."""


def is_huggingface(values: dict[str, Any]) -> bool:
    """Whether a JSON object is a config.json of transformers, of whatever model."""
    return "model_type" in values or "architectures" in values


# out


def model_type(config: DIYConfig) -> str:
    """The model of transformers that is exactly this one.

    Raises:
        ExchangeError: there is none.
    """
    if not config.final_norm:
        raise ExchangeError("final_norm", False, "every model of transformers that is like this one has a final norm")
    if config.qkv_bias and config.qk_norm:
        complaint = "together with qk_norm: in transformers' Qwen3 a bias on q, k and v is one on o too; drop either"
        raise ExchangeError("qkv_bias", True, complaint)
    if config.qkv_bias or config.qk_norm:
        return "qwen2" if config.qkv_bias else "qwen3"
    return "mistral" if config.hidden_size % config.num_heads else "llama"


def to_huggingface(config: DIYConfig, *, dtype: str = "float32") -> dict[str, Any]:
    """The content of a config.json from which transformers builds the same model; the inverse of `from_huggingface`.

    Args:
        dtype: of the weights: float32, bfloat16 or float16.

    Raises:
        ExchangeError: transformers has no such model.
    """
    kind = model_type(config)
    values: dict[str, Any] = {"model_type": kind, "architectures": [ARCHITECTURES[kind]]}
    values |= {key: getattr(config, field) for field, key in NAMES.items()}
    values |= {
        "hidden_act": "silu",
        "rope_theta": config.rope_theta,  # read by transformers 4; the next by 5
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "attention_dropout": config.dropout,
        "initializer_range": math.sqrt(2 / (5 * config.hidden_size)),  # std of DIYForCausalLM.init_weights
        "bos_token_id": None,  # no tokenizer is known here, and Llama's defaults are those of another
        "eos_token_id": None,
        "pad_token_id": None,
        "dtype": dtype,
        "torch_dtype": dtype,  # its name in transformers 4
    }
    if config.dropout:
        values[RESIDUAL_DROPOUT] = config.dropout
    if kind == "mistral":
        values["sliding_window"] = None
    return values


# in


def from_huggingface(values: dict[str, Any]) -> DIYConfig:
    """The config of the same shape as this config.json, with transformers' defaults for what it does not say.

    What changes neither a shape nor the count is read past; `left_out` names it.

    Raises:
        ExchangeError: another kind of model, or one with parts that DIYConfig does not have.
        InputFileError: a field that is not what it has to be, or contradicts the others.
        ConfigError: a value from which no model can be built; the message has the names of config.json.
    """
    kind = _kind(values)
    shape = of_hugging_face(_SOURCE, values).shape
    for key in _BIASES.get(kind, ()):
        if values.get(key):
            raise ExchangeError(key, values[key], "DIYConfig has no bias on o, gate, up and down; only on q, k and v")
    activation = values.get("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        raise ExchangeError("hidden_act", activation, "the activation of DIYConfig is silu")
    try:
        return DIYConfig(
            **{name: getattr(shape, name) for name in Dimensions.__dataclass_fields__},
            max_seq_len=values.get("max_position_embeddings", _RUN_DEFAULTS[kind]["max_position_embeddings"]),
            eps=values.get("rms_norm_eps", _DEFAULT_EPS),
            tie_embeddings=values.get("tie_word_embeddings", False),
            rope_theta=_rope_theta(values),
            dropout=values[RESIDUAL_DROPOUT] if _drops_residuals(values) else 0.0,
            qkv_bias=kind == "qwen2",
            qk_norm=kind == "qwen3",
        )
    except ConfigError as error:
        raise ConfigError(_in_their_names(str(error))) from None


def left_out(values: dict[str, Any]) -> Iterator[str]:
    """What a config.json that `from_huggingface` takes says and DIYConfig cannot, a phrase each; no count changes."""
    kind = _kind(values)
    rope = _rope(values)
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    if rope_type != "default":
        yield f"RoPE scaling ({shown(rope_type)})"
    window = values.get("sliding_window", _RUN_DEFAULTS[kind].get("sliding_window"))
    length = values.get("max_position_embeddings", _RUN_DEFAULTS[kind]["max_position_embeddings"])
    is_on = kind == "mistral" or (kind != "llama" and bool(values.get("use_sliding_window")))
    if is_on and isinstance(window, int) and window < length:
        yield f"a sliding window of {shown(window)} tokens"
    if values.get("attention_dropout") and not _drops_residuals(values):
        yield f"attention_dropout={shown(values['attention_dropout'])} (DIYConfig's is on the residuals too)"
    if values.get("quantization_config"):
        yield "quantized weights"


def _kind(values: dict[str, Any]) -> str:
    kind = model_type_of(_SOURCE, values)
    if kind not in ARCHITECTURES:
        more = "; `diysolve count` counts it" if kind in MODEL_TYPES else ""
        raise ExchangeError("model_type", kind, f"DIYConfig expresses {', '.join(ARCHITECTURES)}, and no other{more}")
    return kind


def _rope(values: dict[str, Any]) -> dict[str, Any]:
    """rope_scaling was the name in transformers 4, and still comes first."""
    rope = values.get("rope_scaling") or values.get("rope_parameters") or {}
    if not isinstance(rope, dict):
        raise ExchangeError(
            "rope_parameters", rope, "an object such as {'rope_type': 'default', 'rope_theta': 10000.0}"
        )
    return rope


def _rope_theta(values: dict[str, Any]) -> Any:
    inner, outer = _rope(values).get("rope_theta"), values.get("rope_theta")
    if None not in (inner, outer) and inner != outer:
        raise ExchangeError("rope_theta", outer, f"rope_parameters say {inner!r}; one of the two is wrong")
    return _DEFAULT_THETA if inner is None and outer is None else outer if inner is None else inner


def _drops_residuals(values: dict[str, Any]) -> bool:
    return RESIDUAL_DROPOUT in values and values[RESIDUAL_DROPOUT] == values.get("attention_dropout")


def _in_their_names(message: str) -> str:
    return re.sub(r"\w+", lambda word: NAMES.get(word[0], word[0]), message)
