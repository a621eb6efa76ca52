"""How many training tokens a size deserves, by the laws that are published; and the other way round.

    N params   D training tokens   C training FLOPs

    loss = E + A / N^alpha + B / D^beta        C = 6 N D

(Hoffmann et al. 2022, Chinchilla, arXiv:2203.15556, equation 2 and section 3.3). At a given C the loss is least where
alpha A / N^alpha = beta B / D^beta: from there the tokens of a size, the size of a number of tokens, and both of C
follow in closed form. The law knows no depth and no width, and its loss is that of its own data and tokenizer; what
the ranking orders shapes by is the law of `solver.ranking`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Number = Any
"""A float or int, or a numpy array of them."""

FLOPS_PER_PARAM_AND_TOKEN = 6

NEAR = 2.0
"""Tokens within this factor of the optimum count as compute-optimal. Assumption: the loss is flat there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLaw:
    """One published fit of the law."""

    name: str
    floor: float
    """E, nats per token."""
    params_scale: float
    params_exponent: float
    tokens_scale: float
    tokens_exponent: float
    source: str

    def loss(self, params: Number, tokens: Number) -> Number:
        """Nats per token on the law's own data."""
        by_size = self.params_scale / params**self.params_exponent
        return self.floor + by_size + self.tokens_scale / tokens**self.tokens_exponent

    def optimal_tokens(self, params: Number) -> Number:
        """Tokens at which a model of this size is the best that its FLOPs buy."""
        slope = self.params_exponent * self.params_scale / params**self.params_exponent
        return (self.tokens_exponent * self.tokens_scale / slope) ** (1 / self.tokens_exponent)

    def optimal_params(self, flops: Number) -> Number:
        """The size that is best at so many training FLOPs (Hoffmann et al. 2022, equation 4)."""
        both = self.params_exponent + self.tokens_exponent
        balance = self.params_exponent * self.params_scale / (self.tokens_exponent * self.tokens_scale)
        return balance ** (1 / both) * (flops / FLOPS_PER_PARAM_AND_TOKEN) ** (self.tokens_exponent / both)


CHINCHILLA = TokenLaw(
    name="chinchilla",
    floor=1.69,
    params_scale=406.4,
    params_exponent=0.3392,
    tokens_scale=410.7,
    tokens_exponent=0.2849,
    source="Hoffmann et al. 2022, arXiv:2203.15556, approach 3, with the exponents as published before rounding",
)

REPLICATION = TokenLaw(
    name="replication",
    floor=1.8172,
    params_scale=482.01,
    params_exponent=0.3478,
    tokens_scale=2085.43,
    tokens_exponent=0.3658,
    source="Besiroglu et al. 2024, arXiv:2404.10102: the same fit done again on the published runs",
)

TOKEN_LAWS = (CHINCHILLA, REPLICATION)

RULE_OF_THUMB = 20
"""Tokens a param: Hoffmann et al. 2022, whose own model has 70B params and 1.4T tokens."""

OVER_TRAINED = (
    ("mobilellm-125m", 124_635_456, 10**12, "Liu et al. 2024, arXiv:2402.14905"),
    ("tinyllama-1.1b", 1_100_048_384, 3 * 10**12, "Zhang et al. 2024, arXiv:2401.02385"),
    ("llama-2-7b", 6_738_415_616, 2 * 10**12, "Touvron et al. 2023, arXiv:2307.09288"),
)
"""Published models trained beyond the optimum, to be cheap in use: name, params, tokens, source."""


def regime(params: int, tokens: int) -> str:
    """What the replication's law says of a token budget: under-trained, compute-optimal or over-trained."""
    ratio = tokens / REPLICATION.optimal_tokens(params)
    return "under-trained" if ratio < 1 / NEAR else "over-trained" if ratio > NEAR else "compute-optimal"
