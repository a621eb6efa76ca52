"""A page for people: drawn by rich for a terminal, as aligned plain text for a pipe or a file.

Text that is piped is neither cut nor wrapped, so that grep and awk see whole rows; and rich, which costs as much to
import as numpy, is loaded for a terminal only.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

from solver.report.layout import Column, Grid, Page

if TYPE_CHECKING:
    from rich.console import Console

GAP = 2
"""Spaces between columns; one where the terminal is narrow."""

HYPHENATED = {"intermediate": "inter- mediate"}
"""Titles that may be broken in a narrow column."""


def plain(page: Page) -> str:
    """Aligned text of any width."""
    blocks = [block if isinstance(block, str) else _plain_grid(block) for block in page]
    return "\n\n".join(blocks) + "\n"


def _plain_grid(grid: Grid) -> str:
    titles = [column.title.replace(" /", "/") for column in grid.columns]
    widths = [max(map(len, cells)) for cells in zip(titles, *grid.rows, strict=True)]
    lines = [titles, ["-" * width for width in widths], *grid.rows]
    text = "\n".join(_plain_line(line, widths, grid.columns) for line in lines)
    return f"{grid.title}\n\n{text}" if grid.title else text


def _plain_line(cells: Iterable[str], widths: list[int], columns: Iterable[Column]) -> str:
    padded = (
        cell.rjust(width) if column.kind == "number" else cell.ljust(width)
        for cell, width, column in zip(cells, widths, columns, strict=True)
    )
    return (" " * GAP).join(padded).rstrip()


def drawn(page: Page, width: int, *, color: bool) -> str:
    """Text for a terminal of that width: titles broken into lines, optional columns left out where it is too narrow."""
    import io

    from rich.console import Console

    grids = [block for block in page if isinstance(block, Grid)]
    console = Console(
        file=io.StringIO(),
        width=max([width, *(_needed(grid, width) for grid in grids)]),
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        markup=False,
        highlight=False,
        emoji=False,
        legacy_windows=False,
        _environ={},
    )
    with console.capture() as capture:
        for index, block in enumerate(page):
            if index:
                console.print()
            if isinstance(block, str):
                console.print(block, width=width)
            else:
                _print_grid(console, block, width)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _print_grid(console: Console, grid: Grid, width: int) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    gap, kept = _fit(grid, width)
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, gap - 1, 0, 0), pad_edge=False, header_style="bold")
    for index in kept:
        column = grid.columns[index]
        title = "\n".join(_title_lines(grid, index))
        table.add_column(title, justify="right" if column.kind == "number" else "left", no_wrap=column.kind != "text")
    for row in grid.rows:
        table.add_row(*(row[index] for index in kept))
    if grid.title:
        console.print(grid.title, style="bold")
    console.print(table, width=_needed(grid, width))


def _needed(grid: Grid, width: int) -> int:
    """The terminal's width, or more where a number would be cut: lines may overflow, numbers may not."""
    gap, kept = _fit(grid, width)
    return max(width, _width(grid, kept, gap))


def _fit(grid: Grid, width: int) -> tuple[int, list[int]]:
    """The gap, and the columns to keep: a smaller gap first, then without the optional columns, last one first."""
    kept = list(range(len(grid.columns)))
    optional = [index for index in kept if grid.columns[index].optional]
    gap = GAP
    while _width(grid, kept, gap) > width:
        if gap > 1:
            gap = 1
        elif optional:
            kept.remove(optional.pop())
        else:
            break
    return gap, kept


def _width(grid: Grid, kept: list[int], gap: int) -> int:
    columns = (max(map(len, _title_lines(grid, index)), default=0) for index in kept)
    cells = (_cell_width(grid, index) for index in kept)
    return sum(map(max, columns, cells)) + gap * (len(kept) - 1)


def _cell_width(grid: Grid, index: int) -> int:
    """Room that a column's cells need: the longest word where they may be broken, else the longest cell."""
    cells = [row[index] for row in grid.rows]
    if grid.columns[index].kind == "text":
        cells = [word for cell in cells for word in cell.split()]
    return max(map(len, cells), default=0)


def _title_lines(grid: Grid, index: int) -> list[str]:
    """A title in lines that are no wider than its cells, or its longest word."""
    title = HYPHENATED.get(grid.columns[index].title, grid.columns[index].title)
    longest = max(map(len, title.split()))
    lines = textwrap.wrap(title, max(longest, _cell_width(grid, index)), break_on_hyphens=False)
    return [line.replace("- ", "") for line in lines]
