"""What is constant in the parameter polynomial of a kind of model: its coefficients. What varies is the shape.

Every coefficient counts vectors, matrices or scalars of one kind; the polynomial itself is in `solver.counts`. The
defaults are those of a Llama without biases: gated MLP, two RMSNorms a layer and a final one, untied head, no learned
positions. A coefficient may be an int64 array, as a dimension may.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Int = Any
"""An int, or an int64 array of any shape; arrays of one call broadcast against each other. An option counts as 0 or 1,
so that options may be arrays too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dimensions:
    """A shape by itself: what the polynomial reads besides the family."""

    vocab_size: Int
    hidden_size: Int
    num_layers: Int
    num_heads: Int
    num_kv_heads: Int
    head_dim: Int
    intermediate_size: Int


@dataclass(frozen=True, kw_only=True, slots=True)
class Experts:
    """Mixture of experts in place of the MLP, in all layers but the dense ones."""

    number: Int
    """Routed experts of a layer."""
    per_token: Int
    """Routed experts that a token visits."""
    intermediate_size: Int | None = None
    """Width of one expert; None: the shape's intermediate_size."""
    bias: Int = 1
    """1 where a routed expert has the biases of the family's MLP, 0 where only the others have them."""
    shared_intermediate_size: Int = 0
    """Width of the experts that every token visits, all together."""
    shared_gate: Int = 0
    """Vectors over hidden that gate the shared experts."""
    router_bias: Int = 0
    """Vectors over the experts: biases and scales that are trained."""
    dense_layers: Int = 0
    """Layers that keep a plain MLP of the shape's intermediate_size."""
    norms: Int = 0
    """Norms over hidden that only a layer with experts has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Indexer:
    """Small heads that choose the tokens attention reads (DeepSeek-V3.2-Exp, DeepSeek-AI 2025, section 2.1): queries
    from the compressed query, one key with a LayerNorm, a weight for each head."""

    heads: Int
    head_dim: Int


@dataclass(frozen=True, kw_only=True, slots=True)
class Latent:
    """Multi-head latent attention (DeepSeek-V2, Liu et al. 2024, arXiv:2405.04434, section 2.1): keys and values from
    one compressed vector. The shape's head_dim is that of a query, its part without position and its rotary part."""

    query_rank: Int = 0
    """Width of the compressed query; 0: not compressed."""
    kv_rank: Int
    """Width of the compressed keys and values."""
    rope_dim: Int
    """Rotary part of the head_dim: one key for all heads."""
    value_dim: Int
    """Width of one value head."""
    bias: Int = 0
    """Biases on the compressions and on the output."""
    indexer: Indexer | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """Coefficients of the polynomial."""

    tie_embeddings: Int = 0
    head_bias: Int = 0
    """Vectors over the vocabulary in the head."""
    head_rows: Int | None = None
    """Tokens that an untied head knows, where they are not the entire vocabulary."""
    positions: Int = 0
    """Rows of a table of learned positions."""
    embedding_size: Int | None = None
    """Width of the embedding and of the head; None: hidden_size. Otherwise two projections lead there and back."""
    qkv_bias: Int = 0
    output_bias: Int = 0
    output_gate: Int = 0
    """Matrices (hidden, all query heads) that gate what attention gives out."""
    head_gates: Int = 0
    """Vectors over hidden of each query head that gate what it gives out."""
    head_scalars: Int = 0
    """Scalars of each query head, such as attention sinks."""
    head_vectors: Int = 0
    """Vectors over one head that a layer's attention has besides."""
    value_dim: Int | None = None
    """Width of one value head where it is not the shape's head_dim. Latent attention has its own."""
    latent: Latent | None = None
    mlp_matrices: Int = 3
    """3 where the MLP is gated, 2 where it is plain."""
    mlp_inner_bias: Int = 0
    """Vectors over the intermediate size."""
    mlp_outer_bias: Int = 0
    """Vectors over hidden at the MLP's end."""
    mlp_scalars: Int = 0
    """Trained scalars of the activation of one layer."""
    experts: Experts | None = None
    norm_vectors: Int = 1
    """Vectors of one norm over hidden: 1 is a weight, 2 a weight and a bias, 0 nothing."""
    norms_per_layer: Int = 2
    norms_outside: Int = 1
    """Norms over hidden outside the layers: after the last one, after the embedding."""
    head_norms: Int = 0
    """Vectors over one head in the norms of queries and keys."""
    query_norms: Int = 0
    """Vectors over all query heads in the norm of the queries."""
    key_norms: Int = 0
    """Vectors over all kv heads in the norm of the keys."""
    inner_norms: Int = 0
    """Vectors over the intermediate size in a norm inside the MLP."""
    other_layers: tuple[OtherLayers, ...] = ()
    """Layers whose attention differs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherLayers:
    """Layers of a model that have another attention than its family says."""

    number: Int
    family: Family
    """Of which attention and norms are read."""
    num_heads: Int | None = None
    """None: the shape's."""
    num_kv_heads: Int | None = None
    """None: the shape's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """A model as far as its count goes."""

    model_type: str
    """As its config.json names it, or "diy"."""
    family: Family
    shape: Dimensions
