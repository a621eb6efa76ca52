"""Verifications elsewhere: the same results, once for each config, and again where a worker is lost."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli import EXECUTORS, cli
from solver import Query, Solution, solve
from solver.batch.run import Batch, Verify, run
from solver.batch.spec import Spec
from solver.batch.store import results
from solver.errors import DeviceError
from solver.verify import executors, verify_candidates
from solver.verify.executors import ATTEMPTS, Kind, LostError, Verifier, starter

SOLUTION = solve(Query.parse(target="5M", vram="2GB", hidden="64:512", layers="1:12", top=3))
ENTRIES = [
    {"target": "5M", "vram": "2GB", "hidden": "64:512", "layers": "1:12", "top": 3},
    {"target": "5M", "vram": "3GB", "hidden": "64:512", "layers": "1:12", "top": 3},
    {"target": "8M", "hidden": "64:512", "layers": "1:12", "top": 2},
    {"target": "300M", "vram": "1GB", "top": 2},
]


class Inline(Executor):
    """Runs what it is given at once; the first `broken` times its worker is lost."""

    def __init__(self, broken: int = 0) -> None:
        self.broken, self.calls = broken, 0

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.calls += 1
        if self.calls <= self.broken:
            future.set_exception(BrokenExecutor("lost"))
        else:
            future.set_result(function(*args, **kwargs))
        return future


def spec(path: Path) -> Spec:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in ENTRIES))
    return Spec(source=str(path), path=path, kind="jsonl")


def verified(folder: Path, verify: Verify, start: Callable[[], Executor]) -> list[dict[str, Any]]:
    folder.mkdir()
    with Verifier(start, "meta") as verifier:
        run(Batch(spec=spec(folder / "s.jsonl"), total=4, verify=verify, verifier=verifier), folder / "out")
    return list(results(folder / "out"))


def verifications(lines: list[dict[str, Any]]) -> list[list[Any]]:
    return [[candidate["verification"] for candidate in line["solution"]["candidates"]] for line in lines]


def test_a_config_is_built_once(tmp_path: Path) -> None:
    inline = Inline()
    lines = verified(tmp_path / "a", Verify(each=2, device="meta"), lambda: inline)
    first, second, third, infeasible = verifications(lines)
    assert inline.calls == 4  # the first two entries have the same best shapes
    assert first == second
    assert [bool(built) for built in first] == [True, True, False]
    assert [bool(built) for built in third] == [True, True]
    assert infeasible == []
    assert all(built["params"]["equal"] for built in first[:2])


def test_they_are_those_of_a_solve(tmp_path: Path) -> None:
    alone = verify_candidates(SOLUTION, 2, device="meta")
    lines = verified(tmp_path / "a", Verify(each=2, device="meta"), Inline)
    assert Solution.from_dict(lines[0]["solution"]).candidates == alone.candidates


def test_the_best_overall_are_built(tmp_path: Path) -> None:
    inline = Inline()
    lines = verified(tmp_path / "a", Verify(overall=1, device="meta"), lambda: inline)
    losses = {line["number"]: line["solution"]["candidates"][0]["score"]["predicted_loss"] for line in lines[:3]}
    built = [line["number"] for line in lines[:3] if line["solution"]["candidates"][0]["verification"]]
    assert built == [min(losses, key=lambda number: losses[number])] == [3]
    assert inline.calls == 1
    with Verifier(lambda: inline, "meta") as verifier:  # again: it is kept
        job = Batch(
            spec=spec(tmp_path / "s.jsonl"), total=4, verify=Verify(overall=1, device="meta"), verifier=verifier
        )
        assert run(job, tmp_path / "a" / "out").reused == 4
    assert inline.calls == 1


@pytest.mark.parametrize("lost", range(1, ATTEMPTS))
def test_what_a_lost_worker_had_is_done_again(lost: int) -> None:
    candidate, alone = SOLUTION.candidates[0], verify_candidates(SOLUTION, 1, device="meta").candidates[0].verification
    assert alone is not None
    with Verifier(lambda: Inline(lost), "meta") as verifier:
        inline = verifier.answer(candidate)
    assert "its worker was lost" in inline.note
    assert replace(inline, note="") == replace(alone, note="")


def test_a_worker_that_is_always_lost_leaves_a_note(tmp_path: Path) -> None:
    with Verifier(lambda: Inline(ATTEMPTS), "meta") as verifier, pytest.raises(LostError):
        verifier.answer(SOLUTION.candidates[0])
    lines = verified(tmp_path / "a", Verify(each=1, device="meta"), lambda: Inline(10**6))
    assert lines[0]["notes"] == ["rank 1: not verified: its worker was lost 3 times"]
    assert lines[0]["status"] == "solved"


def kill_once(candidate: Any, device: str) -> Any:
    """Ends its own process, the first time."""
    mark = Path(os.environ["DIYSOLVE_TEST_MARK"])
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return executors.verify_candidate(candidate, device)


@pytest.fixture
def killing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The first verification kills its worker; every worker knows by a file."""
    monkeypatch.setenv("DIYSOLVE_TEST_MARK", str(tmp_path / "mark"))
    monkeypatch.setattr(Verifier, "work", staticmethod(kill_once))
    yield
    assert (tmp_path / "mark").exists()


def check_a_killed_worker(start: Callable[[], Executor]) -> None:
    alone = verify_candidates(SOLUTION, 2, device="meta")
    with Verifier(start, "meta") as verifier:
        for candidate in SOLUTION.candidates[:2]:
            verifier.ask(candidate)
        found = [verifier.answer(candidate) for candidate in SOLUTION.candidates[:2]]
    assert any("its worker was lost once, and it was verified again" in one.note for one in found)
    expected = [candidate.verification for candidate in alone.candidates[:2]]
    assert [replace(one, note="") for one in found] == [replace(one, note="") for one in expected if one]


@pytest.mark.usefixtures("killing")
def test_a_local_worker_is_killed() -> None:
    check_a_killed_worker(starter("local", "meta", 1))


def test_executors_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match=r"pip install 'diysolve\[ray\]'"):
        starter("ray", "meta", 1)


def test_any_executor_of_the_standard_library_will_do() -> None:
    alone = verify_candidates(SOLUTION, 1, device="meta").candidates[0].verification
    with Verifier(lambda: ThreadPoolExecutor(1), "meta") as verifier:
        assert verifier.answer(SOLUTION.candidates[0]) == alone


def test_the_command_line_knows_each_kind() -> None:
    assert Kind.__args__ == EXECUTORS  # type: ignore[attr-defined]


# Ray

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A local cluster that all tests share: it takes seconds to start."""
    import ray

    environment = {"env_vars": {"PYTHONPATH": str(Path(__file__).parents[1])}}
    ray.init(num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
             configure_logging=False, runtime_env=environment)  # fmt: skip
    yield ray
    ray.shutdown()


@needs_ray
def test_a_cluster_gives_the_same_results(cluster: Any, tmp_path: Path) -> None:
    local = verified(tmp_path / "local", Verify(each=2, device="meta"), Inline)
    ray = verified(tmp_path / "ray", Verify(each=2, device="meta"), starter("ray", "meta", 2))
    assert verifications(ray) == verifications(local)
    assert [line["key"] for line in ray] == [line["key"] for line in local]


@needs_ray
def test_a_task_takes_a_card_where_there_is_one(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = executors.RayExecutor()
    assert executor.num_gpus == 0
    monkeypatch.setattr(cluster, "cluster_resources", lambda: {"GPU": 4.0})
    assert executors.RayExecutor().num_gpus == 1
    with pytest.raises(ValueError, match="no number"):
        executor.submit(_refuse, "no number").result(timeout=60)


def _refuse(text: str) -> None:
    raise ValueError(text)


@needs_ray
def test_a_worker_of_a_cluster_is_killed(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "mark"

    def kill_first(candidate: Any, device: str) -> Any:
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return executors.verify_candidate(candidate, device)

    monkeypatch.setattr(Verifier, "work", staticmethod(kill_first))
    check_a_killed_worker(executors.RayExecutor)
    assert mark.exists()


# the command


def test_batch_verifies(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        cli, ["batch", str(spec(tmp_path / "s.jsonl").path), "--out", str(tmp_path / "out"), "--verify", "1",
              "--device", "meta"],
    )  # fmt: skip
    assert done.exit_code == 1, done.output  # one entry is infeasible
    assert [bool(built[0]) for built in verifications(list(results(tmp_path / "out"))) if built] == [True] * 3
    assert "Predicted beside counted" in (tmp_path / "out" / "report.html").read_text()
    assert "verified_on" in (tmp_path / "out" / "results.csv").read_text().splitlines()[0]
