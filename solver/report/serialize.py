"""Answers for programs and documents: JSON, CSV, markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import singledispatch

from solver.card import Card
from solver.report.answers import (
    Answer,
    CompareAnswer,
    CountAnswer,
    DevicesAnswer,
    ExplainAnswer,
    ExportAnswer,
    MemoryAnswer,
    PresetsAnswer,
    RankAnswer,
    VerifyAnswer,
)
from solver.report.layout import Grid, Page
from solver.solution import Row, Solution, config_row, training_row


def to_json(answer: Answer) -> str:
    return json.dumps(answer.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(answer: Answer) -> str:
    """A header and one row per candidate, config, moment, card or preset. Empty cells are None."""
    rows = records(answer)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({name: _csv_value(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _csv_value(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def to_markdown(page: Page) -> str:
    blocks = [block if isinstance(block, str) else _markdown_grid(block) for block in page]
    return "\n\n".join(blocks) + "\n"


def _markdown_grid(grid: Grid) -> str:
    titles = [column.title.replace(" /", "/") for column in grid.columns]
    rules = ["---:" if column.kind == "number" else ":---" for column in grid.columns]
    lines = [f"| {' | '.join(map(_markdown_cell, row))} |" for row in (titles, rules, *grid.rows)]
    return "\n".join([f"**{grid.title}**", "", *lines] if grid.title else lines)


def _markdown_cell(text: str) -> str:
    return text.strip().replace("|", "\\|").replace("\n", " ")


@singledispatch
def records(answer: Answer) -> Sequence[Row]:
    """An answer as flat rows, every column in every row that has it."""
    raise AssertionError(f"no records for {type(answer).__name__}")


@records.register(Solution)
def _solution(answer: Solution) -> Sequence[Row]:
    return answer.rows() or [
        {**config_row(miss.config), "params_total": miss.params, "device_bytes": miss.device_bytes,
         "breaks": "; ".join(miss.breaks)}
        for miss in answer.nearest
    ]  # fmt: skip


@records.register(CountAnswer)
def _count(answer: CountAnswer) -> Sequence[Row]:
    return [
        {"source": counted.source, "error": counted.error} if counted.params is None else
        {"source": counted.source, **counted.params, "model_type": counted.model_type, "active": counted.active,
         "non_embedding": counted.non_embedding}
        for counted in answer.configs
    ]  # fmt: skip


@records.register(MemoryAnswer)
def _memory(answer: MemoryAnswer) -> Sequence[Row]:
    report = answer.report
    return [
        {
            "source": answer.source,
            "moment": moment,
            "binding": moment == report.binding,
            **parts,
            "peak_bytes": report.peak_bytes,
            "allocated_bytes": report.allocated_bytes,
            "device_bytes": report.device_bytes,
            "budget_bytes": report.budget_bytes,
            "verdict": report.verdict,
            "max_micro_batch": report.max_micro_batch,
        }
        for moment, parts in report.moments.items()
    ]


@records.register(VerifyAnswer)
def _verify(answer: VerifyAnswer) -> Sequence[Row]:
    return [{"source": verified.source, **verified.verification.row()} for verified in answer.configs]


@records.register(RankAnswer)
def _rank(answer: RankAnswer) -> Sequence[Row]:
    return [
        {
            "rank": ranked.rank,
            "index": ranked.index,
            **ranked.config.to_dict(),
            "tokens": ranked.tokens,
            "predicted_loss": ranked.score.predicted_loss,
            "score": ranked.score.total,
            "tie": ranked.score.tie,
            **{f"term_{term}": value for term, value in ranked.score.terms.items()},
        }
        for ranked in answer.configs
    ]


@records.register(ExportAnswer)
def _export(answer: ExportAnswer) -> Sequence[Row]:
    return [
        {
            "source": answer.source,
            "to": answer.program,
            "builds": answer.builds,
            "params_total": answer.params["total"],
            "path": path,
            "bytes": size,
        }
        for path, size in answer.files.items()
    ]


@records.register(DevicesAnswer)
def _devices(answer: DevicesAnswer) -> Sequence[Row]:
    return [device.to_dict() for device in answer.devices]


@records.register(PresetsAnswer)
def _presets(answer: PresetsAnswer) -> Sequence[Row]:
    return [
        {"name": preset.name, "params": preset.params, "published": preset.published, "source": preset.source,
         **preset.config.to_dict()}
        for preset in answer.presets
    ] + [
        {"name": model.name, "params": model.params, "published": model.published, "source": model.source,
         **asdict(known.shape), "model_type": known.model_type}
        for model, known in answer.published
    ]  # fmt: skip


@records.register(ExplainAnswer)
def _explain(answer: ExplainAnswer) -> Sequence[Row]:
    return [_card(answer.card)]


@records.register(CompareAnswer)
def _compare(answer: CompareAnswer) -> Sequence[Row]:
    return [_card(card) for card in answer.comparison.cards]


def _card(card: Card) -> Row:
    return {
        "source": card.source,
        **card.config.to_dict(),
        **{f"params_{component}": value for component, value in card.params.items()},
        "params_layer": card.layer.params,
        "size_class": card.size_class.name,
        "flops_per_token": card.work.model,
        "hardware_flops_per_token": card.work.hardware,
        "peak_bytes": card.memory.peak_bytes,
        "device_bytes": card.memory.device_bytes,
        "verdict": card.memory.verdict,
        "predicted_loss": card.predicted_loss,
        **(training_row(card.training) if card.training else {}),
    }
