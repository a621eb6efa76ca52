"""A training run: tokens, steps, FLOPs, days and money of one config, or of columns of shapes.

    D tokens   s tokens per second   C training FLOPs

A budget of tokens, of FLOPs or of time says the same thing in three ways: D = C / FLOPs per token = s * seconds. FLOPs
are those of the model, forward and backward, with the whole square of attention and nothing that is recomputed
(`solver.compute.flops`); seconds come from the estimate of `solver.compute.step_time`, or from a measurement.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from solver import counts
from solver.compute import flops
from solver.compute.evidence import published_runs
from solver.compute.step_time import (
    Number,
    exchange_seconds,
    host_sets_the_pace,
    micro_batch_seconds,
    optimizer_seconds,
)
from solver.compute.tokens import regime
from solver.devices import DTYPES, Device
from solver.recipe import Recipe

SECONDS_PER_DAY, SECONDS_PER_HOUR = 86_400, 3_600

Speed = Literal["estimated", "measured"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """The run of one config. What depends on a card is None without one."""

    tokens: int
    tokens_per_param: float
    regime: str
    """under-trained, compute-optimal or over-trained, by the replication of Chinchilla's law."""
    batch_tokens: int
    """Tokens of an optimizer step: micro-batch * accumulation * cards."""
    accumulation: int
    """Micro-batches of a step on each card."""
    steps: int
    flops_per_token: int
    """Of the model: forward and backward."""
    flops: int
    device: str | None = None
    gpus: int = 1
    speed: Speed | None = None
    """Where the tokens per second come from."""
    tokens_per_second: float | None = None
    """Of all cards together."""
    seconds: float | None = None
    mfu: float | None = None
    hfu: float | None = None
    """Utilisations as PaLM defines them."""
    host_sets_the_pace: bool = False
    """Of an estimate: starting the kernels takes the host longer than the card runs them."""
    cost: float | None = None
    """In the currency of the price."""

    @property
    def days(self) -> float | None:
        return None if self.seconds is None else self.seconds / SECONDS_PER_DAY

    @property
    def published_runs(self) -> int | None:
        """Published runs on the device that are behind an estimate; None where nothing is estimated."""
        return published_runs(self.device) if self.device and self.speed == "estimated" else None

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "days": self.days, "published_runs": self.published_runs}


def accumulation(recipe: Recipe) -> int:
    """Micro-batches of an optimizer step on each card: as many as make BATCH_TOKENS where the recipe does not say."""
    return recipe.planned().accumulation or 1


def parallel_share(shape: Any, recipe: Recipe, card: Device, alone: Number) -> Number:
    """Tokens/s of each card in data parallel against `alone`, those of one card by itself.

    Gradients are exchanged once a step, so that accumulation hides it.
    """
    return 1 / (1 + exchange_seconds(shape, recipe, card) * alone / (accumulation(recipe) * recipe.tokens))


def tokens_per_second(shape: Any, recipe: Recipe, card: Device) -> Number:
    """Estimated tokens per second of all cards, at BATCH_TOKENS a step unless the recipe says otherwise.

    Raises:
        RecipeError: the recipe does not train.
        DeviceError: the card's peak in this precision or its bandwidth is not known.
    """
    steps = accumulation(recipe)
    seconds = steps * micro_batch_seconds(shape, recipe, card) + optimizer_seconds(shape, recipe, card)
    return recipe.gpus * steps * recipe.tokens / (seconds + exchange_seconds(shape, recipe, card))


def tokens_in_flops(shape: Any, recipe: Recipe, budget: float) -> Number:
    """Tokens that so many FLOPs train a model on."""
    return budget / flops.model_flops(shape, recipe.seq_len)


def tokens_in_seconds(shape: Any, recipe: Recipe, card: Device, seconds: float) -> Number:
    """Tokens that so much time trains a model on. Errors as `tokens_per_second`."""
    return seconds * tokens_per_second(shape, recipe, card)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """What a run of one config under one recipe does per token, whatever the number of tokens."""

    recipe: Recipe
    params: int
    flops_per_token: int
    device: str | None = None
    speed: Speed | None = None
    tokens_per_second: float | None = None
    mfu: float | None = None
    hfu: float | None = None
    host_sets_the_pace: bool = False

    def over(self, tokens: int, price: float | None = None) -> Training:
        """The run over so many tokens; `price` is that of one card for an hour."""
        steps = accumulation(self.recipe)
        batch = steps * self.recipe.tokens * self.recipe.gpus
        seconds = None if self.tokens_per_second is None else tokens / self.tokens_per_second
        return Training(
            tokens=tokens,
            tokens_per_param=tokens / self.params,
            regime=regime(self.params, tokens),
            batch_tokens=batch,
            accumulation=steps,
            steps=math.ceil(tokens / batch),
            flops_per_token=self.flops_per_token,
            flops=tokens * self.flops_per_token,
            device=self.device,
            gpus=self.recipe.gpus,
            speed=self.speed,
            tokens_per_second=self.tokens_per_second,
            seconds=seconds,
            mfu=self.mfu,
            hfu=self.hfu,
            host_sets_the_pace=self.host_sets_the_pace,
            cost=None if price is None or seconds is None else price * self.recipe.gpus * seconds / SECONDS_PER_HOUR,
        )


def training(
    shape: Any,
    recipe: Recipe,
    tokens: int,
    *,
    card: Device | None = None,
    measured: float | None = None,
    price: float | None = None,
) -> Training:
    """The run of one config over so many tokens.

    Args:
        measured: tokens per second of all cards, in place of the estimate.
        price: of one card for an hour.

    Raises:
        RecipeError, DeviceError: as `tokens_per_second`, where a card is given and nothing measured.
    """
    return pace(shape, recipe, card=card, measured=measured).over(tokens, price)


def pace(shape: Any, recipe: Recipe, *, card: Device | None = None, measured: float | None = None) -> Pace:
    """The part of `training` that does not depend on the tokens; arguments and errors are the same."""
    params, per_token = counts.total(shape), flops.model_flops(shape, recipe.seq_len)
    if card is None and measured is None:
        return Pace(recipe=recipe, params=params, flops_per_token=per_token)
    rate = float(tokens_per_second(shape, recipe, card)) if measured is None and card else float(measured or 0)
    peak = getattr(card, f"{DTYPES[recipe.precision]}_flops", None)
    return Pace(
        recipe=recipe,
        params=params,
        flops_per_token=per_token,
        device=card.name if card else None,
        speed="estimated" if measured is None else "measured",
        tokens_per_second=rate,
        mfu=flops.mfu(shape, recipe.seq_len, rate / recipe.gpus, peak) if peak else None,
        hfu=flops.hfu(shape, recipe, rate / recipe.gpus, peak) if peak else None,
        host_sets_the_pace=card is not None and measured is None and host_sets_the_pace(shape, recipe, card),
    )
