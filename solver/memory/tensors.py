"""Sizes of all tensors of a step, in bytes as the allocator counts them: one method each.

B micro-batch, T tokens of a sequence in this pass, N = B * T, S tokens attended to; C hidden_size, H num_heads,
K num_kv_heads, D head_dim, F intermediate_size, V vocab_size, M max_seq_len;
w bytes of a weight (2 for bf16-true, else 4), which is also that of the residual stream;
e bytes of what matrices multiply (4 for 32-true, else 2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from solver.recipe import Recipe

BLOCK = 512
"""Bytes to which the CUDA caching allocator rounds a request (kMinBlockSize, c10/cuda/CUDACachingAllocator.cpp)."""

SMALL_BLOCK = 2**20
"""Up to here requests are kept apart from large ones, and so is the rest of a block that is cut (kSmallSize)."""

OWN_SEGMENT = 10 * 2**20
"""From here on a request reserves a segment of its own (kMinLargeAlloc); smaller ones are cut from one of 20 MiB."""

SEGMENT_STEP = 2 * 2**20
"""Such segments are multiples of this (kRoundLarge)."""

MEAN_REST = 96 * 2**10
"""What stays with a block that is cut from a segment of 20 MiB, on average: nothing for most, at most SMALL_BLOCK.
Chosen on replays of the allocator for drawn models and steps (`benchmarks/memory_error.py`), for small errors on both
sides, but for smaller ones below."""

CHUNK_TOKENS = 1024
"""Tokens whose logits exist at a time under the chunked loss (`diymodel.step.CHUNK_TOKENS`)."""


class Shape(Protocol):
    """What decides memory in a config: `DIYConfig`, or the same names with int64 arrays in place of ints."""

    @property
    def vocab_size(self) -> Any: ...
    @property
    def hidden_size(self) -> Any: ...
    @property
    def num_layers(self) -> Any: ...
    @property
    def num_heads(self) -> Any: ...
    @property
    def num_kv_heads(self) -> Any: ...
    @property
    def head_dim(self) -> Any: ...
    @property
    def intermediate_size(self) -> Any: ...
    @property
    def max_seq_len(self) -> int: ...
    @property
    def dropout(self) -> float: ...
    @property
    def tie_embeddings(self) -> bool: ...
    @property
    def qkv_bias(self) -> bool: ...
    @property
    def qk_norm(self) -> bool: ...
    @property
    def final_norm(self) -> bool: ...


def rounded(nbytes: Any) -> Any:
    """Bytes that the allocator sets aside for a request."""
    return (nbytes + (BLOCK - 1)) & -BLOCK


def counted(nbytes: Any) -> Any:
    """Bytes by which a request raises `max_memory_allocated`, which counts whole blocks.

    The rest of a large block that is 1 MiB or less is not split off (should_split in CUDACachingAllocator.cpp): a
    weight of 25 MiB has a segment of 26 MiB, and counts as 26. For a segment of one's own that is exact where it is
    new, and too much where the request is cut from a larger block that was freed; for the others it is a mean.
    """
    block = rounded(nbytes)
    whole = (block + (SEGMENT_STEP - 1)) & -SEGMENT_STEP
    keeps_rest = (block >= OWN_SEGMENT) & (whole - block <= SMALL_BLOCK)
    is_cut = (block > SMALL_BLOCK) & (block < OWN_SEGMENT)
    beyond = block + MEAN_REST - OWN_SEGMENT
    mean_rest = MEAN_REST - (beyond > 0) * beyond  # a larger request never counts less than a smaller one
    return block + keeps_rest * (whole - block) + is_cut * mean_rest


def multiple(value: Any, of: Any) -> Any:
    """The value, rounded up to a multiple."""
    return -(-value // of) * of


def weight_bytes(recipe: Recipe) -> int:
    """Bytes of one number of a weight, a gradient, an optimizer state."""
    return 2 if recipe.precision == "bf16-true" else 4


def compute_bytes(recipe: Recipe) -> int:
    """Bytes of one number that a matrix product reads."""
    return 4 if recipe.precision == "32-true" else 2


def number_of_chunks(recipe: Recipe) -> int:
    """Of the chunked loss."""
    return -(-recipe.tokens // CHUNK_TOKENS)


LEAST_QUANTIZED = 4096
"""Numbers of the smallest weight whose moments are kept in 8 bits; those of smaller ones stay in float32."""

QUANTIZED_BLOCK = 256
"""Numbers of a moment that share a largest value. Both from bitsandbytes' documentation of AdamW8bit, and its
`optim/optimizer.py` (0.49): min_8bit_size, and the block-wise states of `Optimizer2State.init_state`."""


def _quantized(numbers: Any) -> Any:
    """Bytes of a moment of 8-bit AdamW."""
    return numbers * (4 - 3 * (numbers >= LEAST_QUANTIZED))


def _block_maxima(numbers: Any) -> Any:
    """Bytes of the float32 maxima of its blocks."""
    return 4 * -(-numbers // QUANTIZED_BLOCK) * (numbers >= LEAST_QUANTIZED)


class Tensors(dict[str, Any]):
    """The sizes for one shape and one pass of a recipe, by the names of the script; made when they are asked for.

    Each method is one size before it is rounded, or the numbers in one weight.

    Args:
        tokens: of each sequence, in this pass.
        attended: to how many tokens the last of them attends.
        size_of: bytes of a request: `rounded` or `counted`.
    """

    def __init__(self, shape: Shape, recipe: Recipe, tokens: int, attended: int, size_of: Callable[[Any], Any]) -> None:
        super().__init__()
        self.size_of = size_of
        self.shape, self.recipe, self.T, self.S = shape, recipe, tokens, attended
        self.B, self.w, self.e = recipe.micro_batch, weight_bytes(recipe), compute_bytes(recipe)
        self.N = self.B * tokens
        self.C, self.D, self.V, self.F = shape.hidden_size, shape.head_dim, shape.vocab_size, shape.intermediate_size
        self.H, self.K = shape.num_heads, shape.num_kv_heads

    def __missing__(self, name: str) -> Any:
        kind, _, weight = name.partition("_")
        if kind == "other":  # several requests
            self[name] = size = getattr(self, name)()
            return size
        if kind in ("w", "c"):  # a weight, or its copy in the compute dtype
            nbytes = getattr(self, weight)() * (self.w if kind == "w" else self.e)
        elif kind in ("q", "m"):  # a moment of 8-bit AdamW, or the largest values of its blocks
            nbytes = (_quantized if kind == "q" else _block_maxima)(getattr(self, weight)())
        else:
            nbytes = getattr(self, name)()
        self[name] = size = self.size_of(nbytes)
        return size

    # numbers of each weight tensor

    def head(self) -> Any:
        """Embedding or head: V C numbers."""
        return self.V * self.C

    def head32(self) -> Any:
        """A moment of the embedding in float32: transformers' Trainer tells bitsandbytes to keep those of every
        nn.Embedding so (`Trainer.create_optimizer`, `register_module_override(module, "weight", {"optim_bits": 32})`).
        """
        return 4 * self.head()

    def norm(self) -> Any:
        """RMSNorm over the width: C numbers."""
        return self.C

    def head_norm(self) -> Any:
        """RMSNorm over a head of queries or keys: D numbers."""
        return self.D

    def qkv(self) -> Any:
        """The fused projection: (H + 2K) D C numbers."""
        return self.qkv_bias() * self.C

    def qkv_bias(self) -> Any:
        return (self.H + 2 * self.K) * self.D

    def q(self) -> Any:
        """The projection of queries alone: H D C numbers."""
        return self.q_bias() * self.C

    def q_bias(self) -> Any:
        return self.H * self.D

    def k(self) -> Any:
        """That of keys or of values: K D C numbers."""
        return self.k_bias() * self.C

    def k_bias(self) -> Any:
        return self.K * self.D

    def o(self) -> Any:
        """The output projection of attention: H D C numbers."""
        return self.H * self.D * self.C

    def ff(self) -> Any:
        """Gate, up or down: F C numbers."""
        return self.F * self.C

    # bytes of everything else

    def quantiles(self) -> int:
        """A map from 8 bits to float32."""
        return 4 * 256

    def unit(self) -> int:
        """A scalar: one block."""
        return 1

    def ids(self) -> int:
        """Token ids or labels: int64."""
        return 8 * self.N

    def padded_ids(self) -> int:
        """Labels with one more token a sequence, as transformers shifts them."""
        return 8 * self.B * (self.T + 1)

    def positions(self) -> int:
        return 8 * self.T

    def frequencies(self) -> Any:
        """Of RoPE, as transformers keeps them: float32, half a head."""
        return 2 * self.D

    def rope(self) -> Any:
        """One of the two tables of the model, in the dtype of the weights, for M positions and half a head."""
        return self.w * self.shape.max_seq_len * self.D // 2

    def table(self) -> Any:
        """Its rows for this pass, cast to the compute dtype. transformers': whole heads, in the dtype of the stream."""
        return self.w * self.T * self.D if self.recipe.profile == "hf" else self.e * self.T * self.D // 2

    def cache(self) -> Any:
        """Keys or values of one layer, for the whole sequence."""
        return self.e * self.B * self.K * self.recipe.seq_len * self.D

    def attended(self) -> Any:
        """Keys or values of all tokens attended to, in the compute dtype."""
        return self.e * self._all_keys(self.S)

    def cached_keys(self) -> Any:
        """What transformers' DynamicCache holds of one layer after this pass: keys in the dtype of the stream, which
        they have once rotated."""
        return self.w * self._all_keys(self.S)

    def cached_keys_before(self) -> Any:
        """Before the last token."""
        return self.w * self._all_keys(self.S - 1)

    def cached_values(self) -> Any:
        """Likewise values, as they were projected: in the compute dtype."""
        return self.attended()

    def cached_values_before(self) -> Any:
        """Before the last token."""
        return self.e * self._all_keys(self.S - 1)

    def _all_keys(self, tokens: int) -> Any:
        return self.B * self.K * tokens * self.D

    def stream(self) -> Any:
        """The residual stream: N C numbers, which autocast leaves in float32."""
        return self.w * self.N * self.C

    def stream32(self) -> Any:
        return 4 * self.N * self.C

    def hidden(self) -> Any:
        """N C numbers in the compute dtype: what a projection reads or writes."""
        return self.e * self.N * self.C

    def mask(self) -> Any:
        """What dropout keeps of such a tensor: a byte a number."""
        return self.N * self.C

    def rstd(self) -> int:
        """RMSNorm's reciprocal root mean squares: float32, one a token."""
        return 4 * self.N

    def wide(self) -> Any:
        """N F numbers inside the feed-forward."""
        return self.e * self.N * self.F

    def fused(self) -> Any:
        """Queries, keys and values side by side."""
        return self.e * self.N * self.qkv_bias()

    def query(self) -> Any:
        """N H D numbers: queries, and what attention makes of them."""
        return self.e * self.N * self.H * self.D

    def key(self) -> Any:
        """N K D numbers: keys or values."""
        return self.e * self.N * self.K * self.D

    def half_query(self) -> Any:
        """One half of each head, as RoPE rotates them."""
        return self.e * self.N * self.H * self.D // 2

    def half_key(self) -> Any:
        return self.e * self.N * self.K * self.D // 2

    def query32(self) -> Any:
        """Queries in float32: autocast runs their norm so."""
        return 4 * self.N * self.H * self.D

    def key32(self) -> Any:
        return 4 * self.N * self.K * self.D

    def half_query32(self) -> Any:
        return 2 * self.N * self.H * self.D

    def half_key32(self) -> Any:
        return 2 * self.N * self.K * self.D

    def rstd_query(self) -> Any:
        """The norm of queries has a root mean square a head."""
        return 4 * self.N * self.H

    def rstd_key(self) -> Any:
        return 4 * self.N * self.K

    def lse(self) -> Any:
        """Log-sum-exp of the scores of a query, float32, as flash stores them."""
        return 4 * self.N * self.H

    def lse32(self) -> Any:
        """The same of the memory-efficient kernel, which rounds the tokens to 32."""
        return 4 * self.B * self.H * multiple(self.T, 32)

    def softmax_sum(self) -> Any:
        """Flash's backward: a float32 sum a query, in tiles of 128 rows (mha_bwd in flash_api.cpp: softmax_d)."""
        return 4 * self.B * self.H * multiple(self.T, 128)

    def dq_sum(self) -> Any:
        """Flash's backward: float32 sums of the queries' gradients, heads in multiples of 32 or 64 (dq_accum)."""
        tile = np.where(self.D <= 128, 32, 64) if isinstance(self.D, np.ndarray) else 32 if self.D <= 128 else 64
        return 4 * self.B * self.H * multiple(self.T, 128) * multiple(self.D, tile)

    def expanded(self) -> Any:
        """Keys or values repeated for every query head of their group."""
        return self.e * self.B * self.H * self.S * self.D

    def padded_query(self) -> Any:
        """Queries whose heads are filled up to a multiple of 8 numbers, as flash wants them."""
        return self.e * self.N * self.H * multiple(self.D, 8)

    def padded_key(self) -> Any:
        return self.e * self.B * self.S * self.K * multiple(self.D, 8)

    def padded_expanded(self) -> Any:
        return self.e * self.B * self.S * self.H * multiple(self.D, 8)

    def score(self) -> Any:
        """Every query against every key: B H T S numbers."""
        return self.e * self.B * self.H * self.T * self.S

    def causal32(self) -> int:
        """The causal mask as float32 numbers to be added."""
        return 4 * self.T * self.S

    def score32(self) -> Any:
        """The same in float32, for the softmax."""
        return 4 * self.B * self.H * self.T * self.S

    def score_mask(self) -> Any:
        """What dropout keeps of them: a byte a number."""
        return self.B * self.H * self.T * self.S

    def causal(self) -> int:
        """The causal mask: a byte a pair."""
        return self.T * self.S

    # head and loss

    def logits(self) -> Any:
        """V numbers a token, of all tokens or of the largest chunk."""
        return self.e * self.chunk_tokens() * self.V

    def logits32(self) -> Any:
        return 4 * self.chunk_tokens() * self.V

    def chunk(self) -> Any:
        """Hidden states of a chunk, or their gradient."""
        return self.e * self.chunk_tokens() * self.C

    def chunk_stream(self) -> Any:
        return self.w * self.chunk_tokens() * self.C

    def other_chunks(self) -> Any:
        """The gradients of all chunks but the first: full ones, and the last one, each in blocks of its own."""
        return self._all_but_first(self.e)

    def other_chunk_streams(self) -> Any:
        return self._all_but_first(self.w)

    def _all_but_first(self, each: int) -> Any:
        chunks = number_of_chunks(self.recipe)
        last = self._tokens_of_last_chunk()
        return (chunks - 2) * self.size_of(each * CHUNK_TOKENS * self.C) + self.size_of(each * last * self.C)

    def last_chunk(self) -> Any:
        """The last chunk's hidden states or their gradient."""
        return self.e * self._tokens_of_last_chunk() * self.C

    def last_chunk_stream(self) -> Any:
        return self.w * self._tokens_of_last_chunk() * self.C

    def _tokens_of_last_chunk(self) -> int:
        return self.recipe.tokens - (number_of_chunks(self.recipe) - 1) * CHUNK_TOKENS

    def last_hidden(self) -> Any:
        """Hidden states of the last token alone."""
        return self.e * self.B * self.C

    def last_logits(self) -> Any:
        return self.e * self.B * self.V

    def chunk_tokens(self) -> int:
        return min(CHUNK_TOKENS, self.recipe.tokens) if self.recipe.loss == "chunked" else self.recipe.tokens
