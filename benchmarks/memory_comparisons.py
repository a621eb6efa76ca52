"""Memory predictions beside what they are held against: each comparison as a value, with its errors.

- the closed form against the dry run, over drawn configs and recipes: Agreement
- the dry run against peaks that others measured on GPUs and published, for models that are not ours: Comparison
- what is said to be allocated against the allocator replayed, for drawn models of ours: Replay
- both against our own GPU results in benchmarks/results, where there are any: OwnResult
"""

from __future__ import annotations

import csv
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from benchmarks.caching_allocator import replay
from benchmarks.evidence_runs import TABLE, Measurement, dry_run, own_run
from diymodel.config import DIYConfig
from solver import recipe as words
from solver.memory import allocated_bytes, peak_bytes, predict
from solver.memory.budget import CUDA_CONTEXT_BYTES, SLACK_PER_MILLE
from solver.recipe import Recipe
from solver.verify.dry_run import simulate

RESULTS = Path(__file__).parent / "results"

MIB, GIB = 2**20, 2**30

SLACK = 1 + SLACK_PER_MILLE / 1000
"""Reserved over allocated memory, as the memory prediction has it."""

GROUPS = {
    "cs336pro": "CS336 2026 write-up, RTX PRO 6000",
    "cs336enzo": "CS336, EnzoDing-rgb, A800",
    "cs336lin": "CS336, LINYUNLinYun, RTX PRO 6000",
    "damek": "CS336, damek, GPU not stated",
    "snider": "CS336, brandon-snider, H100",
    "rasbt": "LLMs-from-scratch GPT-2, A100",
    "optimum": "transformers GPT-2, ROCm",
    "liger": "cross-entropy alone, A100",
    "kvpress": "transformers Llama-3.1-8B, prompts, A100",
}
"""First word of a row's id -> who measured what."""


def percent(predicted: float, measured: float) -> float:
    """Signed error of a prediction."""
    return 100 * (predicted / measured - 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One published figure beside its predictions, in bytes."""

    measured: Measurement
    tensors: int
    """The peak of the dry run: what diysolve calls the peak."""
    allocated: int
    """With the rests that stay with large blocks, and with cuBLAS's workspaces: what diysolve holds against a card."""
    replayed: int
    """What the allocator would count, workspaces included: allocated, or reserved if that was measured."""

    @property
    def group(self) -> str:
        return self.measured.id.split("-")[0]

    @property
    def error(self) -> float:
        return percent(self.tensors, self.measured.bytes)

    @property
    def error_allocated(self) -> float:
        return percent(self.allocated, self.measured.bytes)

    @property
    def error_with_slack(self) -> float:
        return percent(self.allocated * SLACK, self.measured.bytes)

    @property
    def device_bytes(self) -> float:
        """What the card must hold: slack and context included."""
        return self.allocated * SLACK + CUDA_CONTEXT_BYTES

    @property
    def error_replayed(self) -> float:
        return percent(self.replayed, self.measured.bytes)


def compare(measured: Measurement) -> Comparison:
    traced = dry_run(measured.run)
    peak = replay(traced.events, measured.workspace_bytes)
    tensors, allocated = (
        figures["decode"] if measured.metric == "resident" else max(figures.values())
        for figures in (traced.moments, traced.allocated)
    )
    return Comparison(
        measured=measured,
        tensors=tensors,
        allocated=allocated + peak.workspaces * measured.workspace_bytes,
        replayed=peak.allocated if measured.metric in ("allocated", "prefill") else peak.reserved,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """The closed form beside the dry run for one config and recipe: the peaks, and whether every moment is equal."""

    config: DIYConfig
    recipe: Recipe
    closed_form: int
    dry_run: int
    allocated: bool
    """Whether both say that the same is allocated."""
    every_moment: bool

    @property
    def error(self) -> float:
        return percent(self.closed_form, self.dry_run)


SIMULATED = [kind for kind in get_args(words.Optimizer) if kind != "adamw-8bit"]
"""bitsandbytes' kernels run on a GPU only."""


def draw(source: random.Random) -> tuple[DIYConfig, Recipe]:
    """A config and a recipe, small and odd rather than usual."""
    kv_heads, head_dim = source.randint(1, 6), 2 * source.randint(1, 80)
    seq_len = source.randint(2, 600)
    config = DIYConfig(
        vocab_size=source.randint(50, 40_000),
        hidden_size=8 * source.randint(1, 150),
        num_layers=source.randint(1, 40),
        num_heads=kv_heads * source.randint(1, 4),
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=source.randint(1, 3000),
        max_seq_len=seq_len + source.randint(0, 600),
        dropout=source.choice((0.0, 0.1)),
        tie_embeddings=source.random() < 0.5,
        qkv_bias=source.random() < 0.3,
        qk_norm=source.random() < 0.3,
        final_norm=source.random() < 0.8,
    )
    kinds = {
        name: source.choice(get_args(getattr(words, name.capitalize())))
        for name in ("mode", "precision", "checkpointing", "attention", "loss")
    }
    kinds["optimizer"] = source.choice(SIMULATED)
    prompt = source.randint(1, seq_len) if kinds["mode"] == "infer" else None
    accumulation = source.choice((1, 1, 3)) if kinds["mode"] == "train" else 1
    recipe = Recipe(
        **kinds, micro_batch=source.randint(1, 8), seq_len=seq_len, prompt=prompt, accumulation=accumulation
    )
    return config, recipe


def agreements(draws: int, seed: int) -> list[Agreement]:
    source = random.Random(seed)
    return [agreement(*draw(source)) for _ in range(draws)]


def agreement(config: DIYConfig, recipe: Recipe) -> Agreement:
    simulated = simulate(config, recipe)
    totals = {moment: sum(parts.values()) for moment, parts in predict(config, recipe).items()}
    return Agreement(
        config=config,
        recipe=recipe,
        closed_form=max(totals.values()),
        dry_run=simulated.peak_bytes,
        allocated=allocated_bytes(config, recipe) == simulated.allocated_bytes,
        every_moment=totals == {moment: parts["total"] for moment, parts in simulated.moments.items()},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """What is said to be allocated beside what the allocator, replayed request by request, would count."""

    config: DIYConfig
    recipe: Recipe
    tensors: int
    allocated: int
    replayed: int

    @property
    def error(self) -> float:
        return percent(self.allocated, self.replayed)


def draw_to_scale(source: random.Random) -> tuple[DIYConfig, Recipe]:
    """A model of tens of millions of params to a few billion, and a training recipe, as people have them."""
    hidden, kv_heads = 64 * source.choice((source.randint(5, 18), source.randint(16, 40))), source.randint(2, 12)
    config = DIYConfig(
        vocab_size=source.choice((6400, 32_000, 50_257, 128_256)),
        hidden_size=hidden,
        num_layers=source.randint(6, 24),
        num_heads=kv_heads * source.choice((1, 1, 2, 3, 4)),
        num_kv_heads=kv_heads,
        head_dim=source.choice((64, 64, 128)),
        intermediate_size=64 * source.randint(2 * hidden // 64, 9 * hidden // 128),
        max_seq_len=2048,
        tie_embeddings=source.random() < 0.6,
    )
    recipe = Recipe(
        precision=source.choice(("32-true", "bf16-mixed", "bf16-mixed", "bf16-true")),
        optimizer=source.choice(("adamw", "adamw", "adamw-foreach")),
        micro_batch=source.choice((1, 2, 3, 4, 8)),
        seq_len=source.choice((512, 1000, 1024, 2048)),
        checkpointing=source.choice(("none", "none", "full")),
        loss=source.choice(("plain", "chunked")),
    )
    return config, recipe


def replayed(draws: int, seed: int) -> list[Replay]:
    source = random.Random(seed)
    return [replay_of(*draw_to_scale(source)) for _ in range(draws)]


def replay_of(config: DIYConfig, recipe: Recipe) -> Replay:
    return Replay(
        config=config, recipe=recipe, tensors=int(peak_bytes(config, recipe)),
        allocated=int(allocated_bytes(config, recipe)), replayed=replay(own_run(config, recipe), 0).allocated,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnResult:
    """A case of gpu_check.py that ran to its end."""

    name: str
    gpu: str
    measured: int
    """max_memory_allocated less the workspace."""
    dry_run: int
    closed_form: int


def own_results(folder: Path) -> list[OwnResult]:
    """Cases of every gpu_check-*.json in the folder, predicted anew."""
    found = []
    for path in sorted(folder.glob("gpu_check-*.json")):
        result = json.loads(path.read_text())
        for case in result["cases"]:
            if case["outcome"]["kind"] == "done" and case["outcome"]["peak_bytes"]:
                found.append(_own_result(case, result["environment"]["gpu"]))
    return found


def _own_result(case: dict[str, Any], gpu: str) -> OwnResult:
    config, recipe = DIYConfig.from_dict(case["config"]), Recipe(**case["predicted"]["recipe"])
    return OwnResult(
        name=case["name"], gpu=gpu, measured=case["outcome"]["peak_bytes"],
        dry_run=simulate(config, recipe).allocated_bytes, closed_form=int(allocated_bytes(config, recipe)),
    )  # fmt: skip


def slack_ratios() -> list[float]:
    """Reserved over allocated memory of the same run, in rising order."""
    with TABLE.with_name("reserved_over_allocated.csv").open(newline="") as file:
        return sorted(float(row["reserved"]) / float(row["allocated"]) for row in csv.DictReader(file))
