"""The report of a batch: a page and its markdown, from the lines of results.jsonl.

Every figure is looked up in a line by its path, and the page carries the path and the plain value beside the figure
that is shown; so nothing can be on the page that is not in the results.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from solver.report.layout import NONE, Column, Grid, gib
from solver.report.serialize import to_markdown
from solver.solution import Row, Solution
from solver.units import exact_count, short_count

CARDS = 200
"""Queries that have a card of their own."""

ROWS = 2000
"""Queries that the summary lists: a browser sorts so many at once, and a person reads fewer."""

Line = Mapping[str, Any]
"""One line of results.jsonl, as a value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchReport:
    """What the report is made of."""

    title: str
    version: str
    counts: Mapping[str, int]
    """total, solved, infeasible, failed, disagreeing."""
    lines: Sequence[Line]
    """The first ROWS of them, the first CARDS whole."""
    pictures: Sequence[tuple[str, str, str, str]] = ()
    """(name of the file, title, caption, inline SVG)"""


class Figure(NamedTuple):
    """A column of a table: its title, where its values are, and how they are shown."""

    title: str
    path: str
    kind: str = "text"

    @property
    def numeric(self) -> bool:
        return self.kind != "text"


BEST = "solution.candidates.0"

SUMMARY = (
    Figure("#", "number", "int"),
    Figure("query", "name"),
    Figure("status", "status"),
    Figure("budget GiB", "solution.query.vram_bytes", "gib"),
    Figure("layers", f"{BEST}.config.num_layers", "int"),
    Figure("hidden", f"{BEST}.config.hidden_size", "int"),
    Figure("heads", f"{BEST}.config.num_heads", "int"),
    Figure("kv heads", f"{BEST}.config.num_kv_heads", "int"),
    Figure("intermediate", f"{BEST}.config.intermediate_size", "int"),
    Figure("params", f"{BEST}.params.total", "count"),
    Figure("off target", f"{BEST}.target_error", "percent"),
    Figure("device GiB", f"{BEST}.memory.device_bytes", "gib"),
    Figure("verdict", f"{BEST}.memory.verdict"),
    Figure("largest micro-batch", f"{BEST}.memory.max_micro_batch", "int"),
    Figure("loss", f"{BEST}.score.predicted_loss", "nats"),
)

CANDIDATE = (
    Figure("#", "rank", "int"),
    Figure("layers", "config.num_layers", "int"),
    Figure("hidden", "config.hidden_size", "int"),
    Figure("heads", "config.num_heads", "int"),
    Figure("kv heads", "config.num_kv_heads", "int"),
    Figure("head dim", "config.head_dim", "int"),
    Figure("intermediate", "config.intermediate_size", "int"),
    Figure("params", "params.total", "count"),
    Figure("off target", "target_error", "percent"),
    Figure("peak GiB", "memory.peak_bytes", "gib"),
    Figure("device GiB", "memory.device_bytes", "gib"),
    Figure("verdict", "memory.verdict"),
    Figure("loss", "score.predicted_loss", "nats"),
    Figure("score", "score.total", "nats"),
    Figure("tie", "score.tie", "truth"),
    Figure("step time", "relative_step_time", "ratio"),
    Figure("pareto", "pareto", "truth"),
)

VERIFIED = (
    Figure("#", "rank", "int"),
    Figure("device", "verification.device"),
    Figure("predicted params", "verification.params.predicted", "int"),
    Figure("counted params", "verification.params.counted", "int"),
    Figure("predicted GiB", "memory.peak_bytes", "gib"),
    Figure("simulated GiB", "verification.simulated.peak_bytes", "gib"),
    Figure("predicted / simulated", "verification.simulated.ratio", "ratio"),
    Figure("measured GiB", "verification.measured.peak_bytes", "gib"),
    Figure("predicted / measured", "verification.measured.ratio", "ratio"),
    Figure("step s", "verification.measured.step_seconds", "seconds"),
    Figure("tokens/s", "verification.measured.tokens_per_second", "rate"),
    Figure("first loss", "verification.loss", "nats"),
    Figure("agrees", "verification.agrees", "truth"),
    Figure("note", "verification.note"),
)

NEAREST = (
    Figure("layers", "config.num_layers", "int"),
    Figure("hidden", "config.hidden_size", "int"),
    Figure("heads", "config.num_heads", "int"),
    Figure("kv heads", "config.num_kv_heads", "int"),
    Figure("intermediate", "config.intermediate_size", "int"),
    Figure("params", "params", "count"),
    Figure("device GiB", "device_bytes", "gib"),
    Figure("breaks", "breaks"),
)

_FORMATS: dict[str, Any] = {
    "int": lambda value: f"{value:,}" if value >= 100_000 else str(value),
    "count": short_count,
    "exact": exact_count,
    "gib": gib,
    "percent": lambda value: f"{100 * value:+.2f}%",
    "nats": lambda value: f"{value:.4f}",
    "ratio": lambda value: f"{value:.3f}",
    "seconds": lambda value: f"{value:.3f}",
    "rate": lambda value: f"{value:,.0f}",
    "truth": lambda value: "yes" if value else "no",
    "text": lambda value: "; ".join(map(str, value)) if isinstance(value, list) else str(value),
}


def look_up(value: Any, path: str) -> Any:
    """What stands at a path of keys and positions; None where the path ends early."""
    for part in path.split("."):
        if isinstance(value, list):
            value = value[int(part)] if int(part) < len(value) else None
        else:
            value = value.get(part) if isinstance(value, Mapping) else None
    return value


def placed(row: Any, path: str) -> str:
    """The path at which a figure stands in this row: a config.json has its dimensions in `shape`."""
    own = path.replace("config.", "shape.")
    return path if look_up(row, own) is None else own


def shown(value: Any, kind: str) -> str:
    """A value as the page shows it."""
    return NONE if value is None or value == "" or value == [] else str(_FORMATS[kind](value))


def seen(figures: Sequence[Figure], rows: Iterable[Any]) -> list[Figure]:
    """The columns that have something to say in any row."""
    rows = list(rows)
    return [figure for figure in figures if any(_at(row, figure) not in (None, "", []) for row in rows)]


def _at(row: Any, figure: Figure) -> Any:
    return look_up(row, placed(row, figure.path))


def to_html(report: BatchReport) -> str:
    """One page that needs nothing besides itself."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from solver.report.plots import STYLE

    environment = Environment(
        loader=PackageLoader("solver.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"at": look_up, "placed": placed, "shown": shown, "plain": _plain}
    page = environment.get_template("batch.html.j2")
    tables = {"SUMMARY": SUMMARY, "CANDIDATE": CANDIDATE, "VERIFIED": VERIFIED, "NEAREST": NEAREST}
    return page.render(report=report, seen=seen, style=STYLE, CARDS=CARDS, **tables).strip() + "\n"


def _plain(value: Any) -> str:
    """A value as a program reads it off the page: as in JSON."""
    import json

    return json.dumps(value, ensure_ascii=False)


def summary_grid(report: BatchReport) -> Grid:
    """The summary as text."""
    figures = seen(SUMMARY, report.lines)
    columns = tuple(Column(figure.title, "number" if figure.numeric else "text") for figure in figures)
    rows = [tuple(shown(_at(line, figure), figure.kind) for figure in figures) for line in report.lines]
    return Grid("", columns, tuple(rows))


def counts_line(counts: Mapping[str, int]) -> str:
    """How a batch ended, in one sentence."""
    words = ["1 query" if counts["total"] == 1 else f"{counts['total']:,} queries", f"{counts['solved']:,} solved"]
    words += [f"{counts['infeasible']:,} that nothing satisfies"] if counts["infeasible"] else []
    words += [f"{counts['failed']:,} failed"] if counts["failed"] else []
    words += [f"{counts['disagreeing']:,} with a verification that disagrees"] if counts["disagreeing"] else []
    return ", ".join(words)


def to_batch_markdown(report: BatchReport) -> str:
    """The summary, what has no answer and why, and where the rest is."""
    blocks: list[str | Grid] = [f"# {report.title}", f"{counts_line(report.counts)}; diysolve {report.version}."]
    blocks += [summary_grid(report)]
    if report.counts["total"] > len(report.lines):
        blocks += [f"The first {len(report.lines):,}; the rest is in results.csv and results.jsonl."]
    blocks += [f"- {line['number']} ({line['name']}): {line['message']}" for line in report.lines if not _solved(line)]
    blocks += [f"![{title}]({name}.png)\n\n{caption}" for name, title, caption, _ in report.pictures]
    return to_markdown(blocks)


def _solved(line: Line) -> bool:
    return bool(line["status"] == "solved")


def rows_of(line: Line) -> list[Row]:
    """The rows of results.csv: one per candidate, or one that says why there is none."""
    entry = {name: line[name] for name in ("number", "name", "status", "message")}
    candidates = Solution.from_dict(line["solution"]).rows() if line["solution"] else []
    return [{**entry, **row} for row in candidates] or [entry]


def csv_lines(lines: Iterable[Line], columns: Sequence[str]) -> Iterator[bytes]:
    """A header and the rows of the lines, piece by piece."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    for line in lines:
        writer.writerows(
            {name: str(value).lower() if isinstance(value, bool) else value for name, value in row.items()}
            for row in rows_of(line)
        )
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()
