"""Valid values to draw: built to be valid, not filtered."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from diymodel.config import DIYConfig
from solver.query import Query, Span


@st.composite
def configs(draw: st.DrawFn, max_width: int = 64) -> DIYConfig:
    """Small configs of every kind: grouped heads, biases, norms, untied heads, head_dim apart from the width."""
    kv_heads = draw(st.integers(1, 4))
    heads = kv_heads * draw(st.integers(1, 3))
    head_dim = 2 * draw(st.integers(1, 6))
    explicit = draw(st.booleans())
    return DIYConfig(
        vocab_size=draw(st.integers(2, 300)),
        hidden_size=draw(st.integers(1, max_width)) if explicit else heads * head_dim,
        num_layers=draw(st.integers(1, 4)),
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim if explicit else None,  # type: ignore[arg-type]
        intermediate_size=draw(st.integers(1, 2 * max_width)),
        max_seq_len=draw(st.integers(3, 32)),
        tie_embeddings=draw(st.booleans()),
        qkv_bias=draw(st.booleans()),
        qk_norm=draw(st.booleans()),
        final_norm=draw(st.booleans()),
    )


@st.composite
def axes(draw: st.DrawFn, values: list[int], grid: int) -> Any:
    """A constraint on one dimension: a list, a span on the default grid, or a span with a step."""
    chosen = sorted(draw(st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True)))
    kind = draw(st.sampled_from(["list", "span", "stepped"]))
    if kind == "list":
        return tuple(chosen)
    step = None if kind == "span" else draw(st.sampled_from([grid, 2 * grid]))
    return Span(chosen[0], chosen[-1], step)


@st.composite
def small_queries(draw: st.DrawFn) -> Query:
    """Queries whose lattice is small enough to be listed shape by shape."""
    words: dict[str, Any] = {
        "hidden_size": draw(axes([64, 96, 128, 192, 320, 512], 64)),
        "num_layers": draw(axes([1, 2, 3, 5], 1)),
    }
    if draw(st.booleans()):
        words["num_heads"] = draw(axes([1, 2, 3, 4, 8, 10], 1))
    if draw(st.booleans()):
        words["num_kv_heads"] = draw(axes([1, 2, 4], 1))
    if draw(st.booleans()):
        words["head_dim"] = draw(axes([16, 32, 48, 64, 128], 32))
    if draw(st.booleans()):
        words["intermediate_size"] = draw(axes([100, 128, 256, 512, 768, 1024], 64))
    if draw(st.booleans()):
        words["vocab_size"] = draw(axes([50, 128, 256], 64))
    return Query(
        target_params=draw(st.integers(10_000, 20_000_000)),
        tolerance=draw(st.sampled_from([0.0, 0.001, 0.01, 0.1, 0.5])),
        top=draw(st.integers(1, 12)),
        tie_embeddings=draw(st.booleans()),
        **words,
    )
