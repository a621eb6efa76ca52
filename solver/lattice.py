"""Which shapes are admissible, and exactly those of them whose count lies in a band, without visiting the others.

A column fixes everything but the layers and the intermediate size. Within a column and at a number of layers the
count is linear in the intermediate size, so the band is an interval of it (`solver.inverse`). Cost follows the
answers and the columns, not the lattice: the default one has 77 million shapes in 928 columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diymodel.config import DIYConfig
from solver import counts, inverse, memory
from solver.errors import QueryError
from solver.families import Dimensions, Family
from solver.query import OPTIONS, Axis, Query, Span

if TYPE_CHECKING:
    from solver.interop.blueprints import Blueprint, Config

Ints = NDArray[np.int64]

HIDDEN = Span(64, 16384, 64)
LAYERS = Span(1, 256, 1)
INTERMEDIATE_STEP = 64
VOCAB_STEP = 64
HEAD_DIMS = (64, 128)
SMALL_HEAD_DIM, SMALL_HIDDEN = 32, 512
"""Head dim 32 is admissible too, below this width."""
KV_RATIOS = (1, 2, 3, 4, 5, 8)
"""Query heads per kv head."""
BLOCK_SHAPES = 2**14
"""Shapes that are listed at a time: bounds memory where the band is wide, and keeps a block's columns in the caches
(blocks of 2**18 take twice as long)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shapes:
    """Shapes as columns of equal length, under the names of DIYConfig; the options are common to all."""

    vocab_size: Ints
    hidden_size: Ints
    num_layers: Ints
    num_heads: Ints
    num_kv_heads: Ints
    head_dim: Ints
    intermediate_size: Ints
    tie_embeddings: bool = True
    qkv_bias: bool = False
    qk_norm: bool = False
    final_norm: bool = True
    dropout: float = 0.0
    max_seq_len: int = 2048
    family: Family | None = None
    """The coefficients, where they are not those that the options say."""
    blueprint: Blueprint | None = None
    """What the configs have besides."""

    def __len__(self) -> int:
        return len(self.hidden_size)

    def take(self, index: Any) -> Shapes:
        """The shapes at these positions, or where this mask is true."""
        return replace(self, **{name: getattr(self, name)[index] for name in OPTIONS})

    def config(self, index: int) -> Config:
        """One shape as a config."""
        sizes = {name: int(getattr(self, name)[index]) for name in OPTIONS}
        if self.blueprint is not None:
            return self.blueprint.config(Dimensions(**sizes), self.max_seq_len, self.tie_embeddings)
        options = {field.name: getattr(self, field.name) for field in fields(DIYConfig) if hasattr(self, field.name)}
        return DIYConfig(**{**options, **sizes})

    @staticmethod
    def concatenate(parts: list[Shapes]) -> Shapes:
        """One after the other; the options are those of the first."""
        columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in OPTIONS}
        return replace(parts[0], **columns)


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """Shapes in runs. Those of a run differ in the intermediate size alone, which grows in equal steps."""

    shapes: Shapes
    """Of each run the first, with the smallest intermediate size."""
    steps: Ints
    lengths: Ints

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def largest(self) -> Shapes:
        """Of each run the last."""
        return self.at(self.lengths - 1)

    def at(self, numbers: Ints) -> Shapes:
        """Of each run the shape of that number."""
        return replace(self.shapes, intermediate_size=self.shapes.intermediate_size + self.steps * numbers)

    def take(self, index: Any) -> Runs:
        """The runs at these positions, or where this mask is true."""
        return Runs(shapes=self.shapes.take(index), steps=self.steps[index], lengths=self.lengths[index])

    def up_to(self, numbers: Ints) -> Runs:
        """The same, so many shapes of each."""
        return replace(self, lengths=numbers)

    def beyond(self, numbers: Ints) -> Runs:
        """The same without so many shapes of each."""
        return Runs(shapes=self.at(numbers), steps=self.steps, lengths=self.lengths - numbers)

    def listed(self) -> Shapes:
        """Every shape, run by run."""
        index, numbers = _ranges(np.zeros_like(self.lengths), self.lengths)
        return self.take(index).at(numbers)

    def blocks(self) -> Iterator[Shapes]:
        """The same in blocks of about BLOCK_SHAPES."""
        for block in _blocks(np.cumsum(self.lengths)):
            yield self.take(block).listed()


@dataclass(frozen=True, kw_only=True, slots=True)
class Lattice:
    """All shapes that a query's constraints admit.

    `columns` holds one entry per column, with its smallest intermediate size and the smallest number of layers;
    column i has `widths[i]` intermediate sizes in steps of `steps[i]`, and all columns share `layers`.
    """

    columns: Shapes
    widths: Ints
    steps: Ints
    layers: Ints
    """Ascending."""

    @property
    def size(self) -> int:
        """Number of shapes."""
        return int(self.widths.sum()) * len(self.layers)

    def in_band(self, low: int, high: int) -> Runs:
        """Exactly the shapes with low <= params <= high."""
        widest = replace(self.columns, intermediate_size=self._intermediate(slice(None), self.widths - 1))
        fewest, _ = inverse.layers_between(low, high, widest)
        _, most = inverse.layers_between(low, high, self.columns)
        start = np.searchsorted(self.layers, fewest, side="left")
        stop = np.searchsorted(self.layers, most, side="right")
        rows, position = _ranges(start, np.maximum(stop, start))
        pairs = replace(self.columns.take(rows), num_layers=self.layers[position])
        smallest, step = self.columns.intermediate_size[rows], self.steps[rows]
        lowest, highest = inverse.intermediate_between(low, high, pairs)
        first = np.maximum(-((smallest - lowest) // step), 0)
        last = np.minimum((highest - smallest) // step, self.widths[rows] - 1)
        some = last >= first
        return Runs(shapes=pairs, steps=step, lengths=last + 1).beyond(first).take(some)

    def nearest(self, target: int, number: int) -> Shapes:
        """The shapes whose counts lie nearest to the target, at most `number` of them, nearest first."""
        best: list[Shapes] = []
        for rows in np.array_split(
            np.arange(len(self.columns)), 1 + len(self.columns) * len(self.layers) // BLOCK_SHAPES
        ):
            pairs = self._at_all_layers(rows)
            _, root = inverse.intermediate_between(target, target, pairs.shapes)
            best.append(_nearest(self._snap(pairs, root), target, number))
        return _nearest(Shapes.concatenate(best), target, number)

    def at(self, rows: Ints, numbers: Ints) -> Shapes:
        """Columns, each at one of its intermediate sizes by number, at the smallest number of layers."""
        return replace(self.columns.take(rows), intermediate_size=self._intermediate(rows, numbers))

    def _intermediate(self, rows: Any, number: Ints) -> Ints:
        return self.columns.intermediate_size[rows] + self.steps[rows] * number

    def _at_all_layers(self, rows: Ints) -> _Pairs:
        repeated = np.repeat(rows, len(self.layers))
        layers = np.tile(self.layers, len(rows))
        return _Pairs(replace(self.columns.take(repeated), num_layers=layers), repeated)

    def _snap(self, pairs: _Pairs, root: Ints) -> Shapes:
        """The pairs at the grid's intermediate sizes on either side of `root`, or at the end of the grid."""
        smallest, step = self.columns.intermediate_size[pairs.rows], self.steps[pairs.rows]
        last = self.widths[pairs.rows] - 1
        below = np.clip((root - smallest) // step, 0, last)
        above = np.minimum(below + 1, last)
        more = above > below
        return Shapes.concatenate(
            [
                replace(pairs.shapes, intermediate_size=self._intermediate(pairs.rows, below)),
                replace(pairs.shapes.take(more), intermediate_size=self._intermediate(pairs.rows[more], above[more])),
            ]
        )


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Columns at a number of layers each; `rows` says which column each came from."""

    shapes: Shapes
    rows: Ints


def lattice(query: Query) -> Lattice:
    """The admissible shapes of a query.

    Raises:
        QueryError: the constraints contradict each other, so that there is no shape at all.
    """
    blueprint = query.blueprint
    hidden = _values(query.hidden_size, default_widths(blueprint))
    hidden, heads, head_dim = _heads(query, hidden)
    runs = memory.has_kernel(head_dim, query.recipe)
    if blueprint is not None and blueprint.divides:
        runs &= hidden % heads == 0
    hidden, heads, head_dim, kv_heads = _kv_heads(query, hidden[runs], heads[runs], head_dim[runs])
    vocab = _values(query.vocab_size, Span(VOCAB_STEP, 2**24, VOCAB_STEP))
    hidden, heads, head_dim, kv_heads = (np.tile(column, len(vocab)) for column in (hidden, heads, head_dim, kv_heads))
    vocab = np.repeat(vocab, len(hidden) // max(len(vocab), 1))
    layers = _values(query.num_layers, LAYERS)
    rows, first, widths, steps = _intermediate(query, hidden)
    if not len(rows) or not len(layers):
        _refuse(query)
    return Lattice(
        columns=Shapes(
            vocab_size=vocab[rows],
            hidden_size=hidden[rows],
            num_layers=np.full(len(rows), layers[0]),
            num_heads=heads[rows],
            num_kv_heads=kv_heads[rows],
            head_dim=head_dim[rows],
            intermediate_size=first,
            **_options(query),
        ),
        widths=widths,
        steps=steps,
        layers=layers,
    )


def _options(query: Query) -> dict[str, Any]:
    """What all shapes of a query have in common."""
    blueprint, seq_len, tied = query.blueprint, query.recipe.seq_len, bool(query.tie_embeddings)
    common = {"tie_embeddings": tied, "max_seq_len": seq_len, "blueprint": blueprint}
    if blueprint is None:
        return common
    if blueprint.diy is None:
        return {**common, "family": blueprint.coefficients(seq_len, tied)}
    return {
        **common,
        **{name: getattr(blueprint.diy, name) for name in ("qkv_bias", "qk_norm", "final_norm", "dropout")},
    }


def default_widths(blueprint: Blueprint | None) -> Span:
    """Hidden sizes where none are asked for."""
    step = blueprint.hidden_step if blueprint else HIDDEN.step or 1
    return Span(step, HIDDEN.stop, step)


def _heads(query: Query, hidden: Ints) -> tuple[Ints, Ints, Ints]:
    """All (hidden, heads, head_dim) that the query admits."""
    blueprint = query.blueprint
    kept = blueprint.head_dims if blueprint else None
    dims = _head_dims(query.head_dim or kept)
    if isinstance(query.num_heads, tuple):
        if query.head_dim or kept:  # both known: the heads' width need not be the hidden size
            triples = [
                (hidden, np.full_like(hidden, n), np.full_like(hidden, d)) for n in query.num_heads for d in dims
            ]
            has_to_fill = blueprint is not None and (
                blueprint.is_coupled or (query.head_dim is None and blueprint.heads_per_hidden is None)
            )
            return _triples([_split(width, d, n) for width, n, d in triples] if has_to_fill else triples)
        return _triples([_split(hidden, hidden // n, n) for n in query.num_heads])
    if blueprint and blueprint.heads_per_hidden and query.head_dim is None:
        triples = [_in_proportion(hidden, blueprint, d) for d in dims]
    else:
        triples = [_by_head_dim(hidden, d) for d in dims]
    if query.head_dim is None and kept is None:
        triples.append(_by_head_dim(hidden[hidden < SMALL_HIDDEN], SMALL_HEAD_DIM))
        if isinstance(query.hidden_size, tuple):
            triples += [_by_any_head_dim(width) for width in query.hidden_size if _on_no_head_dim(width)]
    hidden, heads, head_dim = _triples(triples)
    keep = _inside(heads, query.num_heads)
    return hidden[keep], heads[keep], head_dim[keep]


def _head_dims(axis: Axis | None) -> list[int]:
    if axis is None:
        return list(HEAD_DIMS)
    if isinstance(axis, Span) and axis.step is None:
        return [d for d in (SMALL_HEAD_DIM, *HEAD_DIMS) if axis.start <= d <= axis.stop]
    return [int(d) for d in _values(axis, LAYERS) if d % 2 == 0]  # RoPE rotates pairs


def _by_head_dim(hidden: Ints, head_dim: int) -> tuple[Ints, Ints, Ints]:
    return _split(hidden, np.full_like(hidden, head_dim), hidden // head_dim)


def _in_proportion(hidden: Ints, blueprint: Blueprint, head_dim: int) -> tuple[Ints, Ints, Ints]:
    """As many heads for the width as the blueprint's model has, to the nearest whole group that shares keys."""
    share, group = blueprint.heads_per_hidden or Fraction(1), blueprint.queries_per_kv or 1
    groups = (2 * hidden * share.numerator + share.denominator * group) // (2 * share.denominator * group)
    heads = group * np.maximum(groups, 1)
    return hidden, heads, np.full_like(hidden, head_dim)


def _on_no_head_dim(width: int) -> bool:
    dims = (*HEAD_DIMS, SMALL_HEAD_DIM) if width < SMALL_HIDDEN else HEAD_DIMS
    return not any(width % d == 0 for d in dims)


def _by_any_head_dim(width: int) -> tuple[Ints, Ints, Ints]:
    """A width off the grid still has heads: every even head_dim that divides it, from 32 to 256."""
    head_dim = np.arange(32, 257, 2)
    return _split(np.full_like(head_dim, width), head_dim, width // head_dim)


def _split(hidden: Ints, head_dim: Ints, heads: Ints | int) -> tuple[Ints, Ints, Ints]:
    """Those with hidden = heads * head_dim and an even head_dim."""
    heads = np.broadcast_to(heads, hidden.shape)
    keep = (heads * head_dim == hidden) & (head_dim % 2 == 0) & (head_dim > 0)
    return hidden[keep], heads[keep], head_dim[keep]


def _triples(parts: list[tuple[Ints, Ints, Ints]]) -> tuple[Ints, Ints, Ints]:
    empty = np.empty(0, dtype=np.int64)
    hidden, heads, head_dim = (
        (np.concatenate([empty, *column]) for column in zip(*parts, strict=True)) if parts else (empty,) * 3
    )
    return hidden, heads, head_dim


def _kv_heads(query: Query, hidden: Ints, heads: Ints, head_dim: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """The same with every admissible number of kv heads."""
    axis, blueprint = query.num_kv_heads, query.blueprint
    if axis is None and blueprint is not None and blueprint.num_kv_heads is not None:
        axis = (blueprint.num_kv_heads,)
    if isinstance(axis, tuple):
        choices = [np.where(heads % kv == 0, kv, 0) for kv in axis]
    elif axis is None and blueprint is not None and blueprint.queries_per_kv is not None:
        ratio = blueprint.queries_per_kv
        choices = [np.where(heads % ratio == 0, heads // ratio, 0)]
    else:
        choices = [np.where(heads % ratio == 0, heads // ratio, 0) for ratio in KV_RATIOS]
        fewest = np.where(heads >= 8, 3, np.where(heads >= 4, 2, 1)) if axis is None else 1
        choices = [np.where((kv >= fewest) & _inside(kv, axis), kv, 0) for kv in choices]
    kept = [np.flatnonzero(kv) for kv in choices]
    rows = np.concatenate([np.empty(0, dtype=np.int64), *kept])
    kv_heads = np.concatenate(
        [np.empty(0, dtype=np.int64), *(kv[keep] for kv, keep in zip(choices, kept, strict=True))]
    )
    return hidden[rows], heads[rows], head_dim[rows], kv_heads


def _intermediate(query: Query, hidden: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Per column: its row, the first intermediate size, how many there are, and their step."""
    rows, axis = np.arange(len(hidden)), query.intermediate_size
    kept = query.blueprint.intermediate_per_hidden if query.blueprint else None
    if axis is None and kept is not None:
        return rows, *_near_ratio(hidden, kept)
    if isinstance(axis, tuple):  # each value is a column of its own
        values = np.array(axis, dtype=np.int64)
        rows, first = np.repeat(rows, len(values)), np.tile(values, len(rows))
        return rows, first, np.ones_like(rows), np.ones_like(rows)
    if axis is None:
        step = INTERMEDIATE_STEP
        first, last = -(-2 * hidden // step) * step, 9 * hidden // 2 // step * step
    else:
        grid = _values(axis, Span(1, 1, INTERMEDIATE_STEP))
        step = axis.step or INTERMEDIATE_STEP
        first, last = (np.full_like(hidden, end) for end in ((grid[0], grid[-1]) if len(grid) else (1, 0)))
    keep = last >= first
    rows, first, last = rows[keep], first[keep], last[keep]
    return rows, first, (last - first) // step + 1, np.full_like(rows, step)


def _near_ratio(hidden: Ints, ratio: Fraction) -> tuple[Ints, Ints, Ints]:
    """The first intermediate size of each width, how many there are, and their step: where ratio * hidden is whole and
    on the grid, or the ratio itself is whole, exactly that; else the grid's sizes on either side."""
    exact, rest = np.divmod(hidden * ratio.numerator, ratio.denominator)
    is_exact = (rest == 0) & ((exact % INTERMEDIATE_STEP == 0) | (ratio.denominator == 1))
    below = np.maximum(exact // INTERMEDIATE_STEP, 1) * INTERMEDIATE_STEP
    return np.where(is_exact, exact, below), np.where(is_exact, 1, 2), np.full_like(hidden, INTERMEDIATE_STEP)


def _values(axis: Axis | None, default: Span) -> Ints:
    """The values of an axis in ascending order; a span without a step lies on the default's grid."""
    if isinstance(axis, tuple):
        return np.array(axis, dtype=np.int64)
    span = axis or default
    if span.step is not None:
        return np.arange(span.start, span.stop + 1, span.step, dtype=np.int64)
    step = default.step or 1
    return np.arange(-(-span.start // step) * step, span.stop + 1, step, dtype=np.int64)


def _inside(values: Ints, axis: Axis | None) -> NDArray[np.bool_]:
    """Where values lie on the axis; everywhere without one."""
    if axis is None:
        return np.ones(values.shape, dtype=np.bool_)
    return np.isin(values, _values(axis, LAYERS))


def _refuse(query: Query) -> None:
    given = {word: query.axis(name) for name, word in OPTIONS.items() if query.axis(name) is not None}
    text = ", ".join(
        f"{word} {axis if isinstance(axis, Span) else ','.join(map(str, axis or ()))}" for word, axis in given.items()
    )
    keeps = ""
    if query.blueprint is not None:
        kept = [words for name, words in query.blueprint.kept().items() if query.axis(name) is None]
        kept += ["heads that divide hidden"] if query.blueprint.divides else []
        keeps = f"{query.like or query.family} keeps {', '.join(kept)}; " if kept else ""
    raise QueryError(
        "constraints",
        text,
        f"no shape satisfies them all: {keeps}heads must divide hidden into an even head_dim (unless head_dim is given "
        "too), kv_heads must divide heads, and a range holds only multiples of its step (64 for hidden and "
        "intermediate); a head_dim above 256 is a multiple of 8 (else --attention eager); loosen one of them",
    )


def _ranges(start: Any, stop: Any) -> tuple[Ints, Ints]:
    """All start[i] <= j < stop[i], row by row: the i and the j."""
    length = stop - start
    index = np.repeat(np.arange(len(start)), length)
    offset = np.cumsum(length) - length
    return index, np.arange(len(index)) - (offset - start)[index]


def _blocks(ends: Ints) -> Iterator[Ints]:
    """Row numbers in runs of about BLOCK_SHAPES shapes; `ends` is the running number of shapes."""
    if not len(ends):
        return
    cuts = np.searchsorted(ends, np.arange(BLOCK_SHAPES, ends[-1], BLOCK_SHAPES))
    yield from (rows for rows in np.split(np.arange(len(ends)), cuts) if len(rows))


def _nearest(shapes: Shapes, target: int, number: int) -> Shapes:
    distance = np.abs(counts.total(shapes) - target)
    return shapes.take(np.argsort(distance, kind="stable")[:number])
