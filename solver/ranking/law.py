"""Predicted loss as a function of depth, width, size and training tokens.

    L layers   w effective width   P params   T training tokens

    loss = e^cw * w^-aw + e^cd * L^-ad + e^cP * P^-aP + e^cT * T^-aT + e^e        nats per token

Source: McLeish et al. 2025 (Gemstones, arXiv:2502.06857), the fit of the cooldown runs in the authors' repository
(22 decoders of 50M to 2B params, widths 256-3072, depths 3-80, gated MLP of 4 w, untied vocabulary of 50,304). It was
fitted without MobileLLM's data and puts the best depth at 125M params near 31 layers, where MobileLLM's own ablation
(Liu et al. 2024, arXiv:2402.14905, table 11) has its plateau of 24 to 62.

What it cannot do: depth and tokens do not interact in this form, so at about 20 tokens per param, where published
sweeps find shallower shapes best (Bian et al. 2025, arXiv:2501.18107), it picks about twice too many layers.
"""

from __future__ import annotations

from math import exp
from typing import Any

WIDTH_EXPONENT, WIDTH_LOG_SCALE = 0.301467, 1.637565
DEPTH_EXPONENT, DEPTH_LOG_SCALE = 0.365546, -0.025491
PARAMS_EXPONENT, PARAMS_LOG_SCALE = 0.505501, 7.865338
TOKENS_EXPONENT, TOKENS_LOG_SCALE = 0.467018, 9.983822
FLOOR_LOG = 0.419518

LAW_ERROR = 0.023
"""Root mean square error of the law on its own cooldown runs, in nats: below this, two shapes are a tie."""

WEIGHTS_PER_SQUARE_WIDTH = 15
"""A Gemstones layer: gated MLP of 4 w (12 w^2 weights), attention with two query heads per kv head (3 w^2)."""

Number = Any
"""A float or int, or a numpy array of them."""


def effective_width(*, layers: Number, layer_params: Number) -> Number:
    """The width of a Gemstones model of the same depth whose layers hold as many weights: sqrt(layer_params / (15 L)).

    `layer_params` are the weights of all layers together, without embeddings and norms. The law knows only width and
    depth; asked at a shape's own hidden_size it would charge nothing for starving the MLP.
    """
    return (layer_params / (WEIGHTS_PER_SQUARE_WIDTH * layers)) ** 0.5


def predicted_loss(*, layers: Number, width: Number, params: Number, tokens: Number) -> Number:
    """Nats per token, on the law's own data (Dolma, its tokenizer): good for differences, not for another data set."""
    return (
        exp(WIDTH_LOG_SCALE) * width**-WIDTH_EXPONENT
        + exp(DEPTH_LOG_SCALE) * (layers * 1.0) ** -DEPTH_EXPONENT
        + exp(PARAMS_LOG_SCALE) * (params * 1.0) ** -PARAMS_EXPONENT
        + exp(TOKENS_LOG_SCALE) * (tokens * 1.0) ** -TOKENS_EXPONENT
        + exp(FLOOR_LOG)
    )
