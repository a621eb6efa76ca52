"""The report: every figure on it is in results.jsonl, it needs nothing besides itself, and it reads well."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli import cli
from solver.batch.report import write_report
from solver.batch.run import Tally
from solver.batch.store import results
from solver.query import Query
from solver.report import batch as page
from solver.report import plots
from solver.report.plots import PLOTS, Point, Series
from solver.search.outline import Outline, outline
from solver.solution import Solution
from tests import brute_force
from tests.finished import INFEASIBLE, SOLVED, UNLIMITED

SVG_NAMES = {"loss-memory", "depth-width", "loss-depth"}

HOSTILE = "<script>alert(1)</script> & \"both\" 'quotes' | \u202e=HYPERLINK()"


def line(number: int, solution: Solution | None, name: str = "", message: str = "") -> dict[str, Any]:
    return json.loads(
        json.dumps(
            {
                "schema": "diysolve.batch/1",
                "number": number,
                "name": name or f"query {number}",
                "words": {"target": "500M", "vram": "24GB"},
                "key": f"{number:032x}",
                "status": solution.status.value if solution else "error",
                "message": message or (solution.message if solution else "constraints: contradict each other"),
                "notes": ["rank 1: not verified: its worker was lost 3 times"] if number == 2 else [],
                "solution": solution.to_dict() if solution else None,
            }
        )
    )


LINES = [
    line(1, SOLVED),
    line(2, UNLIMITED),
    line(3, INFEASIBLE),
    line(4, None),
    line(5, SOLVED, HOSTILE, f"message {HOSTILE}"),
]
TALLY = Tally(total=5, solved=3, infeasible=1, failed=1, disagreeing=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the report of LINES."""
    made = tmp_path_factory.mktemp("report")
    (made / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in LINES))
    write_report(made, "five.yaml", TALLY)
    return made


class Figures(HTMLParser):
    """The figures of a page: (number of the line, path, kind, value, text). Everything else is collected too."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[int, str, str, Any, str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._lines: list[int] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        if tag in ("td", "th", "span", "tr", "article", "a"):
            self._open.append((tag, values, []))
            if values.get("data-line"):
                self._lines.append(int(values["data-line"] or 0))

    def handle_data(self, data: str) -> None:
        for _, _, texts in self._open:
            texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1][0] != tag:
            return
        _, values, texts = self._open.pop()
        if values.get("data-line"):
            self._lines.pop()
        elif "data-path" in values:
            shown = "".join(texts).strip()
            value = json.loads(values["data-value"] or "")
            self.found.append((self._lines[-1], values["data-path"] or "", values["data-kind"] or "", value, shown))


@pytest.fixture(scope="module")
def figures(folder: Path) -> Figures:
    return Figures((folder / "report.html").read_text(encoding="utf-8"))


def test_every_figure_of_the_page_is_in_the_results(folder: Path, figures: Figures) -> None:
    lines = {found["number"]: found for found in results(folder)}
    assert len(figures.found) > 250
    for number, path, kind, value, text in figures.found:
        kept: Any = lines[number]
        for part in path.split("."):
            kept = kept[int(part)] if isinstance(kept, list) else kept[part]
        assert kept == value, (number, path)
        assert text == page.shown(value, kind).strip(), (number, path)


def test_no_number_stands_in_a_table_without_its_place(folder: Path) -> None:
    """Cells are either figures, or the rank that names a row, or bars and dashes."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    cells = re.findall(r'<(td|th scope="row")([^>]*)>(.*?)</t[dh]>', text)
    for _, attributes, inner in cells:
        bare = re.sub(r"<[^>]*>", "", inner).strip()
        if "data-path" not in attributes:
            assert bare in ("", "-", "1", "2", "3"), bare


def test_every_row_of_the_table_is_in_the_results(folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((folder / "results.csv").read_text(encoding="utf-8"))))
    kept = {str(found["number"]): found for found in results(folder)}
    assert [row["number"] for row in rows] == ["1"] * 3 + ["2", "3", "4"] + ["5"] * 3
    for row in rows:
        found = kept[row["number"]]
        assert (row["name"], row["status"], row["message"]) == (found["name"], found["status"], found["message"])
        if not row["rank"]:
            continue
        candidate = found["solution"]["candidates"][int(row["rank"]) - 1]
        flat = {**candidate["config"], **{f"params_{part}": n for part, n in candidate["params"].items()}}
        flat |= {f"term_{term}": nats for term, nats in candidate["score"]["terms"].items()}
        flat |= {name: candidate["memory"][name] for name in ("peak_bytes", "device_bytes", "budget_bytes", "binding")}
        flat |= {"score": candidate["score"]["total"], "predicted_loss": candidate["score"]["predicted_loss"]}
        if candidate["verification"]:
            flat |= {"params_counted": candidate["verification"]["params"]["counted"]}
        for name, value in flat.items():
            assert row[name] == ("" if value is None else str(value).lower() if isinstance(value, bool) else str(value))


def test_the_page_needs_nothing_besides_itself(figures: Figures) -> None:
    for tag, values in figures.tags:
        assert tag not in ("link", "img", "iframe", "object")
        assert "src" not in values
        assert (values.get("href") or "#").startswith("#"), values
    assert [tag for tag, _ in figures.tags].count("script") == 1


def test_what_is_written_by_users_stays_text(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#34;both&#34;" in text
    table_row = next(row for row in (folder / "report.md").read_text().splitlines() if "alert(1)" in row)
    assert "\\|" in table_row


def test_tables_are_accessible(folder: Path, figures: Figures) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    tables = re.findall(r"<table.*?</table>", text, re.DOTALL)
    assert len(tables) >= 8
    for table in tables:
        assert table.count("<caption>") == 1
        head = table[: table.index("</thead>")]
        assert head.count("<th ") == head.count('scope="col"') > 0
        rows = re.findall(r"<tr.*?</tr>", table[table.index("<tbody>") :], re.DOTALL)
        assert rows
        assert all(row.count('scope="row"') == 1 for row in rows)
    for tag, values in figures.tags:
        if values.get("role") in ("img", "region"):
            assert values.get("aria-label") or tag == "svg"
    ids = [values["id"] for _, values in figures.tags if "id" in values]
    assert len(ids) == len(set(ids))
    assert {f"#{name}" for name in ids} >= {values["href"] for _, values in figures.tags if "href" in values}


def test_markdown_says_what_failed_and_why(folder: Path) -> None:
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# five.yaml\n\n5 queries, 3 solved, 1 that nothing satisfies, 1 failed; diysolve ")
    assert "- 3 (query 3): none of the shapes of this size fits" in text
    assert "- 4 (query 4): constraints: contradict each other" in text
    for name in SVG_NAMES:
        assert f"({name}.png)" in text
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_long_batch_is_cut_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "CARDS", 2)
    monkeypatch.setattr(page, "ROWS", 3)
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(line(n, SOLVED)) + "\n" for n in range(1, 6)))
    write_report(tmp_path, "long.csv", Tally(total=5, solved=5, infeasible=0, failed=0, disagreeing=0))
    text = (tmp_path / "report.html").read_text()
    assert "The first 3; all of them are in results.csv" in text
    assert re.findall(r'id="q(\d+)"', text) == re.findall(r'href="#q(\d+)"', text) == ["1", "2"]
    assert "The first 3; the rest is in results.csv" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "results.csv").read_text().count("\n") == 1 + 5 * 3


def test_a_batch_without_any_shape_has_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text(json.dumps(line(4, None)) + "\n")
    write_report(tmp_path, "none.csv", Tally(total=1, solved=0, infeasible=0, failed=1, disagreeing=0))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "report.html", "report.md", "results.csv", "results.jsonl",
    ]  # fmt: skip


# pictures

POINTS = (
    Point(layers=24, hidden=768, loss=2.7, device_bytes=8 * 2**30, first=True),
    Point(layers=30, hidden=640, loss=2.8, device_bytes=6 * 2**30, first=False),
    Point(layers=12, hidden=1024, loss=2.9, device_bytes=9 * 2**30, first=False),
)
BAND = Outline(layers=(12, 24, 30), narrowest=(896, 640, 512), widest=(1024, 768, 704), losses=(2.85, 2.7, 2.71))


def test_a_drawing_is_the_same_every_time_and_needs_nothing() -> None:
    series = [Series(label="125M", points=POINTS, outlines=(BAND,)), Series(label="a<b", points=POINTS[:1])]
    first, second = plots.draw(PLOTS, series), plots.draw(PLOTS, series)
    assert first == second
    assert first.png.startswith(b"\x89PNG")
    assert first.inline_svg.startswith('<svg role="img"')
    assert "<title>Predicted loss against memory, Depth against width, Predicted loss against depth</title>" in (
        first.inline_svg
    )
    assert "prefers-color-scheme:dark" in first.svg
    assert not re.search(r'(?:href|src)="(?!#)', first.inline_svg)
    assert "a&lt;b" in first.inline_svg


def test_colours_follow_the_page() -> None:
    drawn = plots.draw(PLOTS[:1], [Series(label="125M", points=POINTS, outlines=(BAND,))]).inline_svg
    for name in ("ink", "quiet", "s0"):
        assert f"var(--{name}," in drawn
    for color in (plots.INK, *plots.SERIES):
        assert not re.search(rf"(?<!,){color}", drawn), "a colour that the page cannot change"


def test_the_front_is_what_nothing_beats() -> None:
    assert plots._front(plots._by_memory(POINTS)) == plots._by_memory([POINTS[1], POINTS[0]])
    points = plots._by_memory(POINTS)
    for point in points:
        beaten = any(other[0] <= point[0] and other[1] <= point[1] and other != point for other in points)
        assert beaten == (point not in plots._front(points))


def test_an_outline_is_that_of_the_listed_band() -> None:
    asked = Query.parse(target="2M", hidden="64:256", layers="1:12", tolerance="5%")
    low, high = 1_900_000, 2_100_000
    shapes = [shape for shape in brute_force.shapes(asked) if low <= brute_force.params(shape) <= high]
    found = outline(asked)
    assert found is not None
    widths = {
        layers: [shape.hidden_size for shape in shapes if shape.num_layers == layers]
        for layers in sorted({shape.num_layers for shape in shapes})
    }
    assert dict(zip(found.layers, found.narrowest, strict=True)) == {n: min(w) for n, w in widths.items()}
    assert dict(zip(found.layers, found.widest, strict=True)) == {n: max(w) for n, w in widths.items()}


def test_no_outline_without_a_band() -> None:
    assert outline(Query.parse(vram="1GB")) is None
    assert outline(Query.parse(target="2M", hidden="256", layers="200")) is None


# one query


@pytest.mark.parametrize("suffix", ["png", "svg", "html"])
def test_one_query_is_drawn(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"answer.{suffix.upper()}"
    done = CliRunner().invoke(
        cli, ["--target", "5M", "--vram", "2GB", "--hidden", "64:512", "--verify", "0", "--plot", str(path)]
    )
    assert done.exit_code == 0, done.output
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "html": b"<!doctype html>"}
    assert path.read_bytes().startswith(starts[suffix])


@pytest.mark.parametrize(("suffix", "written"), [("svg", False), ("html", True)])
def test_nothing_is_drawn_of_nothing(tmp_path: Path, suffix: str, written: bool) -> None:
    path = tmp_path / f"answer.{suffix}"
    done = CliRunner().invoke(cli, ["--target", "500M", "--vram", "1GB", "--verify", "0", "--plot", str(path)])
    assert done.exit_code == 1
    assert ("nothing is drawn" in done.stderr) is not written
    assert path.exists() is written
    assert not written or "Nearest misses" in path.read_text()


@pytest.mark.parametrize("name", ["answer.gif", "answer", "none/answer.png"])
def test_where_no_picture_can_be(tmp_path: Path, name: str) -> None:
    done = CliRunner().invoke(cli, ["--target", "5M", "--plot", str(tmp_path / name)])
    assert done.exit_code == 2
    assert "\n" not in done.stderr.strip()
