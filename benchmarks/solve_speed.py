"""How long a solve takes, against the size of the lattice and against plain brute force, as ratios of one run.

python benchmarks/solve_speed.py [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from solver import Query, solve
from solver.lattice import Lattice, lattice
from solver.units import band
from tests import brute_force

QUERIES: list[dict[str, Any]] = [
    {"target": "125M", "vram": "24GB"},
    {"target": "500M", "vram": "24GB"},
    {"target": "7B", "vram": "80GB", "precision": "bf16-true"},
    {"target": "70B", "vram": "2TB"},
    {"target": "500M", "tolerance": "10%"},
    {"vram": "24GB"},
    {"target": "7B", "vram": "1GB"},
]

SMALL: dict[str, Any] = {"target": "20M", "hidden": "256:512", "layers": "1:24"}
"""A lattice that plain Python can list in about a second."""


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Median wall time of `call`, after one run to warm up."""
    call()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def measure_solves() -> list[dict[str, Any]]:
    rows = []
    reference = median_seconds(lambda: solve(Query.parse(**QUERIES[1])), repeats=15)
    for words in QUERIES:
        query = Query.parse(**words)
        seconds = median_seconds(lambda query=query: solve(query), repeats=7)  # type: ignore[misc]
        stats = solve(query).stats
        rows.append(
            {
                "query": words,
                "lattice": stats.lattice,
                "in_band": stats.in_band,
                "milliseconds": round(1000 * seconds, 2),
                "ratio_to_500M": round(seconds / reference, 2),
            }
        )
    return rows


def measure_brute_force() -> dict[str, Any]:
    """Listing the band of a small lattice: closed form against a loop over every shape."""
    query = Query.parse(**SMALL)
    low, high = band(query.target_params or 0, query.tolerance)

    def closed_form() -> int:
        grid: Lattice = lattice(query)
        return len(grid.in_band(low, high).listed())

    def loop() -> int:
        return sum(low <= brute_force.params(shape) <= high for shape in brute_force.shapes(query))

    if closed_form() != loop():
        raise AssertionError("the closed form and the loop disagree")
    fast, slow = median_seconds(closed_form, repeats=15), median_seconds(loop, repeats=1)
    return {
        "query": SMALL,
        "lattice": lattice(query).size,
        "in_band": closed_form(),
        "closed_form_milliseconds": round(1000 * fast, 3),
        "loop_milliseconds": round(1000 * slow, 1),
        "ratio": round(slow / fast, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    out = parser.parse_args().out
    solves, brute = measure_solves(), measure_brute_force()
    for row in solves:
        print(
            "{query!s:72} lattice {lattice:>12,} band {in_band:>12,} {milliseconds:>9} ms x{ratio_to_500M}".format(
                **row
            )
        )
    print(
        "band of {lattice:,} shapes: closed form {closed_form_milliseconds} ms, loop {loop_milliseconds} ms, "
        "ratio {ratio}".format(**brute)
    )
    if out:
        out.write_text(json.dumps({"solves": solves, "brute_force": brute}, indent=2) + "\n")


if __name__ == "__main__":
    main()
