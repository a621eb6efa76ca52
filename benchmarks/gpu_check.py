"""Everything a GPU is needed for, in one command of under nine minutes: `python benchmarks/gpu_check.py`.

Takes real steps of models from 3M to 1.5B parameters under different recipes, each in a process of its own, puts the
predicted peak and the estimated time beside the measured ones, and asks the card which attention kernels it takes, what
CUDA itself holds, and how fast products, attention, memory and the host are.
Prints tables and writes JSON. Runs from the bare checkout on torch, numpy, scipy, rich and click.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a bare checkout: nothing is installed

from diymodel.config import DIYConfig  # noqa: E402
from solver import counts, memory  # noqa: E402
from solver.compute.step_time import is_known, step_seconds  # noqa: E402
from solver.devices import Device, recognise  # noqa: E402
from solver.recipe import Recipe  # noqa: E402
from solver.report.files import write_whole  # noqa: E402
from solver.units import short_bytes, short_count  # noqa: E402
from solver.verify.count import count_on_meta  # noqa: E402
from solver.verify.measure import Outcome, Trial, accelerator, run_process, run_worker  # noqa: E402
from solver.verify.verdict import judge  # noqa: E402

SCHEMA = "diysolve.gpu_check/1"

BUDGET_SECONDS = 500.0
"""For everything, so that it ends in under nine minutes."""

CASE_SECONDS = 75.0
"""Longest time for one case or probe."""

LEAST_SECONDS = 20.0
"""No case is started with less than this left: loading torch alone can take half of it."""

PROBES = ("card", "attention", "workspace", "context", "speed")
PROBE_FILE = Path(__file__).resolve().with_name("gpu_probes.py")


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One config under one recipe."""

    name: str
    config: DIYConfig
    recipe: Recipe


TINY = DIYConfig()
SMALL = DIYConfig(
    vocab_size=32_000, hidden_size=576, num_layers=30, num_heads=9, num_kv_heads=3, intermediate_size=1536,
    max_seq_len=2048,
)  # fmt: skip
"""MobileLLM's 125M in depth and width."""
WIDE = DIYConfig(hidden_size=1024, num_layers=12, num_heads=16, intermediate_size=4096, max_seq_len=2048)
DEEP = DIYConfig(hidden_size=1024, num_layers=29, num_heads=16, intermediate_size=4096, max_seq_len=2048)
GROUPED = DIYConfig(
    hidden_size=1024, num_layers=24, num_heads=16, num_kv_heads=4, intermediate_size=2816, max_seq_len=2048
)
EXTRAS = DIYConfig(
    vocab_size=128_000, hidden_size=768, num_layers=12, num_heads=12, num_kv_heads=4, head_dim=128,
    intermediate_size=2048, max_seq_len=2048, tie_embeddings=False, qkv_bias=True, qk_norm=True,
)  # fmt: skip
LARGE = DIYConfig(
    vocab_size=32_000, hidden_size=1600, num_layers=54, num_heads=25, num_kv_heads=5, intermediate_size=4352,
    max_seq_len=4096,
)  # fmt: skip
"""MobileLLM's 1.5B in depth and width."""

CASES = (
    Case(name="3M fp32", config=TINY, recipe=Recipe(precision="32-true", micro_batch=16, seq_len=512)),
    Case(name="493M bf16-mixed", config=DEEP, recipe=Recipe(micro_batch=8)),
    Case(name="125M GQA bf16-mixed", config=SMALL, recipe=Recipe(micro_batch=8, seq_len=1024)),
    Case(
        name="493M checkpointed, chunked loss", config=DEEP,
        recipe=Recipe(micro_batch=16, checkpointing="full", loss="chunked"),
    ),
    Case(
        name="493M, 4 micro-batches accumulated", config=DEEP,
        recipe=Recipe(micro_batch=4, accumulation=4),
    ),
    Case(
        name="291M large vocab, tied, bf16-true", config=replace(EXTRAS, tie_embeddings=True),
        recipe=Recipe(precision="bf16-true", optimizer="sgd", seq_len=512),
    ),
    Case(
        name="1.5B checkpointed", config=LARGE,
        recipe=Recipe(micro_batch=4, checkpointing="full"),
    ),
    Case(
        name="277M GQA fp32 (math attention)", config=GROUPED,
        recipe=Recipe(precision="32-true", optimizer="adamw-foreach", micro_batch=4, seq_len=1024),
    ),
    Case(
        name="208M fp16-mixed, dropout", config=replace(WIDE, dropout=0.1),
        recipe=Recipe(precision="16-mixed", micro_batch=8, seq_len=1024),
    ),
    Case(
        name="493M bf16-true, momentum", config=DEEP,
        recipe=Recipe(precision="bf16-true", optimizer="sgd-momentum", micro_batch=8, seq_len=1024),
    ),
    Case(
        name="125M eager, dropout", config=replace(SMALL, dropout=0.1),
        recipe=Recipe(attention="eager", micro_batch=4, seq_len=1024),
    ),
    Case(
        name="1.5B inference", config=LARGE,
        recipe=Recipe(mode="infer", precision="bf16-true", micro_batch=8, seq_len=4096),
    ),
    Case(
        name="291M large vocab, untied, bias, qk norm", config=EXTRAS,
        recipe=Recipe(micro_batch=2, optimizer="adamw-foreach"),
    ),
    Case(
        name="208M fp32, chunked loss, sgd", config=WIDE,
        recipe=Recipe(precision="32-true", optimizer="sgd", loss="chunked", micro_batch=4),
    ),
    Case(
        name="1.5B fp32 foreach", config=LARGE,
        recipe=Recipe(precision="32-true", optimizer="adamw-foreach", checkpointing="full", seq_len=1024),
    ),
    Case(name="1.5B without checkpointing (out of memory)", config=LARGE, recipe=Recipe(micro_batch=32)),
)  # fmt: skip
"""In the order of what is worth knowing most: when time is short, the last ones are skipped."""


def run_cases(
    cases: tuple[Case, ...],
    device: str,
    deadline: float,
    *,
    card: Device | None = None,
    run: Callable[..., Outcome] = run_worker,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of the cases that were run, and the names of those for which no time was left."""
    rows: list[dict[str, Any]] = []
    for index, case in enumerate(cases):
        left = deadline - time.monotonic()
        if left < LEAST_SECONDS:
            return rows, [skipped.name for skipped in cases[index:]]
        trial = Trial(config=case.config, recipe=case.recipe, device=device)
        rows.append(row(case, run(trial, timeout_seconds=min(CASE_SECONDS, left)), card))
        tell(f"{index + 1}/{len(cases)} {case.name}: {rows[-1]['outcome']['kind']}")
    return rows, []


def row(case: Case, outcome: Outcome, card: Device | None = None) -> dict[str, Any]:
    """One case, prediction beside measurement; of a card whose speed is known, its seconds too."""
    predicted = memory.report(case.config, case.recipe)
    params = counts.count(case.config)
    verification = judge(
        case.config, predicted, predicted=params, counted=count_on_meta(case.config), outcome=outcome
    )  # fmt: skip
    measured = (verification.measured or {}).get("ratio")
    estimated = None
    if card and case.recipe.mode == "train" and is_known(card, case.recipe):
        estimated = float(step_seconds(case.config, case.recipe, card))
    return {
        "name": case.name,
        "config": case.config.to_dict(),
        "params": params,
        "predicted": predicted.to_dict(),
        "outcome": asdict(outcome),
        "error_percent": None if measured is None else 100 * (measured - 1),
        "estimated_seconds": estimated,
        "time_error_percent": (
            100 * (estimated / outcome.step_seconds - 1) if estimated and outcome.step_seconds else None
        ),
        "agrees": verification.agrees,
        "note": verification.note,
    }


def run_probe(name: str, device: str, deadline: float) -> Any:
    """What a probe says, or why it does not."""
    left = deadline - time.monotonic()
    if left < LEAST_SECONDS:
        return {"skipped": "no time was left"}
    ended = run_process((sys.executable, str(PROBE_FILE), name, device), "", min(CASE_SECONDS, left))
    if ended.exit_code:
        return {"failed": ended.last_words}
    return {"failed": "timed out"} if ended.exit_code is None else json.loads(ended.stdout)


def environment(device: str) -> dict[str, Any]:
    """What the numbers depend on. The card's name comes from a probe: asking for it here would make a context."""
    return {
        "device": device,
        "gpu": device,
        "driver": _driver(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
    }


def _driver() -> str | None:
    """NVIDIA's driver version, from nvidia-smi, where it is installed."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    query = (command, "--query-gpu=driver_version", "--format=csv,noheader")
    answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    return answer.stdout.strip().split("\n")[0] or None


def cases_table(rows: list[dict[str, Any]]) -> Table:
    """The errors are of the predictions: below zero they were too low."""
    table = Table(title="Predicted and measured peak, estimated and measured time")
    for heading in ("case", "params", "predicted", "measured", "error", "reserved", "workspace", "beyond", "step",
                    "time error", "tokens/s", "loss", "note"):  # fmt: skip
        table.add_column(heading, justify="left" if heading in ("case", "note") else "right", overflow="fold")
    for entry in rows:
        table.add_row(*_cells(entry))
    return table


def _cells(entry: dict[str, Any]) -> list[str]:
    outcome = entry["outcome"]
    beyond = None
    if None not in (outcome["process_bytes"], outcome["reserved_bytes"]):
        beyond = outcome["process_bytes"] - outcome["reserved_bytes"]
    error, seconds = entry["error_percent"], outcome["step_seconds"]
    return [
        entry["name"],
        short_count(entry["params"]["total"]),
        short_bytes(entry["predicted"]["peak_bytes"]),
        _bytes(outcome["peak_bytes"]),
        "" if error is None else f"{error:+.2f} %",
        _bytes(outcome["reserved_bytes"]),
        _bytes(outcome["workspace_bytes"]),
        _bytes(beyond),
        "" if seconds is None else f"{1000 * seconds:.1f} ms",
        "" if entry["time_error_percent"] is None else f"{entry['time_error_percent']:+.0f} %",
        "" if outcome["tokens_per_second"] is None else f"{outcome['tokens_per_second']:,.0f}",
        "" if outcome["loss"] is None else f"{outcome['loss']:.2f}",
        entry["note"] or ("" if entry["agrees"] else "disagrees"),
    ]


def _bytes(value: int | None) -> str:
    return "" if value is None else short_bytes(value) if value >= 0 else f"-{short_bytes(-value)}"


def attention_table(rows: list[dict[str, Any]]) -> Table:
    """Which kernel is taken, and which would be accepted."""
    table = Table(title="scaled_dot_product_attention")
    for heading in ("mode", "dtype", "kv heads of 8", "head_dim", "dropout", "taken", "accepted"):
        table.add_column(heading)
    for entry in rows:
        accepted = ", ".join(name for name, answer in entry["backends"].items() if answer["accepted"])
        table.add_row(
            entry["mode"], entry["dtype"], str(entry["kv_heads"]), str(entry["head_dim"]), str(entry["dropout"]),
            entry["chosen"], accepted,
        )  # fmt: skip
    return table


def show(result: dict[str, Any], console: Console) -> None:
    """The result as tables."""
    where = result["environment"]
    console.print(f"{where['gpu']}, driver {where['driver']}, torch {where['torch']}, Python {where['python']}")
    console.print(cases_table(result["cases"]))
    probes = result["probes"]
    if isinstance(probes.get("attention"), list):
        console.print(attention_table(probes["attention"]))
    for name, answer in probes.items():
        if not isinstance(answer, list):
            console.print(f"{name}: {json.dumps(answer)}")
    if result["skipped"]:
        console.print(f"skipped, no time was left: {', '.join(result['skipped'])}")
    agreeing = sum(entry["agrees"] for entry in result["cases"])
    console.print(f"{agreeing} of {len(result['cases'])} cases agree, in {result['seconds']:.0f} s")


def write(result: dict[str, Any], folder: Path) -> Path:
    """Write the result as JSON under a name that says what it is of; what is not finite becomes text."""
    card = re.sub(r"[^a-z0-9]+", "-", result["environment"]["gpu"].lower()).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"gpu_check-{card}-{result['date'][:10]}.json"
    write_whole(str(path), json.dumps(_finite(result), indent=1, allow_nan=False) + "\n")
    return path


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and value - value != 0 else value


def check(
    device: str,
    cases: tuple[Case, ...],
    out: Path,
    budget_seconds: float,
    *,
    run: Callable[..., Outcome] = run_worker,
) -> dict[str, Any]:
    """Run everything; the result is written after the probes and again after the cases, lest it be lost."""
    started = time.monotonic()
    deadline = started + budget_seconds

    def tell(line: str) -> None:
        click.echo(line, err=True)

    result: dict[str, Any] = {
        "schema": SCHEMA,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(device),
        "probes": {},
        "cases": [],
        "skipped": [],
        "seconds": 0.0,
    }
    for name in PROBES if device == "cuda" else PROBES[:2]:
        tell(f"probe: {name}")
        result["probes"][name] = run_probe(name, device, deadline)
    about = result["probes"]["card"]
    result["environment"]["gpu"] = about.get("name", device)
    card = recognise(about["name"], about["total_bytes"]) if "total_bytes" in about else None
    write(result, out)
    result["cases"], result["skipped"] = run_cases(cases, device, deadline, card=card, run=run, tell=tell)
    result["seconds"] = time.monotonic() - started
    tell(f"written: {write(result, out)}")
    return result


@click.command(help=__doc__)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=None,
    help="Folder of the JSON. Default: $OUT, or benchmarks/results.",
)  # fmt: skip
@click.option(
    "--seconds", type=click.FloatRange(min=LEAST_SECONDS), default=BUDGET_SECONDS, show_default=True,
    help="Start no new case where this time would be exceeded.",
)  # fmt: skip
def main(out: Path | None, seconds: float) -> None:
    """Exit code 0 whatever the measurements say: they are the result."""
    device = accelerator()
    if device is None:
        click.echo("No GPU: torch finds no accelerator on this machine, so there is nothing to measure.")
        return
    folder = out or Path(os.environ.get("OUT") or ROOT / "benchmarks" / "results")
    show(check(device, CASES, folder, seconds), Console(width=200))


if __name__ == "__main__":
    main()
