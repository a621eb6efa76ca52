"""Fits the efficiency that step times are estimated with on published throughputs, and writes what the engine loads.

    python benchmarks/fit_time.py [--out FILE]

`evidence/training_speed.csv` holds one published run a row, its source beside it, in the words of DIYConfig and Recipe.
What it says differently:

    use            calibrate: fitted here; test: never fitted, only held against the result by `time_error.py`
    software       course: modules written by students, slower between products; library: of a training library
    mlp            plain: up and down without a gate; counted as a gated one of two thirds the width, of equal FLOPs
    checkpointing  selective: every second product of a layer is computed again, taken as halfway between none and full
    compiled       1: torch.compile, which our model does not use; half the kernels are left, and a fitted share of the
                   traffic, whoever wrote the modules
    sharded        1: FSDP or ZeRO. Its precision is what products are computed in; the optimizer's step is spread over
                   the cards and taken as nothing, and so is the communication
    optimizer      0: forward and backward alone were timed
    tokens_per_second  of one GPU

Left out are runs whose micro-batch, precision or recomputation is not stated, 8-bit products, tensor and pipeline
parallelism, short documents packed together, data parallel over links that are not known, and float32 runs that may
have used TF32. A group weighs the same however many rows it has; residuals are of the logarithm, under a soft l1 loss,
and a weak prior keeps the parameters near what is usual.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

sys.path.insert(0, str(Path(__file__).parents[1]))

from solver.compute import step_time
from solver.compute.step_time import Efficiency, Software
from solver.devices import Device, device
from solver.recipe import Recipe

TABLE = Path(__file__).parent / "evidence" / "training_speed.csv"

Floats = NDArray[np.float64]

START = (0.7, 0.55, 0.9, 0.65, 0.4, 20.0, 2.5, 3.0, 0.5)
"""Efficiency's fields, then traffic and kernels of the courses' software, and the traffic that a compiler leaves: what
is usual, as a prior."""

SPREAD = 0.2
"""Spread of the prior, in logarithms. Without it, products and traffic trade freely where a group is left out."""

SOFT = 0.1
"""Where the soft l1 loss leaves the square: an error of 10 %."""

COMPILED_KERNELS = 0.5
"""Share of the kernels that a compiler leaves. Assumption."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One published run."""

    name: str
    group: str
    use: str
    course: bool
    shape: Any
    recipe: Recipe
    selective: bool
    compiled: bool
    accumulation: int
    timed_optimizer: bool
    card: Device
    tokens_per_second: float

    def estimate(self, efficiency: Efficiency, course: Software, compiled: Software) -> float:
        """Estimated tokens per second of one GPU."""
        software = compiled if self.compiled else course if self.course else Software()
        recipes = [self.recipe, replace(self.recipe, checkpointing="full")] if self.selective else [self.recipe]
        seconds = np.mean(
            [
                step_time.micro_batch_seconds(self.shape, recipe, self.card, efficiency=efficiency, software=software)
                for recipe in recipes
            ]
        )
        step = self.accumulation * float(seconds)
        if self.timed_optimizer:
            step += float(step_time.optimizer_seconds(self.shape, self.recipe, self.card))
        return self.accumulation * self.recipe.tokens / step


def read() -> list[Run]:
    """The table."""
    with TABLE.open(newline="") as file:
        return [_run(row) for row in csv.DictReader(file)]


def _run(row: dict[str, str]) -> Run:
    dimensions = ("num_layers", "hidden_size", "num_heads", "num_kv_heads", "intermediate_size", "vocab_size")
    shape = SimpleNamespace(**{name: int(row[name]) for name in (*dimensions, "tie_embeddings")})
    shape.head_dim = shape.hidden_size // shape.num_heads
    if row["mlp"] == "plain":
        shape.intermediate_size *= 2 / 3
    shape.qkv_bias = shape.qk_norm = 0
    shape.final_norm = 1
    selective = row["checkpointing"] == "selective"
    return Run(
        name=row["id"],
        group=row["group"],
        use=row["use"],
        course=row["software"] == "course",
        shape=shape,
        recipe=Recipe.parse(
            precision=row["precision"],
            micro_batch=int(row["micro_batch"]),
            seq=int(row["seq_len"]),
            checkpointing="none" if selective else row["checkpointing"],
            attention=row["attention"],
        ),
        selective=selective,
        compiled=row["compiled"] == "1",
        accumulation=int(row["accumulation"]),
        timed_optimizer=row["optimizer"] == "1" and row["sharded"] == "0",
        card=device(row["device"]),
        tokens_per_second=float(row["tokens_per_second"]),
    )


def log_errors(runs: Sequence[Run], theta: Sequence[float] | Floats) -> Floats:
    """ln(estimated / measured tokens per second)."""
    efficiency, course, compiled = unpacked(theta)
    return np.array([np.log(run.estimate(efficiency, course, compiled) / run.tokens_per_second) for run in runs])


def unpacked(theta: Sequence[float] | Floats) -> tuple[Efficiency, Software, Software]:
    """The efficiency, the courses' software and what a compiler makes of any."""
    names = [field.name for field in fields(Efficiency)]
    efficiency = Efficiency(**{name: float(value) for name, value in zip(names, theta, strict=False)})
    traffic, kernels, compiled = map(float, theta[len(names) :])
    return efficiency, Software(traffic=traffic, kernels=kernels), Software(traffic=compiled, kernels=COMPILED_KERNELS)


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
    efficiency, course, compiled = unpacked(fit(calibration(read())))
    values = {field.name: round(getattr(efficiency, field.name), 4) for field in fields(Efficiency)}
    courses = {field.name: round(getattr(course, field.name), 4) for field in fields(Software)}
    stored = {"fitted": values, "course_software": courses, "compiled_traffic": round(compiled.traffic, 4)}
    arguments.out.write_text(json.dumps(stored, indent=1) + "\n")
    print(arguments.out.read_text(), end="")


if __name__ == "__main__":
    main()
