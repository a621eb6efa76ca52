"""Fits the efficiency that step times are estimated with on published throughputs, and writes what the engine loads.

    python benchmarks/fit_time.py [--out FILE]

`evidence/training_speed.csv` holds one published run a row, its source beside it, in the words of DIYConfig and Recipe.
What it says differently:

    use            calibrate: fitted here; test: never fitted, only held against the result by `time_error.py`;
                   blind: found last, when nothing was changed for them any more
    head_dim       where it is not hidden_size / num_heads
    software       how the model is written: `ours`, or a row of `evidence/software.csv` (see `software.py`)
    precision      bf16-true also where only the master weights are float32, and what the layers pass on is not
    mlp            plain: up and down without a gate; counted as a gated one of two thirds the width, of equal FLOPs
    checkpointing  selective: every second product of a layer is computed again, taken as halfway between none and full
    sharded        fsdp, or zero1 for ZeRO's first stage, which exchanges as many bytes as data parallel (Rajbhandari
                   et al. 2020, arXiv:1910.02054, section 7). Their precision is what products are computed in; the
                   optimizer's step is spread over the cards and taken as nothing
    optimizer      0: forward and backward alone were timed
    tokens_per_second  of one GPU

Left out are runs whose micro-batch, precision, residual stream or recomputation is not stated, or which H100 (SXM or
PCIe) they ran on, 8-bit products, tensor and pipeline parallelism, short documents packed together, data parallel
over links that are not known, float32 runs that may have used TF32 or are faster than the card's float32 peak,
attention by kernels that torch does not have (FlashAttention 3 and 4), optimizers written by hand or that compute
products on every card, CUDA graphs, deterministic algorithms, power limits below the card's own, averages of whole
runs that evaluate, and speeds whose timer includes evaluations (LLMs-from-scratch, chapter 5). A group weighs the
same however many rows it has; residuals are of the logarithm, under a soft l1 loss, and a weak prior keeps the
parameters near what is usual.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

sys.path.insert(0, str(Path(__file__).parents[1]))

from solver import counts
from solver.compute import step_time
from solver.compute.step_time import Efficiency
from solver.compute.traffic import Pass, Software, as_written
from solver.devices import Device, device
from solver.recipe import Recipe

EVIDENCE = Path(__file__).parent / "evidence"
TABLE, SOFTWARE = EVIDENCE / "training_speed.csv", EVIDENCE / "software.csv"

Floats = NDArray[np.float64]

START = (0.7, 0.55, 0.55, 0.9, 0.6, 0.85, 0.4, 0.85, 20e-6, 150.0)
"""Efficiency's fields, and last, of no use to the engine, how many GB/s of weights and gradients a card of FSDP fetches
and sends beside its computing, over NVLink of 600 GB/s: what is usual, as a prior."""

SPREAD = 0.2
"""Spread of the prior, in logarithms. Without it, products and traffic trade freely where a group is left out."""

SOFT = 0.1
"""Where the soft l1 loss leaves the square: an error of 10 %."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One published run."""

    name: str
    group: str
    use: str
    software: Software
    shape: Any
    recipe: Recipe
    selective: bool
    accumulation: int
    timed_optimizer: bool
    sharded: str
    card: Device
    tokens_per_second: float

    def estimate(self, efficiency: Efficiency, fsdp_speed: float) -> float:
        """Estimated tokens per second of one GPU."""
        recipes = [self.recipe, replace(self.recipe, checkpointing="full")] if self.selective else [self.recipe]
        how: dict[str, Any] = {"efficiency": efficiency, "software": self.software}
        seconds = np.mean([step_time.micro_batch_seconds(self.shape, r, self.card, **how) for r in recipes])
        if self.sharded == "fsdp":
            seconds += self._fetching(fsdp_speed)
        step = self.accumulation * float(seconds)
        if self.timed_optimizer:
            step += float(step_time.optimizer_seconds(self.shape, self.recipe, self.card, efficiency=efficiency))
        if self.sharded != "fsdp":
            step += float(step_time.exchange_seconds(self.shape, self.recipe, self.card))
        return self.accumulation * self.recipe.tokens / step

    def _fetching(self, gigabytes_per_second: float) -> float:
        """Seconds in which FSDP gathers the weights, in 16 bits, for each pass and scatters the gradients (Zhao et al.
        2023, arXiv:2304.11277, section 3)."""
        passes, cards = 3 + (self.recipe.checkpointing == "full"), self.recipe.gpus
        moved = 2 * passes * (cards - 1) / cards * float(counts.total(self.shape))
        return moved / (gigabytes_per_second * 1e9 * step_time.NVLINK.get(self.card.name, 600) / 600)


def read() -> list[Run]:
    """The table."""
    ways = read_software()
    with TABLE.open(newline="") as file:
        return [_run(row, ways) for row in csv.DictReader(file)]


def read_software() -> dict[tuple[str, str], Software]:
    """How models are written, by name and precision."""
    with SOFTWARE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    passes = {
        (row["software"], row["precision"], row["pass"]): Pass(**{f.name: float(row[f.name]) for f in fields(Pass)})
        for row in rows
    }
    return {
        (name, precision): Software(forward=forward, backward=passes[name, precision, "backward"])
        for (name, precision, of_pass), forward in passes.items()
        if of_pass == "forward"
    }


def _run(row: dict[str, str], ways: dict[tuple[str, str], Software]) -> Run:
    dimensions = ("num_layers", "hidden_size", "num_heads", "num_kv_heads", "intermediate_size", "vocab_size")
    shape = SimpleNamespace(**{name: int(row[name]) for name in (*dimensions, "tie_embeddings")})
    shape.head_dim = int(row["head_dim"] or shape.hidden_size // shape.num_heads)
    if row["mlp"] == "plain":
        shape.intermediate_size *= 2 / 3
    shape.qkv_bias = shape.qk_norm = 0
    shape.final_norm = 1
    selective, precision = row["checkpointing"] == "selective", row["precision"]
    recipe = Recipe.parse(
        precision=precision,
        micro_batch=int(row["micro_batch"]),
        seq=int(row["seq_len"]),
        gpus=int(row["gpus"]),
        checkpointing="none" if selective else row["checkpointing"],
        attention=row["attention"],
    )
    way = row["software"], "bf16-mixed" if precision == "16-mixed" else precision
    return Run(
        name=row["id"],
        group=row["group"],
        use=row["use"],
        software=as_written(recipe) if row["software"] == "ours" else ways[way],
        shape=shape,
        recipe=recipe,
        selective=selective,
        accumulation=int(row["accumulation"]),
        timed_optimizer=row["optimizer"] == "1" and not row["sharded"],
        sharded=row["sharded"],
        card=device(row["device"]),
        tokens_per_second=float(row["tokens_per_second"]),
    )


def log_errors(runs: Sequence[Run], theta: Sequence[float] | Floats) -> Floats:
    """ln(estimated / measured tokens per second)."""
    efficiency, fsdp_speed = unpacked(theta)
    return np.array([np.log(run.estimate(efficiency, fsdp_speed) / run.tokens_per_second) for run in runs])


def unpacked(theta: Sequence[float] | Floats) -> tuple[Efficiency, float]:
    """The efficiency, and the speed of FSDP."""
    *values, fsdp_speed = map(float, theta)
    return Efficiency(**dict(zip([field.name for field in fields(Efficiency)], values, strict=True))), fsdp_speed


def fit(runs: Sequence[Run]) -> Floats:
    """The parameters of the least error, in the order of START."""
    names, counts = np.unique([run.group for run in runs], return_counts=True)
    sizes = dict(zip(names, counts, strict=True))
    weights = np.array([sizes[run.group] ** -0.5 for run in runs])

    def residuals(logs: Floats) -> Floats:
        pull = (logs - np.log(START)) * SOFT / SPREAD
        return np.concatenate([weights * log_errors(runs, np.exp(logs)), pull])

    found = least_squares(residuals, np.log(START), loss="soft_l1", f_scale=SOFT)
    return np.exp(found.x)


def leave_groups_out(runs: Sequence[Run]) -> dict[str, Floats]:
    """The errors of each group under a fit that has not seen it."""
    errors = {}
    for group in dict.fromkeys(run.group for run in runs):
        theta = fit([run for run in runs if run.group != group])
        errors[group] = log_errors([run for run in runs if run.group == group], theta)
    return errors


def calibration(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.use == "calibrate"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=step_time.EFFICIENCY)
    arguments = parser.parse_args()
    efficiency, fsdp_speed = unpacked(fit(calibration(read())))
    stored = {name: float(f"{value:.4g}") for name, value in asdict(efficiency).items()}
    arguments.out.write_text(json.dumps(stored, indent=1) + "\n")
    print(arguments.out.read_text(), end="")
    print(f"FSDP: {fsdp_speed:.4g} GB/s over NVLink of 600 GB/s")


if __name__ == "__main__":
    main()
