"""The closed form against the dry run under the torch that is installed: `python benchmarks/torch_versions.py`.

Prints one row of benchmarks/results/torch-versions.md. Needs no GPU.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a bare checkout: nothing is installed

import torch  # noqa: E402

from benchmarks.memory_comparisons import Agreement, agreements  # noqa: E402


def row(found: list[Agreement]) -> str:
    """Version, pairs, those equal in every moment and in what is allocated, largest deviation of a peak."""
    moments, allocated = (sum(getattr(item, name) for item in found) for name in ("every_moment", "allocated"))
    worst = max(abs(item.error) for item in found)
    return f"| {torch.__version__} | {len(found)} | {moments} | {allocated} | {worst:.4f} % |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=300, help="configs and recipes")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.draws < 1:
        parser.error("--draws must be at least 1")
    print(row(agreements(options.draws, options.seed)))


if __name__ == "__main__":
    main()
