"""From a finished results.jsonl to what people read: the page, its markdown, the table, the pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from solver.batch.run import Tally
from solver.batch.store import results
from solver.query import Query
from solver.report import batch as page
from solver.report import plots
from solver.report.files import whole_file, write_whole
from solver.report.plots import Point, Series
from solver.search.outline import Outline, outline
from solver.solution import Solution, Status
from solver.units import exact_count

MOST_SERIES = 6
"""Sizes, each of one kind of model, that the pictures tell apart: as many as there are colours and markers."""

MOST_OUTLINES = 4
"""Token budgets of a size whose losses are drawn."""

MOST_POINTS = 2000
"""Lines whose candidates are drawn."""


def write_report(folder: Path, title: str, tally: Tally) -> None:
    """Write report.html, report.md, results.csv and the pictures beside results.jsonl.

    Raises:
        InputFileError: one of them cannot be written.
    """
    lines, columns = _read(folder)
    with whole_file(str(folder / "results.csv")) as file:
        for piece in page.csv_lines(results(folder), columns):
            file.write(piece)
    series = _series(lines)
    pictures = []
    for plot in plots.drawable(series) if series else ():
        drawing = plots.draw([plot], series)
        write_whole(str(folder / f"{plot.name}.png"), drawing.png)
        write_whole(str(folder / f"{plot.name}.svg"), drawing.svg)
        pictures.append((plot.name, plot.title, plot.caption, drawing.inline_svg))
    report = page.BatchReport(
        title=title,
        version=version("diysolve"),
        counts=tally.counts,
        lines=lines,
        pictures=pictures,
    )
    write_whole(str(folder / "report.html"), page.to_html(report))
    write_whole(str(folder / "report.md"), page.to_batch_markdown(report))


def picture(solution: Solution, suffix: str) -> bytes | None:
    """One answer as a file: its pictures as .png or .svg, or .html, the page of a batch of one.

    None where there is nothing to draw, since nothing satisfies the query; the page has the nearest misses then.
    """
    found = json.loads(json.dumps(solution.to_dict()))
    series = [_series_of([found])]
    if suffix == ".html":
        return _page_of_one(solution, found, series).encode()
    if not solution.candidates:
        return None
    drawing = plots.draw(plots.drawable(series), series)
    return drawing.png if suffix == ".png" else drawing.svg.encode()


def _page_of_one(solution: Solution, found: dict[str, Any], series: list[Series]) -> str:
    solved = int(solution.status is Status.SOLVED)
    name = "what fits" if solution.query.target_params is None else exact_count(solution.query.target_params)
    line = {
        "number": 1, "name": name, "status": solution.status.value, "message": solution.message, "notes": [],
        "words": {}, "solution": found,
    }  # fmt: skip
    counts = {"total": 1, "solved": solved, "infeasible": 1 - solved, "failed": 0, "disagreeing": 0}
    shown = plots.drawable(series) if solved else ()
    drawn = [(plot.name, plot.title, plot.caption, plots.draw([plot], series).inline_svg) for plot in shown]
    return page.to_html(
        page.BatchReport(
            title=f"diysolve: {name}", version=version("diysolve"), counts=counts, lines=[line], pictures=drawn
        )
    )


def _read(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The lines that the page shows, cut to what it shows of them, and the columns of all rows."""
    lines: list[dict[str, Any]] = []
    columns: dict[str, None] = {}
    for found in results(folder):
        for row in page.rows_of(found):
            columns.update(dict.fromkeys(row))
        if len(lines) < page.ROWS:
            lines.append(found if len(lines) < page.CARDS else _first_only(found))
    return lines, list(columns)


def _first_only(found: dict[str, Any]) -> dict[str, Any]:
    """A line with its best candidate only."""
    solution = found["solution"]
    return {**found, "solution": solution and {**solution, "candidates": solution["candidates"][:1], "nearest": []}}


def _series(lines: list[dict[str, Any]]) -> list[Series]:
    """The candidates by target and kind of model, for the first MOST_SERIES of them."""
    by_label: dict[str, list[dict[str, Any]]] = {}
    for found in lines[:MOST_POINTS]:
        if found["status"] == "solved":
            by_label.setdefault(_label(found["solution"]["query"]), []).append(found["solution"])
    return [_series_of(solutions) for solutions in list(by_label.values())[:MOST_SERIES]]


def _label(query: Mapping[str, Any]) -> str:
    target, kind = query["target_params"], query["like"] or query["family"]
    size = "what fits" if target is None else exact_count(target)
    return size if kind == "diy" else f"{size} {kind}"


def _series_of(solutions: list[dict[str, Any]]) -> Series:
    return Series(
        label=_label(solutions[0]["query"]),
        points=tuple(dict.fromkeys(point for solution in solutions for point in points(solution))),
        outlines=_outlines([Query.from_dict(solution["query"]) for solution in solutions]),
    )


def _outlines(queries: list[Query]) -> tuple[Outline, ...]:
    """The band of queries of one target, once for each of the first token budgets."""
    by_tokens = {query.tokens_at(query.target_params or 0): query for query in reversed(queries)}
    found = (outline(query) for _, query in sorted(by_tokens.items())[:MOST_OUTLINES])
    return tuple(band for band in found if band)


def points(solution: Mapping[str, Any]) -> Iterator[Point]:
    """The candidates of a solution's JSON in a picture."""
    for candidate in solution["candidates"]:
        shape, memory = candidate.get("shape", candidate["config"]), candidate["memory"]
        yield Point(
            layers=shape["num_layers"],
            hidden=shape["hidden_size"],
            loss=candidate["score"]["predicted_loss"],
            device_bytes=memory["device_bytes"] if memory else None,
            first=candidate["rank"] == 1,
        )
