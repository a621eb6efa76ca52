"""The priced terms of the score, in nats: what the law of depth and width does not see. Zero where nothing is wrong.

Tying has no term of its own. In MobileLLM's roadmap (Liu et al. 2024, arXiv:2402.14905, table 10) sharing the embedding
costs 0.2 points at 125M and 0.6 at 350M; the law's own answer to the params it saves is of that size in the mean, and
what remains is smaller than the spread of the two. The embedding's share is in the law too, which sees only what the
embeddings leave to the layers. The ratio of query to kv heads has none either: in table 13 it costs nothing by itself,
only fewer than four kv heads do.

The share of the MLP is fitted on published models that vary it: what a large MLP costs on Clark et al. 2022
(arXiv:2202.01169, DeepMind's dense models, plain MLPs of 4, 8 and 16 times hidden), what a small one costs on Petty et
al. 2023 (arXiv:2310.19956, gated, 0.2 to 2.7 times hidden). The optimum is a ratio of weights, so that a plain MLP has
its own at half as much again as a gated one: that the two are as good there is an assumption, under which a fit to
either source orders most pairs of the other. Petty's largest MLPs, 5 to 23 times hidden, are not fitted: they are paid
with layers, down to four, and there what the law says of depth outweighs them; they cost less than the term says.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from solver import counts
from solver.ranking import law
from solver.ranking.law import Coefficients, Number

ENOUGH_KV_HEADS = 4
ENOUGH_HEADS = 16
NARROW_HEAD = 64
"""Liu et al. 2024 (arXiv:2402.14905), tables 11 and 13, average over eight tasks at 125M. Four kv heads are as good as
more, two or one are not. At width 896, 16 heads of 56 are better than 8 heads of 112 and than 32 heads of 28; with
heads of 64, as few as six lie on the plateau. So a head wider than 64 is charged where it leaves fewer than 16 heads,
and a head narrower than 64 always. The prices are fitted with the law (`Coefficients`)."""

NOT_OF_128_NATS, NOT_OF_64_NATS = 0.0005, 0.001
"""Price of each side that is a multiple of 64 but not of 128, and of one that is not even of 64. Assumption: small
enough to decide among near-ties only. The rules are those of Anthony et al. 2024 (arXiv:2401.14489): matrix sides in
multiples of 64 elements at the least, output tiles of 128."""

_SHARE = (
    "at 0.041 nats (0.031 to 0.050) per squared log above and 0.011 (0.008 to 0.016) below: fitted on Clark et al. "
    "2022 and Petty et al. 2023, in brackets 90 % of the draws"
)

MEANINGS = {
    "predicted_loss": "loss at the token budget by a law of depth, width, size and tokens that is fitted on published "
    "sweeps (McLeish et al. 2025; Bian et al. 2025, arXiv:2501.18107; Liu et al. 2024; for tokens Gadre et al. 2024)",
    "mlp_share": f"distance of intermediate/hidden from 2.3 (1.8 to 2.9), {_SHARE}",
    "kv_heads": "fewer than four kv heads (Liu et al. 2024, table 13)",
    "heads": "heads wider than 64 where fewer than 16, or narrower than 64 (Liu et al. 2024, tables 11 and 13)",
    "alignment": "sides that are no multiple of 128 (Anthony et al. 2024)",
    "speed": "with --prefer speed or balanced: step time, at what the law says that the same time buys in training "
    "tokens (step time after Anthony et al. 2024 and the roofline of Williams et al. 2009)",
    "memory": "with --prefer memory or balanced: peak memory, at what the law says that the same memory buys in params",
}
"""What each term is, and whose evidence it rests on."""

_OF_A_PLAIN_MLP = f"distance of intermediate/hidden from 3.4 without a gate (2.7 to 4.3), {_SHARE}"


def meaning(term: str, shape: Any) -> str:
    """What a term is in a shape."""
    is_plain = term == "mlp_share" and counts.family_of(shape).mlp_matrices == 2
    return _OF_A_PLAIN_MLP if is_plain else MEANINGS[term]


def best_intermediate(shape: Any, coefficients: Coefficients | None = None) -> Number:
    """The intermediate size whose share of the weights costs nothing; not a whole number."""
    best = np.exp((coefficients or law.fitted()).mlp_optimum)
    return best / counts.family_of(shape).mlp_matrices * shape.hidden_size


def mlp_share(shape: Any, coefficients: Coefficients | None = None) -> Number:
    """Quadratic in ln(f) around the best, with a curvature of its own on either side."""
    prices = coefficients or law.fitted()
    off = np.log(shape.intermediate_size / best_intermediate(shape, prices))
    return np.where(off > 0, prices.mlp_heavy, prices.mlp_light) * off**2


def kv_heads(shape: Any, coefficients: Coefficients | None = None) -> Number:
    """The full price at two kv heads or one, less at three, nothing from four on."""
    return (coefficients or law.fitted()).kv_heads * missing_kv_heads(shape)


def missing_kv_heads(shape: Any) -> Number:
    """Halvings from four kv heads down, at most one."""
    return np.log2(ENOUGH_KV_HEADS / np.clip(shape.num_kv_heads, ENOUGH_KV_HEADS / 2, ENOUGH_KV_HEADS))


def heads(shape: Any, coefficients: Coefficients | None = None) -> Number:
    """The price of heads that are wide and few, or narrow."""
    prices = coefficients or law.fitted()
    return prices.wide_heads * wide_heads(shape) + prices.narrow_heads * narrow_heads(shape)


def wide_heads(shape: Any) -> Number:
    """Halvings of the heads below ENOUGH_HEADS that a head dimension of NARROW_HEAD would have spared."""
    return np.log2(np.maximum(np.minimum(shape.head_dim / NARROW_HEAD, ENOUGH_HEADS / shape.num_heads), 1.0))


def narrow_heads(shape: Any) -> Number:
    """Halvings of the head dimension from NARROW_HEAD down."""
    return np.log2(np.maximum(NARROW_HEAD / shape.head_dim, 1.0))


def alignment(shape: Any) -> Number:
    """The price of hidden, intermediate and head_dim * heads where they lie off the multiples."""
    sides = (shape.hidden_size, shape.intermediate_size, shape.num_heads * shape.head_dim)
    return sum(_misalignment(side % 128) for side in sides)


def _misalignment(rest: Number) -> Number:
    return NOT_OF_128_NATS * (rest != 0) + (NOT_OF_64_NATS - NOT_OF_128_NATS) * ((rest != 0) & (rest != 64))
