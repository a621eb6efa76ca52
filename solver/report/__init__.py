"""Finished values into text: table, JSON, CSV, markdown. Nothing is computed here."""

from __future__ import annotations

from typing import Literal

from solver.report.answers import Answer
from solver.report.layout import page

Format = Literal["table", "json", "csv", "markdown"]


def render(answer: Answer, form: Format = "table", *, width: int | None = None, color: bool = False) -> str:
    """The text of an answer, with its last newline.

    Args:
        width: of the terminal that a table is for; None: it is piped, and no line is cut or broken.
        color: True where escape codes are welcome.
    """
    from solver.report import cards, listings  # noqa: F401  # their pages register themselves

    if form == "table":
        from solver.report import table

        return table.plain(page(answer)) if width is None else table.drawn(page(answer), width, color=color)
    from solver.report import serialize

    if form == "markdown":
        return serialize.to_markdown(page(answer))
    return serialize.to_json(answer) if form == "json" else serialize.to_csv(answer)
