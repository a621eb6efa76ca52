"""A run: every query answered once whatever stops it, and the same files at its end."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli import cli
from solver import Query, solve
from solver.batch.report import write_report
from solver.batch.run import Batch, Tally, run, stream
from solver.batch.spec import Spec, opened
from solver.batch.store import Store, results
from solver.errors import InputFileError

ROOT = Path(__file__).parents[1]

WORDS: list[dict[str, Any]] = [
    {"target": f"{size}M", "vram": vram, "hidden": "64:512", "layers": "1:16", "top": 2}
    for size in range(4, 12)
    for vram in ("700MB", "2GB", "8GB")
]


def diysolve(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["batch", *words], input=stdin, prog_name="diysolve")


def write(path: Path, entries: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


@contextmanager
def batch(path: Path, **options: Any) -> Iterator[Batch]:
    with opened(str(path)) as spec:
        yield Batch(spec=spec, total=spec.check(), **options)


def timeless(text: str) -> str:
    return re.sub(r'"seconds":[^}]+', '"seconds":0', text)


def files(folder: Path) -> dict[str, Any]:
    """What is in a folder, without times."""
    found: dict[str, Any] = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {**found, "results.jsonl": timeless(found["results.jsonl"].decode())}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("batch")
    done = diysolve(str(write(folder / "spec.jsonl", WORDS)), "--out", str(folder / "out"))
    assert done.exit_code == 1, done.output  # nothing satisfies some of them
    return folder / "out"


def test_each_answer_is_that_of_a_solve(undisturbed: Path) -> None:
    lines = list(results(undisturbed))
    assert [line["number"] for line in lines] == list(range(1, len(WORDS) + 1))
    for line, words in zip(lines, WORDS, strict=True):
        alone = json.loads(json.dumps(solve(Query.parse(**words)).to_dict()))
        assert {**line["solution"], "stats": None} == {**alone, "stats": None}
        assert line["status"] == alone["status"]
        assert line["words"] == words
    assert {"solved", "infeasible"} == {line["status"] for line in lines}


def test_the_order_of_entries_changes_no_answer(undisturbed: Path, tmp_path: Path) -> None:
    with batch(write(tmp_path / "spec.jsonl", WORDS[::-1])) as job:
        run(job, tmp_path / "out")
    forward = {line["name"]: line["solution"] for line in results(undisturbed)}
    for line in results(tmp_path / "out"):
        assert {**line["solution"], "stats": None} == {**forward[line["name"]], "stats": None}


def test_two_runs_are_equal_and_so_is_one_in_processes(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("solver.batch.run.FEW", 0)
    with batch(write(tmp_path / "spec.jsonl", WORDS), workers=2) as job:
        tally = run(job, tmp_path / "out")
        write_report(tmp_path / "out", job.spec.title, tally)
    assert files(tmp_path / "out") == files(undisturbed)


# what stops a run


class Killed(BaseException):
    """Stands for whatever ends a process."""


def stop_after(number: int) -> Any:
    def progress(done: int, total: int) -> None:
        if done >= number:
            raise Killed

    return progress


def test_what_was_finished_is_not_done_again(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    solved: Counter[Query] = Counter()
    from solver.search import many

    once = many.solve_knowing
    monkeypatch.setattr(many, "solve_knowing", lambda query, known: solved.update([query]) or once(query, known))
    with batch(write(tmp_path / "spec.jsonl", WORDS)) as job:
        with pytest.raises(Killed):
            run(job, out, progress=stop_after(7))
        assert len(list(results(out))) == 7
        tally = run(job, out)
        write_report(out, job.spec.title, tally)
    assert tally.reused == 7
    assert set(solved.values()) == {1}
    assert len(solved) == len(WORDS)
    assert files(out) == files(undisturbed)


@pytest.mark.parametrize("torn", [1, 20, 400])
def test_a_torn_last_line_is_done_again(undisturbed: Path, tmp_path: Path, torn: int) -> None:
    out = tmp_path / "out"
    with batch(write(tmp_path / "spec.jsonl", WORDS)) as job:
        with pytest.raises(Killed):
            run(job, out, progress=stop_after(5))
        text = (out / "results.jsonl").read_bytes()
        (out / "results.jsonl").write_bytes(text[:-torn])
        (out / ".results.jsonl.0123.part").write_text("left by a run that was killed while it rewrote")
        tally = run(job, out)
        write_report(out, job.spec.title, tally)
    assert tally.reused == 4
    assert files(out) == files(undisturbed)


def test_a_spec_that_grew_solves_only_what_is_new(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with batch(write(tmp_path / "half.jsonl", WORDS[::2])) as job:
        run(job, out)
    with batch(write(tmp_path / "spec.jsonl", WORDS)) as job:
        tally = run(job, out)
        write_report(out, job.spec.title, tally)
        assert tally.reused == len(WORDS[::2])
        assert files(out) == files(undisturbed)
        assert run(job, out, fresh=True).reused == 0


def test_equal_queries_are_solved_once_and_reported_each(tmp_path: Path) -> None:
    twice = [{"name": "a", "target": "5M"}, {"name": "b", "target": "5000000"}, {"name": "c", "target": "6M"}]
    with batch(write(tmp_path / "spec.jsonl", twice)) as job:
        finished: list[int] = []
        run(job, tmp_path / "out", progress=lambda done, total: finished.append(done))
    lines = list(results(tmp_path / "out"))
    assert [line["name"] for line in lines] == ["a", "b", "c"]
    assert lines[0]["key"] == lines[1]["key"] != lines[2]["key"]
    assert {line["solution"]["query"]["target_params"] for line in lines[:2]} == {5_000_000}
    assert finished == [0, 1, 2, 3]


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with batch(write(tmp_path / "spec.jsonl", WORDS[:2])) as job:
        run(job, out)
        with Store(out), pytest.raises(InputFileError, match="another run is writing there"):
            run(job, out, fresh=True)
        assert run(job, out).reused == 2


def test_results_of_another_version_are_not_used(tmp_path: Path) -> None:
    with batch(write(tmp_path / "spec.jsonl", WORDS[:2])) as job:
        run(job, tmp_path / "out")
        assert run(replace(job, version="9.9"), tmp_path / "out").reused == 0


def test_kill_nine_in_the_middle(tmp_path: Path) -> None:
    """A real process and a real SIGKILL, while its processes are at work."""
    entries = [{"target": f"{n}M", "vram": "8GB", "hidden": "64:1024", "top": 1} for n in range(100, 180)]
    spec = write(tmp_path / "spec.jsonl", entries)
    command = [sys.executable, "-m", "cli", "batch", str(spec), "--workers", "2", "--out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    path = tmp_path / "killed" / "results.jsonl"
    killed = subprocess.Popen([*command, str(path.parent)], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while time.monotonic() < until and not (path.exists() and path.read_bytes().count(b"\n") >= 5):
        time.sleep(0.005)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    finished = path.read_bytes().count(b"\n")
    assert 5 <= finished < len(entries)
    again = subprocess.run([*command, str(path.parent)], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert f"{finished} were there already" in again.stderr
    whole = subprocess.run(
        [*command, str(tmp_path / "whole")], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert (again.returncode, whole.returncode) == (0, 0), again.stderr + whole.stderr
    assert files(path.parent) == files(tmp_path / "whole")


def test_interrupt_keeps_what_is_finished(tmp_path: Path) -> None:
    spec = write(tmp_path / "spec.jsonl", [{"target": f"{n}M", "vram": "8GB"} for n in range(100, 160)])
    command = [sys.executable, "-m", "cli", "batch", str(spec), "--out", str(tmp_path / "out")]
    path = tmp_path / "out" / "results.jsonl"
    stopped = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while time.monotonic() < until and not (path.exists() and path.read_bytes().count(b"\n") >= 3):
        time.sleep(0.005)
    stopped.send_signal(signal.SIGINT)
    _, said = stopped.communicate(timeout=60)
    assert stopped.returncode == 130
    assert re.search(r"\d+ of 60 are finished; the same command goes on from there", said)
    assert "Traceback" not in said
    assert len(list(results(path.parent))) >= 3


def test_a_terminal_sees_the_rate_and_the_time_that_is_left(tmp_path: Path) -> None:
    slow = [
        {"vram": f"{size}GB", "top": 1, "prefer": "balanced"} for size in range(8, 80)
    ]  # the time left is known after a second
    spec = write(tmp_path / "spec.jsonl", slow)
    reader, writer = os.openpty()
    command = [sys.executable, "-m", "cli", "batch", str(spec), "--out", str(tmp_path / "out")]
    environment = {**os.environ, "COLUMNS": "100"}
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=writer, env=environment)
    os.close(writer)
    said = b""
    with contextlib.suppress(OSError):  # the end of a terminal, on Linux
        while piece := os.read(reader, 4096):
            said += piece
    os.close(reader)
    assert process.wait() == 0
    assert re.search(rb"solving +\[[#-]*\] +0/72\s", said), said
    assert re.search(rb"solving +\[[#-]*\] +\d+/72 +\d\d:\d\d:\d\d +\d+/s", said), said


# entries that fail


CONTRADICTION = {"name": "odd", "target": "5M", "heads": "7", "hidden": "64"}


def test_an_entry_that_fails_is_its_own_row(tmp_path: Path) -> None:
    spec = write(tmp_path / "spec.jsonl", [WORDS[1], CONTRADICTION, WORDS[2]])
    done = diysolve(str(spec), "--out", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert "3 queries, 2 solved, 1 failed" in done.stdout
    lines = list(results(tmp_path / "out"))
    assert [line["status"] for line in lines] == ["solved", "error", "solved"]
    assert "no shape satisfies them all" in lines[1]["message"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "results.csv").read_text())))
    assert [row["message"] for row in rows if row["status"] == "error"] == [lines[1]["message"]]
    assert "no shape satisfies them all" in (tmp_path / "out" / "report.md").read_text()
    assert "no shape satisfies them all" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("entries", "code"),
    [([WORDS[2]], 0), ([WORDS[2], WORDS[-3]], 1), ([WORDS[-3], CONTRADICTION], 2), ([{"target": "5X"}], 2)],
)
def test_exit_codes(tmp_path: Path, entries: list[dict[str, Any]], code: int) -> None:
    spec = str(write(tmp_path / "spec.jsonl", entries))
    assert diysolve(spec, "--out", str(tmp_path / "out")).exit_code == code
    assert diysolve(spec, "--out", "-").exit_code == code


def test_nothing_is_run_where_a_mistake_is(tmp_path: Path) -> None:
    done = diysolve(str(write(tmp_path / "spec.jsonl", [WORDS[0], {"taret": "5M"}])), "--out", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "spec.jsonl line 2: 'taret' is not a word of a query; did you mean target?" in done.stderr
    assert not (tmp_path / "out").exists()


# pipes


def test_json_lines_in_and_out() -> None:
    done = diysolve("-", "--out", "-", stdin="".join(json.dumps(entry) + "\n" for entry in WORDS))
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["words"] for line in lines] == WORDS
    assert done.stderr == ""


def test_a_stream_is_in_order_with_processes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solver.batch.run.FEW", 0)
    spec = write(tmp_path / "spec.jsonl", [*WORDS, CONTRADICTION])
    with batch(spec, workers=2) as job, batch(spec) as alone:
        together = [timeless(line.decode()) for line in stream(job)]
        assert together == [timeless(line.decode()) for line in stream(alone)]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--out", "x"), "SPEC is missing"),
        (("none.yaml",), "--out DIR is missing"),
        (("none.yaml", "--out", "x"), "there is no such file"),
        (("-", "--out", "-", "--verify-overall", "1"), "needs a folder"),
        (("-", "--out", "-", "--executor", "dask"), "use one of local, ray"),
        (("-", "--out", __file__), "cannot be made"),
    ],
)
def test_requests_that_are_wrong(words: tuple[str, ...], complaint: str) -> None:
    done = diysolve(*words, stdin='{"target": "5M"}')
    assert done.exit_code == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_the_schema_is_printed() -> None:
    done = diysolve("--schema")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_a_batch_of_one_spec_in_memory(tmp_path: Path) -> None:
    """The library alone: no command line, no files of ours besides the results."""
    spec = Spec(source="mine", path=write(tmp_path / "s.jsonl", WORDS[2:3]), kind="jsonl")
    assert run(Batch(spec=spec, total=1), tmp_path / "out") == Tally(
        total=1, solved=1, infeasible=0, failed=0, disagreeing=0
    )
