"""Cards side by side: the same figures of each, and which of them differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from solver.card.card import Card
from solver.counts import COMPONENTS

SCHEMA = "diysolve.compare/1"

Value = int | float | str | None

SHAPE = (
    "num_layers",
    "hidden_size",
    "num_heads",
    "num_kv_heads",
    "head_dim",
    "intermediate_size",
    "vocab_size",
    "max_seq_len",
    "tie_embeddings",
)


def _share(component: str, card: Card) -> float:
    return card.params[component] / card.params["total"]


FIGURES: tuple[tuple[str, Callable[[Card], Value]], ...] = (
    ("params", lambda card: card.params["total"]),
    *((f"{name} share", partial(_share, name)) for name in COMPONENTS),
    ("params of a layer", lambda card: card.layer.params),
    ("size class", lambda card: card.size_class.name),
    ("tokens", lambda card: card.training.tokens if card.training else None),
    ("tokens per param", lambda card: card.training.tokens_per_param if card.training else None),
    ("regime", lambda card: card.training.regime if card.training else None),
    ("predicted loss", lambda card: card.predicted_loss),
    ("FLOPs per token", lambda card: card.work.model),
    ("training FLOPs", lambda card: card.training.flops if card.training else None),
    ("peak bytes", lambda card: card.memory.peak_bytes),
    ("device bytes", lambda card: card.memory.device_bytes),
    ("verdict", lambda card: card.memory.verdict),
    ("largest micro-batch", lambda card: card.memory.max_micro_batch),
    ("tokens per second", lambda card: card.training.tokens_per_second if card.training else None),
    ("days", lambda card: card.training.days if card.training else None),
    ("cost", lambda card: card.training.cost if card.training else None),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One figure of every card."""

    figure: str
    values: tuple[Value, ...]
    differs: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What `diysolve compare` shows."""

    cards: tuple[Card, ...]
    lines: tuple[Line, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "configs": [card.to_dict() for card in self.cards],
            "lines": [asdict(line) for line in self.lines],
        }


def compare(cards: Sequence[Card]) -> Comparison:
    """The figures of cards in one order; those that no card has are left out."""
    shape = [(name, _field(name)) for name in SHAPE]
    lines = []
    for figure, value_of in (*shape, *FIGURES):
        values = tuple(value_of(card) for card in cards)
        if any(value is not None for value in values):
            lines.append(Line(figure=figure, values=values, differs=len(set(values)) > 1))
    return Comparison(cards=tuple(cards), lines=tuple(lines))


def _field(name: str) -> Callable[[Card], Value]:
    return lambda card: getattr(card.config, name)
