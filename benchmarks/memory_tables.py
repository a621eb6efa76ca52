"""The comparisons of memory predictions as tables: a heading and rows of text, for the terminal and for the report."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table

from benchmarks.evidence_runs import TABLE, dry_run
from benchmarks.memory_comparisons import GIB, GROUPS, MIB, SLACK, Agreement, Comparison, OwnResult, Replay, percent
from solver.memory.budget import CUDA_CONTEXT_BYTES


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """One table; without rows, its note alone."""

    title: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""

    def rich(self) -> Table:
        table = Table(title=self.title, title_justify="left")
        for index, heading in enumerate(self.headings):
            table.add_column(heading, justify="right" if index else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        lines = [f"## {self.title}", ""]
        if self.note:
            lines += [self.note, ""]
        if not self.rows:
            return "\n".join(lines[:-1])
        lines += [_line(self.headings), _line(["---", *["---:"] * (len(self.headings) - 1)])]
        return "\n".join([*lines, *map(_line, self.rows)])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def gib(nbytes: float) -> str:
    return f"{nbytes / GIB:.3f}"


def signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f} %"  # + 0.0, so that there is no minus before zero


def spread(errors: Sequence[float]) -> tuple[str, str, str]:
    """Median, lowest and highest."""
    return signed(statistics.median(errors)), signed(min(errors)), signed(max(errors))


def summary(comparisons: list[Comparison]) -> Text:
    rows = []
    for group in [*GROUPS, ""]:
        members = [item for item in comparisons if item.group == group or not group]
        if members:
            rows.append(_summary_row(GROUPS.get(group, "all"), members))
    return Text(
        title="Dry run against published peaks",
        headings=("source", "rows", "allocated: median", "lowest", "highest", "tensors: median", "lowest", "highest",
                  "replayed: median", "lowest", "highest"),
        rows=rows,
        note="Measured: `max_memory_allocated`. Allocated: what diysolve holds against a card, the tensors with the "
        "rests that stay with large blocks, and cuBLAS's workspaces. Tensors: those alone, diysolve's peak. Replayed: "
        "request by request, by the caching allocator's rules.",
    )  # fmt: skip


def _summary_row(name: str, members: list[Comparison]) -> tuple[str, ...]:
    return (
        name, str(len(members)),
        *spread([item.error_allocated for item in members]),
        *spread([item.error for item in members]),
        *spread([item.error_replayed for item in members]),
    )  # fmt: skip


def allocated_rows(comparisons: Iterable[Comparison], title: str) -> Text:
    return Text(
        title=title,
        headings=("row", "measured GiB", "allocated GiB", "error", "tensors GiB", "error", "replayed GiB", "error"),
        rows=[
            (
                item.measured.id, gib(item.measured.bytes), gib(item.allocated), signed(item.error_allocated),
                gib(item.tensors), signed(item.error), gib(item.replayed), signed(item.error_replayed),
            )
            for item in comparisons
        ],
    )  # fmt: skip


def reserved_rows(comparisons: Iterable[Comparison]) -> Text:
    return Text(
        title="Reserved memory",
        headings=("row", "reserved GiB", "allocated GiB", f"allocated * {SLACK}", "replayed GiB", "error"),
        rows=[
            (
                item.measured.id, gib(item.measured.bytes), gib(item.allocated), signed(item.error_with_slack),
                gib(item.replayed), signed(item.error_replayed),
            )
            for item in comparisons
        ],
    )  # fmt: skip


def bound_rows(comparisons: Iterable[Comparison]) -> Text:
    return Text(
        title="Out of memory",
        headings=("row", "card holds GiB", "allocated GiB", "device GiB", "predicted to fit"),
        rows=[
            (
                item.measured.id, gib(item.measured.bytes), gib(item.allocated), gib(item.device_bytes),
                "yes: wrong" if item.device_bytes <= item.measured.bytes else "no: right",
            )
            for item in comparisons
        ],
        note="Runs that did not fit. Device: allocated times "
        f"{SLACK}, and {CUDA_CONTEXT_BYTES // MIB} MiB of context.",
    )  # fmt: skip


def resident_rows(comparisons: Iterable[Comparison]) -> Text:
    return Text(
        title="Generation",
        headings=("row", "published GiB", "tensors GiB", "error", "allocated", "as a peak"),
        rows=[
            (
                item.measured.id, gib(item.measured.bytes), gib(item.tensors), signed(item.error),
                signed(item.error_allocated),
                signed(percent(dry_run(item.measured.run).peak_bytes, item.measured.bytes)),
            )
            for item in comparisons
        ],
        note="Qwen3's speed benchmark does not say how it measures. Its figures lie below what the feed-forward of one "
        "layer holds while a long prompt is taken in, so they are taken for no peaks, and compared with what is "
        "alive when the last token is decoded (weights, cache, one layer's growth). The last column takes them for "
        "peaks.",
    )  # fmt: skip


def prefill_rows(comparisons: Iterable[Comparison]) -> Text:
    return Text(
        title="Taking in a prompt",
        headings=("row", "published GiB", "tensors GiB", "error", "allocated", "replayed"),
        rows=[
            (
                item.measured.id, gib(item.measured.bytes), gib(item.tensors), signed(item.error),
                signed(item.error_allocated), signed(item.error_replayed),
            )
            for item in comparisons
        ],
        note="max_memory_allocated of generate(), read off the plots of the notebook, to 0.04 GiB.",
    )  # fmt: skip


def slack_rows(ratios: list[float]) -> Text:
    deciles = statistics.quantiles(ratios, n=10, method="inclusive")
    return Text(
        title="Reserved over allocated, published pairs of one run",
        headings=("pairs", "median", "90th percentile", "lowest", "highest"),
        rows=[
            (
                str(len(ratios)), f"{statistics.median(ratios):.3f}", f"{deciles[-1]:.3f}", f"{ratios[0]:.3f}",
                f"{ratios[-1]:.3f}",
            )
        ],
    )  # fmt: skip


def agreement_rows(found: list[Agreement], seed: int) -> Text:
    unequal = [item for item in found if not item.every_moment]
    worst = sorted(unequal, key=lambda item: -abs(item.error))[:10]
    equal = sum(item.closed_form == item.dry_run for item in found)
    moments = sum(item.every_moment for item in found)
    allocated = sum(item.allocated for item in found)
    return Text(
        title="Closed form against the dry run",
        headings=("worst cases", "closed form", "dry run", "difference, bytes", "error"),
        rows=[
            (
                _describe(item), f"{item.closed_form:,}", f"{item.dry_run:,}", f"{item.closed_form - item.dry_run:+,}",
                f"{item.error:+.4f} %",
            )
            for item in worst
        ],
        note=f"{len(found)} drawn configs and recipes (seed {seed}): the peak is equal to the byte in {equal}, every "
        f"moment in {moments}, what is allocated in {allocated}.",
    )  # fmt: skip


def replay_rows(found: list[Replay], seed: int) -> Text:
    rows = [("tensors", [percent(item.tensors, item.replayed) for item in found])]
    rows.append(("allocated", [item.error for item in found]))
    worst = sorted(found, key=lambda item: -abs(item.error))[:3]
    return Text(
        title="Our own models against the allocator replayed",
        headings=("figure", "models", "median", "lowest", "highest"),
        rows=[(name, str(len(errors)), *spread(errors)) for name, errors in rows],
        note=f"Drawn models and training recipes (seed {seed}), the last of three steps, no workspaces. Farthest off: "
        + "; ".join(f"{signed(item.error)} ({_describe(item)}, {gib(item.replayed)} GiB)" for item in worst) + ".",
    )  # fmt: skip


def _describe(item: Agreement | Replay) -> str:
    shape, recipe = item.config, item.recipe
    return (
        f"h {shape.hidden_size} L {shape.num_layers} H {shape.num_heads}/{shape.num_kv_heads} B {recipe.micro_batch} "
        f"T {recipe.seq_len} {recipe.mode} {recipe.precision} {recipe.optimizer} {recipe.checkpointing} "
        f"{recipe.attention} {recipe.loss}"
    )


def own_rows(found: list[OwnResult]) -> Text:
    return Text(
        title="Our own GPU results",
        headings=("case", "GPU", "measured GiB", "dry run", "closed form"),
        rows=[
            (
                item.name, item.gpu, gib(item.measured), signed(percent(item.dry_run, item.measured)),
                signed(percent(item.closed_form, item.measured)),
            )
            for item in found
        ],
        note="Of gpu_check.py, predicted anew." if found else "No GPU results yet.",
    )  # fmt: skip


def sources(comparisons: Iterable[Comparison]) -> Text:
    cited = {item.measured.source: item.group for item in comparisons}
    return Text(title="Sources", headings=("source", "rows named"), rows=[(source, cited[source]) for source in cited])


def skipped() -> Text:
    with TABLE.with_name("skipped.csv").open(newline="") as file:
        rows = [(row["source"], row["rows"], row["why"]) for row in csv.DictReader(file)]
    return Text(title="Published figures that were not used", headings=("source", "rows", "why"), rows=rows)
