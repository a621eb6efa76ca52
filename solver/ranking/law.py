"""Predicted loss as a function of depth, width, size and training tokens.

    L layers   w effective width   P params   T training tokens

    loss = e^E + e^W * w^-a + e^D * L^-b + e^S * P^-s + e^C * T^-c + e^G * T^-m * L^k        nats per token

The form is that of McLeish et al. 2025 (Gemstones, arXiv:2502.06857), whose terms in width, depth, size and tokens
simply add, with one addition: what a deeper stack has yet to learn, e^G * T^-m * L^k. It learns more slowly, so it
needs the tokens before it pays. That carries both published regimes: deep and thin for small models that are trained
long (Liu et al. 2024, arXiv:2402.14905), shallower near 20 tokens per param (Bian et al. 2025, arXiv:2501.18107). The
exponent m is its own, since the general gain from tokens falls off slowly (Gadre et al. 2024, arXiv:2403.08540) and
the handicap of depth fast; with one for both the deep side is three times too flat in the sweeps of short training.

The coefficients are fitted by `benchmarks/fit_ranking.py` on published sweeps and kept in `coefficients.json`, with
bootstrap draws of them that say how well the evidence tells two shapes apart. P counts the embeddings; their share is
charged through w, which is what they leave to the layers.

What it cannot do: it knows nothing of the data, the tokenizer or the optimizer, and beyond 2B params or 350B tokens it
extrapolates. More width, size or tokens never raise the loss; more layers do, where tokens are few.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

COEFFICIENTS = Path(__file__).with_name("coefficients.json")

WEIGHTS_PER_SQUARE_WIDTH = 15
"""A Gemstones layer: gated MLP of 4 w (12 w^2 weights), attention with two query heads per kv head (3 w^2)."""

FITTED_PARAMS, FITTED_TOKENS = (48_000_000, 2_008_000_000), (1_600_000_000, 350_000_000_000)
"""Sizes and training tokens of the runs that it is fitted on; beyond, it extrapolates."""

FITTED_ON = "fitted on 48M to 2B params and 1.6B to 350B tokens"
"""The same in words."""

Number = Any
"""A float or int, or a numpy array of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Coefficients:
    """What is fitted: the exponents and log scales of the law, and the prices of the terms that are fitted with it.

    Each is a float, or a column of bootstrap draws of it.
    """

    floor: Number
    width_scale: Number
    width_exponent: Number
    depth_scale: Number
    depth_exponent: Number
    params_scale: Number
    params_exponent: Number
    tokens_scale: Number
    tokens_exponent: Number
    slow_scale: Number
    slow_exponent: Number
    depth_learning: Number
    """k: by how much more a deeper model has yet to learn. At 0 the form is additive, as Gemstones'."""
    kv_heads: Number
    """Nats that two kv heads or one cost."""
    wide_heads: Number
    """Nats per halving of the heads that a head dimension above 64 takes away below sixteen."""
    narrow_heads: Number
    """Nats per halving of the head dimension below 64."""
    mlp_optimum: Number
    """ln of the MLP weights of a layer over hidden_size^2 that cost nothing."""
    mlp_heavy: Number
    """Nats per squared log of the distance from the optimum, where the MLP holds more."""
    mlp_light: Number
    """The same, where it holds less."""


NAMES = tuple(field.name for field in fields(Coefficients))


@cache
def fitted() -> Coefficients:
    """The coefficients of the best fit."""
    return Coefficients(**_stored()["fitted"])


@cache
def draws() -> Coefficients:
    """Bootstrap draws of the coefficients, each a column: they broadcast against a row of shapes."""
    return Coefficients(**{name: np.array(values)[:, None] for name, values in _stored()["draws"].items()})


@cache
def scatter() -> float:
    """Nats by which a bootstrap interval of a difference is widened, so that nine tenths of the differences that
    sources measured lie in the intervals of a fit without them (`benchmarks/ranking_pairs.py`): run noise, and what
    the law omits."""
    return float(_stored()["scatter"])


@cache
def _stored() -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(COEFFICIENTS.read_text())
    return stored


def effective_width(*, layers: Number, layer_params: Number) -> Number:
    """The width of a Gemstones model of the same depth whose layers hold as many weights: sqrt(layer_params / (15 L)).

    `layer_params` are the weights of all layers together, without embeddings and norms. The law knows only width and
    depth; asked at a shape's own hidden_size it would charge nothing for starving the MLP.
    """
    return np.sqrt(layer_params / (WEIGHTS_PER_SQUARE_WIDTH * layers))


def predicted_loss(
    *,
    layers: Number,
    width: Number,
    params: Number,
    tokens: Number,
    learning_layers: Number = None,
    coefficients: Coefficients | None = None,
) -> Number:
    """Nats per token after cooldown, on Gemstones' data and tokenizer (Dolma): good for differences.

    `learning_layers` is the depth that slows the learning, by default the layers themselves; a search that wants a
    bound over a range of depths gives the two ends apart.
    """
    c = coefficients or fitted()
    slow = np.log(layers if learning_layers is None else learning_layers)
    return (
        np.exp(c.floor)
        + np.exp(c.width_scale - c.width_exponent * np.log(width))
        + np.exp(c.depth_scale - c.depth_exponent * np.log(layers))
        + np.exp(c.params_scale - c.params_exponent * np.log(params))
        + np.exp(c.tokens_scale - c.tokens_exponent * np.log(tokens))
        + np.exp(c.slow_scale - c.slow_exponent * np.log(tokens) + c.depth_learning * slow)
    )


def is_extrapolated(*, params: int, tokens: int) -> bool:
    """Whether a size or a number of tokens lies outside of what the law is fitted on."""
    return not (FITTED_PARAMS[0] <= params <= FITTED_PARAMS[1] and FITTED_TOKENS[0] <= tokens <= FITTED_TOKENS[1])


def caution(regimes: Sequence[tuple[int, int]]) -> str:
    """Which of several (params, tokens) lie outside; "" where none does."""
    outside = [index for index, (params, tokens) in enumerate(regimes) if is_extrapolated(params=params, tokens=tokens)]
    if not outside:
        return ""
    if len(outside) == len(regimes):
        return f"The law extrapolates here: it is {FITTED_ON}"
    listed = ", ".join(map(str, outside[:MOST_LISTED])) + (", ..." if len(outside) > MOST_LISTED else "")
    return f"The law extrapolates for {len(outside)} of the {len(regimes)} configs (index {listed}): it is {FITTED_ON}"


MOST_LISTED = 10
"""Indices that a caution names."""


def nats_per_log_tokens(*, layers: Number, tokens: Number) -> Number:
    """By how much the loss falls per unit of ln(tokens)."""
    c = fitted()
    common = np.exp(c.tokens_scale - c.tokens_exponent * np.log(tokens))
    slow = np.exp(c.slow_scale - c.slow_exponent * np.log(tokens) + c.depth_learning * np.log(layers))
    return c.tokens_exponent * common + c.slow_exponent * slow


def nats_per_log_params(*, layers: Number, params: Number) -> Number:
    """By how much the loss falls per unit of ln(params) at equal depth, where the width grows as their root."""
    c = fitted()
    width = effective_width(layers=layers, layer_params=params)
    by_size = c.params_exponent * np.exp(c.params_scale - c.params_exponent * np.log(params))
    return by_size + c.width_exponent / 2 * np.exp(c.width_scale - c.width_exponent * np.log(width))
