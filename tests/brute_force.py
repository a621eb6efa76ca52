"""The lattice's definition, word by word and shape by shape: the oracle that `solver.lattice` is held to.

Slow on purpose, and written from the definition alone: it shares nothing with the engine but the query and the config.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from diymodel.config import DIYConfig
from solver.query import Axis, Query, Span


def shapes(query: Query) -> Iterator[DIYConfig]:
    """Every admissible shape of a query."""
    for hidden in _values(query.hidden_size, range(64, 16385, 64), 64):
        for heads, head_dim in _heads(query, hidden):
            for kv_heads in _kv_heads(query, heads):
                for intermediate in _intermediate(query, hidden):
                    for vocab in _values(query.vocab_size, (), 64):
                        for layers in _values(query.num_layers, range(1, 257), 1):
                            yield DIYConfig(
                                vocab_size=vocab,
                                hidden_size=hidden,
                                num_layers=layers,
                                num_heads=heads,
                                num_kv_heads=kv_heads,
                                head_dim=head_dim,
                                intermediate_size=intermediate,
                                max_seq_len=query.recipe.seq_len,
                                tie_embeddings=query.tie_embeddings,
                            )


def params(config: DIYConfig) -> int:
    """The count, from the shapes of the weight matrices of a DIY decoder without biases and qk norm."""
    c = config
    layer = [
        c.hidden_size * (c.num_heads * c.head_dim + 2 * c.num_kv_heads * c.head_dim),
        c.num_heads * c.head_dim * c.hidden_size,
        3 * c.hidden_size * c.intermediate_size,
        2 * c.hidden_size,
    ]
    head = 0 if c.tie_embeddings else c.vocab_size * c.hidden_size
    return c.vocab_size * c.hidden_size + c.num_layers * sum(layer) + c.hidden_size + head


def _values(axis: Axis | None, default: Iterable[int], grid: int) -> list[int]:
    if axis is None:
        return list(default)
    if isinstance(axis, tuple):
        return list(axis)
    if axis.step:
        return list(range(axis.start, axis.stop + 1, axis.step))
    return [value for value in range(axis.start, axis.stop + 1) if value % grid == 0]


def _heads(query: Query, hidden: int) -> list[tuple[int, int]]:
    """(heads, head_dim): the default head dims unless a fixed value or a list says more."""
    if query.head_dim is None:
        dims = [64, 128] + ([32] if hidden < 512 else [])
        if isinstance(query.num_heads, tuple):
            dims = list(range(2, hidden + 1, 2))
        elif isinstance(query.hidden_size, tuple) and not any(hidden % dim == 0 for dim in dims):
            dims = list(range(32, 257, 2))
    elif isinstance(query.head_dim, Span) and query.head_dim.step is None:
        dims = [dim for dim in (32, 64, 128) if query.head_dim.start <= dim <= query.head_dim.stop]
    else:
        dims = [dim for dim in _values(query.head_dim, (), 1) if dim % 2 == 0]
    if isinstance(query.num_heads, tuple) and query.head_dim is not None:
        return [(heads, dim) for heads in query.num_heads for dim in dims]
    allowed = _values(query.num_heads, range(1, hidden + 1), 1)
    return [(hidden // dim, dim) for dim in dims if hidden % dim == 0 and hidden // dim in allowed]


def _kv_heads(query: Query, heads: int) -> list[int]:
    if isinstance(query.num_kv_heads, tuple):
        return [kv for kv in query.num_kv_heads if heads % kv == 0]
    by_ratio = [heads // ratio for ratio in (1, 2, 3, 4, 5, 8) if heads % ratio == 0]
    if query.num_kv_heads is not None:
        return [kv for kv in by_ratio if kv in _values(query.num_kv_heads, (), 1)]
    fewest = 3 if heads >= 8 else 2 if heads >= 4 else 1
    return [kv for kv in by_ratio if kv >= fewest]


def _intermediate(query: Query, hidden: int) -> list[int]:
    default = [f for f in range(64, 5 * hidden, 64) if 2 * hidden <= f and 2 * f <= 9 * hidden]
    return _values(query.intermediate_size, default, 64)
