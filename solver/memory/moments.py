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

from solver.memory.ledger import Count, Instant, by_size
from solver.memory.script import Setting, serving_script, training_script, whole_step
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

BLOCK_OF_SHAPES = 8192
"""Shapes that are added up at a time, so that the sums stay in the processor's cache (measured)."""

MAX_FLASH_HEAD_DIM = 256
"""check_head_dim_size_flash in torch/aten/src/ATen/native/transformers/cuda/sdp_utils.cpp."""

_DIMENSIONS = (
    "vocab_size", "hidden_size", "num_layers", "num_heads", "num_kv_heads", "head_dim", "intermediate_size",
)  # fmt: skip


def predict(shape: Shape, recipe: Recipe) -> Moments:
    """Bytes of every part at every moment: ints for a `DIYConfig`, int64 arrays for a shape of arrays.

    Moments: forward_end, loss, backward, optimizer_step in training; prefill, decode in inference. What each means is
    said in `solver.verify.dry_run`.
    """
    if not _is_array(shape):
        return {
            moment: _parts(tensors, _largest(tensors, instants, shape.num_layers), shape.num_layers)
            for moment, tensors, instants in _passes(shape, recipe)
        }
    shapes = _broadcast(shape)
    moments: Moments = {}
    for rows, group in _groups(shapes):
        for moment, tensors, instants in _passes(group, recipe):
            figures = moments.setdefault(moment, {part: np.zeros(shapes.size, np.int64) for part in (*PARTS, "total")})
            winners = _winners(tensors, instants, group.num_layers)
            for winner in np.unique(winners):
                parts = _parts(tensors, instants[winner], group.num_layers)
                for part, values in parts.items():
                    figures[part][rows] = np.where(winners == winner, values, figures[part][rows])
    return moments


def peak_bytes(shape: Shape, recipe: Recipe) -> Int:
    """The largest total of all moments, without the parts: what a search over many shapes needs."""
    if not _is_array(shape):
        return max(max(_running(tensors, instants, shape.num_layers)) for tensors, instants in _one_pass(shape, recipe))
    shapes = _broadcast(shape)
    peaks = np.zeros(shapes.size, np.int64)
    for rows, group in _groups(shapes):
        for tensors, instants in _one_pass(group, recipe):
            peaks[rows] = np.maximum(peaks[rows], _maximum(tensors, instants, group.num_layers))
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
    decodes = recipe.prompt_tokens < recipe.seq_len
    prefill = replace(setting, one_token=recipe.prompt_tokens == 1)
    yield "prefill", Tensors(shape, recipe, recipe.prompt_tokens, recipe.prompt_tokens), serving_script(prefill, decode=False, decodes=decodes)
    decode = replace(setting, one_token=True)
    yield "decode", Tensors(shape, recipe, 1, recipe.seq_len), serving_script(decode, decode=True, decodes=decodes)


def _one_pass(shape: Shape, recipe: Recipe) -> Iterator[tuple[Tensors, tuple[Instant, ...]]]:
    """Sizes and instants, those of all moments of a training step together."""
    if recipe.mode == "train":
        yield Tensors(shape, recipe, recipe.seq_len, recipe.seq_len), whole_step(_setting(shape, recipe))
    else:
        yield from ((tensors, instants) for _, tensors, instants in _passes(shape, recipe))


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
        chunks=min(2, number_of_chunks(recipe)) if recipe.loss == "chunked" else 0,
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
    """The attention that a card runs: the table in `solver.verify.dry_run.kernels`.

    One corner of it is not exact: heads of more than 256 numbers that are no multiple of 8, in half precision, take the
    math path in float32; eager stands in for it.
    """
    if recipe.attention == "eager":
        return "eager"
    if compute_bytes(recipe) == 4:
        return "efficient" if head_dim % 4 == 0 else "math"
    if head_dim <= MAX_FLASH_HEAD_DIM:
        return "flash" if head_dim % 8 == 0 else "padded"
    return "efficient" if head_dim % 8 == 0 else "eager"


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

    @property
    def size(self) -> int:
        return int(self.num_layers.size)


def _is_array(shape: Shape) -> bool:
    return any(isinstance(getattr(shape, name), np.ndarray) for name in _DIMENSIONS)


def _broadcast(shape: Shape) -> _Shapes:
    arrays = np.broadcast_arrays(*(np.asarray(getattr(shape, name), np.int64) for name in _DIMENSIONS))
    rest = {name: getattr(shape, name) for name in _Shapes.__slots__ if name not in _DIMENSIONS}
    return _Shapes(**dict(zip(_DIMENSIONS, map(np.ravel, arrays), strict=True)), **rest)


def _groups(shape: _Shapes) -> Iterator[tuple[Any, _Shapes]]:
    """Shapes for which the same script is run, in blocks: (rows, their shapes)."""
    H, K = shape.num_heads, shape.num_kv_heads
    D = shape.head_dim
    key = (H != K) + 2 * (H == 1) + 4 * (K == 1) + 8 * (D > MAX_FLASH_HEAD_DIM) + 16 * (D % 8 != 0) + 32 * (D % 4 != 0)
    for value in np.flatnonzero(np.bincount(key)):
        rows = np.flatnonzero(key == value)
        for start in range(0, rows.size, BLOCK_OF_SHAPES):
            block = rows[start : start + BLOCK_OF_SHAPES]
            yield block, replace(shape, **{name: getattr(shape, name)[block] for name in _DIMENSIONS})


def _running(tensors: Tensors, instants: tuple[Instant, ...], layers: Any) -> Iterator[Any]:
    """The total of each instant, reached from the one before it; an array is reused. -1 where it does not exist."""
    many = isinstance(layers, np.ndarray)
    total: Any = np.zeros(layers.size, np.int64) if many else 0
    shallowest = layers.min() if many else layers
    for instant, (once, per_layer) in zip(instants, _changes(instants), strict=True):
        for size, count in once:
            if count == 1:
                total += tensors[size]
            elif count == -1:
                total -= tensors[size]
            else:
                total += count * tensors[size]
        if per_layer:
            total += layers * sum(count * tensors[size] for size, count in per_layer)
        if shallowest >= instant.min_layers:
            yield total
        else:
            yield np.where(layers >= instant.min_layers, total, -1) if many else -1


def _maximum(tensors: Tensors, instants: tuple[Instant, ...], layers: Any) -> Any:
    largest = np.full(layers.size, -1)
    for total in _running(tensors, instants, layers):
        np.maximum(largest, total, out=largest)
    return largest


def _winners(tensors: Tensors, instants: tuple[Instant, ...], layers: Any) -> Any:
    """The index of the first of the largest instants."""
    largest, winners = np.full(layers.size, -1), np.zeros(layers.size, np.int64)
    for index, total in enumerate(_running(tensors, instants, layers)):
        winners[total > largest] = index
        np.maximum(largest, total, out=largest)
    return winners


Change = tuple[tuple[str, int], ...]


@lru_cache(maxsize=1024)
def _changes(instants: tuple[Instant, ...]) -> tuple[tuple[Change, Change], ...]:
    """What each instant has more or less than the one before, by size: (tensors, tensors for each layer)."""
    changes = []
    before: dict[str, Count] = {}
    for instant in instants:
        now = by_size(instant)
        differences = {
            size: (now.get(size, (0, 0))[0] - before.get(size, (0, 0))[0], now.get(size, (0, 0))[1] - before.get(size, (0, 0))[1])
            for size in now.keys() | before.keys()
        }  # fmt: skip
        changes.append(
            (
                tuple((size, a) for size, (a, _) in differences.items() if a),
                tuple((size, b) for size, (_, b) in differences.items() if b),
            )
        )
        before = now
    return tuple(changes)


# ---- one shape ----


def _largest(tensors: Tensors, instants: tuple[Instant, ...], layers: int) -> Instant:
    """The first of the largest instants, in Python's own integers."""
    totals = list(_running(tensors, instants, layers))
    return instants[totals.index(max(totals))]


def _parts(tensors: Tensors, instant: Instant, layers: Any) -> dict[str, Any]:
    parts: dict[str, Any] = dict.fromkeys(PARTS, 0)
    for (part, size), (a, b) in instant.live.items():
        if (a, b) != (0, 0):
            parts[part] += (a + b * layers) * tensors[size]
    return parts | {"total": sum(parts.values())}
