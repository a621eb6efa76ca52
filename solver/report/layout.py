"""An answer as sentences and grids of text: what is shown, in which words, before it is known where.

The writers of `table.py` and `serialize.py` draw the same page for a terminal, a pipe or markdown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Literal

from diymodel.config import DIYConfig
from solver.compute.plan import Training
from solver.families import Dimensions
from solver.query import DEFAULT_TOKENS, OPTIONS, Query
from solver.recipe import BATCH_TOKENS, Recipe
from solver.report.answers import (
    Answer,
    VerifyAnswer,
)
from solver.solution import Candidate, Explanation, NearMiss, Reading, Relaxation, Solution, Status, Verification
from solver.units import GIB, exact_count, short_bytes, short_count

NONE = "-"
"""What stands where there is nothing."""

TIED = "="
"""The mark of a candidate of which the law cannot tell whether it or rank 1 is better."""

UNSEEN = "no published run on this card is behind the estimate"
"""Of a time on a card that the evidence lacks."""

IN_NATS = f"Loss and score in nats, lower is better; {TIED} marks what the law cannot tell from rank 1."


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a grid."""

    title: str
    kind: Literal["number", "word", "text"] = "number"
    """Numbers stand at the right; a text may be broken into lines, the others never are."""
    optional: bool = False
    """Left out first where a terminal is too narrow."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells of text under titles."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


Page = Sequence[str | Grid]
"""Sentences and grids, in order."""


@singledispatch
def page(answer: Answer) -> Page:
    """The page of an answer."""
    raise AssertionError(f"no page for {type(answer).__name__}")


def filled_grid(title: str, columns: Iterable[Column], rows: Iterable[Sequence[str]]) -> Grid:
    """A grid without the columns that have nothing to say in any row."""
    columns, rows = tuple(columns), [tuple(row) for row in rows]
    kept = [index for index in range(len(columns)) if any(row[index] != NONE for row in rows)]
    return Grid(title, tuple(columns[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in rows))


# solve


@page.register(Solution)
def _solution(answer: Solution) -> Page:
    blocks: list[str | Grid] = [f"{_query_line(answer.query)}\nRecipe: {_query_recipe(answer.query)}"]
    if answer.status is Status.INFEASIBLE:
        blocks += [answer.message, *_nearest(answer)]
        blocks += [answer.query.device.caveat] if answer.query.device and answer.query.device.caveat else []
    else:
        said = f"{_what_is_predicted(answer.query)} {_days_line(answer)}{IN_NATS}"
        blocks += [_candidates(answer), said]
        blocks += [f"{answer.caution}."] if answer.caution else []
        blocks += _memory_notes(answer)
        blocks += [f"Binding constraint: {answer.binding}."] if answer.binding else []
        blocks += _verifications(answer.candidates)
    if answer.explanation:
        blocks += _explanation(answer.explanation)
    return [*blocks, _stats_line(answer)]


def _what_is_predicted(query: Query) -> str:
    if not query.is_foreign:
        return "Memory is predicted."
    kind = f"this {query.family}" if query.like else query.family
    return (
        f"Of {kind} neither memory nor step time is known. Its loss is that of a gated decoder of the same layers, "
        "width and size: an assumption, and what else it has is not scored."
    )


def _memory_notes(answer: Solution) -> list[str]:
    """What to keep in mind about the budget's card and about the memory of the candidates."""
    memory = answer.candidates[0].memory
    notes = (answer.query.device.caveat if answer.query.device else "", memory.note if memory else "")
    return [note for note in notes if note]


def _days_line(answer: Solution) -> str:
    """Whence the days are."""
    runs = [candidate.training for candidate in answer.candidates if candidate.training]
    if not runs or not answer.query.device:
        return ""
    measured = sum(run.speed == "measured" for run in runs)
    title = answer.query.device.title
    if measured == len(runs):
        return f"Days are those of the measured step on {title}. "
    mixed = f", and measured for the first {measured}" if measured else ""
    slow = any(run.host_sets_the_pace for run in runs)
    host = "; the host, which starts the kernels, is slower than the card: try a larger --micro-batch" if slow else ""
    unseen = f"; {UNSEEN}" if any(run.published_runs == 0 for run in runs) else ""
    return f"Days are estimated for {title}{mixed}{unseen}{host}. "


def _query_line(query: Query) -> str:
    wanted = []
    if query.target_params is not None:
        wanted.append(f"target {exact_count(query.target_params)} within {100 * query.tolerance:g}%")
    if query.vram_bytes is not None:
        wanted.append(f"budget {both_bytes(query.vram_bytes)}")
    if query.train_days is not None:
        wanted.append(f"{query.train_days:g} days of training on {query.device.title if query.device else NONE}")
    elif query.train_flops is not None:
        wanted.append(f"{query.train_flops:.3g} training FLOPs")
    elif query.tokens_per_param is not None:
        wanted.append(f"{query.tokens_per_param:g} tokens a parameter")
    else:
        wanted.append(f"{exact_count(query.tokens or DEFAULT_TOKENS)} tokens")
    wanted += _kind_words(query)
    for name, word in OPTIONS.items():
        axis = query.axis(name)
        if axis is not None:
            wanted.append(f"{word} {','.join(map(str, axis)) if isinstance(axis, tuple) else axis}")
    if not query.tie_embeddings:
        wanted.append("untied head")
    if query.prefer != "quality":
        wanted.append(f"prefer {query.prefer}")
    return f"Query: {', '.join(wanted)}"


def _kind_words(query: Query) -> list[str]:
    """The family or the model, and what of it is kept and not overridden."""
    blueprint = query.blueprint
    if blueprint is None:
        return []
    kept = blueprint.options() + [words for name, words in blueprint.kept().items() if query.axis(name) is None]
    kind = f"family {blueprint.family}" if blueprint.like is None else f"like {blueprint.like}"
    return [f"{kind} ({', '.join(kept)})" if kept else kind]


def _query_recipe(query: Query) -> str:
    if query.is_foreign:
        return f"sequences of {query.recipe.seq_len:,} tokens"
    if not query.largest_micro_batch:
        return recipe_line(query.recipe)
    accumulated = f"accumulated to about {BATCH_TOKENS:,} tokens" if query.follows_batch_tokens else ""
    return recipe_line(query.recipe, "as many sequences as fit", accumulated)


def recipe_line(recipe: Recipe, micro_batch: str = "", accumulated: str = "") -> str:
    """A recipe in one line, in the words of the command line."""
    words: list[str] = [recipe.mode, recipe.precision]
    if recipe.mode == "train":
        words += [recipe.optimizer, f"checkpointing {recipe.checkpointing}", f"{recipe.loss} loss"]
    sequences = micro_batch or f"micro-batch {recipe.micro_batch}"
    words += [f"{recipe.attention} attention", f"{sequences} of {recipe.seq_len:,} tokens"]
    if recipe.accumulates:
        words.append(accumulated or f"{recipe.accumulation:,} micro-batches accumulated")
    if recipe.gpus > 1:
        words.append(f"{recipe.gpus} cards in data parallel")
    if recipe.mode == "infer":
        words.append(f"prompt of {recipe.prompt_len:,}")
    if recipe.profile == "hf":
        words.append("transformers' model")
    return ", ".join(words)


SHAPE = (
    Column("layers"),
    Column("hidden"),
    Column("heads /kv"),
    Column("head dim", optional=True),
    Column("intermediate"),
)


def shape_cells(config: DIYConfig | Dimensions) -> list[str]:
    """The cells under SHAPE."""
    return [
        str(config.num_layers),
        str(config.hidden_size),
        f"{config.num_heads}/{config.num_kv_heads}",
        str(config.head_dim),
        str(config.intermediate_size),
    ]


def _candidates(answer: Solution) -> Grid:
    columns = (
        Column("#"),
        *SHAPE,
        Column("params"),
        Column("off target"),
        Column("micro- batch"),
        Column("peak GiB", optional=True),
        Column("device GiB"),
        Column("verdict", "word"),
        Column("tokens"),
        Column("days"),
        Column("cost", optional=True),
        Column("loss"),
        Column("score", optional=True),
        Column("step time", optional=True),
        Column("pareto", "word", optional=True),
    )
    own_batch = answer.query.largest_micro_batch
    return filled_grid("", columns, (_candidate_cells(candidate, own_batch) for candidate in answer.candidates))


def _candidate_cells(candidate: Candidate, own_batch: bool) -> list[str]:
    memory = candidate.memory
    return [
        rank_cell(candidate.rank, candidate.score.tie),
        *shape_cells(candidate.config),
        short_count(candidate.params["total"]),
        NONE if candidate.target_error is None else f"{100 * candidate.target_error:+.2f}%",
        str(memory.recipe.micro_batch) if memory and own_batch else NONE,
        gib(memory.peak_bytes) if memory else NONE,
        gib(memory.device_bytes) if memory else NONE,
        (memory.verdict if memory else None) or NONE,
        *_run_cells(candidate.training),
        f"{candidate.score.predicted_loss:.4f}",
        f"{candidate.score.total:.4f}",
        _number(candidate.relative_step_time, ".2f"),
        "yes" if candidate.pareto else NONE,
    ]


def _run_cells(run: Training | None) -> list[str]:
    """Tokens, days and cost of a training run."""
    if run is None:
        return [NONE, NONE, NONE]
    return [short_count(run.tokens), _number(run.days, ",.3g"), _number(run.cost, ",.0f")]


def rank_cell(rank: int, tie: bool) -> str:
    """A rank, and the mark of a tie."""
    return f"{rank}{TIED}" if tie and rank > 1 else f"{rank} "


def _nearest(answer: Solution) -> Page:
    blocks: list[str | Grid] = []
    if answer.nearest:
        columns = (*SHAPE, Column("params"), Column("device GiB"), Column("breaks", "text"))
        blocks.append(filled_grid("Nearest misses", columns, (_miss_cells(miss) for miss in answer.nearest)))
    if answer.largest_target_that_fits is not None:
        fits = answer.largest_target_that_fits
        blocks.append(f"The largest target that fits: {short_count(fits)} ({fits:,} params).")
    return blocks


def _miss_cells(miss: NearMiss) -> list[str]:
    device = NONE if miss.device_bytes is None else gib(miss.device_bytes)
    return [*shape_cells(miss.config), short_count(miss.params), device, "; ".join(miss.breaks)]


def _stats_line(answer: Solution) -> str:
    stats = answer.stats
    band = f", {stats.in_band:,} within the tolerance" if answer.query.target_params is not None else ""
    fit = f", {stats.fitting:,} that fit" if answer.query.vram_bytes is not None else ""
    return f"{stats.lattice:,} shapes in the lattice{band}{fit}; solved in {1000 * stats.seconds:,.0f} ms."


# the explanation of a solve


def _explanation(explanation: Explanation) -> Page:
    blocks: list[str | Grid] = [_relaxations(explanation.relaxations)]
    if explanation.readings:
        columns = (Column("#"), Column("term", "word"), Column("nats"), Column("shape", "text"), Column("what", "text"))
        blocks.append(filled_grid("The score in words", columns, map(_reading_cells, explanation.readings)))
    if explanation.neighbours:
        known = (Column("model", "word"), *SHAPE, Column("vocab"), Column("params"))
        rows = [
            [near.name, *shape_cells(near.config), str(near.config.vocab_size), short_count(near.params)]
            for near in explanation.neighbours
        ]
        blocks.append(filled_grid("Published models of about the size of rank 1", known, rows))
    return blocks


def _reading_cells(reading: Reading) -> list[str]:
    """What a term charges is said once, for rank 1."""
    what = reading.meaning if reading.rank == 1 else NONE
    return [f"{reading.rank} ", reading.term, f"{reading.nats:.4f}", reading.shape, what]


def _relaxations(relaxations: Sequence[Relaxation]) -> Grid:
    columns = (
        Column("with", "word"),
        Column("layers"),
        Column("hidden"),
        Column("loss"),
        Column("loss falls by"),
        Column("score falls by"),
        Column("note", "text"),
    )
    rows = [
        [
            relaxation.change,
            str(relaxation.config.num_layers) if relaxation.config else NONE,
            str(relaxation.config.hidden_size) if relaxation.config else NONE,
            _number(relaxation.predicted_loss, ".4f"),
            _number(relaxation.loss_gain, ".4f"),
            _number(relaxation.score_gain, ".4f"),
            relaxation.note or NONE,
        ]
        for relaxation in relaxations
    ]
    return filled_grid("What loosening one thing would buy", columns, rows)


# verifications, of candidates and of files

VERIFICATION = (
    Column("device", "word"),
    Column("counted"),
    Column("count", "word"),
    Column("forward", "word", optional=True),
    Column("first loss", optional=True),
    Column("simulated GiB"),
    Column("measured GiB"),
    Column("step s", optional=True),
    Column("tokens/s"),
    Column("note", "text"),
)

RATIOS = "In brackets: predicted / simulated, predicted / measured."


def _verification_cells(verification: Verification) -> list[str]:
    measured = verification.measured or {}
    return [
        verification.device,
        _number(verification.params["counted"], ","),
        {True: "count ok", False: "differs", None: NONE}[verification.params["equal"]],
        {True: "finite", False: "not finite", None: NONE}[verification.forward_finite],
        _number(verification.loss, ".2f"),
        _peak(verification.simulated or {}),
        _peak(measured),
        _number(measured.get("step_seconds"), ".3f"),
        _number(measured.get("tokens_per_second"), ",.0f"),
        _verification_note(verification),
    ]


def _verification_note(verification: Verification) -> str:
    if verification.agrees:
        return verification.note or NONE
    return f"DISAGREES: {verification.note}" if verification.note else "DISAGREES"


def _peak(memory: Mapping[str, Any]) -> str:
    """A simulated or measured peak, with predicted / peak in brackets."""
    if memory.get("peak_bytes") is None:
        return NONE
    return gib(memory["peak_bytes"]) + ("" if memory.get("ratio") is None else f" ({memory['ratio']:.3f})")


def _verification_page(title: str, first: Column, rows: Sequence[Sequence[str]]) -> Page:
    grid = filled_grid(title, (first, *VERIFICATION), rows)
    has_ratio = any("(" in cell for row in rows for cell in row[6:8])
    return [grid, RATIOS] if has_ratio else [grid]


def _verifications(candidates: Sequence[Candidate]) -> Page:
    built = [candidate for candidate in candidates if candidate.verification]
    if not built:
        return []
    rows = [
        [f"{candidate.rank} ", *_verification_cells(candidate.verification)]
        for candidate in built
        if candidate.verification
    ]
    return _verification_page("Verified", Column("#"), rows)


@page.register(VerifyAnswer)
def _verify(answer: VerifyAnswer) -> Page:
    rows = [[verified.source, *_verification_cells(verified.verification)] for verified in answer.configs]
    return _verification_page("", Column("config", "word"), rows)


# numbers


def gib(value: int) -> str:
    """Bytes in GiB, without the unit."""
    return "0" if value == 0 else f"{value / GIB:.{2 if value >= GIB / 10 else 3}f}"


def both_bytes(value: int) -> str:
    """Bytes in both spellings: 24 GB (22.35 GiB)."""
    return f"{value / 1e9:.4g} GB ({short_bytes(value)})"


def _number(value: float | None, form: str) -> str:
    return NONE if value is None else format(value, form)
