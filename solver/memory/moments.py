"""Bytes of each part at each moment of a step, in closed form, on ints and int64 arrays alike.

V vocab_size  h hidden_size  L num_layers  H num_heads  K num_kv_heads  d head_dim  f intermediate_size
n tokens of the micro-batch   s seq_len   a bytes of an activation   r bytes of the residual stream   w of a weight
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from solver import counts
from solver.counts import Int
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

Moments = dict[str, dict[str, Int]]


def predict(shape: Any, recipe: Recipe) -> Moments:
    """moment -> part -> bytes."""
    return _infer(shape, recipe) if recipe.mode == "infer" else _train(shape, recipe)


def peak_bytes(shape: Any, recipe: Recipe) -> Int:
    """The largest total over the moments, for a config or for columns of shapes."""
    totals = [sum(parts.values()) for parts in predict(shape, recipe).values()]
    return max(totals) if all(isinstance(total, int) for total in totals) else reduce(np.maximum, totals)


def _train(shape: Any, recipe: Recipe) -> Moments:
    weight, activation, residual = _bytes(recipe)
    params, n = counts.total(shape), recipe.tokens
    copies = 0 if weight == activation else activation * (params - counts.embedding(shape))
    base = {
        "weights": weight * params,
        "optimizer": _optimizer_states(recipe) * weight * params,
        "buffers": 8 * n + 4 * shape.max_seq_len * shape.head_dim,
    }
    layer = _layer_activations(shape, recipe, activation, residual)
    stored = shape.num_layers * (n * shape.hidden_size * residual if recipe.checkpointing == "full" else layer)
    recomputed = layer if recipe.checkpointing == "full" else 0 * layer
    live = min(n, 1024) if recipe.loss == "chunked" else n
    logits = live * shape.vocab_size
    step = weight * params if recipe.optimizer == "adamw-foreach" else 0 * params
    return {
        "forward_end": _parts(base, weight_copies=copies, activations=stored, logits_loss=activation * logits),
        "loss": _parts(base, weight_copies=copies, activations=stored, logits_loss=(activation + 8) * logits),
        "backward": _parts(
            base,
            weight_copies=copies,
            activations=stored + recomputed,
            gradients=weight * params,
        ),
        "optimizer_step": _parts(base, gradients=weight * params, temporaries=step),
    }


def _infer(shape: Any, recipe: Recipe) -> Moments:
    _, activation, residual = _bytes(recipe)
    cache = 2 * shape.num_layers * recipe.tokens * shape.num_kv_heads * shape.head_dim * activation
    base = {"weights": 4 * counts.total(shape), "kv_cache": cache, "buffers": 4 * shape.max_seq_len * shape.head_dim}
    working = recipe.tokens * (2 * shape.hidden_size * residual + 3 * shape.intermediate_size * activation)
    return {"prefill": _parts(base, temporaries=working), "decode": _parts(base, temporaries=0 * working)}


def _bytes(recipe: Recipe) -> tuple[int, int, int]:
    """Bytes of one weight, one activation, one element of the residual stream."""
    if recipe.precision == "32-true":
        return 4, 4, 4
    return (2, 2, 2) if recipe.precision == "bf16-true" else (4, 2, 4)


def _optimizer_states(recipe: Recipe) -> int:
    return {"adamw": 2, "adamw-foreach": 2, "sgd": 0, "sgd-momentum": 1}[recipe.optimizer]


def _layer_activations(shape: Any, recipe: Recipe, activation: int, residual: int) -> Int:
    n, width = recipe.tokens, shape.num_heads * shape.head_dim
    kept = 2 * shape.hidden_size * (residual + activation) + 4 * shape.intermediate_size * activation
    kept = kept + (2 * width + 2 * shape.num_kv_heads * shape.head_dim) * activation + 4 * (shape.num_heads + 2)
    scores = shape.num_heads * recipe.seq_len * 6 if recipe.attention == "eager" else 0
    masks = 2 * shape.hidden_size if shape.dropout else 0
    return n * (kept + scores + masks)


def _parts(base: dict[str, Int], **parts: Int) -> dict[str, Int]:
    return {part: base.get(part, parts.get(part, 0)) for part in PARTS}
