"""What one client may ask of the service: sizes, times, how many at once."""

from __future__ import annotations

from dataclasses import dataclass

from solver.errors import QueryError, RequestError
from solver.interop import Blueprint
from solver.lattice import HEAD_DIMS, HIDDEN, INTERMEDIATE_STEP, KV_RATIOS, LAYERS, VOCAB_STEP, default_widths
from solver.query import OPTIONS, Axis, Query, Span

ANY_HEAD_DIMS = 116
"""Most head dims of a listed width: one off the grid is tried with every even one from 32 to 256, and the usual."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """The bounds of a service, each with the status that answers what passes it."""

    body_bytes: int = 2**20
    """Largest request body (413)."""
    nesting: int = 32
    """Deepest JSON of a body (422)."""
    lattice: int = 20_000_000
    """Most rows of a query's lattice, as `lattice_rows` bounds them (422). The default lattice has 5.3 million."""
    batch: int = 1000
    """Most queries of a batch, and most configs of a count or a rank (422)."""
    seconds: float = 5.0
    """Longest that one query may wait, and then take (503)."""
    client_seconds: float = 10.0
    """Longest that a client may take to send the head of a request, and then its body (408), or leave an answer
    unread."""
    concurrent: int = 64
    """Most requests at once (429 with Retry-After)."""
    connections: int = 512
    """Most open connections; more are closed unanswered."""
    worker_bytes: int = 2 * 2**30
    """Address space of a worker process (503)."""

    def __post_init__(self) -> None:
        for option, seconds in (("max_seconds", self.seconds), ("max_client_seconds", self.client_seconds)):
            if not 0 < seconds <= 3600:
                raise RequestError(option, seconds, "must be greater than 0, at most 3,600")


def require_lattice(query: Query, bounds: Bounds) -> None:
    """Refuse a query whose dimensions admit more than the service looks through.

    Raises:
        QueryError: naming the dimension that has most values.
    """
    rows = lattice_rows(query)
    if rows > bounds.lattice:
        name = max(OPTIONS, key=lambda name: _length(query, name) if query.axis(name) else 0)
        axis = query.axis(name)
        raise QueryError(
            OPTIONS[name],
            str(axis) if isinstance(axis, Span) else f"{len(axis or ())} values",
            f"with the other dimensions this admits up to {rows:,} rows of the lattice, and this service looks through "
            f"{bounds.lattice:,}; give fewer values, a narrower range or a larger step",
        )


def lattice_rows(query: Query) -> int:
    """At most so many rows are looked through: columns, each at every number of layers or every intermediate size."""
    hidden, heads = query.hidden_size, query.num_heads
    known = query.head_dim or (query.blueprint and query.blueprint.head_dims)
    dims = _length(query, "head_dim") if known else ANY_HEAD_DIMS if isinstance(hidden, tuple) else 0
    if isinstance(heads, tuple):
        dims = len(heads) * max(dims if known else 1, 1)
    columns = _length(query, "hidden_size") * (dims or 1 + len(HEAD_DIMS))
    columns *= _length(query, "num_kv_heads") * _length(query, "vocab_size")
    layers, widths = _length(query, "num_layers"), _length(query, "intermediate_size")
    return columns * (layers * widths if isinstance(query.intermediate_size, tuple) else max(layers, widths))


def _kept(blueprint: Blueprint, name: str) -> int | None:
    """How many values of a dimension a family or a model keeps at each width; None where it keeps none."""
    if name == "head_dim":
        return len(blueprint.head_dims or ()) or None
    if name == "num_kv_heads":
        return 1 if blueprint.num_kv_heads or blueprint.queries_per_kv else None
    return 2 if name == "intermediate_size" and blueprint.intermediate_per_hidden else None


def _length(query: Query, name: str) -> int:
    """How many values a dimension may have."""
    axis: Axis | None = query.axis(name)
    if isinstance(axis, tuple):
        return len(axis)
    if axis is None and query.blueprint is not None and (kept := _kept(query.blueprint, name)):
        return kept
    if name == "num_kv_heads":  # a span keeps some of the usual ratios
        return len(KV_RATIOS)
    if name == "head_dim" and (axis is None or axis.step is None):  # and some of the usual head dims
        return 1 + len(HEAD_DIMS)
    usual = {
        "hidden_size": default_widths(query.blueprint),
        "num_layers": LAYERS,
        "intermediate_size": Span(2 * HIDDEN.start, 9 * HIDDEN.stop // 2, INTERMEDIATE_STEP),
        "vocab_size": Span(VOCAB_STEP, 2**24, VOCAB_STEP),
    }.get(name, LAYERS)
    span = axis or usual
    return (span.stop - span.start) // (span.step or usual.step or 1) + 1
