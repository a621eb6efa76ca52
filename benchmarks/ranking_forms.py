"""The forms that were tried for the law, each as a function of its parameters and the rows of the table.

    L layers   w effective width   P params   N params without embeddings and norms   T training tokens

Every form carries the same priced terms (`solver.ranking.terms`), whose prices are its last parameters. The form
of the engine is `solver.ranking.law` itself, so that what is fitted is what is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.ranking_table import Floats, Table
from solver import counts
from solver.ranking import law, terms
from solver.ranking.law import Coefficients

PRICES = {
    "kv_heads": (0.01, 0.0, 0.1),
    "wide_heads": (0.01, 0.0, 0.1),
    "narrow_heads": (0.01, 0.0, 0.1),
    "mlp_optimum": (2.08, 0.0, 4.0),
    "mlp_heavy": (0.02, 0.0, 0.3),
    "mlp_light": (0.02, 0.0, 0.3),
}
"""Start and bounds of the prices of the terms, in nats; the optimum is the log of MLP weights over hidden^2."""

SLOW = ((14.0, -10.0, 40.0), (0.8, 0.05, 2.0), (0.8, 0.0, 3.0))
"""Start and bounds of scale, exponent of the tokens and exponent of the depth of what a deeper model has yet to learn.
The starts are assumptions; each may lie anywhere within half of itself."""

GEMSTONES = {
    "floor": (0.42, -3.0, 1.0),
    "width_scale": (1.64, -4.0, 8.0),
    "width_exponent": (0.30, 0.02, 1.5),
    "depth_scale": (-0.03, -6.0, 4.0),
    "depth_exponent": (0.37, 0.05, 2.5),
    "params_scale": (7.87, 0.0, 20.0),
    "params_exponent": (0.51, 0.1, 1.0),
    "tokens_scale": (9.98, 0.0, 25.0),
    "tokens_exponent": (0.47, 0.1, 1.0),
}
"""Start (the published cooldown fit of McLeish et al. 2025, rounded) and bounds of what the forms share."""


NO_LAW = dict.fromkeys(law.NAMES, 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """One candidate for the law."""

    name: str
    formula: str
    parameters: tuple[tuple[float, float, float], ...]
    """Start, lower and upper bound of each; the prices of the terms come last."""
    loss: Callable[[Floats, Table, Floats], Floats]
    """Of the parameters, the rows and their effective widths."""

    def predict(self, theta: Floats, table: Table) -> Floats:
        """Predicted nats of every row, the priced terms included."""
        prices = Coefficients(**(NO_LAW | dict(zip(PRICES, theta[-len(PRICES) :], strict=True))))
        priced = terms.kv_heads(table, prices) + terms.heads(table, prices) + terms.mlp_share(table, prices)
        width = law.effective_width(layers=table.num_layers, layer_params=layer_params(table))
        total: Floats = self.loss(theta, table, width) + priced
        return total


def layer_params(table: Table) -> Floats:
    """N: the weights of all layers."""
    weights: Floats = table.num_layers * (counts.attention_per_layer(table) + counts.mlp_per_layer(table))
    return weights


def engine_loss(theta: Floats, table: Table, width: Floats) -> Floats:
    """The law of the engine."""
    coefficients = Coefficients(**dict(zip(law.NAMES, theta, strict=True)))
    loss: Floats = law.predicted_loss(
        layers=table.num_layers, width=width, params=table.params, tokens=table.tokens, coefficients=coefficients
    )
    return loss


def _additive(theta: Floats, table: Table, width: Floats, size: Floats) -> Floats:
    floor, cw, aw, cd, ad, cp, ap, ct, at = theta[:9]
    loss: Floats = (
        np.exp(floor)
        + np.exp(cw) * width**-aw
        + np.exp(cd) * table.num_layers**-ad
        + np.exp(cp) * size**-ap
        + np.exp(ct) * table.tokens**-at
    )
    return loss


def additive(theta: Floats, table: Table, width: Floats) -> Floats:
    return _additive(theta, table, width, table.params)


def additive_in_layer_params(theta: Floats, table: Table, width: Floats) -> Floats:
    return _additive(theta, table, width, layer_params(table))


def slow_per_ratio(theta: Floats, table: Table, width: Floats) -> Floats:
    scale, power, exponent = theta[9:12]
    slow: Floats = np.exp(scale) * table.num_layers**power * (table.tokens / table.params) ** -exponent
    return additive(theta, table, width) + slow


def slow_linear(theta: Floats, table: Table, width: Floats) -> Floats:
    slow: Floats = np.exp(theta[7] + theta[9]) * table.num_layers * table.tokens ** -theta[8]
    return additive(theta, table, width) + slow


def slow_by_aspect(theta: Floats, table: Table, width: Floats) -> Floats:
    left = np.exp(theta[7]) * table.tokens ** -theta[8]
    slow: Floats = left * ((table.num_layers / width) ** theta[9] - 1)
    return additive(theta, table, width) + slow


def slow_by_size(theta: Floats, table: Table, width: Floats) -> Floats:
    left = np.exp(theta[7]) * table.tokens ** -theta[8]
    slow: Floats = left * (table.num_layers ** theta[9] * (table.params / 1e8) ** -theta[10] - 1)
    return additive(theta, table, width) + slow


def hot_by_depth(theta: Floats, table: Table, width: Floats) -> Floats:
    """A fitted price per ln(layers) of not having cooled down, of which half the learning rate costs half; the runs of
    the other sources have cooled down."""
    hot = np.char.startswith(table.ladder, "gemstones") & (table.metric != "train loss after cooldown")
    share = hot * np.where(table.metric == "train loss, half learning rate", 0.5, 1.0)
    cooled = engine_loss(np.concatenate([theta[:12], theta[-len(PRICES) :]]), table, width)
    hotter: Floats = theta[12] * share * np.log(table.num_layers / 20)
    return cooled + hotter


def width_first(theta: Floats, table: Table, width: Floats) -> Floats:
    ratio = np.exp(theta[9]) / (table.tokens / table.params)
    more: Floats = np.exp(theta[1]) * width ** -theta[2] * ratio ** theta[10]
    return additive(theta, table, width) + more


def slow_common_exponent(theta: Floats, table: Table, width: Floats) -> Floats:
    """What is left to learn grows with depth as a whole."""
    left = np.exp(theta[7]) * table.tokens ** -theta[8]
    slow: Floats = left * (table.num_layers ** theta[9] - 1)
    return additive(theta, table, width) + slow


BASE = tuple(GEMSTONES.values())

ASSUMED_SHARE = (float(np.log(8)), 0.02, 0.02)


def _held(value: float) -> tuple[float, float, float]:
    """A parameter that stays where it is."""
    return value, value - 1e-5, value + 1e-5


ENGINE = Form(
    name="engine",
    formula="additive + L^k * T^-m",
    parameters=(*BASE, *SLOW, *PRICES.values()),
    loss=engine_loss,
)

BEFORE = Form(
    name="before",
    formula="additive, with T^-c * L^k in place of T^-c; the MLP's share at 0.02 nats about 8, as assumed",
    parameters=(*BASE, (0.1, 0.0, 1.0), *list(PRICES.values())[:3], *map(_held, ASSUMED_SHARE)),
    loss=slow_common_exponent,
)
"""The form and the term of the MLP that the engine had before Petty's, DeepMind's and Gadre's models were added."""

OTHERS = (
    BEFORE,
    Form(
        name="additive",
        formula="w^-a + L^-b + P^-s + T^-c, refitted",
        parameters=(*BASE, *PRICES.values()),
        loss=additive,
    ),
    Form(
        name="additive in N",
        formula="w^-a + L^-b + N^-s + T^-c",
        parameters=(*BASE, *PRICES.values()),
        loss=additive_in_layer_params,
    ),
    Form(
        name="slow by aspect",
        formula="additive, with T^-c * (L/w)^k",
        parameters=(*BASE, (0.05, 0.0, 1.0), *PRICES.values()),
        loss=slow_by_aspect,
    ),
    Form(
        name="slow, linear",
        formula="additive, with T^-c * (1 + k L)",
        parameters=(*BASE, (-4.0, -9.0, 2.0), *PRICES.values()),
        loss=slow_linear,
    ),
    Form(
        name="slow per ratio",
        formula="additive + L^k * (T/P)^-m",
        parameters=(*BASE, (-4.0, -12.0, 5.0), (0.5, 0.05, 2.0), (0.5, 0.05, 2.0), *PRICES.values()),
        loss=slow_per_ratio,
    ),
    Form(
        name="width first",
        formula="additive, with w^-a * (1 + (r / (T/P))^k)",
        parameters=(*BASE, (3.0, -3.0, 8.0), (0.5, 0.05, 3.0), *PRICES.values()),
        loss=width_first,
    ),
    Form(
        name="slow by size",
        formula="additive, with T^-c * L^k * P^-m",
        parameters=(*BASE, (0.1, 0.0, 1.0), (0.1, -0.5, 1.0), *PRICES.values()),
        loss=slow_by_size,
    ),
    Form(
        name="hot by depth",
        formula="engine + h ln(L) before cooldown",
        parameters=(*BASE, *SLOW, (0.001, -0.05, 0.05), *PRICES.values()),
        loss=hot_by_depth,
    ),
)
