"""The closed form: bytes at every moment of a step, by part, from the integers of a shape.

A moment is the largest of a few named instants (`solver.memory.script`). An instant is a sum of tensors
(`solver.memory.tensors`): a whole number of each size, plus a whole number for each layer. Equal to the dry run
(`solver.verify.dry_run`) to the byte, on torch 2.15.

A shape is a `DIYConfig`, or the same names with int64 arrays in place of the ints; then every figure is an array.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from solver.memory.ledger import Instant
from solver.memory.script import Setting, serving_script, training_script
from solver.memory.tensors import Int, Shape, Tensors, compute_bytes, number_of_chunks
from solver.recipe import Recipe

PARTS = (
    "weights",
    "weight_copies",
    "gradients",
    "optimizer",
    "activations",
    "logits_loss",
    "temporaries",
    "kv_cache",
    "buffers",
)

Moments = dict[str, dict[str, Any]]
"""Moment -> part -> bytes, with the sum of the parts as "total"."""

EXACT_FLOAT = 2**53
"""Below it, sums of integers are exact in float64, whose matrix product is far faster than that of int64."""

_DIMENSIONS = (
    "vocab_size", "hidden_size", "num_layers", "num_heads", "num_kv_heads", "head_dim", "intermediate_size",
)  # fmt: skip


def predict(shape: Shape, recipe: Recipe) -> Moments:
    """Bytes of every part at every moment: ints for a `DIYConfig`, int64 arrays for a shape of arrays.

    Moments: forward_end, loss, backward, optimizer_step in training; prefill, decode in inference. What each means is
    said in `solver.verify.dry_run`.
    """
    if not _is_array(shape):
        return {moment: _largest(tensors, instants, shape.num_layers) for moment, tensors, instants in _passes(shape, recipe)}
    shape, size = _broadcast(shape)
    moments: Moments = {}
    for rows, group in _groups(shape, size, recipe):
        for moment, tensors, instants in _passes(group, recipe):
            figures = moments.setdefault(moment, {part: np.zeros(size, np.int64) for part in (*PARTS, "total")})
            for part, values in _evaluate(tensors, instants, group.num_layers).items():
                figures[part][rows] = values
    return moments


def peak_bytes(shape: Shape, recipe: Recipe) -> Int:
    """The largest total of all moments, without the parts: what a search over many shapes needs."""
    if not _is_array(shape):
        return max(int(figures["total"]) for figures in predict(shape, recipe).values())
    shape, size = _broadcast(shape)
    peaks = np.zeros(size, np.int64)
    for rows, group in _groups(shape, size, recipe):
        totals = [
            _totals(_Table.of(instants), tensors, group.num_layers)[0].max(axis=0)
            for _, tensors, instants in _passes(group, recipe)
        ]
        peaks[rows] = np.rint(np.maximum.reduce(totals)).astype(np.int64)
    return peaks


# ---- which script ----


def _passes(shape: Shape, recipe: Recipe) -> Iterator[tuple[str, Tensors, tuple[Instant, ...]]]:
    """Each moment with the sizes of its pass and the instants that can be its peak."""
    setting = _setting(shape, recipe)
    if recipe.mode == "train":
        tensors = Tensors(shape, recipe, recipe.seq_len, recipe.seq_len)
        for moment, instants in training_script(setting).items():
            yield moment, tensors, instants
        return
    decodes = recipe.prompt < recipe.seq_len
    prefill = replace(setting, one_token=recipe.prompt == 1)
    yield "prefill", Tensors(shape, recipe, recipe.prompt, recipe.prompt), serving_script(prefill, decode=False, decodes=decodes)
    decode = replace(setting, one_token=True)
    yield "decode", Tensors(shape, recipe, 1, recipe.seq_len), serving_script(decode, decode=True, decodes=decodes)


def _setting(shape: Shape, recipe: Recipe) -> Setting:
    """What the script branches on. Of a group of shapes, the first one speaks for all."""
    H, K = _first(shape.num_heads), _first(shape.num_kv_heads)
    train = recipe.mode == "train"
    return Setting(
        infer=not train,
        mixed=recipe.precision.endswith("mixed"),
        half=compute_bytes(recipe) == 2,
        scaler=recipe.precision == "16-mixed",
        optimizer=recipe.optimizer,
        checkpointed=train and recipe.checkpointing == "full",
        kernel=kernel_of(_first(shape.head_dim), recipe),
        chunks=number_of_chunks(recipe) if recipe.loss == "chunked" else 0,
        tied=shape.tie_embeddings,
        bias=shape.qkv_bias,
        qk_norm=shape.qk_norm,
        final_norm=shape.final_norm,
        dropout=train and shape.dropout > 0,
        grouped=H != K,
        one_sequence=recipe.micro_batch == 1,
        one_head=H == 1,
        one_kv_head=K == 1,
    )


def kernel_of(head_dim: int, recipe: Recipe) -> str:
    """The attention that a card runs (the table in `solver.verify.dry_run.kernels`)."""
    if recipe.attention == "eager":
        return "eager"
    return "flash" if compute_bytes(recipe) == 2 else "efficient"


def _first(value: Any) -> int:
    return int(value[0]) if isinstance(value, np.ndarray) else value


# ---- many shapes ----


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shapes:
    """A `Shape` of arrays of one length."""

    vocab_size: Any
    hidden_size: Any
    num_layers: Any
    num_heads: Any
    num_kv_heads: Any
    head_dim: Any
    intermediate_size: Any
    max_seq_len: int
    dropout: float
    tie_embeddings: bool
    qkv_bias: bool
    qk_norm: bool
    final_norm: bool


def _is_array(shape: Shape) -> bool:
    return any(isinstance(getattr(shape, name), np.ndarray) for name in _DIMENSIONS)


def _broadcast(shape: Shape) -> tuple[_Shapes, int]:
    arrays = np.broadcast_arrays(*(np.asarray(getattr(shape, name), np.int64) for name in _DIMENSIONS))
    rest = {name: getattr(shape, name) for name in _Shapes.__slots__ if name not in _DIMENSIONS}
    return _Shapes(**dict(zip(_DIMENSIONS, arrays, strict=True)), **rest), arrays[0].size


def _groups(shape: _Shapes, size: int, recipe: Recipe) -> Iterator[tuple[Any, _Shapes]]:
    """Shapes for which the same script is run: (rows, their shapes)."""
    H, K = shape.num_heads, shape.num_kv_heads
    key = (H != K) + 2 * (H == 1) + 4 * (K == 1)
    for value in np.unique(key):
        rows = np.flatnonzero(key == value)
        if rows.size == size:
            yield slice(None), shape
        else:
            yield rows, replace(shape, **{name: getattr(shape, name)[rows] for name in _DIMENSIONS})


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Instants as whole numbers: a row each, a column for each size, then one for each size times the layers."""

    sizes: tuple[str, ...]
    layered: tuple[str, ...]
    parts: npt.NDArray[np.float64]
    """(parts, instants, columns)"""
    totals: npt.NDArray[np.float64]
    """(instants, columns)"""
    min_layers: npt.NDArray[np.int64]

    @staticmethod
    @lru_cache(maxsize=1024)
    def of(instants: tuple[Instant, ...]) -> _Table:
        entries = [(i, *entry, *count) for i, instant in enumerate(instants) for entry, count in instant.live.items()]
        sizes = tuple(sorted({size for _, _, size, a, _ in entries if a}))
        layered = tuple(sorted({size for _, _, size, _, b in entries if b}))
        parts = np.zeros((len(PARTS), len(instants), len(sizes) + len(layered)))
        for i, part, size, a, b in entries:
            if a:
                parts[PARTS.index(part), i, sizes.index(size)] += a
            if b:
                parts[PARTS.index(part), i, len(sizes) + layered.index(size)] += b
        return _Table(sizes, layered, parts, parts.sum(axis=0), np.array([instant.min_layers for instant in instants]))


def _totals(
    table: _Table, tensors: Tensors, layers: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(instants, shapes) totals, and the (columns, shapes) numbers that they were made from."""
    columns = np.empty((len(table.sizes) + len(table.layered), layers.size))
    for row, size in enumerate(table.sizes):
        columns[row] = tensors[size]
    for row, size in enumerate(table.layered, start=len(table.sizes)):
        columns[row] = tensors[size] * layers
    totals = table.totals @ columns
    if layers.min() < table.min_layers.max():
        totals[layers[None, :] < table.min_layers[:, None]] = -1
    return totals, columns


def _evaluate(tensors: Tensors, instants: tuple[Instant, ...], layers: npt.NDArray[np.int64]) -> dict[str, Any]:
    table = _Table.of(instants)
    totals, columns = _totals(table, tensors, layers)
    winners = totals.argmax(axis=0)
    figures = np.empty((len(PARTS), layers.size), np.int64)
    for winner in np.unique(winners):
        rows = np.flatnonzero(winners == winner)
        figures[:, rows] = np.rint(table.parts[:, winner] @ columns[:, rows])
    return dict(zip(PARTS, figures, strict=True)) | {"total": figures.sum(axis=0)}


# ---- one shape ----


def _largest(tensors: Tensors, instants: tuple[Instant, ...], layers: int) -> dict[str, int]:
    """The parts of the first of the largest instants, in Python's own integers."""
    figures = (_parts(tensors, instant, layers) for instant in instants if instant.min_layers <= layers)
    return max(figures, key=lambda parts: parts["total"])


def _parts(tensors: Tensors, instant: Instant, layers: int) -> dict[str, int]:
    parts = dict.fromkeys(PARTS, 0)
    for (part, size), (a, b) in instant.live.items():
        if a or b:
            parts[part] += (a + b * layers) * tensors[size]
    return parts | {"total": sum(parts.values())}
