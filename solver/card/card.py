"""The card of one config: everything that is known about it, as finished values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from diymodel.config import DIYConfig
from solver import counts, memory, ranking
from solver.card import shape
from solver.card.shape import CAUTION, Growth, Layer, Share, SizeClass
from solver.card.sources import SOURCES
from solver.compute import flops
from solver.compute.plan import Training, training
from solver.compute.step_time import is_known
from solver.compute.tokens import FLOPS_PER_PARAM_AND_TOKEN, REPLICATION, RULE_OF_THUMB, TOKEN_LAWS
from solver.devices import Device
from solver.memory import MemoryReport
from solver.ranking import law
from solver.recipe import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """Tokens that a law would give this size."""

    law: str
    tokens: int
    tokens_per_param: float
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Alternative:
    """The best size for the same training FLOPs, by the replication of Chinchilla's law."""

    params: int
    tokens: int
    gain: float
    """Nats by which its loss would be lower."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """FLOPs per token of a training step, by component."""

    forward: dict[str, int]
    backward: dict[str, int]
    recomputed: dict[str, int]
    model: int
    """Forward and backward."""
    hardware: int
    """What is recomputed besides."""
    causal: int
    """The model's, counting only the pairs that the causal mask leaves."""
    six_n: int
    palm: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """What `diysolve explain` shows."""

    source: str
    config: DIYConfig
    recipe: Recipe
    params: dict[str, int]
    shares: tuple[Share, ...]
    layer: Layer
    growth: tuple[Growth, ...]
    size_class: SizeClass
    advice: tuple[Advice, ...]
    training: Training | None
    """None in inference."""
    chosen: str
    """Why these tokens: in words."""
    alternative: Alternative
    predicted_loss: float | None
    """Nats per token at these tokens by the ranking's law; None in inference."""
    extrapolated: bool
    """Whether the law is fitted on no such size or no such number of tokens."""
    work: Work
    memory: MemoryReport
    device: Device | None
    unknown_speed: str
    """Why no time is estimated for the device; empty where it is, or where there is no device."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON of one card."""
        return {
            "source": self.source,
            "config_format": "diy",
            "config": self.config.to_dict(),
            "recipe": self.recipe.to_dict(),
            "params": dict(self.params),
            "shares": [asdict(share) for share in self.shares],
            "layer": asdict(self.layer),
            "growth": [asdict(growth) for growth in self.growth],
            "size_class": {**asdict(self.size_class), "caution": CAUTION},
            "token_advice": [asdict(advice) for advice in self.advice],
            "training": self.training.to_dict() if self.training else None,
            "alternative": asdict(self.alternative),
            "predicted_loss": self.predicted_loss,
            "extrapolated": self.extrapolated,
            "flops_per_token": asdict(self.work),
            "memory": self.memory.to_dict(),
            "device": self.device.to_dict() if self.device else None,
            "sources": {name: asdict(source) for name, source in SOURCES.items()},
        }


def make_card(
    source: str,
    config: DIYConfig,
    recipe: Recipe,
    *,
    tokens: int | None = None,
    chosen: str = "as given",
    budget_bytes: int | None = None,
    device: Device | None = None,
    measured: float | None = None,
    price: float | None = None,
) -> Card:
    """Everything about one config.

    Args:
        tokens: to train it on; None: what the replication of Chinchilla's law gives this size.
        chosen: why these, where they are given.
        measured: tokens per second of all cards, in place of the estimate.

    Raises:
        RecipeError: a sequence longer than the config's max_seq_len.
    """
    recipe = recipe.planned()
    report = memory.report(config, recipe, budget_bytes)
    params = counts.count(config)
    advice = token_advice(params["total"])
    if tokens is None:
        tokens, chosen = advice[-1].tokens, "compute-optimal by the replication; --tokens takes another number"
    trains = recipe.mode == "train"
    known = device is not None and is_known(device, recipe)
    run = None
    if trains:
        card = device if known or measured else None
        run = training(config, recipe, tokens, card=card, measured=measured, price=price)
    return Card(
        source=source,
        config=config,
        recipe=recipe,
        params=params,
        shares=shape.shares(config),
        layer=shape.layer(config),
        growth=shape.growth(config),
        size_class=shape.size_class(params["total"]),
        advice=advice,
        training=run,
        chosen=chosen,
        alternative=alternative(params["total"], tokens),
        predicted_loss=float(ranking.evaluate(config, tokens=tokens)["predicted_loss"]) if trains else None,
        extrapolated=law.is_extrapolated(params=params["total"], tokens=tokens),
        work=work(config, recipe),
        memory=report,
        device=device,
        unknown_speed=_unknown_speed(device, recipe) if trains and not known and not measured else "",
    )


def token_advice(params: int) -> tuple[Advice, ...]:
    """The rule of thumb, then each published law."""
    rule = Advice(
        law=f"{RULE_OF_THUMB} tokens a param",
        tokens=RULE_OF_THUMB * params,
        tokens_per_param=RULE_OF_THUMB,
        source="rule of thumb, Hoffmann et al. 2022",
    )
    by_law = []
    for published in TOKEN_LAWS:
        tokens = max(1, round(published.optimal_tokens(params)))
        by_law.append(
            Advice(law=published.name, tokens=tokens, tokens_per_param=tokens / params, source=published.source)
        )
    return (rule, *by_law)


def alternative(params: int, tokens: int) -> Alternative:
    """What else the compute of this run could train."""
    flops_spent = FLOPS_PER_PARAM_AND_TOKEN * params * tokens
    best = REPLICATION.optimal_params(flops_spent)
    its_tokens = flops_spent / FLOPS_PER_PARAM_AND_TOKEN / best
    gain = REPLICATION.loss(params, tokens) - REPLICATION.loss(best, its_tokens)
    return Alternative(params=round(best), tokens=round(its_tokens), gain=gain)


def work(config: DIYConfig, recipe: Recipe) -> Work:
    """FLOPs per token at the recipe's sequence."""
    return Work(
        forward=flops.forward(config, recipe.seq_len),
        backward=flops.backward(config, recipe.seq_len),
        recomputed=flops.recomputed(config, recipe),
        model=flops.model_flops(config, recipe.seq_len),
        hardware=flops.hardware_flops(config, recipe),
        causal=flops.model_flops(config, recipe.seq_len, causal=True),
        six_n=flops.six_n(config),
        palm=flops.palm_flops(config, recipe.seq_len),
    )


def _unknown_speed(device: Device | None, recipe: Recipe) -> str:
    if device is None:
        return ""
    return f"no peak or bandwidth is known of {device.name} in {recipe.precision}"
