"""How many queries a second a batch answers, against a loop of single solves; and how much memory a long spec takes.

python benchmarks/batch_speed.py [--long 100000 [--solved]] [--out FILE.json]

The mix is a planner's grid: ten sizes from 125M to 1B, ten cards, ten token budgets. What they share is answered once,
so a mix of queries that share nothing is measured beside it. Both times are given: wall time is what a user waits, and
CPU time is what is left of it on a machine that does other things too. The long spec holds small queries of one
candidate each; what is measured of it is the largest memory of the main process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from solver import Query, solve, solve_many
from solver.batch.run import Verify
from solver.batch.store import Store, body, key_of
from solver.search.many import cores

ROOT = Path(__file__).parents[1]

SIZES = ("125M", "160M", "200M", "250M", "350M", "400M", "500M", "600M", "700M", "1B")
CARDS = ("rtx3060", "rtx4080", "rtx4090", "rtx5090", "l40s", "a100-40gb", "a100-80gb", "h100", "h200", "b200")
TOKENS = ("10B", "20B", "50B", "100B", "200B", "500B", "1T", "2T", "5T", "10T")

GRID = [{"target": size, "gpu": card, "tokens": tokens} for size, card, tokens in product(SIZES, CARDS, TOKENS)]
STRANGERS: list[dict[str, Any]] = [
    {"target": 10**6 * (125 + 3 * n), "vram": f"{20 + n % 40}GB", "seq": 1024 + 8 * n} for n in range(200)
]
"""No two of them share a size or a sequence."""

MOST_MIB = 160
"""The bound: a spec of any length, from a file or a pipe, takes no more of the main process's memory."""

SAMPLE = 10
"""Every so many queries are in the loop of single solves."""


def timed(call: Callable[[], object]) -> dict[str, float]:
    """Wall seconds, and CPU seconds of this process and of those that it started and that have ended."""
    before, started = _cpu(), time.perf_counter()
    call()
    return {"wall": time.perf_counter() - started, "cpu": _cpu() - before}


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def measure_mix(words: list[dict[str, Any]]) -> dict[str, Any]:
    """Queries a second of solve_many, alone and on all cores, and of a loop of single solves over a sample."""
    queries = [Query.parse(**each) for each in words]
    solve(queries[0])
    sample = queries[::SAMPLE]
    loop = timed(lambda: [solve(query) for query in sample])
    row: dict[str, Any] = {"queries": len(queries), "loop_ms": {k: 1000 * v / len(sample) for k, v in loop.items()}}
    for workers in sorted({1, cores()}):
        many = timed(lambda workers=workers: list(solve_many(queries, workers=workers)))  # type: ignore[misc]
        per_query = {kind: 1000 * seconds / len(queries) for kind, seconds in many.items()}
        row[f"workers_{workers}"] = {
            "ms": per_query,
            "per_second": 1000 / per_query["wall"],
            "ratio_to_loop": {kind: row["loop_ms"][kind] / per_query[kind] for kind in per_query},
        }
    return row


def measure_long(entries: int, solved: bool) -> list[dict[str, Any]]:
    """A spec of JSON lines, from a file at a hundredth, a tenth and all of its length, and from a pipe."""
    lengths = [(entries // 100, False), (entries // 10, False), (entries, False), (entries, True)]
    return [_long(count, piped=piped, solved=solved) for count, piped in lengths]


def _long(count: int, *, piped: bool, solved: bool) -> dict[str, Any]:
    """One run of the command as a process.

    Args:
        solved: all results are there already, so that the time is that of everything but solving.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec, out = folder / "spec.jsonl", folder / "out"
        with spec.open("w") as file:
            file.writelines(json.dumps(_small(number)) + "\n" for number in range(count))
        if solved:
            _fill(out, count)
        command = [sys.executable, "-c", _PEAK, "batch", "-" if piped else str(spec), "--out", str(out)]
        started = time.perf_counter()
        with spec.open("rb") as stdin:
            done = subprocess.run(command, cwd=ROOT, stdin=stdin, capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - started
        size = sum(path.stat().st_size for path in out.iterdir())
    peak, cpu = done.stderr.rsplit("peak", 1)[1].split()
    return {
        "entries": count,
        "from": "a pipe" if piped else "a file",
        "solved_before": solved,
        "seconds": round(seconds, 1),
        "cpu_seconds": float(cpu),
        "peak_MiB": int(peak) // 1024,
        "written_MB": size // 10**6,
    }


def _small(number: int) -> dict[str, Any]:
    return {"target": 2_000_000 + number, "top": 1}


def _fill(out: Path, count: int) -> None:
    """The results of all entries, with one solution for all of them."""
    solution = solve(Query.parse(**_small(0)))
    out.mkdir()
    with Store(out) as store:
        for number in range(count):
            key = key_of(Query.parse(**_small(number)), version=version("diysolve"), verify=str(Verify()))
            store.add(key, body(key, solution, solution.message))


_PEAK = """
import resource, sys, cli
code = cli.main(sys.argv[1:], standalone_mode=False)
used = resource.getrusage(resource.RUSAGE_SELF)
print("peak", used.ru_maxrss, round(used.ru_utime + used.ru_stime, 1), file=sys.stderr)
sys.exit(code)
"""
"""The command, and the largest memory of its main process; a worker's does not depend on the length."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", type=int, default=0, help="entries of the long spec; 0: it is left out")
    parser.add_argument("--solved", action="store_true", help="the long spec's results are there already")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    figures: dict[str, Any] = {"cores": cores(), "grid": measure_mix(GRID), "strangers": measure_mix(STRANGERS)}
    if asked.long:
        figures["long"] = measure_long(asked.long, asked.solved)
    text = json.dumps(figures, indent=2)
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n")
    if any(run["peak_MiB"] > MOST_MIB for run in figures.get("long", [])):
        sys.exit(f"a long spec took more than {MOST_MIB} MiB")


if __name__ == "__main__":
    main()
