"""Sizes of all tensors of a step, in bytes as the allocator counts them.

B micro-batch, T tokens of a sequence in this pass, N = B * T, S tokens attended to; C hidden_size, L num_layers,
H num_heads, K num_kv_heads, D head_dim, F intermediate_size, V vocab_size, M max_seq_len;
w bytes of a weight (2 for bf16-true, else 4), s = w those of the residual stream,
e bytes of what matrices multiply (4 for 32-true, else 2).
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from solver.recipe import Recipe

Int = int | npt.NDArray[np.int64]

BLOCK = 512
"""Bytes to which the CUDA caching allocator rounds a request (kMinBlockSize, c10/cuda/CUDACachingAllocator.cpp)."""

CHUNK_TOKENS = 1024
"""Tokens whose logits exist at a time under the chunked loss (`diymodel.step.CHUNK_TOKENS`)."""


class Shape(Protocol):
    """What decides memory in a config: `DIYConfig`, or the same names with arrays in place of ints."""

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


def rounded(nbytes: Any) -> Any:
    """Bytes that the allocator sets aside for a request."""
    return -(-nbytes // BLOCK) * BLOCK


def multiple(value: Any, of: int) -> Any:
    return -(-value // of) * of


def weight_bytes(recipe: Recipe) -> int:
    return 2 if recipe.precision == "bf16-true" else 4


def compute_bytes(recipe: Recipe) -> int:
    return 4 if recipe.precision == "32-true" else 2


def weight_sizes(shape: Shape, each: int) -> dict[str, Any]:
    """The weights of a model at `each` bytes a number: name -> size of one tensor."""
    C, D, F = shape.hidden_size, shape.head_dim, shape.intermediate_size
    fused = (shape.num_heads + 2 * shape.num_kv_heads) * D
    return {
        "qkv": rounded(each * fused * C),
        "qkv_bias": rounded(each * fused),
        "o": rounded(each * shape.num_heads * D * C),
        "ff": rounded(each * F * C),
        "head": rounded(each * shape.vocab_size * C),
        "norm": rounded(each * C),
        "head_norm": rounded(each * D),
    }


def tensor_sizes(shape: Shape, recipe: Recipe, tokens: int, attended: int) -> dict[str, Any]:
    """Every tensor of a pass over `tokens` tokens a sequence that attends to `attended`: name -> size."""
    e, s, B = compute_bytes(recipe), weight_bytes(recipe), recipe.micro_batch
    N = B * tokens
    C, H, K, D = shape.hidden_size, shape.num_heads, shape.num_kv_heads, shape.head_dim
    query, key = N * H * D, N * K * D
    scores = B * H * tokens * attended
    sizes = {
        "unit": BLOCK,  # a scalar, or anything else of up to 512 bytes
        "stream": rounded(s * N * C),
        "hidden": rounded(e * N * C),
        "rstd": rounded(4 * N),
        "mask": rounded(N * C),  # of dropout, a byte per element
        "wide": rounded(e * N * shape.intermediate_size),
        "fused": rounded(e * (query + 2 * key)),
        "query": rounded(e * query),
        "half_query": rounded(e * query // 2),
        "query32": rounded(4 * query),
        "rstd_query": rounded(4 * N * H),
        "key": rounded(e * key),
        "half_key": rounded(e * key // 2),
        "key32": rounded(4 * key),
        "rstd_key": rounded(4 * N * K),
        "table": rounded(e * tokens * D // 2),
        "ids": rounded(8 * N),
        "expanded": rounded(e * B * H * attended * D),
        "score": rounded(e * scores),
        "score32": rounded(4 * scores),
        "score_mask": rounded(scores),
        "causal": rounded(tokens * attended),
        "lse": rounded(4 * B * H * tokens),
        "lse32": rounded(4 * B * H * multiple(tokens, 32)),
    }
    return sizes | _flash_workspace(shape, B, tokens)


def _flash_workspace(shape: Shape, B: int, tokens: int) -> dict[str, Any]:
    """What flash's backward holds while it runs: float32 sums of the softmax and of dq, in tiles of 128 rows."""
    D = shape.head_dim
    rows = B * shape.num_heads * multiple(tokens, 128)
    tile = np.where(D <= 128, multiple(D, 32), multiple(D, 64)) if isinstance(D, np.ndarray) else (
        multiple(D, 32 if D <= 128 else 64)
    )  # fmt: skip
    return {"softmax_sum": rounded(4 * rows), "dq_sum": rounded(4 * rows * tile)}


def chunk_sizes(shape: Shape, recipe: Recipe) -> dict[str, Any]:
    """Logits and hidden states of all tokens (plain) or of the first, largest chunk, and of the last chunk."""
    e, s, V, C = compute_bytes(recipe), weight_bytes(recipe), shape.vocab_size, shape.hidden_size
    first = min(CHUNK_TOKENS, recipe.tokens) if recipe.loss == "chunked" else recipe.tokens
    last = recipe.tokens - (number_of_chunks(recipe) - 1) * CHUNK_TOKENS
    return {
        "logits": rounded(e * first * V),
        "logits32": rounded(4 * first * V),
        "chunk": rounded(e * first * C),
        "chunk_stream": rounded(s * first * C),
        "last_chunk_stream": rounded(s * last * C),
        "last_chunk": rounded(e * last * C),
    }


def number_of_chunks(recipe: Recipe) -> int:
    return -(-recipe.tokens // CHUNK_TOKENS)
