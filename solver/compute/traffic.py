"""What a step moves through memory between its matrix products, and how many kernels it starts.

Every operator of torch that is not a product or fused attention reads its inputs from memory and writes its results
back: norms, rotary embedding, gate, residuals, casts, the loss. The figures are counted, operator by operator, on
torch 2.15 (`benchmarks/software.py`, which counts other ways of writing a model the same way). Where attention is
written out its products' scores pass through memory besides.

Not here: the embedding, the final norm and dropout, which are small or not usual, the traffic of products, and the
weights' own (casts under autocast, the optimizer), which does not depend on the tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from solver.recipe import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """A forward or a backward pass of one layer: bytes for each value of a token in a tensor of that width."""

    hidden: float
    queries: float
    """num_heads * head_dim."""
    keys: float
    """num_kv_heads * head_dim: keys and values together."""
    inner: float
    """intermediate_size."""
    normed: float = 0.0
    """More for each value of queries and of keys, with qk_norm."""
    score: float
    """For each pair of tokens and head, where attention is written out."""
    logit: float
    """For each value of the logits: not of a layer, but of the loss."""
    kernels: float
    """Kernels that the host starts, products included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Software:
    """A way of writing a model, under one precision."""

    forward: Pass
    backward: Pass


OURS = {
    "bf16-true": Software(
        forward=Pass(hidden=20, queries=18, keys=22, inner=10, normed=4, score=28, logit=14, kernels=27),
        backward=Pass(hidden=30, queries=24, keys=28, inner=18, normed=6, score=32, logit=22, kernels=36),
    ),
    "mixed": Software(  # the residual stream and its gradient are float32, and are cast for every product
        forward=Pass(hidden=48, queries=18, keys=22, inner=10, normed=20, score=28, logit=14, kernels=34),
        backward=Pass(hidden=78, queries=24, keys=28, inner=18, normed=24, score=32, logit=22, kernels=45),
    ),
    "32-true": Software(
        forward=Pass(hidden=40, queries=36, keys=44, inner=20, normed=8, score=24, logit=8, kernels=27),
        backward=Pass(hidden=60, queries=48, keys=56, inner=36, normed=12, score=28, logit=16, kernels=36),
    ),
}
"""The step of `diymodel.step`."""

HUGGING_FACE = {
    "bf16-true": Software(
        forward=Pass(hidden=84, queries=20, keys=20, inner=10, normed=36, score=28, logit=14, kernels=38),
        backward=Pass(hidden=214, queries=32, keys=32, inner=18, normed=93, score=28, logit=22, kernels=71),
    ),
    "mixed": Software(
        forward=Pass(hidden=106, queries=36, keys=36, inner=10, normed=48, score=25, logit=14, kernels=48),
        backward=Pass(hidden=286, queries=58, keys=58, inner=18, normed=117, score=28, logit=22, kernels=87),
    ),
    "32-true": Software(
        forward=Pass(hidden=80, queries=40, keys=40, inner=20, normed=28, score=25, logit=8, kernels=34),
        backward=Pass(hidden=244, queries=64, keys=64, inner=36, normed=93, score=20, logit=16, kernels=67),
    ),
}
"""The profile `hf`: transformers 5.24, whose RMSNorm is made of elementary operators in float32."""


def as_written(recipe: Recipe) -> Software:
    """The software that a recipe trains with: our own step, or that of transformers with the profile `hf`."""
    table = HUGGING_FACE if recipe.profile == "hf" else OURS
    return table["mixed" if recipe.precision.endswith("mixed") else recipe.precision]
