"""A Hugging Face config.json as a family and its dimensions: plain JSON, no transformers, no network."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from diymodel.config import DIYConfig
from solver import counts
from solver.errors import InputFileError, shown
from solver.families import Architecture, Dimensions, Family
from solver.interop.fields import Fields
from solver.interop.model_types import MODEL_TYPES, Coefficient
from solver.interop.other_kinds import OTHER_KINDS


def of_config(config: DIYConfig) -> Architecture:
    """The architecture of a DIYConfig."""
    return Architecture(
        model_type="diy",
        family=counts.diy_family(config),
        shape=Dimensions(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            intermediate_size=config.intermediate_size,
        ),
    )


def of_hugging_face(source: str, values: Mapping[str, Any]) -> Architecture:
    """The architecture of a Hugging Face config. `source` stands in front of every complaint.

    Raises:
        InputFileError: a model type that cannot be counted, or a field that contradicts the others.
    """
    model_type = _countable(source, values)
    entry = MODEL_TYPES[model_type]
    fields = Fields(source=source, model_type=model_type, values=values, defaults=entry.defaults, names=entry.names)
    family = Family(**{name: _coefficient(fields, value) for name, value in entry.coefficients.items()})
    if entry.other_layers:
        family = replace(family, other_layers=entry.other_layers(fields, family))
    return Architecture(model_type=model_type, family=family, shape=entry.dimensions(fields))


def _coefficient(fields: Fields, value: Coefficient) -> Any:
    if isinstance(value, str):
        return fields.flag(value)
    return value if isinstance(value, int) else value(fields)


def model_type_of(source: str, values: Mapping[str, Any]) -> str:
    """The model type as the config says it, or where it does not, as the class in `architectures` does.

    Raises:
        InputFileError: neither says one, or they are of two types.
    """
    classes = values.get("architectures")
    if classes is not None and not isinstance(classes, list):
        complaint = f'has architectures={shown(classes)}: write a list of names such as ["LlamaForCausalLM"]'
        raise InputFileError("file", source, complaint)
    types = {known: name for name in classes or () if (known := _type_of_class(name))}
    name = values.get("model_type")
    if name is None and len(types) == 1:
        return next(iter(types))
    if not isinstance(name, str):
        instead = f" and architectures={shown(classes)}" if classes and name is None else ""
        has = f"is a Hugging Face config with model_type={shown(name)}{instead}"
        raise InputFileError("file", source, f"{has}: write the model's type, such as llama")
    if name in MODEL_TYPES and types and _CLASS_OF.get(name, name) not in types:
        known, its_class = next(iter(types.items()))
        has = f"has model_type={shown(name)}, but architectures name {its_class}, a {known}"
        raise InputFileError("file", source, f"{has}; one of the two is wrong")
    return name


_CLASS_OF = {"gpt-sw3": "gpt2", "internlm3": "llama", "iquestcoder": "llama"}
"""Types that are built by the class of another."""


def _type_of_class(name: object) -> str | None:
    """The type whose name, without signs, begins the name of a causal class: Qwen2MoeForCausalLM is qwen2_moe."""
    if not isinstance(name, str) or not name.endswith(("ForCausalLM", "LMHeadModel")):
        return None
    return _TYPES_WITHOUT_SIGNS.get(name.removesuffix("ForCausalLM").removesuffix("LMHeadModel").lower())


_TYPES_WITHOUT_SIGNS = {re.sub("[-_]", "", name.removesuffix("_text")): name for name in MODEL_TYPES}


def _countable(source: str, values: Mapping[str, Any]) -> str:
    """The model type, one of MODEL_TYPES."""
    name = model_type_of(source, values)
    if name not in MODEL_TYPES:
        raise InputFileError("file", source, f"has model_type={shown(name)}: {_what_is_known(name, values)}")
    for flag, kind in (("is_encoder_decoder", "an encoder"), ("add_cross_attention", "cross attention")):
        if values.get(flag) not in (None, False):
            complaint = (
                f"is a config of {name} with {flag}={shown(values[flag])}: only decoders without {kind} can be counted"
            )
            raise InputFileError("file", source, complaint)
    return name


def _what_is_known(name: str, values: Mapping[str, Any]) -> str:
    """Why a type cannot be counted, and what could be."""
    kind = next((kind for kind, names in OTHER_KINDS.items() if name in names), None)
    inner = values.get("text_config")
    inner_type = inner.get("model_type") if isinstance(inner, dict) else None
    if isinstance(inner_type, str) and inner_type in MODEL_TYPES:
        it_is = kind or "a model with more than text"
        return f"{it_is}; its text_config is a config of {inner_type}, which can be counted as a file of its own"
    if kind:
        return f"{kind}; decoders of attention and MLP layers can be counted, with experts or without"
    near = difflib.get_close_matches(name.lower(), MODEL_TYPES, n=1)
    known = f"not one of the {len(MODEL_TYPES)} types that are known"
    return f"{known}; the nearest is {near[0]}" if near else f"{known}: {', '.join(MODEL_TYPES)}"
