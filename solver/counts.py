"""The parameter polynomial: one function per term, on ints and on int64 arrays alike, exactly.

    V vocab_size   h hidden_size   L num_layers   H num_heads   K num_kv_heads   d head_dim   f intermediate_size

    P = V*h + L*( h*d*(H + 2K) + H*d*h + 3*h*f + 2*h ) + h        tied head, no qkv bias, no qk norm, final norm on

That is the DIY family, whose coefficients follow from the options of the shape; any other family is given along, or is
the shape's own (`solver.families`). Linear in V, L and f in every family.

Source: the shapes of the weights in `diymodel.model`, and of the decoders of Hugging Face transformers; the count of
the instantiated module is equal, component by component, for every config. With K = H and d = h/H a DIY layer has
4h^2 + 3hf + 2h, and 16h^2 + 2h at f = 4h.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from solver.families import Dimensions, Experts, Family, Latent, OtherLayers
from solver.families import Int as Int

COMPONENTS = ("embedding", "attention", "mlp", "norm", "lm_head")
"""What every family has."""
MORE_COMPONENTS = ("position", "router", "other")
"""What some families have: learned positions, the router of a mixture, projections of the embedding."""


class Shape(Protocol):
    """What the polynomial reads besides the family: a config, or columns of a lattice under the same names."""

    @property
    def vocab_size(self) -> Int: ...
    @property
    def hidden_size(self) -> Int: ...
    @property
    def num_layers(self) -> Int: ...
    @property
    def num_heads(self) -> Int: ...
    @property
    def num_kv_heads(self) -> Int: ...
    @property
    def head_dim(self) -> Int: ...
    @property
    def intermediate_size(self) -> Int: ...


class DIYShape(Shape, Protocol):
    """A shape with the options that decide the coefficients of the DIY family: a DIYConfig, or columns."""

    @property
    def tie_embeddings(self) -> Int: ...
    @property
    def qkv_bias(self) -> Int: ...
    @property
    def qk_norm(self) -> Int: ...
    @property
    def final_norm(self) -> Int: ...


def diy_family(options: DIYShape) -> Family:
    """Llama with options: RMSNorm over head_dim for queries and keys, biases of q, k and v, no final norm."""
    return Family(
        tie_embeddings=options.tie_embeddings,
        qkv_bias=options.qkv_bias,
        head_norms=2 * options.qk_norm,
        norms_outside=options.final_norm,
    )


def family_of(shape: Shape, family: Family | None = None) -> Family:
    """The family that is given, else the shape's own; a shape without one is of the DIY family, and has its options."""
    if family is None:
        family = getattr(shape, "family", None)
    return diy_family(cast(DIYShape, shape)) if family is None else family


def _sum(*terms: tuple[Int, Int]) -> Int:
    """Sum of coefficient * dimension. A coefficient of 0 costs no pass over the columns."""
    return sum(coefficient * size for coefficient, size in terms if not isinstance(coefficient, int) or coefficient)


# The whole


def count(shape: Shape, family: Family | None = None) -> dict[str, Int]:
    """Params of each component, and their sum as "total"; of MORE_COMPONENTS those that the family has."""
    family = family_of(shape, family)
    parts = {
        "embedding": embedding(shape, family),
        "attention": _in_all_layers(shape, family, attention_per_layer),
        "mlp": mlp(shape, family),
        "norm": norm(shape, family),
        "lm_head": lm_head(shape, family),
    }
    if family.positions:
        parts["position"] = position(shape, family)
    if family.experts is not None:
        parts["router"] = (shape.num_layers - family.experts.dense_layers) * router_per_layer(shape, family.experts)
    if family.embedding_size is not None:
        parts["other"] = projections(shape, family)
    return {"total": sum(parts.values()), **parts}


def total(shape: Shape, family: Family | None = None) -> Int:
    """Params of the whole model."""
    family = family_of(shape, family)
    return outside_layers(shape, family) + shape.num_layers * per_layer(shape, family)


def active(shape: Shape, family: Family) -> Int:
    """Params that take part in the forward of one token: all but the routed experts that it does not visit."""
    experts = family.experts
    if experts is None:
        return total(shape, family)
    idle = (shape.num_layers - experts.dense_layers) * (experts.number - experts.per_token)
    return total(shape, family) - idle * expert(shape, family, experts)


def outside_layers(shape: Shape, family: Family | None = None) -> Int:
    """Params that do not depend on the number of layers. A dense layer of a mixture and a layer with another attention
    count here with what they have more or less than the others, so that the whole stays linear in L."""
    family = family_of(shape, family)
    outside = embedding(shape, family) + lm_head(shape, family) + final_norm(shape, family)
    outside += position(shape, family) + projections(shape, family)
    outside += _more(shape, family, attention_per_layer) + _more(shape, family, norm_per_layer)
    if family.experts is not None:
        sparse = _sparse(shape, family, family.experts)
        outside += family.experts.dense_layers * (mlp_per_layer(shape, family) - sparse)
    return outside


def per_layer(shape: Shape, family: Family | None = None) -> Int:
    """Params of one layer; in a mixture of one that has experts."""
    family = family_of(shape, family)
    layer = attention_per_layer(shape, family) + norm_per_layer(shape, family)
    if family.experts is None:
        return layer + mlp_per_layer(shape, family)
    return layer + _sparse(shape, family, family.experts)


def _sparse(shape: Shape, family: Family, experts: Experts) -> Int:
    """What a layer with experts has in place of the MLP: the experts, their router and their norms."""
    norms = _sum((family.norm_vectors * experts.norms, shape.hidden_size))
    return experts_per_layer(shape, family, experts) + router_per_layer(shape, experts) + norms


def _in_all_layers(shape: Shape, family: Family, term: Callable[[Shape, Family], Int]) -> Int:
    """A term of a layer, over all layers."""
    return shape.num_layers * term(shape, family) + _more(shape, family, term)


def _more(shape: Shape, family: Family, term: Callable[[Shape, Family], Int]) -> Int:
    """What the layers with another attention have more or less of a term than if they were like the others."""
    return sum(
        other.number * (term(_shape_of(other, shape), other.family) - term(shape, family))
        for other in family.other_layers
    )


def _shape_of(other: OtherLayers, shape: Shape) -> Dimensions:
    return Dimensions(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_layers=shape.num_layers,
        num_heads=shape.num_heads if other.num_heads is None else other.num_heads,
        num_kv_heads=shape.num_kv_heads if other.num_kv_heads is None else other.num_kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.intermediate_size,
    )


# Outside the layers


def _embedding_size(shape: Shape, family: Family) -> Int:
    return shape.hidden_size if family.embedding_size is None else family.embedding_size


def embedding(shape: Shape, family: Family | None = None) -> Int:
    """V*h."""
    return shape.vocab_size * _embedding_size(shape, family_of(shape, family))


def lm_head(shape: Shape, family: Family | None = None) -> Int:
    """V*h, or 0 where the head is the embedding; and its bias. Fewer rows where the head does not know every token."""
    family = family_of(shape, family)
    rows = shape.vocab_size if family.head_rows is None else family.head_rows
    weight = rows * _embedding_size(shape, family) * (1 - family.tie_embeddings)
    return weight + _sum((family.head_bias, shape.vocab_size))


def position(shape: Shape, family: Family | None = None) -> Int:
    """h for each position that is learned."""
    family = family_of(shape, family)
    return _sum((family.positions, shape.hidden_size))


def projections(shape: Shape, family: Family | None = None) -> Int:
    """From the embedding to hidden and back: 2*e*h where the embedding has a width e of its own."""
    family = family_of(shape, family)
    return 0 if family.embedding_size is None else 2 * family.embedding_size * shape.hidden_size


def final_norm(shape: Shape, family: Family | None = None) -> Int:
    """h, or 0 without it; every norm outside the layers."""
    family = family_of(shape, family)
    return _sum((family.norm_vectors * family.norms_outside, shape.hidden_size))


# A layer


def attention_per_layer(shape: Shape, family: Family | None = None) -> Int:
    """Fused projection h*d*(H + 2K), with its bias d*(H + 2K) if there is one, and output projection H*d*h."""
    family = family_of(shape, family)
    queries = shape.num_heads * shape.head_dim
    more = _sum(
        (family.output_gate, shape.hidden_size * queries),
        (family.head_gates, shape.hidden_size * shape.num_heads),
        (family.head_scalars, shape.num_heads),
        (family.head_vectors, shape.head_dim),
        (family.output_bias, shape.hidden_size),
    )
    if family.latent is not None:
        return _latent_attention(shape, family.latent) + more
    value_dim = shape.head_dim if family.value_dim is None else family.value_dim
    fused_width = queries + shape.num_kv_heads * (shape.head_dim + value_dim)
    output_width = shape.num_heads * value_dim
    return shape.hidden_size * (fused_width + output_width) + _sum((family.qkv_bias, fused_width)) + more


def _latent_attention(shape: Shape, latent: Latent) -> Int:
    """Queries h*r + r*H*d, or h*H*d if not compressed; keys and values h*(c + p) + c*H*(d - p + v); output H*v*h.
    An indexer of I heads of width i: r*I*i + h*i + h*I."""
    h, heads, rank, rope = shape.hidden_size, shape.num_heads, latent.kv_rank, latent.rope_dim
    queries = heads * shape.head_dim
    query = latent.query_rank * (h + queries) if latent.query_rank else h * queries
    keys_values = h * (rank + rope) + rank * heads * (shape.head_dim - rope + latent.value_dim)
    bias = latent.bias * (latent.query_rank + rank + rope + h)
    attention = query + keys_values + heads * latent.value_dim * h + bias
    if latent.indexer is None:
        return attention
    small, width = latent.indexer.heads, latent.indexer.head_dim
    return attention + latent.query_rank * small * width + h * (width + small)


def mlp(shape: Shape, family: Family) -> Int:
    """The MLPs of all layers, experts included, routers not."""
    experts = family.experts
    if experts is None:
        return shape.num_layers * mlp_per_layer(shape, family)
    sparse = (shape.num_layers - experts.dense_layers) * experts_per_layer(shape, family, experts)
    return experts.dense_layers * mlp_per_layer(shape, family) + sparse


def mlp_per_layer(shape: Shape, family: Family | None = None) -> Int:
    """MLP of a layer without experts: gate, up and down 3*h*f, without a gate 2*h*f, and biases."""
    family = family_of(shape, family)
    return _mlp(shape, family, shape.intermediate_size) + family.mlp_scalars


def _mlp(shape: Shape, family: Family, width: Int) -> Int:
    """An MLP of that width."""
    return width * mlp_per_intermediate(shape, family) + _sum((family.mlp_outer_bias, shape.hidden_size))


def mlp_per_intermediate(shape: Shape, family: Family | None = None) -> Int:
    """Params that one more unit of an MLP's width costs: 3*h."""
    family = family_of(shape, family)
    return family.mlp_matrices * shape.hidden_size + family.mlp_inner_bias


def per_intermediate(shape: Shape, family: Family | None = None) -> Int:
    """Params of the whole model that one more unit of the shape's intermediate_size costs."""
    family = family_of(shape, family)
    experts = family.experts
    slope = mlp_per_intermediate(shape, family)
    norms = _sum((family.inner_norms, shape.num_layers))
    if experts is None:
        return shape.num_layers * slope + norms
    sparse = (
        experts.number * expert_per_intermediate(shape, family, experts) if experts.intermediate_size is None else 0
    )
    return experts.dense_layers * slope + (shape.num_layers - experts.dense_layers) * sparse + norms


def per_vocab(shape: Shape, family: Family | None = None) -> Int:
    """Params that one more token of the vocabulary costs."""
    family = family_of(shape, family)
    return _embedding_size(shape, family) * (2 - family.tie_embeddings) + family.head_bias


def expert(shape: Shape, family: Family, experts: Experts) -> Int:
    """One routed expert."""
    width = shape.intermediate_size if experts.intermediate_size is None else experts.intermediate_size
    outer_bias = _sum((experts.bias * family.mlp_outer_bias, shape.hidden_size))
    return width * expert_per_intermediate(shape, family, experts) + outer_bias


def expert_per_intermediate(shape: Shape, family: Family, experts: Experts) -> Int:
    """Params that one more unit of one routed expert's width costs: 3*h."""
    return family.mlp_matrices * shape.hidden_size + experts.bias * family.mlp_inner_bias


def experts_per_layer(shape: Shape, family: Family, experts: Experts) -> Int:
    """All experts of a layer, the shared ones too. The shared ones are one MLP of their width together."""
    shared = _mlp(shape, family, experts.shared_intermediate_size) if experts.shared_intermediate_size else 0
    return experts.number * expert(shape, family, experts) + shared


def router_per_layer(shape: Shape, experts: Experts) -> Int:
    """E*h, its bias, and the gate of the shared experts."""
    return (experts.number + experts.shared_gate) * shape.hidden_size + experts.router_bias * experts.number


def norm(shape: Shape, family: Family) -> Int:
    """The norms of all layers, and those outside."""
    norms = _in_all_layers(shape, family, norm_per_layer) + final_norm(shape, family)
    experts = family.experts
    if experts is None:
        return norms
    return norms + _sum(
        (family.norm_vectors * experts.norms, (shape.num_layers - experts.dense_layers) * shape.hidden_size)
    )


def norm_per_layer(shape: Shape, family: Family | None = None) -> Int:
    """Two RMSNorms over h, and with qk norm two more over d. Those of experts count with the experts."""
    family = family_of(shape, family)
    return _latent_norms(family.latent) + _sum(
        (family.norm_vectors * family.norms_per_layer, shape.hidden_size),
        (family.head_norms, shape.head_dim),
        (family.query_norms, shape.num_heads * shape.head_dim),
        (family.key_norms, shape.num_kv_heads * shape.head_dim),
        (family.inner_norms, shape.intermediate_size),
    )


def _latent_norms(latent: Latent | None) -> Int:
    """RMSNorms over the compressed vectors, a LayerNorm over the indexer's key."""
    if latent is None:
        return 0
    return latent.query_rank + latent.kv_rank + (0 if latent.indexer is None else 2 * latent.indexer.head_dim)
