"""The DIY decoder, in one readable file.

- token embedding, tied to the output head unless the config unties it
- pre-norm blocks: RMSNorm, causal attention, RMSNorm, SwiGLU, residuals around both
- fused query-key-value projection, grouped key and value heads, optional bias and query/key norm
- rotary positions from two tables that are buffers of the model
- a preallocated key-value cache and `generate`

Shapes: B batch, T tokens of this call, S tokens attended to, C hidden_size, H heads, K kv heads, D head_dim,
F intermediate_size, V vocab_size. No optimizer and no I/O: a training step is in `diymodel.step`.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from diymodel.config import DIYConfig

AttentionKind = Literal["sdpa", "eager"]
CheckpointingKind = Literal["none", "full"]


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last axis, by torch's fused operator (Zhang and Sennrich 2019, eq. 4)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(size))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(self.weight.dtype)  # as autocast does in newer versions; in 2.11 it does not
        normed = F.rms_norm(wide, self.weight.shape, self.weight, self.eps)
        del wide  # or it lives until the cast is made
        return cast(normed)


class LayerCache:
    """Keys and values of one layer, (B, K, max_tokens, D) each, filled from the left."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys = keys
        self.values = values

    def extend(self, k: Tensor, v: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Write (B, K, T, D) at position `start`; return views of everything up to its end."""
        end = start + k.shape[2]
        self.keys[:, :, start:end] = k
        self.values[:, :, start:end] = v
        return self.keys[:, :, :end], self.values[:, :, :end]


class KVCache:
    """The caches of all layers, allocated at once for `max_tokens`, and how many tokens they hold."""

    def __init__(
        self, config: DIYConfig, batch: int, max_tokens: int, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        shape = (batch, config.num_kv_heads, max_tokens, config.head_dim)
        self.max_tokens = max_tokens
        self.num_tokens = 0
        self.layers = [
            LayerCache(torch.zeros(shape, device=device, dtype=dtype), torch.zeros(shape, device=device, dtype=dtype))
            for _ in range(config.num_layers)
        ]


class CausalAttention(nn.Module):
    """Causal self-attention with grouped key and value heads."""

    def __init__(self, config: DIYConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.num_kv_heads = config.num_kv_heads
        self.head_dim = config.head_dim
        self.dropout = config.dropout
        fused_width = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
        self.qkv = nn.Linear(config.hidden_size, fused_width, bias=config.qkv_bias)
        self.o = nn.Linear(config.num_heads * config.head_dim, config.hidden_size, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(config.head_dim, config.eps) if config.qk_norm else nn.Identity()

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, kind: AttentionKind, cache: LayerCache | None, start: int
    ) -> Tensor:
        q, k, v = self.project(x, cos, sin)
        if cache is not None:
            k, v = cache.extend(k, v, start)
        dropout = self.dropout if self.training else 0.0
        attend = eager_attention if kind == "eager" else sdpa_attention
        y = attend(q, k, v, dropout)  # (B, H, T, D)
        return self.o(y.transpose(1, 2).flatten(2))

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries (B, H, T, D) and keys, and values (B, K, T, D)."""
        fused = self.qkv(x).unflatten(2, (-1, self.head_dim))  # (B, T, H + 2K, D)
        q, k, v = fused.split([self.num_heads, self.num_kv_heads, self.num_kv_heads], dim=2)
        q = rotate(self.q_norm(q), cos, sin)
        k = rotate(self.k_norm(k), cos, sin)
        v = v.contiguous()  # a view would keep the whole fused tensor for the backward of attention
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020, arXiv:2002.05202, eq. 6), without biases."""

    def __init__(self, config: DIYConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """One layer: x + attention(norm(x)), then x + feedforward(norm(x))."""

    def __init__(self, config: DIYConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.attention_norm = RMSNorm(config.hidden_size, config.eps)
        self.attention = CausalAttention(config)
        self.feedforward_norm = RMSNorm(config.hidden_size, config.eps)
        self.feedforward = SwiGLU(config)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, kind: AttentionKind, cache: LayerCache | None, start: int
    ) -> Tensor:
        x = x + self.drop(self.attention(self.attention_norm(x), cos, sin, kind, cache, start))
        return x + self.drop(self.feedforward(self.feedforward_norm(x)))

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class DIYForCausalLM(nn.Module):
    """A causal language model: `logits = model(input_ids)`, int (B, T) to float (B, T, V).

    Module names follow the components of the parameter count: `embedding`, `layers.*.attention.*`,
    `layers.*.feedforward.*`, everything called `*norm`, `lm_head`.
    """

    freqs_cos: Tensor
    freqs_sin: Tensor

    def __init__(self, config: DIYConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_norm = RMSNorm(config.hidden_size, config.eps) if config.final_norm else nn.Identity()
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.embedding.weight
        cos, sin = rope_tables(config)
        self.register_buffer("freqs_cos", cos, persistent=False)
        self.register_buffer("freqs_sin", sin, persistent=False)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Normal weights of std sqrt(2 / 5C) (SmallInit: Nguyen and Salazar 2019, arXiv:1910.05895, section 2.2).

        | what | initial value |
        |---|---|
        | matrices and embedding | normal, std sqrt(2 / 5C) |
        | o and down, which write to the residual | the same / sqrt(2 * layers) (Radford et al. 2019, section 2.3) |
        | norm weights | 1 |
        | biases | 0 |

        The logits start with a std of 0.63 at any width, so that the loss starts near ln V + 0.2.
        """
        std = math.sqrt(2 / (5 * self.config.hidden_size))
        residual_std = std / math.sqrt(2 * self.config.num_layers)
        for name, parameter in self.named_parameters():
            if "norm" in name:
                parameter.fill_(1.0)
            elif name.endswith("bias"):
                parameter.zero_()
            else:
                parameter.normal_(0.0, residual_std if name.endswith(("o.weight", "down.weight")) else std)

    def forward(
        self,
        input_ids: Tensor,
        *,
        cache: KVCache | None = None,
        attention: AttentionKind = "sdpa",
        checkpointing: CheckpointingKind = "none",
        last_only: bool = False,
    ) -> Tensor:
        """Logits of the next token at each position.

        Args:
            input_ids: int (B, T).
            cache: continue after the tokens in this cache, and append these to it.
            attention: torch's fused operator, or written out so that every intermediate tensor exists.
            checkpointing: "full" keeps only the input of each block and recomputes it in the backward pass.
            last_only: logits of the last position alone, (B, 1, V).

        Raises:
            ValueError: more tokens than max_seq_len or than the cache holds.
        """
        hidden = self.hidden_states(input_ids, cache=cache, attention=attention, checkpointing=checkpointing)
        logits: Tensor = self.lm_head(hidden[:, -1:] if last_only else hidden)
        return logits

    def hidden_states(
        self,
        input_ids: Tensor,
        *,
        cache: KVCache | None = None,
        attention: AttentionKind = "sdpa",
        checkpointing: CheckpointingKind = "none",
    ) -> Tensor:
        """What the head reads, (B, T, C): the arguments and errors are those of `forward`."""
        start = cache.num_tokens if cache else 0
        end = start + input_ids.shape[1]
        self._check_length(end, cache)
        x: Tensor = self.embedding(input_ids)  # (B, T, C)
        dtype = torch.get_autocast_dtype(x.device.type) if autocast_is_on(x) else x.dtype
        cos, sin = self.freqs_cos[start:end].to(dtype), self.freqs_sin[start:end].to(dtype)
        for index, block in enumerate(self.layers):
            layer_cache = cache.layers[index] if cache else None
            if checkpointing == "full" and torch.is_grad_enabled():
                x = checkpoint(block, x, cos, sin, attention, layer_cache, start, use_reentrant=False)
            else:
                x = block(x, cos, sin, attention, layer_cache, start)
        if cache:
            cache.num_tokens = end
        hidden: Tensor = self.final_norm(x)
        return hidden

    def new_cache(self, batch: int, max_tokens: int | None = None) -> KVCache:
        """An empty cache for `max_tokens` (default: max_seq_len), on the model's device, in its dtype or autocast's."""
        weight = self.embedding.weight
        dtype = torch.get_autocast_dtype(weight.device.type) if autocast_is_on(weight) else weight.dtype
        tokens = self.config.max_seq_len if max_tokens is None else max_tokens
        return KVCache(self.config, batch, tokens, device=weight.device, dtype=dtype)

    @torch.no_grad()
    def generate(
        self, input_ids: Tensor, num_tokens: int, *, temperature: float = 1.0, top_k: int | None = None
    ) -> Tensor:
        """Continue (B, T) by `num_tokens` sampled tokens: int (B, T + num_tokens). Temperature 0 takes the likeliest.

        Raises:
            ValueError: the result would be longer than max_seq_len.
        """
        cache = self.new_cache(input_ids.shape[0], input_ids.shape[1] + num_tokens)
        self._check_length(cache.max_tokens, None)
        tokens = input_ids
        for _ in range(num_tokens):
            logits = self(tokens[:, cache.num_tokens :], cache=cache, last_only=True)[:, -1].float()  # (B, V)
            tokens = torch.cat([tokens, sample(logits, temperature, top_k)], dim=1)
        return tokens

    def _check_length(self, end: int, cache: KVCache | None) -> None:
        if end > self.config.max_seq_len:
            raise ValueError(
                f"input_ids: {end} tokens, but max_seq_len={self.config.max_seq_len}; "
                "shorten the input or build the model with a larger max_seq_len"
            )
        if cache and end > cache.max_tokens:
            raise ValueError(f"input_ids: {end} tokens, but the cache holds {cache.max_tokens}; ask new_cache for more")


def rope_tables(config: DIYConfig) -> tuple[Tensor, Tensor]:
    """cos and sin of position * theta^(-2i/D), (max_seq_len, D/2) each (Su et al. 2021, arXiv:2104.09864, eq. 15)."""
    inverse = config.rope_theta ** (-torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim)
    angles = torch.outer(torch.arange(config.max_seq_len, dtype=torch.float32), inverse)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate (B, T, heads, D) by position. Pairs are (i, i + D/2), the layout of Hugging Face's Llama."""
    cos, sin = cos[None, :, None], sin[None, :, None]  # (1, T, 1, D/2)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def sdpa_attention(q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
    """torch's scaled_dot_product_attention: q (B, H, T, D), k and v (B, K, S, D) -> (B, H, T, D)."""
    T, S = q.shape[2], k.shape[2]
    mask = causal_mask(T, S, q.device) if 1 < T < S else None
    grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=1 < T == S, enable_gqa=grouped
    )


def eager_attention(q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
    """The same, written out: softmax in float32 over materialised (B, H, T, S) scores."""
    groups = q.shape[1] // k.shape[1]
    if groups > 1:
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    T, S = q.shape[2], k.shape[2]
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if T > 1:
        scores = scores.masked_fill(~causal_mask(T, S, q.device), -math.inf)
    weights = F.dropout(scores.softmax(dim=-1, dtype=torch.float32).to(q.dtype), dropout)
    return weights @ v


def causal_mask(T: int, S: int, device: torch.device) -> Tensor:
    """bool (T, S): query i, the (S - T + i)-th token, may see the keys up to itself."""
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)


def autocast_is_on(x: Tensor) -> bool:
    device_type = x.device.type
    return torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)


def cast(x: Tensor) -> Tensor:
    """x in autocast's dtype. Each linear that reads x would otherwise keep a copy of its own, beside the original."""
    return x.to(torch.get_autocast_dtype(x.device.type)) if autocast_is_on(x) else x


def sample(logits: Tensor, temperature: float, top_k: int | None) -> Tensor:
    """One token id per row of (B, V): int (B, 1)."""
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    if top_k is not None:
        smallest = logits.topk(min(top_k, logits.shape[-1]), dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, -math.inf)
    return torch.multinomial(F.softmax(logits / temperature, dim=-1), num_samples=1)
