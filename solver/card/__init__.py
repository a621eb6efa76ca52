"""The card of a config, for a person who is learning: what each part costs, and why; and cards side by side."""

from solver.card.budget import card_of_candidate, tokens_of_budget
from solver.card.card import Card, make_card
from solver.card.comparison import Comparison, compare
from solver.card.sources import SOURCES, Source

__all__ = ["SOURCES", "Card", "Comparison", "Source", "card_of_candidate", "compare", "make_card", "tokens_of_budget"]
