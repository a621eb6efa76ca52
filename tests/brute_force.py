"""The lattice's definition, word by word and shape by shape: the oracle that `solver.lattice` is held to.

Slow on purpose, and written from the definition alone: it shares nothing with the engine but the query and the config,
and what a blueprint keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict

from diymodel.config import DIYConfig
from solver import counts
from solver.families import Dimensions
from solver.interop.architecture import of_hugging_face
from solver.interop.blueprints import Config
from solver.query import Axis, Query, Span


def shapes(query: Query) -> Iterator[Config]:
    """Every admissible shape of a query."""
    step = query.blueprint.hidden_step if query.blueprint else 64
    for hidden in _values(query.hidden_size, range(step, 16385, step), step):
        for heads, head_dim in _heads(query, hidden):
            if query.blueprint and query.blueprint.divides and hidden % heads:
                continue
            for kv_heads in _kv_heads(query, heads):
                for intermediate in _intermediate(query, hidden):
                    for vocab in _values(query.vocab_size, (), 64):
                        for layers in _values(query.num_layers, range(1, 257), 1):
                            shape = Dimensions(
                                vocab_size=vocab,
                                hidden_size=hidden,
                                num_layers=layers,
                                num_heads=heads,
                                num_kv_heads=kv_heads,
                                head_dim=head_dim,
                                intermediate_size=intermediate,
                            )
                            yield _config(query, shape)


def _config(query: Query, shape: Dimensions) -> Config:
    length, tied = query.recipe.seq_len, bool(query.tie_embeddings)
    if query.blueprint is not None:
        return query.blueprint.config(shape, length, tied)
    return DIYConfig(**asdict(shape), max_seq_len=length, tie_embeddings=tied)


def params(config: Config) -> int:
    """The count: of a DIY decoder from the shapes of its weight matrices, of any other from its config.json alone."""
    if not isinstance(config, DIYConfig):
        read = of_hugging_face("", config.to_dict())
        return int(counts.total(read.shape, read.family))
    c = config
    fused = c.num_heads * c.head_dim + 2 * c.num_kv_heads * c.head_dim
    layer = [
        c.hidden_size * fused,
        fused if c.qkv_bias else 0,
        2 * c.head_dim if c.qk_norm else 0,
        c.num_heads * c.head_dim * c.hidden_size,
        3 * c.hidden_size * c.intermediate_size,
        2 * c.hidden_size,
    ]
    head = 0 if c.tie_embeddings else c.vocab_size * c.hidden_size
    return c.vocab_size * c.hidden_size + c.num_layers * sum(layer) + c.hidden_size * c.final_norm + head


def _values(axis: Axis | None, default: Iterable[int], grid: int) -> list[int]:
    if axis is None:
        return list(default)
    if isinstance(axis, tuple):
        return list(axis)
    if axis.step:
        return list(range(axis.start, axis.stop + 1, axis.step))
    return [value for value in range(axis.start, axis.stop + 1) if value % grid == 0]


def _heads(query: Query, hidden: int) -> list[tuple[int, int]]:
    """(heads, head_dim): the default head dims unless a fixed value or a list says more, or a model's are kept."""
    blueprint = query.blueprint
    kept = blueprint.head_dims if blueprint else None
    if query.head_dim is None and kept:
        dims = list(kept)
    elif query.head_dim is None:
        dims = [64, 128] + ([32] if hidden < 512 else [])
        if isinstance(query.num_heads, tuple):
            dims = list(range(2, hidden + 1, 2))
        elif isinstance(query.hidden_size, tuple) and not any(hidden % dim == 0 for dim in dims):
            dims = list(range(32, 257, 2))
    elif isinstance(query.head_dim, Span) and query.head_dim.step is None:
        dims = [dim for dim in (32, 64, 128) if query.head_dim.start <= dim <= query.head_dim.stop]
    else:
        dims = [dim for dim in _values(query.head_dim, (), 1) if dim % 2 == 0]
    share = blueprint.heads_per_hidden if blueprint else None
    if isinstance(query.num_heads, tuple) and (query.head_dim is not None or kept):
        pairs = [(heads, dim) for heads in query.num_heads for dim in dims]
        fills = blueprint and (blueprint.is_coupled or not (query.head_dim or share))
        return [(heads, dim) for heads, dim in pairs if not fills or heads * dim == hidden]
    if share and query.head_dim is None and blueprint:
        group = blueprint.queries_per_kv or 1
        wholes = range(group, int(hidden * share) + 2 * group, group)
        heads = min(wholes, key=lambda whole: (abs(whole - hidden * share), -whole))
        return [(heads, dim) for dim in dims if heads in _values(query.num_heads, [heads], 1)]
    allowed = _values(query.num_heads, range(1, hidden + 1), 1)
    return [(hidden // dim, dim) for dim in dims if hidden % dim == 0 and hidden // dim in allowed]


def _kv_heads(query: Query, heads: int) -> list[int]:
    if isinstance(query.num_kv_heads, tuple):
        return [kv for kv in query.num_kv_heads if heads % kv == 0]
    if query.num_kv_heads is None and query.blueprint and query.blueprint.num_kv_heads:
        return [query.blueprint.num_kv_heads]
    if query.num_kv_heads is None and query.blueprint and query.blueprint.queries_per_kv:
        group = query.blueprint.queries_per_kv
        return [heads // group] if heads % group == 0 else []
    by_ratio = [heads // ratio for ratio in (1, 2, 3, 4, 5, 8) if heads % ratio == 0]
    if query.num_kv_heads is not None:
        return [kv for kv in by_ratio if kv in _values(query.num_kv_heads, (), 1)]
    fewest = 3 if heads >= 8 else 2 if heads >= 4 else 1
    return [kv for kv in by_ratio if kv >= fewest]


def _intermediate(query: Query, hidden: int) -> list[int]:
    ratio = query.blueprint.intermediate_per_hidden if query.blueprint else None
    if ratio and query.intermediate_size is None:
        exact = ratio * hidden
        if ratio.denominator == 1 or (exact.denominator == 1 and exact % 64 == 0):
            return [int(exact)]
        below = max(int(exact // 64), 1) * 64
        return [below, below + 64]
    default = [f for f in range(64, 5 * hidden, 64) if 2 * hidden <= f and 2 * f <= 9 * hidden]
    return _values(query.intermediate_size, default, 64)
