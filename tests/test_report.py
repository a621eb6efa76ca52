"""What is written about an answer, in each of the formats. Golden files: DIYSOLVE_REFRESH=1 pytest writes them anew."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from solver.errors import InputFileError
from solver.report import render
from solver.report.files import require_writable, whole_file, write_folder, write_whole
from solver.solution import Solution
from tests.finished import ANSWERS, EXPLAINED, INFEASIBLE, MEASURED, PARAMS, SOLVED, UNLIMITED

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(ANSWERS)


def check_golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("DIYSOLVE_REFRESH"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_a_piped_table_is_as_in_its_golden_file(name: str) -> None:
    check_golden(f"{name}.txt", render(ANSWERS[name]))


@pytest.mark.parametrize("name", NAMES)
def test_a_terminal_of_80_columns_is_as_in_its_golden_file(name: str) -> None:
    check_golden(f"{name}.80.txt", render(ANSWERS[name], width=80))


@pytest.mark.parametrize("name", NAMES)
def test_markdown_is_as_in_its_golden_file(name: str) -> None:
    check_golden(f"{name}.md", render(ANSWERS[name], "markdown"))


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize(
    "name",
    [
        "solved",
        "timed",
        "explained",
        "unlimited",
        "infeasible",
        "count",
        "memory",
        "explain",
        "compare",
        "devices",
        "presets",
    ],
)
def test_a_table_keeps_to_the_width_of_a_terminal(name: str, width: int) -> None:
    lines = render(ANSWERS[name], width=width).splitlines()
    limit = width if name != "count" else 98  # the exact params of six components take what they take
    assert max(map(len, lines)) <= max(width, limit)


@pytest.mark.parametrize("width", [20, 40, 60])
@pytest.mark.parametrize("name", NAMES)
def test_a_number_is_never_cut_however_narrow_the_terminal(name: str, width: int) -> None:
    text = render(ANSWERS[name], width=width)
    assert "…" not in text
    if name == "solved":
        assert "495.7M" in text
        assert "-1.71%" in text
        assert "493,153,280" in text


def test_color_is_there_only_when_it_is_asked_for() -> None:
    assert "\x1b[" in render(SOLVED, width=100, color=True)
    assert "\x1b[" not in render(SOLVED, width=100)
    assert "\x1b[" not in render(SOLVED)


def test_a_solve_says_what_was_asked_and_what_was_seen() -> None:
    text = render(SOLVED)
    assert "target 500M within 1%, budget 24 GB (22.35 GiB), 1T tokens, layers 24:60" in text
    assert "76,604,928 shapes in the lattice, 5,202 within the tolerance, 5,100 that fit; solved in 12 ms" in text
    assert "not measured (no GPU)" in text
    assert "count ok" in text
    assert "11.25 (0.998)" in text
    assert "16,597" in text


def test_rank_1_is_not_marked_as_tied_with_itself() -> None:
    rows = [line.split()[0] for line in render(SOLVED).splitlines() if line.strip()[:1].isdigit()]
    assert rows[:3] == ["1", "2=", "3"]


def test_a_solve_says_what_binds_and_how_fast_and_whether_on_the_front() -> None:
    text = render(SOLVED)
    assert "Binding constraint: none." in text
    rows = [line.split() for line in text.splitlines() if line.strip()[:1].isdigit()][:3]
    assert [row[-2:] for row in rows] == [["1.00", "yes"], ["1.06", "yes"], ["1.12", "-"]]


def test_an_explanation_is_in_the_page_and_in_the_json() -> None:
    text = render(EXPLAINED)
    assert "Binding constraint: memory (with no budget the score falls by at least 0.012 nats)." in text
    assert "What loosening one thing would buy" in text
    assert "nothing satisfies that" in text
    assert text.count("fewer than four") == 1, "what a term charges is said once"
    values = json.loads(render(EXPLAINED, "json"))
    assert set(values["explanation"]) == {"relaxations", "terms", "neighbours"}
    assert values["binding"] == {"constraint": "memory", "change": "no budget", "gain": 0.0123}
    assert "explanation" not in json.loads(render(SOLVED, "json"))


def test_columns_without_a_word_are_left_out() -> None:
    text = render(UNLIMITED)
    assert "verdict" not in text
    assert "Verified" not in text
    assert "that fit" not in text


def test_an_infeasible_answer_says_what_each_near_miss_breaks_and_what_would_fit() -> None:
    text = render(INFEASIBLE)
    assert INFEASIBLE.message in text
    assert "vram: needs 139 GiB on the device; target: 0.1 % over" in text
    assert "10.52M (10,520,832 params)" in text
    assert "untied head" in text


def test_a_verification_that_disagrees_is_shouted() -> None:
    text = render(ANSWERS["verify"])
    assert "DISAGREES: out of memory in backward" in text
    assert "differs" in text


@pytest.mark.parametrize("name", NAMES)
def test_json_is_the_answer_itself(name: str) -> None:
    text = render(ANSWERS[name], "json")
    values = json.loads(text)
    assert values == json.loads(json.dumps(ANSWERS[name].to_dict()))
    assert values["schema"].startswith("diysolve.")
    assert text.endswith("}\n")


def test_json_has_the_keys_of_the_contract() -> None:
    assert set(json.loads(render(ANSWERS["count"], "json"))["configs"][0]) == {
        "source", "model_type", "params", "active", "non_embedding",
    }  # fmt: skip
    assert "params" not in json.loads(render(ANSWERS["count"], "json"))["configs"][1]
    assert {"schema", "recipe", "peak_bytes", "device_bytes", "binding", "moments", "budget_bytes", "verdict",
            "max_micro_batch", "remedies"} <= set(json.loads(render(ANSWERS["memory"], "json")))  # fmt: skip
    ranked = json.loads(render(ANSWERS["rank"], "json"))
    assert ranked["tokens"] is None
    assert [row["index"] for row in ranked["configs"]] == [1, 0]
    assert {"index", "rank", "score"} <= set(ranked["configs"][0])
    assert set(json.loads(render(ANSWERS["verify"], "json"))["configs"][0]) == {"source", "verification"}


def csv_rows(name: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(render(ANSWERS[name], "csv"))))


@pytest.mark.parametrize(
    ("name", "rows"),
    [("solved", 3), ("explained", 3), ("infeasible", 1), ("count", 2), ("memory", 4), ("verify", 3), ("rank", 2),
     ("export", 1), ("devices", 4), ("presets", 3)],
)  # fmt: skip
def test_csv_has_a_row_for_each_thing_and_every_row_every_column(name: str, rows: int) -> None:
    found = csv_rows(name)
    assert len(found) == rows
    assert all(None not in row and None not in row.values() for row in found)


def test_csv_of_a_solve_holds_plain_values() -> None:
    first, second, third = csv_rows("solved")
    assert first["num_layers"] == "52"
    assert first["params_total"] == "495729408"
    assert float(first["target_error"]) == -0.00854
    assert first["tie"] == "true"
    assert first["measured_peak_bytes"] == ""
    assert MEASURED.measured is not None
    assert int(second["measured_peak_bytes"]) == MEASURED.measured["peak_bytes"]
    assert third["params_equal"] == ""


def test_markdown_cells_cannot_break_the_table() -> None:
    text = render(ANSWERS["verify"], "markdown")
    assert "tiny\\|odd.json" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1


def test_an_answer_without_candidates_is_written_in_every_format() -> None:
    nothing = Solution(status=INFEASIBLE.status, message="none", query=INFEASIBLE.query, stats=INFEASIBLE.stats)
    for form in ("table", "json", "csv", "markdown"):
        assert render(nothing, form)


def test_json_of_an_export_has_the_count_and_what_was_written() -> None:
    values = json.loads(render(ANSWERS["export"], "json"))
    assert values["params"]["total"] == PARAMS["total"]
    assert values["files"] == [{"path": "litgpt/model_config.yaml", "bytes": 412}]
    assert (values["to"], values["builds"]) == ("litgpt", "litgpt.GPT")


# files


def test_a_file_is_written_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    write_whole(str(tmp_path / "a.txt"), "one\n")
    write_whole(str(tmp_path / "a.txt"), "two\n")
    assert (tmp_path / "a.txt").read_text() == "two\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def half() -> Iterator[bytes]:
        yield b"new"
        raise OSError(28, "No space left on device")

    with pytest.raises(InputFileError, match="no space left on device"), whole_file(str(path)) as file:
        file.writelines(half())
    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_is_written_in_order_and_the_same_again_is_no_loss(tmp_path: Path) -> None:
    out = str(tmp_path / "a" / "b")
    assert write_folder(out, {"x": "one", "y": "three"}) == {f"{out}/x": 3, f"{out}/y": 5}
    assert write_folder(out, {"x": "one"}) == {f"{out}/x": 3}
    assert write_folder(out, {"y": lambda path: write_whole(path, "4")}, overwrite=True) == {f"{out}/y": 1}
    assert sorted(path.name for path in Path(out).iterdir()) == ["x", "y"]


def test_nothing_is_written_where_one_file_would_be_lost(tmp_path: Path) -> None:
    (tmp_path / "y").write_text("mine")
    for content in ("yours", lambda path: write_whole(path, "mine")):
        with pytest.raises(InputFileError, match=r"/y.*is there already.*--force"):
            write_folder(str(tmp_path), {"x": "new", "y": content})
    assert [path.name for path in tmp_path.iterdir()] == ["y"]
    write_folder(str(tmp_path), {"y": "yours"}, overwrite=True)
    assert (tmp_path / "y").read_text() == "yours"


def test_a_writer_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def fails(path: str) -> None:
        Path(path).write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(InputFileError, match="no space left on device"):
        write_folder(str(tmp_path), {"x": fails})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "complaint"), [("", "name a folder"), ("file", "is a file"), ("a\0b", "not a path"), ("x" * 300, "cannot")]
)
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, name: str, complaint: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputFileError, match=complaint):
        write_folder(f"{tmp_path}/{name}" if name else "", {"x": "text"})


def test_the_mode_of_a_file_and_the_link_to_it_survive(tmp_path: Path) -> None:
    path, link = tmp_path / "a.txt", tmp_path / "link"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    write_whole(str(link), "new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_what_is_no_file_is_written_to_and_not_replaced() -> None:
    write_whole("/dev/null", "gone")
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("", "name a file"), ("missing/a.txt", "there is no folder"), (".", "is a folder"), ("a\0b", "is not a path"),
     ("x" * 300, "cannot be written")],
)  # fmt: skip
def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path, name: str, complaint: str) -> None:
    path = f"{tmp_path}/{name}" if name else ""
    with pytest.raises(InputFileError, match=complaint):
        write_whole(path, "text")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputFileError, match="no permission"):
        require_writable(str(tmp_path / "a.txt"))
