"""Floating-point operations of a token, exactly, by component; and what share of a card's peak they are.

    V vocab_size   h hidden_size   L num_layers   H num_heads   K num_kv_heads   d head_dim   f intermediate_size
    T tokens of a sequence   N params

A product of (a, b) with (b, c) takes 2abc: a multiplication and an addition for each term (Kaplan et al. 2020,
arXiv:2001.08361, table 1). Per token of a forward pass:

    embedding               0                         a lookup
    attention_projections   2 L (h d (H + 2K) + H d h)
    attention_scores        4 L H d T                 the whole square; causal: 2 L H d (T + 1), its lower half
    mlp                     6 L h f
    lm_head                 2 V h                     tied or not

The backward pass takes twice the forward: a product each for the gradients of the input and of the weight. Recomputed
are, with checkpointing full, the layers without the down projection, whose output nothing needs again (with dropout it
is), and with the chunked loss the head. The sums are those of torch's FlopCounterMode on the real model, which like
this leaves out norms, rotary embedding, softmax, the gate, residuals, casts, biases, the loss and the optimizer. What
the fused attention kernels compute again within themselves is not counted either.
"""

from __future__ import annotations

from typing import Any

from solver import counts
from solver.counts import Int, Shape
from solver.recipe import Recipe

COMPONENTS = ("embedding", "attention_projections", "attention_scores", "mlp", "lm_head")

BACKWARD_PASSES = 2
"""The backward pass in forward passes."""

Number = Any
"""A float, or a numpy array of them."""


def forward(shape: Shape, seq_len: int, *, causal: bool = False) -> dict[str, Int]:
    """FLOPs per token of a forward pass by component, and their sum as "total".

    `causal` counts the pairs that a causal mask leaves, the mean over the positions of a sequence; else the whole
    square is counted, which is the convention of PaLM and of FlopCounterMode.
    """
    queries = shape.num_heads * shape.head_dim
    pairs = 2 * (seq_len + 1) if causal else 4 * seq_len
    parts = {
        "embedding": 0 * shape.hidden_size,
        "attention_projections": 2 * shape.num_layers * projection_weights(shape),
        "attention_scores": shape.num_layers * queries * pairs,
        "mlp": 2 * shape.num_layers * counts.mlp_per_layer(shape),
        "lm_head": 2 * shape.vocab_size * shape.hidden_size,
    }
    return {"total": sum(parts.values()), **parts}


def projection_weights(shape: Shape) -> Int:
    """Weights of a layer's projections to queries, keys, values and back: h d (2H + 2K), without biases."""
    return shape.hidden_size * shape.head_dim * 2 * (shape.num_heads + shape.num_kv_heads)


def backward(shape: Shape, seq_len: int, *, causal: bool = False) -> dict[str, Int]:
    """FLOPs per token of a backward pass: twice the forward, component by component."""
    return {name: BACKWARD_PASSES * flops for name, flops in forward(shape, seq_len, causal=causal).items()}


def recomputed(shape: Shape, recipe: Recipe, *, causal: bool = False) -> dict[str, Int]:
    """FLOPs per token that the backward pass does over again, by component."""
    once = forward(shape, recipe.seq_len, causal=causal)
    layers = ("attention_projections", "attention_scores", "mlp") if recipe.checkpointing == "full" else ()
    head = ("lm_head",) if recipe.loss == "chunked" else ()
    parts = {name: once[name] if name in (*layers, *head) else 0 * once[name] for name in COMPONENTS}
    if recipe.checkpointing == "full" and not getattr(shape, "dropout", 0):
        parts["mlp"] = parts["mlp"] - 2 * shape.num_layers * shape.hidden_size * shape.intermediate_size
    return {"total": sum(parts.values()), **parts}


def model_flops(shape: Shape, seq_len: int, *, causal: bool = False) -> Int:
    """FLOPs per trained token that the model asks for: forward and backward, nothing computed twice."""
    return (1 + BACKWARD_PASSES) * forward(shape, seq_len, causal=causal)["total"]


def hardware_flops(shape: Shape, recipe: Recipe, *, causal: bool = False) -> Int:
    """FLOPs per trained token that are carried out: those of the model, and what is recomputed."""
    return model_flops(shape, recipe.seq_len, causal=causal) + recomputed(shape, recipe, causal=causal)["total"]


def six_n(shape: Shape) -> Int:
    """6N: the rule of thumb for a trained token (Kaplan et al. 2020, arXiv:2001.08361, section 2.1)."""
    return 6 * counts.total(shape)


def palm_flops(shape: Shape, seq_len: int) -> Int:
    """6N + 12 L H d T: what a trained token takes by Chowdhery et al. 2022 (PaLM, arXiv:2204.02311), appendix B."""
    return six_n(shape) + 12 * shape.num_layers * shape.num_heads * shape.head_dim * seq_len


def mfu(shape: Shape, seq_len: int, tokens_per_second: Number, peak_flops: float) -> Number:
    """Model FLOPs utilisation by PaLM's appendix B: tokens per second over peak / (6N + 12 L H d T)."""
    return tokens_per_second * palm_flops(shape, seq_len) / peak_flops


def hfu(shape: Shape, recipe: Recipe, tokens_per_second: Number, peak_flops: float) -> Number:
    """Hardware FLOPs utilisation, of the same appendix: what is recomputed is work too."""
    done = palm_flops(shape, recipe.seq_len) + recomputed(shape, recipe)["total"]
    return tokens_per_second * done / peak_flops
