"""What the main job costs as a process, as a ratio to importing numpy in one.

python benchmarks/startup.py [--repeats 15]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]

COMMANDS = {
    "import numpy": [sys.executable, "-c", "import numpy"],
    "diysolve --help": [sys.executable, "-m", "cli", "--help"],
    "diysolve --target 500M --vram 24GB --verify 0": [
        *(sys.executable, "-m", "cli", "--target", "500M", "--vram", "24GB", "--verify", "0"),
    ],
    "the same, --format json": [
        *(sys.executable, "-m", "cli", "--target", "500M", "--vram", "24GB", "--verify", "0", "--format", "json"),
    ],
}


def measure(repeats: int) -> dict[str, float]:
    """Median seconds of each command; the commands take turns, so that noise falls on all of them."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for repeat in range(repeats + 1):
        for name, command in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
            if repeat:  # the first round fills the caches
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    medians = measure(parser.parse_args().repeats)
    reference = medians["import numpy"]
    for name, seconds in medians.items():
        print(f"{name:50} {1000 * seconds:7.1f} ms   x{seconds / reference:.2f}")


if __name__ == "__main__":
    main()
