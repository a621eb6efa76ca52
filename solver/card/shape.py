"""What the shape costs: shares of the components, the rule of thumb for a layer, and what a step of a dimension adds.

V vocab_size   h hidden_size   L num_layers   H num_heads   K num_kv_heads   d head_dim   f intermediate_size
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from diymodel.config import DIYConfig
from solver import counts
from solver.compute.flops import projection_weights

WIDTH_STEP = 64
"""By how much a width grows in one step: the lattice's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """One component of the count."""

    component: str
    params: int
    share: float
    """Of all params."""
    formula: str
    """With the config's own numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One layer beside the rule of thumb."""

    params: int
    rule: int
    """16 h^2."""
    off: float
    """rule / params - 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Growth:
    """One step of one dimension, everything else as it was."""

    change: str
    params: int
    """What it adds."""
    elasticity: float
    """Percent more params for one percent more of the dimension."""
    formula: str
    """The derivative."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeClass:
    """What models of this size are usually good for."""

    name: str
    meaning: str


CLASSES = (
    (10_000_000, "patterns", "learns patterns of one narrow domain: characters, formats, toy languages"),
    (100_000_000, "simple language", "learns fluent short text of a simple kind, such as children's stories"),
    (1_000_000_000, "language", "learns grammar, style and how to follow a context, and few facts"),
)
KNOWLEDGE = ("knowledge", "has room for facts about the world and for harder tasks, given enough tokens")

CAUTION = (
    "A rule of thumb: data, tokens and tuning move these borders by an order of magnitude (33M params write fluent "
    "stories for children, Eldan and Li 2023)."
)


def shares(config: DIYConfig) -> tuple[Share, ...]:
    """Every component in the order of the count; the params sum to the total exactly."""
    params = counts.count(config)
    formulas = _formulas(config)
    return tuple(
        Share(component=name, params=params[name], share=params[name] / params["total"], formula=formulas[name])
        for name in counts.COMPONENTS
    )


def _formulas(config: DIYConfig) -> dict[str, str]:
    V, h, L, f = config.vocab_size, config.hidden_size, config.num_layers, config.intermediate_size
    H, K, d = config.num_heads, config.num_kv_heads, config.head_dim
    bias = f" + {d} * ({H} + 2*{K})" if config.qkv_bias else ""
    norms = f"2*{h}" + (f" + 2*{d}" if config.qk_norm else "")
    return {
        "embedding": f"V h = {V} * {h}",
        "attention": f"L (h d (H + 2K) + H d h) = {L} * ({h}*{d} * ({H} + 2*{K}) + {H}*{d}*{h}{bias})",
        "mlp": f"L 3 h f = {L} * 3 * {h} * {f}",
        "norm": f"L 2 h + h = {L} * ({norms})" + (f" + {h}" if config.final_norm else ""),
        "lm_head": "the embedding itself: tied" if config.tie_embeddings else f"V h = {V} * {h}",
    }


def layer(config: DIYConfig) -> Layer:
    """The rule is exact, but for the norms, where f = 4h, K = H and d = h/H."""
    params, rule = counts.per_layer(config), 16 * config.hidden_size**2
    return Layer(params=params, rule=rule, off=rule / params - 1)


def growth(config: DIYConfig) -> tuple[Growth, ...]:
    """What a step of each dimension adds. Each is an exact difference of two counts: the polynomial is linear in every
    single dimension; only the width of everything at once is quadratic, and its step is the derivative times the step.
    """
    return (*_single(config), _width_of_all(config))


def _single(config: DIYConfig) -> Iterator[Growth]:
    total = counts.total(config)
    d = config.head_dim
    steps = (
        ("one more layer", "num_layers", 1, "4h^2 + 3hf + 2h at K = H, d = h/H"),
        (f"hidden +{WIDTH_STEP}, the rest as it is", "hidden_size", WIDTH_STEP, "V + L (2d (H + K) + 3f + 2) + 1"),
        (f"intermediate +{WIDTH_STEP}", "intermediate_size", WIDTH_STEP, "3 L h"),
        (f"one more query head of {d}", "num_heads", 1, "2 L h d"),
        (f"one more kv head of {d}", "num_kv_heads", 1, "2 L h d"),
        (f"vocab +{WIDTH_STEP}", "vocab_size", WIDTH_STEP, "h, or 2h untied"),
    )
    for change, name, step, formula in steps:
        added = counts.total(_Changed(config, name, getattr(config, name) + step)) - total
        elasticity = added / step * getattr(config, name) / total
        yield Growth(change=change, params=added, elasticity=elasticity, formula=formula)


def _width_of_all(config: DIYConfig) -> Growth:
    """hidden, heads and intermediate in proportion: embedding and norms grow as h, products as h^2."""
    products = config.num_layers * (projection_weights(config) + counts.mlp_per_layer(config))
    head_norms = config.num_layers * 2 * config.head_dim * config.qk_norm  # more heads share them
    total = counts.total(config)
    slope = (total + products - head_norms) / config.hidden_size
    return Growth(
        change=f"hidden +{WIDTH_STEP}, heads and intermediate in proportion",
        params=round(slope * WIDTH_STEP),
        elasticity=slope * config.hidden_size / total,
        formula="(V h + 2 (attention + mlp) + norms) / h",
    )


class _Changed:
    """A config with another value in one dimension: a shape to be counted, though no model has it."""

    def __init__(self, config: DIYConfig, name: str, value: int) -> None:
        self._config, self._name, self._value = config, name, value

    def __getattr__(self, name: str) -> Any:
        return self._value if name == self._name else getattr(self._config, name)


def size_class(params: int) -> SizeClass:
    """The class of a size."""
    for limit, name, meaning in CLASSES:
        if params < limit:
            return SizeClass(name=name, meaning=meaning)
    return SizeClass(name=KNOWLEDGE[0], meaning=KNOWLEDGE[1])
