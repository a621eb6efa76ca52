"""Finished answers built by hand, for the tests of what is written about them. Their numbers need not be true."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from diymodel.config import DIYConfig
from solver.card import compare, make_card
from solver.compute.plan import Training
from solver.devices import DEVICES, device
from solver.memory.budget import MemoryReport, Remedy
from solver.presets import PRESETS, PUBLISHED
from solver.query import Query, Span
from solver.ranking.score import Score
from solver.recipe import Recipe
from solver.report.answers import (
    Answer,
    CompareAnswer,
    CountAnswer,
    Counted,
    DevicesAnswer,
    ExplainAnswer,
    ExportAnswer,
    MemoryAnswer,
    PresetsAnswer,
    RankAnswer,
    Ranked,
    Verified,
    VerifyAnswer,
)
from solver.solution import (
    Binding,
    Candidate,
    Explanation,
    NearMiss,
    Neighbour,
    Reading,
    Relaxation,
    Solution,
    Stats,
    Status,
    Verification,
)

DEEP = DIYConfig(hidden_size=768, num_layers=52, num_heads=12, num_kv_heads=4, intermediate_size=3072, max_seq_len=2048)
WIDE = DIYConfig(hidden_size=1024, num_layers=29, num_heads=16, intermediate_size=4096, max_seq_len=2048)

PARTS = ("weights", "weight_copies", "gradients", "optimizer", "activations", "logits_loss", "temporaries")


def moment(**parts: int) -> dict[str, int]:
    """All parts of a moment in MiB, with their total."""
    values = {part: parts.get(part, 0) * 2**20 for part in (*PARTS, "kv_cache", "buffers")}
    return {"total": sum(values.values()), **values}


MEMORY = MemoryReport(
    recipe=Recipe(),
    peak_bytes=11_500 * 2**20,
    allocated_bytes=11_540 * 2**20,
    device_bytes=12_650 * 2**20,
    reserve_bytes=1_414 * 2**20,
    binding="backward",
    moments={
        "forward_end": moment(weights=1880, weight_copies=940, optimizer=3760, activations=3020),
        "loss": moment(weights=1880, weight_copies=940, optimizer=3760, activations=3020, logits_loss=125),
        "backward": moment(weights=1880, weight_copies=940, gradients=1880, optimizer=3760, activations=3040),
        "optimizer_step": moment(weights=1880, gradients=1880, optimizer=3760),
    },
)
FITS = replace(MEMORY, budget_bytes=24 * 10**9, verdict="fits", max_micro_batch=4)
TOO_LARGE = replace(
    MEMORY,
    budget_bytes=8 * 10**9,
    verdict="does not fit",
    max_micro_batch=0,
    remedies=(
        Remedy(
            change="--checkpointing full",
            peak_bytes=8780 * 2**20,
            saved_bytes=2720 * 2**20,
            fits=False,
            max_micro_batch=0,
        ),
        Remedy(
            change="--precision bf16-true",
            peak_bytes=6550 * 2**20,
            saved_bytes=4950 * 2**20,
            fits=True,
            max_micro_batch=1,
        ),
    ),
)

COUNTED_ONLY = Verification(
    device="meta",
    params={"predicted": 495_729_408, "counted": 495_729_408, "equal": True},
    simulated=None,
    measured=None,
    forward_finite=None,
    loss=None,
    note="not measured (no GPU)",
    agrees=True,
)
MEASURED = Verification(
    device="cuda",
    params={"predicted": 493_153_280, "counted": 493_153_280, "equal": True},
    simulated={"peak_bytes": 11_510 * 2**20, "ratio": 0.999},
    measured={
        "peak_bytes": 11_520 * 2**20,
        "reserved_bytes": 12_000 * 2**20,
        "ratio": 0.998,
        "step_seconds": 0.1234,
        "tokens_per_second": 16_597.0,
    },
    forward_finite=True,
    loss=8.81,
    note="",
    agrees=True,
)
REFUTED = Verification(
    device="cuda",
    params={"predicted": 2_950_400, "counted": 2_950_144, "equal": False},
    simulated=None,
    measured={
        "peak_bytes": None,
        "reserved_bytes": None,
        "ratio": None,
        "step_seconds": None,
        "tokens_per_second": None,
    },
    forward_finite=False,
    loss=None,
    note="out of memory in backward",
    agrees=False,
)

PARAMS = {
    "total": 495_729_408, "embedding": 4_915_200, "attention": 122_683_392, "mlp": 368_050_176, "norm": 80_640,
    "lm_head": 0,
}  # fmt: skip


def score(total: float, *, tie: bool) -> Score:
    terms = {"predicted_loss": total - 0.01, "mlp_share": 0.01, "kv_heads": 0.0}
    return Score(total=total, terms=terms, predicted_loss=total - 0.01, tie=tie)


def candidate(rank: int, config: DIYConfig, **changes: Any) -> Candidate:
    values: dict[str, Any] = {
        "rank": rank,
        "config": config,
        "params": PARAMS,
        "target_error": -0.00854 * rank,
        "memory": FITS,
        "score": score(2.6 + rank / 1000, tie=rank < 3),
        "relative_step_time": 1 + (rank - 1) / 16,
        "pareto": rank != 3,
    }
    return Candidate(**{**values, **changes})


STATS = Stats(lattice=76_604_928, in_band=5202, fitting=5100, seconds=0.0123)

SOLVED = Solution(
    status=Status.SOLVED,
    message="5,100 shapes fit",
    query=Query(target_params=500_000_000, vram_bytes=24_000_000_000, num_layers=Span(24, 60), tie_embeddings=True),
    stats=STATS,
    binding=Binding(constraint="none", change="", gain=0.0),
    candidates=(
        candidate(1, DEEP, verification=COUNTED_ONLY),
        candidate(2, WIDE, verification=MEASURED),
        candidate(3, replace(WIDE, num_layers=28)),
    ),
)
UNLIMITED = Solution(
    status=Status.SOLVED,
    message="",
    query=Query(target_params=500_000_000, tokens_per_param=20),
    stats=STATS,
    candidates=(candidate(1, DEEP, memory=MEMORY),),
)
EXPLAINED = replace(
    SOLVED,
    binding=Binding(constraint="memory", change="no budget", gain=0.0123),
    explanation=Explanation(
        relaxations=(
            Relaxation(
                constraint="memory",
                change="one more GiB",
                config=DEEP,
                predicted_loss=2.5801,
                loss_gain=0.0109,
                score_gain=0.0111,
                note="",
            ),
            Relaxation(
                constraint="target",
                change="target 550M",
                config=None,
                predicted_loss=None,
                loss_gain=None,
                score_gain=None,
                note="nothing satisfies that",
            ),
        ),
        readings=tuple(
            Reading(rank=rank, term="kv_heads", nats=0.0, shape=f"{4 * rank} kv heads", meaning="fewer than four")
            for rank in (1, 2)
        ),
        neighbours=tuple(
            Neighbour(name=known.name, params=known.params, config=known.config, source=known.source)
            for known in PUBLISHED[:2]
        ),
    ),
)
RUN = Training(
    tokens=8_168_000_000,
    tokens_per_param=16.5,
    regime="compute-optimal",
    batch_tokens=524_288,
    accumulation=32,
    steps=15_580,
    flops_per_token=1_800_000_000,
    flops=14_702_400_000_000_000_000,
    device="rtx4090",
    speed="estimated",
    tokens_per_second=47_268.0,
    seconds=172_800.0,
    mfu=0.515,
    hfu=0.515,
    cost=24.0,
)
TIMED = replace(
    SOLVED,
    query=Query(vram_bytes=24_000_000_000, train_days=2.0, device=device("rtx4090"), price=0.5),
    caution="The law extrapolates here",
    candidates=(
        candidate(1, DEEP, target_error=None, training=replace(RUN, speed="measured")),
        candidate(2, WIDE, target_error=None, training=RUN),
    ),
)
CARD = make_card(
    "wide.json", WIDE, Recipe(checkpointing="full", gpus=2), tokens=10**10, budget_bytes=24 * 10**9,
    device=device("rtx4090"), price=0.5,
)  # fmt: skip
CARDS = (
    make_card("tiny|odd.json", DIYConfig(), Recipe(seq_len=512), device=device("v100-16gb")),
    make_card("wide.json", WIDE, Recipe(seq_len=512), device=device("v100-16gb")),
)
INFEASIBLE = Solution(
    status=Status.INFEASIBLE,
    message="none of the shapes of this size fits",
    query=Query(target_params=7_000_000_000, vram_bytes=10**9, tie_embeddings=False),
    stats=replace(STATS, fitting=0),
    nearest=(
        NearMiss(
            config=replace(DEEP, num_layers=2),
            params=7_007_000_000,
            device_bytes=139 * 2**30,
            breaks=("vram: needs 139 GiB on the device", "target: 0.1 % over"),
        ),
    ),
    largest_target_that_fits=10_520_832,
)

ANSWERS: dict[str, Answer] = {
    "solved": SOLVED,
    "explained": EXPLAINED,
    "unlimited": UNLIMITED,
    "infeasible": INFEASIBLE,
    "count": CountAnswer(
        (
            Counted(source="deep.json", params=PARAMS, active=PARAMS["total"]),
            Counted(source="none.json", error="file='none.json': is empty"),
        )
    ),
    "memory": MemoryAnswer(source="wide.json", config=WIDE, report=TOO_LARGE),
    "verify": VerifyAnswer(
        (
            Verified(source="deep.json", config=DEEP, recipe=Recipe(), verification=COUNTED_ONLY),
            Verified(source="wide.json", config=DEEP, recipe=Recipe(), verification=MEASURED),
            Verified(source="tiny|odd.json", config=DEEP, recipe=Recipe(), verification=REFUTED),
        )
    ),
    "rank": RankAnswer(
        tokens=None,
        configs=(
            Ranked(index=1, rank=1, config=DEEP, tokens=10**12, score=score(2.6, tie=True)),
            Ranked(index=0, rank=2, config=WIDE, tokens=3 * 10**11, score=score(2.7, tie=True)),
        ),
    ),
    "export": ExportAnswer(
        source="deep.json",
        program="litgpt",
        builds="litgpt.GPT",
        config=DEEP,
        params=PARAMS,
        files={"litgpt/model_config.yaml": 412},
        notes=("litgpt ties the head on request only",),
    ),
    "timed": TIMED,
    "explain": ExplainAnswer(CARD),
    "compare": CompareAnswer(compare(CARDS)),
    "devices": DevicesAnswer((*DEVICES[:3], device("t4"))),
    "presets": PresetsAnswer(PRESETS[:3]),
}
