"""The pages of `count`, `memory`, `rank`, `export`, `devices` and `presets`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from diymodel.config import DIYConfig
from solver.counts import MORE_COMPONENTS
from solver.memory.budget import MemoryReport
from solver.report.answers import (
    CountAnswer,
    DevicesAnswer,
    ExportAnswer,
    MemoryAnswer,
    PresetsAnswer,
    RankAnswer,
)
from solver.report.layout import (
    IN_NATS,
    NONE,
    SHAPE,
    Column,
    Grid,
    Page,
    both_bytes,
    filled_grid,
    gib,
    page,
    rank_cell,
    recipe_line,
    shape_cells,
)
from solver.units import exact_count, short_bytes, short_count

if TYPE_CHECKING:
    from solver.devices import Device
    from solver.interop.blueprints import Config

UNKNOWN = "?"
"""What stands where a figure is not known."""

COUNTED = ("total", "embedding", "position", "attention", "mlp", "router", "norm", "lm_head", "other")
"""Columns of a count, in order; those of MORE_COMPONENTS only where a file has them."""


@page.register(CountAnswer)
def _count(answer: CountAnswer) -> Page:
    found = {name for counted in answer.configs for name, params in (counted.params or {}).items() if params}
    components = [name for name in COUNTED if name in found or name not in MORE_COMPONENTS]
    sparse = any(counted.params and counted.active != counted.params["total"] for counted in answer.configs)
    rows = []
    for counted in answer.configs:
        params = counted.params
        cells = ["not counted"] if params is None else [f"{params.get(name, 0):,}" for name in components]
        cells += [f"{counted.active:,}"] if params and sparse else []
        rows.append((counted.source, *cells, *[NONE] * (len(components) + sparse - len(cells))))
    columns = [Column("config", "word"), *map(Column, components)] + [Column("active")] * sparse
    return [Grid("", tuple(columns), tuple(rows))]


@page.register(MemoryAnswer)
def _memory(answer: MemoryAnswer) -> Page:
    head = f"{answer.source}: {shape_line(answer.config)}\nRecipe: {recipe_line(answer.report.recipe)}"
    return [head, *memory_page(answer.report, answer.device)]


def memory_page(report: MemoryReport, device: Device | None = None) -> Page:
    """Moments and parts, the verdict, what would make it fit; `device` is the card of the budget."""
    blocks: list[str | Grid] = [
        _moments(report.moments, report.binding),
        f"Peak {short_bytes(report.peak_bytes)} at {report.binding}, "
        f"{short_bytes(report.allocated_bytes)} as the allocator counts it; "
        f"{short_bytes(report.device_bytes)} on the device, with allocator slack{_and_context(report)}.",
    ]
    if report.budget_bytes is not None:
        blocks.append(
            f"Budget {both_bytes(report.budget_bytes)}: {_verdict_line(report)}. "
            f"Largest micro-batch: {report.max_micro_batch or 'none'}."
        )
    blocks += [device.caveat] if device and device.caveat else []
    blocks += [report.note] if report.note else []
    if report.remedies:
        blocks.append(_remedies(report))
    return blocks


def _and_context(report: MemoryReport) -> str:
    return ", CUDA context and NCCL" if report.recipe.gpus > 1 else " and CUDA context"


def _remedies(report: MemoryReport) -> Grid:
    """What each change saves; against a budget, whether it is enough."""
    columns = (
        Column("change", "text"),
        Column("saves GiB"),
        Column("peak GiB"),
        Column("fits", "word"),
        Column("largest micro-batch"),
    )
    fits = {"fits": "yes", "uncertain": "uncertain", "does not fit": "no", None: NONE}
    rows = [
        [r.change, gib(r.saved_bytes), gib(r.peak_bytes), fits[r.verdict],
         NONE if r.max_micro_batch is None else str(r.max_micro_batch)]
        for r in report.remedies
    ]  # fmt: skip
    title = "What would save memory" if report.budget_bytes is None else "What would make it fit"
    return filled_grid(title, columns, rows)


def _verdict_line(report: MemoryReport) -> str:
    reserve, over = short_bytes(report.reserve_bytes), report.device_bytes - (report.budget_bytes or 0)
    if report.verdict == "does not fit":
        return f"does not fit, by {short_bytes(over)}"
    return (
        f"fits, with the reserve of {reserve}"
        if report.verdict == "fits"
        else f"uncertain, without the reserve of {reserve}"
    )


def shape_line(config: Config) -> str:
    """A config in one line."""
    if not isinstance(config, DIYConfig):
        return f"{config.model_type}, {_sizes(config, bool(config.family.tie_embeddings))}"
    more = [word for word, on in (("qkv bias", config.qkv_bias), ("qk norm", config.qk_norm)) if on]
    more += [] if config.final_norm else ["no final norm"]
    return ", ".join([_sizes(config, config.tie_embeddings), *more])


def _sizes(config: Config, is_tied: bool) -> str:
    return ", ".join(
        [
            f"{config.num_layers} layers of {config.hidden_size}",
            f"heads {config.num_heads}/{config.num_kv_heads} of {config.head_dim}",
            f"intermediate {config.intermediate_size}",
            f"vocab {config.vocab_size} {'tied' if is_tied else 'untied'}",
        ]
    )


def _moments(moments: Mapping[str, Mapping[str, int]], binding: str) -> Grid:
    """Parts down, moments across; the binding moment is marked. Parts that are nowhere are left out."""
    parts = [part for part in next(iter(moments.values())) if part != "total"]
    seen = [part for part in parts if any(moments[moment][part] for moment in moments)]
    columns = (
        Column("GiB", "word"),
        *(Column(f"{moment} *" if moment == binding else moment) for moment in moments),
    )
    rows = [(part, *(gib(moments[moment][part]) for moment in moments)) for part in (*seen, "total")]
    return Grid("Predicted memory by moment (* binds)", columns, tuple(rows))


@page.register(RankAnswer)
def _rank_answer(answer: RankAnswer) -> Page:
    terms = list(answer.configs[0].score.terms) if answer.configs else []
    columns = (
        Column("#"),
        Column("index"),
        *SHAPE,
        Column("vocab", optional=True),
        Column("tokens"),
        *(Column(term.replace("_", " "), optional=True) for term in terms),
        Column("score"),
    )
    rows = [
        [
            rank_cell(ranked.rank, ranked.score.tie),
            str(ranked.index),
            *shape_cells(ranked.config),
            str(ranked.config.vocab_size),
            NONE if answer.tokens else exact_count(ranked.tokens),
            *(f"{ranked.score.terms[term]:.4f}" for term in terms),
            f"{ranked.score.total:.4f}",
        ]
        for ranked in answer.configs
    ]
    assumed = f"Ranked at {exact_count(answer.tokens)} tokens." if answer.tokens else "Ranked at each config's tokens."
    said = [f"{assumed} {IN_NATS}", *([f"{answer.caution}."] if answer.caution else [])]
    return [filled_grid("", columns, rows), *said]


@page.register(ExportAnswer)
def _export(answer: ExportAnswer) -> Page:
    rows = [(path, f"{size:,}") for path, size in answer.files.items()]
    return [
        f"{answer.source}: {shape_line(answer.config)}",
        f"{answer.params['total']:,} params as {answer.builds}.",
        Grid("", (Column("written", "text"), Column("bytes")), tuple(rows)),
        *(f"Note: {note}." for note in answer.notes),
    ]


@page.register(DevicesAnswer)
def _devices(answer: DevicesAnswer) -> Page:
    columns = (
        Column("name", "word"),
        Column("card", "word", optional=True),
        Column("GB", optional=True),
        Column("GiB"),
        Column("GB/s"),
        *(Column(f"{dtype} TFLOP/s") for dtype in ("bf16", "fp16", "tf32", "fp32")),
        Column("source", "text"),
    )
    rows = [
        [
            card.name,
            card.title,
            f"{card.memory_bytes / 1e9:.2f}",
            gib(card.memory_bytes),
            UNKNOWN if card.bytes_per_second is None else f"{card.bytes_per_second / 1e9:,.0f}",
            *(
                UNKNOWN if peak is None else f"{peak / 1e12:,.1f}"
                for peak in (card.bf16_flops, card.fp16_flops, card.tf32_flops, card.fp32_flops)
            ),
            f"{'CUDA total' if card.cuda_total_known else card.source}; {card.speed_source}",
        ]
        for card in answer.devices
    ]
    return [
        filled_grid("", columns, rows),
        "Memory is what CUDA offers, a CUDA total, where that was published (by whom: --format json or csv), else the "
        "driver's total, which is a little more.",
        "Peaks are dense and with sums in float32. "
        f"{UNKNOWN}: not known, or the card has no such arithmetic; no time is estimated with it.",
        "Give a name as --gpu, auto for the card that is here, or any other size as --vram.",
    ]


@page.register(PresetsAnswer)
def _presets(answer: PresetsAnswer) -> Page:
    columns = (
        Column("name", "word"),
        Column("params"),
        Column("published", optional=True),
        *SHAPE,
        Column("vocab"),
        Column("head", "word"),
    )
    rows = [
        [
            preset.name,
            short_count(preset.params),
            preset.published,
            *shape_cells(preset.config),
            str(preset.config.vocab_size),
            "tied" if preset.config.tie_embeddings else "untied",
        ]
        for preset in answer.presets
    ]
    rows += [
        [
            model.name,
            short_count(model.params),
            model.published or NONE,
            *shape_cells(known.shape),
            str(known.shape.vocab_size),
            "tied" if known.family.tie_embeddings else "untied",
        ]
        for model, known in answer.published
    ]
    return [filled_grid("", columns, rows), "Give a name in place of a FILE; the sources are in --format json."]
