"""The closed form: bytes at every moment of a step, by part, from the integers of a shape.

A moment is the largest of a few named instants (`solver.memory.script`), and an instant is a sum of tensors
(`solver.memory.tensors`): a whole number of each size, and of each size times the number of layers. Equal to the dry
run of `solver.verify.dry_run` to the byte, on torch 2.15.

A shape is a `DIYConfig`, or the same names with int64 arrays in place of the ints; then every figure is an array.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from solver.memory.ledger import Instant
from solver.memory.script import Setting, serving_script, training_script
from solver.memory.tensors import (
    Int,
    Shape,
    chunk_sizes,
    compute_bytes,
    number_of_chunks,
    rounded,
    tensor_sizes,
    weight_bytes,
    weight_sizes,
)
from solver.recipe import Recipe

PARTS = (
    "weights",
    "weight_copies",
    "gradients",
    "optimizer",
    "activations",
    "logits_loss",
    "temporaries",
    "kv_cache",
    "buffers",
)

Moments = dict[str, dict[str, Any]]
"""Moment -> part -> bytes, with the sum of the parts as "total"."""


def predict(shape: Shape, recipe: Recipe) -> Moments:
    setting = _setting(shape, recipe)
    layers = shape.num_layers
    if recipe.mode == "infer":
        result = {}
        for moment, tokens, attended in (("prefill", recipe.prompt, recipe.prompt), ("decode", 1, recipe.seq_len)):
            from dataclasses import replace
            s = replace(setting, one_token=tokens == 1)
            instants = serving_script(s, decode=moment == "decode", decodes=recipe.prompt < recipe.seq_len)
            result[moment] = _peak(instants, _sizes(shape, recipe, tokens, attended), layers)
        return result
    sizes = _sizes(shape, recipe, recipe.seq_len, recipe.seq_len)
    return {moment: _peak(instants, sizes, layers) for moment, instants in training_script(setting).items()}


def _setting(shape: Shape, recipe: Recipe) -> Setting:
    half = compute_bytes(recipe) == 2
    return Setting(
        infer=recipe.mode == "infer", mixed=recipe.precision.endswith("mixed"), half=half,
        scaler=recipe.precision == "16-mixed", optimizer=recipe.optimizer,
        checkpointed=recipe.checkpointing == "full" and recipe.mode == "train",
        kernel="eager" if recipe.attention == "eager" else "flash" if half else "efficient",
        chunks=number_of_chunks(recipe) if recipe.loss == "chunked" else 0,
        tied=shape.tie_embeddings, bias=shape.qkv_bias, qk_norm=shape.qk_norm, final_norm=shape.final_norm,
        dropout=shape.dropout > 0 and recipe.mode == "train",
        grouped=shape.num_heads != shape.num_kv_heads, one_sequence=recipe.micro_batch == 1,
        one_head=shape.num_heads == 1, one_kv_head=shape.num_kv_heads == 1,
    )  # fmt: skip


def _sizes(shape: Shape, recipe: Recipe, tokens: int, attended: int) -> dict[str, Any]:
    w, e, B = weight_bytes(recipe), compute_bytes(recipe), recipe.micro_batch
    sizes = tensor_sizes(shape, recipe, tokens, attended) | chunk_sizes(shape, recipe)
    sizes |= {f"w_{name}": size for name, size in weight_sizes(shape, w).items()}
    sizes |= {f"c_{name}": size for name, size in weight_sizes(shape, e).items()}
    sizes["rope"] = rounded(w * shape.max_seq_len * shape.head_dim // 2)
    sizes["cache"] = rounded(e * B * shape.num_kv_heads * recipe.seq_len * shape.head_dim)
    sizes["last_hidden"] = rounded(e * B * shape.hidden_size)
    sizes["last_logits"] = rounded(e * B * shape.vocab_size)
    return sizes


def _peak(instants: list[Instant], sizes: dict[str, Any], layers: Int) -> dict[str, Any]:
    best = None
    for instant in instants:
        if layers < instant.min_layers:
            continue
        parts = dict.fromkeys(PARTS, 0)
        for (part, size), (a, b) in instant.live.items():
            parts[part] += (a + b * layers) * sizes[size]
        parts["total"] = sum(parts.values())
        if best is None or parts["total"] > best["total"]:
            best = parts
    return best
