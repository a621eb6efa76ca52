"""The parameter polynomial: one function per term, on ints and on int64 arrays alike, exactly.

    V vocab_size   h hidden_size   L num_layers   H num_heads   K num_kv_heads   d head_dim   f intermediate_size

    P = V*h + L*( h*d*(H + 2K) + H*d*h + 3*h*f + 2*h ) + h        tied head, no qkv bias, no qk norm, final norm on

Source: the shapes of the weights in `diymodel.model`; the count of the instantiated module is equal, component by
component, for every config. With K = H and d = h/H a layer has 4h^2 + 3hf + 2h, and 16h^2 + 2h at f = 4h.
"""

from __future__ import annotations

from typing import Any, Protocol

Int = Any
"""An int, or an int64 array of any shape; arrays of one call broadcast against each other. An option counts as 0 or 1,
so that options may be arrays too."""

COMPONENTS = ("embedding", "attention", "mlp", "norm", "lm_head")


class Shape(Protocol):
    """What the polynomial reads: a DIYConfig, or columns of a lattice under the same names."""

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
    @property
    def tie_embeddings(self) -> Int: ...
    @property
    def qkv_bias(self) -> Int: ...
    @property
    def qk_norm(self) -> Int: ...
    @property
    def final_norm(self) -> Int: ...


def count(shape: Shape) -> dict[str, Int]:
    """Params of each component, and their sum as "total"."""
    parts = {
        "embedding": embedding(shape),
        "attention": shape.num_layers * attention_per_layer(shape),
        "mlp": shape.num_layers * mlp_per_layer(shape),
        "norm": shape.num_layers * norm_per_layer(shape) + final_norm(shape),
        "lm_head": lm_head(shape),
    }
    return {"total": sum(parts.values()), **parts}


def total(shape: Shape) -> Int:
    """Params of the whole model."""
    return outside_layers(shape) + shape.num_layers * per_layer(shape)


def outside_layers(shape: Shape) -> Int:
    """Params that do not depend on the number of layers."""
    return embedding(shape) + lm_head(shape) + final_norm(shape)


def per_layer(shape: Shape) -> Int:
    """Params of one layer."""
    return attention_per_layer(shape) + mlp_per_layer(shape) + norm_per_layer(shape)


def embedding(shape: Shape) -> Int:
    """V*h."""
    return shape.vocab_size * shape.hidden_size


def lm_head(shape: Shape) -> Int:
    """V*h, or 0 where the head is the embedding."""
    return shape.vocab_size * shape.hidden_size * (1 - shape.tie_embeddings)


def attention_per_layer(shape: Shape) -> Int:
    """Fused projection h*d*(H + 2K), with its bias d*(H + 2K) if there is one, and output projection H*d*h."""
    fused_width = shape.head_dim * (shape.num_heads + 2 * shape.num_kv_heads)
    weights = shape.hidden_size * (fused_width + shape.num_heads * shape.head_dim)
    return weights + fused_width * shape.qkv_bias


def mlp_per_layer(shape: Shape) -> Int:
    """Gate, up and down: 3*h*f."""
    return mlp_per_intermediate(shape) * shape.intermediate_size


def mlp_per_intermediate(shape: Shape) -> Int:
    """Params of a layer that one more unit of intermediate_size costs: 3*h."""
    return 3 * shape.hidden_size


def norm_per_layer(shape: Shape) -> Int:
    """Two RMSNorms over h, and with qk norm two more over d."""
    return 2 * shape.hidden_size + 2 * shape.head_dim * shape.qk_norm


def final_norm(shape: Shape) -> Int:
    """h, or 0 without it."""
    return shape.hidden_size * shape.final_norm
