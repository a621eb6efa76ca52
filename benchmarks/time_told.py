"""The published runs of `evidence/training_speed.csv` as a user tells them to `diysolve explain`, and what it answers.

The command takes a gated decoder, a recipe and a card. It cannot be told how else the software is written, and some
runs have to be told otherwise than they were:

    software       `--profile hf` where the run trains transformers' model (TRANSFORMERS), else the default
    mlp            plain: a gated one of two thirds the width, of equal FLOPs
    sharded        as data parallel
    accumulation   not told: the command divides about 524,288 tokens into micro-batches
    optimizer      not told: AdamW, also where forward and backward alone were timed
    checkpointing  selective: not to be told; those runs are left out
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.fit_time import TABLE, Floats
from diymodel.config import DIYConfig
from solver.commands import card_of_file
from solver.compute.evidence import Accuracy

TRANSFORMERS = (
    "fms-acceleration-a100-bf16-plain",
    "fms-acceleration-a100-bf16-fused",
    "vectorlm-a100-80gb-bf16-eager",
    "vectorlm-a100-80gb-bf16-eager-fsdp",
    "whynlp-geforce",
    "whynlp-ampere",
)
"""Groups that train transformers' model: fms-acceleration through its Trainer, vectorlm through AutoModelForCausalLM
(vectorlm/utils/model_utils.py), whyNLP/tinyllama through its run_clm.py with fused kernels put in (README)."""

WRITTEN_OUT = ("course", "book")


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """One published run in the words of the command."""

    name: str
    group: str
    software: str
    """As the evidence has it."""
    config: DIYConfig
    words: dict[str, Any]
    exact: bool
    """Whether the command takes the run as it was: a gated MLP, nothing sharded."""
    tokens_per_second: float
    """Measured, of one GPU."""

    @property
    def uses_transformers(self) -> bool:
        return self.group in TRANSFORMERS

    @property
    def like_a_profile(self) -> bool:
        """Whether the software is written like the one that the profile stands for."""
        return self.software == "ours" or (self.uses_transformers and self.software == "llama")

    def ratio(self) -> float:
        """Estimated / measured tokens per second, by the command."""
        run = card_of_file(lambda: (self.name, self.config), self.words).training
        assert run is not None
        assert run.tokens_per_second is not None
        return run.tokens_per_second / run.gpus / self.tokens_per_second

    def with_profile(self, profile: str) -> Told:
        """The same run, told with another profile."""
        return replace(self, words={**self.words, "profile": profile})


def read_told() -> list[Told]:
    """The runs that the command can be told of."""
    with TABLE.open(newline="") as file:
        return [_told(row) for row in csv.DictReader(file) if row["checkpointing"] != "selective"]


def _told(row: dict[str, str]) -> Told:
    plain, group = row["mlp"] == "plain", row["group"]
    inner = int(row["intermediate_size"])
    config = DIYConfig(
        num_layers=int(row["num_layers"]),
        hidden_size=int(row["hidden_size"]),
        num_heads=int(row["num_heads"]),
        num_kv_heads=int(row["num_kv_heads"]),
        head_dim=int(row["head_dim"] or int(row["hidden_size"]) // int(row["num_heads"])),
        intermediate_size=round(inner * 2 / 3) if plain else inner,
        vocab_size=int(row["vocab_size"]),
        tie_embeddings=row["tie_embeddings"] == "1",
        max_seq_len=int(row["seq_len"]),
    )
    words = {
        "precision": row["precision"],
        "micro_batch": int(row["micro_batch"]),
        "checkpointing": row["checkpointing"],
        "attention": row["attention"],
        "profile": "hf" if group in TRANSFORMERS else "diy",
        "gpus": int(row["gpus"]),
        "gpu": row["device"],
    }
    return Told(
        name=row["id"], group=group, software=row["software"], config=config, words=words,
        exact=not plain and not row["sharded"], tokens_per_second=float(row["tokens_per_second"]),
    )  # fmt: skip


def accuracy(runs: Sequence[Told], ratios: Floats) -> Accuracy:
    """What an answer states of these runs, to the digits that it states."""
    off = _quantile(np.abs(ratios - 1), 0.5, group_weights(runs))
    worst = float(np.maximum(ratios, 1 / ratios).max())
    return Accuracy(groups=len({run.group for run in runs}), off=round(off, 2), worst=round(worst, 1))


def group_weights(runs: Sequence[Told]) -> Floats:
    """Weights under which a group counts the same however many runs it has; they sum to one."""
    groups = [run.group for run in runs]
    weights = np.array([1 / groups.count(group) for group in groups])
    return weights / weights.sum()


def _quantile(values: Floats, share: float, weights: Floats) -> float:
    """Between the middles of the weights in ascending order, so that two equal halves give what lies between them."""
    order = np.argsort(values)
    middles = np.cumsum(weights[order]) - weights[order] / 2
    return float(np.interp(share, middles, values[order]))


Chosen = Callable[[Told], bool]

KINDS: tuple[tuple[str, str | None, Chosen], ...] = (
    ("**software like a profile's**", None, lambda run: run.like_a_profile),
    ("transformers, `--profile hf`", None, lambda run: run.like_a_profile and run.uses_transformers),
    ("the same, default profile", "diy", lambda run: run.like_a_profile and run.uses_transformers),
    ("plain torch, default profile", None, lambda run: run.like_a_profile and not run.uses_transformers),
    ("**other software**", None, lambda run: not run.like_a_profile),
    ("transformers with fused kernels, `--profile hf`", None,
     lambda run: not run.like_a_profile and run.uses_transformers),
    ("the same, default profile", "diy", lambda run: not run.like_a_profile and run.uses_transformers),
    ("Llama's reference code", None, lambda run: run.software == "llama" and not run.uses_transformers),
    ("fused kernels", None, lambda run: run.software == "fused" and not run.uses_transformers),
    ("compiled", None, lambda run: run.software == "compiled"),
    ("written out in courses and books", None, lambda run: run.software in WRITTEN_OUT),
    ("**told exactly, software like a profile's**", None, lambda run: run.exact and run.like_a_profile),
    ("**told exactly, other software**", None, lambda run: run.exact and not run.like_a_profile),
)  # fmt: skip
"""Lines of the table: the runs, the profile where it is not the one that a user would say, which runs they are."""

COLUMNS = ("runs", "number", "groups", "off by", "within 15 %", "within 25 %", "middle half", "off by, runs alike",
           "least and most")  # fmt: skip


def told_table() -> list[str]:
    """What a user gets, in lines of markdown."""
    runs = read_told()
    ratios = {run.name: run.ratio() for run in runs}
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'--|' * len(COLUMNS)}"]
    for title, profile, chosen in KINDS:
        kind = [run for run in runs if chosen(run)]
        found = [run.with_profile(profile).ratio() if profile else ratios[run.name] for run in kind]
        lines.append(f"| {title} | {' | '.join(_cells(kind, np.array(found)))} |")
    return lines


def _cells(runs: Sequence[Told], ratios: Floats) -> list[str]:
    weights, errors, stated = group_weights(runs), np.abs(ratios - 1), accuracy(runs, ratios)
    quarter, most = (_quantile(ratios, share, weights) for share in (0.25, 0.75))
    return [
        str(len(runs)),
        str(stated.groups),
        f"{100 * stated.off:.0f} %",
        *(f"{100 * weights[errors <= limit].sum():.0f} %" for limit in (0.15, 0.25)),
        f"{quarter:.2f} to {most:.2f}",
        f"{100 * np.median(errors):.0f} %",
        f"{ratios.min():.2f} and {ratios.max():.2f}",
    ]
