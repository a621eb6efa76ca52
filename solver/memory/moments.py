"""The closed form: bytes at every moment of a step, by part, from the integers of a shape.

A moment is the largest of a few named instants (`solver.memory.script`). An instant is a sum of tensors
(`solver.memory.tensors`): a whole number of each size, plus a whole number for each layer. Equal to the dry run
(`solver.verify.dry_run`) to the byte, but for the corner that `kernel_of` names.

A shape is a `DIYConfig`, or the same names with int64 arrays in place of the ints; then every figure is an array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib import metadata
from typing import Any

import numpy as np

from solver.counts import Int
from solver.errors import RecipeError
from solver.memory import hf_script
from solver.memory import script as diy_script
from solver.memory.ledger import Count, Instant, binding, by_size
from solver.memory.setting import Setting
from solver.memory.tensors import Shape, Tensors, compute_bytes, counted, number_of_chunks, rounded
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
"""Moment -> part -> bytes."""

MAX_FLASH_HEAD_DIM = 256
"""check_head_dim_size_flash in torch/aten/src/ATen/native/transformers/cuda/sdp_utils.cpp."""


def predict(shape: Shape, recipe: Recipe) -> Moments:
    """Bytes of every part at every moment: ints for a `DIYConfig`, int64 arrays for a shape of arrays.

    Moments: forward_end, loss, backward, optimizer_step in training; prefill, decode in inference. What each means is
    said in `solver.verify.dry_run`.
    """
    if not _is_array(shape):
        return {name: _largest(tensors, found, shape.num_layers) for name, tensors, found in _passes(shape, recipe)}
    shapes = _broadcast(shape)
    moments: Moments = {}
    for rows, group in _groups(shapes, recipe):
        for name, tensors, instants in _passes(group, recipe):
            figures = moments.setdefault(name, {part: np.zeros(shapes.size, np.int64) for part in PARTS})
            winners = _winners(tensors, instants, group.num_layers)
            for winner in np.flatnonzero(np.bincount(winners)):
                for part, values in _parts(tensors, instants[winner], group.num_layers).items():
                    figures[part][rows] = np.where(winners == winner, values, figures[part][rows])
    return moments


def peak_bytes(shape: Shape, recipe: Recipe) -> Int:
    """The largest total of all moments, without the parts."""
    return _peak(shape, recipe, rounded)


def allocated_bytes(shape: Shape, recipe: Recipe) -> Int:
    """The same, with what the allocator does not split off large blocks: what `max_memory_allocated` shows, less
    cuBLAS' workspaces. What a search over many shapes compares with a budget."""
    return _peak(shape, recipe, counted)


def _peak(shape: Shape, recipe: Recipe, size_of: SizeOf) -> Int:
    if not _is_array(shape):
        return int(max(_maximum(*one_pass, shape.num_layers) for one_pass in _whole_passes(shape, recipe, size_of)))
    shapes = _broadcast(shape)
    peaks = np.zeros(shapes.size, np.int64)
    for rows, group in _groups(shapes, recipe):
        totals = [_maximum(*one_pass, group.num_layers) for one_pass in _whole_passes(group, recipe, size_of)]
        peaks[rows] = np.maximum.reduce(totals)
    return peaks


def most_layers(shape: Shape, recipe: Recipe, most_bytes: int) -> Any:
    """The largest number of layers with at most `most_bytes` allocated, for a shape of arrays; 0 where there is none.

    Every instant is affine in the layers, so each sets its own bound; the shape's own layers are not read.
    """
    shapes = _broadcast(shape)
    layers = np.zeros(shapes.size, np.int64)
    for rows, group in _groups(shapes, recipe):
        bounds = [_layers_within(*one_pass, most_bytes) for one_pass in _whole_passes(group, recipe, counted)]
        layers[rows] = np.minimum.reduce(bounds)
    return layers


# ---- which script ----

SizeOf = Callable[[Any], Any]
"""Bytes of a request as they are counted: `rounded` or `counted`."""

Pass = tuple[Tensors, tuple[Instant, ...]]
"""The sizes of a pass, and the instants that can be its peak."""


def _passes(
    shape: Shape, recipe: Recipe, size_of: SizeOf = rounded
) -> Iterator[tuple[str, Tensors, tuple[Instant, ...]]]:
    """Each moment with its pass."""
    setting = _setting(shape, recipe)
    script = hf_script if setting.hf else diy_script
    if recipe.mode == "train":
        tensors = Tensors(shape, recipe, recipe.seq_len, recipe.seq_len, size_of)
        for moment, instants in script.training_script(setting).items():
            yield moment, tensors, instants
        return
    decodes = recipe.prompt_len < recipe.seq_len
    prefill, decode = replace(setting, one_token=recipe.prompt_len == 1), replace(setting, one_token=True)
    tensors = Tensors(shape, recipe, recipe.prompt_len, recipe.prompt_len, size_of)
    yield "prefill", tensors, script.serving_script(prefill, decode=False, decodes=decodes)
    tensors = Tensors(shape, recipe, 1, recipe.seq_len, size_of)
    yield "decode", tensors, script.serving_script(decode, decode=True, decodes=decodes)


def _whole_passes(shape: Shape, recipe: Recipe, size_of: SizeOf) -> Iterator[Pass]:
    """The passes without their moments: a training step is one."""
    if recipe.mode == "train":
        yield Tensors(shape, recipe, recipe.seq_len, recipe.seq_len, size_of), _whole_step(_setting(shape, recipe))
    else:
        yield from ((tensors, instants) for _, tensors, instants in _passes(shape, recipe, size_of))


@lru_cache(maxsize=256)
def _whole_step(setting: Setting) -> tuple[Instant, ...]:
    """The instants of a training step that can be its peak, whatever their moment."""
    moments = (hf_script if setting.hf else diy_script).training_script(setting)
    return binding([instant for instants in moments.values() for instant in instants])


def _setting(shape: Shape, recipe: Recipe) -> Setting:
    """What the script branches on. Of a group of shapes, the first one speaks for all."""
    if recipe.profile == "hf":
        _require_twin(shape)
    H, K, train = _first(shape.num_heads), _first(shape.num_kv_heads), recipe.mode == "train"
    kernel = kernel_of(_first(shape.head_dim), recipe, grouped=H != K)
    views = kernel not in ("flash", "efficient")  # does it read copies, unless one head or sequence can be viewed?
    return Setting(
        hf=recipe.profile == "hf",
        infer=not train,
        mixed=recipe.precision.endswith("mixed"),
        half=compute_bytes(recipe) == 2,
        scaler=train and recipe.precision == "16-mixed",
        float16=recipe.precision == "16-mixed",
        optimizer=recipe.optimizer,
        checkpointed=train and recipe.checkpointing == "full",
        kernel=kernel,
        chunks=min(3, number_of_chunks(recipe)) if recipe.loss == "chunked" else 0,
        tied=shape.tie_embeddings,
        bias=shape.qkv_bias,
        qk_norm=shape.qk_norm,
        final_norm=shape.final_norm,
        dropout=train and shape.dropout > 0,
        grouped=H != K,
        one_batch=recipe.micro_batch == 1,
        one_sequence=recipe.micro_batch == 1 and (views or not train),
        one_head=H == 1 and (views or recipe.profile == "hf"),
        one_kv_head=K == 1 and (views or recipe.profile == "hf"),
        replicated=recipe.gpus > 1,
        accumulates=recipe.accumulates,
    )


def _require_twin(shape: Shape) -> None:
    """Raises RecipeError for a shape that no model of transformers has (`solver.interop.huggingface.model_type`)."""
    complaint = ""
    if not shape.final_norm:
        complaint = "every model of transformers that is like this one has a final norm"
    elif shape.qkv_bias and shape.qk_norm:
        complaint = "no model of transformers has both qk_norm and biases on q, k and v alone"
    if complaint:
        raise RecipeError("profile", "hf", f"{complaint}; use profile diy, or change the config")


@cache
def efficient_takes_groups() -> bool:
    """Whether the memory-efficient kernel of the installed torch takes grouped heads: from 2.15 on
    (pytorch/pytorch#191085). Before, such models take the math path in float32. Read without loading torch."""
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return True
    return tuple(int(number) for number in version.split(".")[:2]) >= (2, 15)


def kernel_of(head_dim: int, recipe: Recipe, *, grouped: bool) -> str:
    """The attention that a card runs: the table in `solver.verify.dry_run.kernels`.

    Raises:
        RecipeError: heads of more than 256 numbers that are no multiple of 8, in half precision; before torch 2.15,
            any of more than 256 that are grouped. No fused kernel takes them; the math path that torch falls to has no
            closed form here. Under the profile hf: eager attention, heads that need copies of queries and keys, and
            before torch 2.15 grouped heads in float32.
    """
    if recipe.profile == "hf":
        return _hf_kernel_of(head_dim, recipe, grouped=grouped)
    if recipe.attention == "eager":
        return "eager"
    takes = efficient_takes_groups() or not grouped
    if compute_bytes(recipe) == 4:
        return "efficient" if takes and head_dim % 4 == 0 else "math"
    if head_dim <= MAX_FLASH_HEAD_DIM:
        return "flash" if head_dim % 8 == 0 else "padded"
    if not has_kernel(head_dim, recipe):
        raise RecipeError(
            "attention",
            recipe.attention,
            f"no fused kernel takes a head_dim of {head_dim} in 16 bits; use a multiple of 8, or attention eager",
        )
    if not takes:
        raise RecipeError(
            "attention",
            recipe.attention,
            f"no fused kernel takes grouped heads of {head_dim} in 16 bits before torch 2.15; use attention eager",
        )
    return "efficient"


def _hf_kernel_of(head_dim: int, recipe: Recipe, *, grouped: bool) -> str:
    if recipe.attention == "eager":
        raise RecipeError("attention", "eager", "has no closed form for transformers' code; use sdpa, or profile diy")
    if not has_kernel(head_dim, recipe):
        raise RecipeError(
            "profile", "hf", f"has no closed form for a head_dim of {head_dim}; it has one for multiples of 8 up to 256"
        )
    if compute_bytes(recipe) == 2:
        return "flash"
    if grouped and not efficient_takes_groups():
        raise RecipeError("profile", "hf", "has no closed form for grouped heads in float32 before torch 2.15")
    return "efficient"


def has_kernel(head_dim: Any, recipe: Recipe) -> Any:
    """False for heads that `kernel_of` refuses."""
    if recipe.profile == "hf":
        return (head_dim <= MAX_FLASH_HEAD_DIM) & (head_dim % (8 if compute_bytes(recipe) == 2 else 4) == 0)
    return (
        (recipe.attention == "eager")
        | (compute_bytes(recipe) == 4)
        | (head_dim <= MAX_FLASH_HEAD_DIM)
        | (head_dim % 8 == 0)
    )


def _first(value: Any) -> int:
    return int(value[0]) if isinstance(value, np.ndarray) else value


# ---- many shapes ----

_DIMENSIONS = (
    "vocab_size",
    "hidden_size",
    "num_layers",
    "num_heads",
    "num_kv_heads",
    "head_dim",
    "intermediate_size",
)


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
    columns: dict[str, Any] = dict(zip(_DIMENSIONS, arrays, strict=True))
    return _Shapes(**columns, **rest)


def _groups(shapes: _Shapes, recipe: Recipe) -> Iterator[tuple[Any, _Shapes]]:
    """Shapes for which the same script is run: (rows, their shapes)."""
    H, K, D = shapes.num_heads, shapes.num_kv_heads, shapes.head_dim
    kernel = 2 * (D > MAX_FLASH_HEAD_DIM) + 4 * (D % 8 != 0) + 8 * (D % 4 != 0)
    by_recipe = recipe.attention == "eager" or recipe.profile == "hf" or not efficient_takes_groups()
    one = 16 * (H == 1) + 32 * (K == 1) if by_recipe or kernel.any() else 0
    key = (H != K) + kernel + one
    for value in np.flatnonzero(np.bincount(key)):
        rows = np.flatnonzero(key == value)
        yield rows, replace(shapes, **{name: getattr(shapes, name)[rows] for name in _DIMENSIONS})


# ---- the largest instant ----


def _largest(tensors: Tensors, instants: tuple[Instant, ...], layers: int) -> dict[str, int]:
    """The parts of the first of the largest instants."""
    totals = list(_totals(tensors, instants, layers))
    return _parts(tensors, instants[totals.index(max(totals))], layers)


def _maximum(tensors: Tensors, instants: tuple[Instant, ...], layers: Any) -> Any:
    totals = _totals(tensors, instants, layers)
    if isinstance(layers, int):
        return max(totals)
    largest = np.full(layers.size, -1)
    for total in totals:
        np.maximum(largest, total, out=largest)
    return largest


def _winners(tensors: Tensors, instants: tuple[Instant, ...], layers: Any) -> Any:
    """The index of the first of the largest instants."""
    largest, winners = np.full(layers.size, -1), np.zeros(layers.size, np.int64)
    for index, total in enumerate(_totals(tensors, instants, layers)):
        winners[total > largest] = index
        np.maximum(largest, total, out=largest)
    return winners


def _totals(tensors: Tensors, instants: tuple[Instant, ...], layers: Any) -> Iterator[Any]:
    """The total of each instant, reached from the one before it: a new int, or the same array again.

    -1 where the model has too few layers for it.
    """
    array = isinstance(layers, np.ndarray)
    total, shallowest = (np.zeros(layers.size, np.int64), layers.min()) if array else (0, layers)
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
        if instant.min_layers <= shallowest:
            yield total
        else:
            yield np.where(layers >= instant.min_layers, total, -1) if array else -1


def _layers_within(tensors: Tensors, instants: tuple[Instant, ...], most_bytes: int) -> Any:
    """The largest L with a + b L <= most_bytes at every instant that exists in a model of L layers."""
    most = np.full(tensors.shape.hidden_size.size, np.iinfo(np.int64).max)
    a, b = np.zeros_like(most), np.zeros_like(most)
    for instant, (once, per_layer) in zip(instants, _changes(instants), strict=True):
        for size, count in once:
            a += count * tensors[size]
        for size, count in per_layer:
            b += count * tensors[size]
        bound = (most_bytes - a) // b  # every layer has weights, so b is positive
        np.minimum(most, np.maximum(bound, instant.min_layers - 1), out=most)
    return np.maximum(most, 0)


Change = tuple[tuple[str, int], ...]
"""(size, how many more)"""


@lru_cache(maxsize=1024)
def _changes(instants: tuple[Instant, ...]) -> tuple[tuple[Change, Change], ...]:
    """What each instant has more than the one before, by size: (tensors, tensors for each layer)."""
    changes = []
    before: dict[str, Count] = {}
    for instant in instants:
        now = by_size(instant)
        changes.append((_more(now, before, 0), _more(now, before, 1)))
        before = now
    return tuple(changes)


def _more(now: dict[str, Count], before: dict[str, Count], index: int) -> Change:
    none = (0, 0)
    more = [(size, now.get(size, none)[index] - before.get(size, none)[index]) for size in now.keys() | before.keys()]
    return tuple((size, count) for size, count in more if count)


def _parts(tensors: Tensors, instant: Instant, layers: Any) -> dict[str, Any]:
    parts: dict[str, Any] = dict.fromkeys(PARTS, 0)
    for (part, size), (a, b) in instant.live.items():
        parts[part] += (a + b * layers) * tensors[size]
    return parts
