"""What a CUDA card does and fake tensors do not show: its choice of attention kernel, and kernels' own workspaces.

`scaled_dot_product_attention` asks the driver which kernel the card can run; without a card it takes the one that
materialises the scores. The table below is that of torch/aten/src/ATen/native/transformers/cuda/sdp_utils.cpp for
compute capability 8.0 and later with equal lengths or no causal flag:

| dtype | mask | head_dim | kernel |
|---|---|---|---|
| fp16, bf16 | none | up to 256 | flash |
| fp16, bf16 | given, or head_dim above 256 | multiple of 8 | memory-efficient |
| fp32 | any | multiple of 4 | memory-efficient |
| else | | | math |

The memory-efficient kernel takes grouped heads from torch 2.15 on (pytorch/pytorch#191085); before, they fall to the
math path. On compute capability 9.0 and 10.0 cuDNN's kernel is preferred to flash; it saves tensors of the
same sizes (assumption: and its workspace is not larger).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from solver.memory.moments import efficient_takes_groups
from solver.memory.tensors import multiple, rounded

aten = torch.ops.aten

HALF = (torch.float16, torch.bfloat16)
MAX_FLASH_HEAD_DIM = 256


class CardAttention(TorchFunctionMode):
    """Runs scaled_dot_product_attention on fake CUDA tensors by the kernel that a card would choose."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and args[0].device.type == "cuda":
            return card_attention(*args, **kwargs)
        return func(*args, **kwargs)


def card_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """scaled_dot_product_attention: q (B, H, T, D), k and v (B, K, S, D) -> (B, H, T, D)."""
    del enable_gqa  # the shapes say it
    if torch.is_autocast_enabled("cuda"):  # the composite operator is on autocast's list; the kernels below are not
        dtype = torch.get_autocast_dtype("cuda")
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
        if attn_mask is not None and attn_mask.is_floating_point():
            attn_mask = attn_mask.to(dtype)
    kernel = choose_kernel(query, attn_mask is not None, grouped=query.shape[1] != key.shape[1])
    if kernel == "flash":
        return _flash(query, key, value, dropout_p, is_causal, scale)
    if kernel == "efficient":
        return _efficient(query, key, value, attn_mask, dropout_p, is_causal, scale)
    return _math(query, key, value, attn_mask, dropout_p, is_causal, scale)


def choose_kernel(query: Tensor, masked: bool, *, grouped: bool = False) -> str:
    """The table above: "flash", "efficient" or "math"."""
    head_dim = query.shape[-1]
    if query.dtype in HALF and not masked and head_dim <= MAX_FLASH_HEAD_DIM:
        return "flash"
    if grouped and not efficient_takes_groups():
        return "math"
    if query.dtype in HALF:
        return "efficient" if head_dim % 8 == 0 else "math"
    return "efficient" if query.dtype == torch.float32 and head_dim % 4 == 0 else "math"


def _flash(q: Tensor, k: Tensor, v: Tensor, dropout: float, causal: bool, scale: float | None) -> Tensor:
    head_dim = q.shape[-1]
    if head_dim % 8:  # as the composite operator does: pad_last_dim<8>
        padding = 8 - head_dim % 8
        q, k, v = (F.pad(x, (0, padding)) for x in (q, k, v))
        scale = head_dim**-0.5 if scale is None else scale
    output: Tensor = aten._scaled_dot_product_flash_attention(q, k, v, dropout, causal, False, scale=scale)[0]
    return output[..., :head_dim] if head_dim % 8 else output


def _efficient(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float, causal: bool, scale: float | None
) -> Tensor:
    needs_gradient = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    if mask is not None:
        if mask.dtype == torch.bool:  # as the composite operator does: convert_boolean_attn_mask
            mask = torch.zeros_like(mask, dtype=q.dtype).masked_fill_(~mask, -torch.inf)
        mask = mask.expand(q.shape[0], q.shape[1], q.shape[2], k.shape[2])
    output: Tensor = aten._scaled_dot_product_efficient_attention(
        q, k, v, mask, needs_gradient, dropout, causal, scale=scale
    )[0]
    return output


def _math(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float, causal: bool, scale: float | None
) -> Tensor:
    """The composite path, as `_scaled_dot_product_attention_math` runs it on plain tensors (on fake ones it would not
    add the mask in place). Half precision is computed in float32."""
    query32, key32, value32 = query.float(), key.float(), value.float()
    factor = math.sqrt(query.shape[-1] ** -0.5 if scale is None else scale)
    q = query32 * factor
    if causal:
        mask = torch.ones(q.shape[-2], key.shape[-2], dtype=torch.bool, device=q.device).tril()
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.where(mask, 0.0, -math.inf)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key32, value32 = key32.repeat_interleave(groups, dim=1), value32.repeat_interleave(groups, dim=1)
    scores = q @ (key32.transpose(-2, -1) * factor)
    if mask is not None:
        scores.add_(mask)
    scores = aten._safe_softmax(scores, -1)
    if dropout > 0:
        scores = F.dropout(scores, dropout)
    return (scores @ value32).to(query.dtype)


def workspace_bytes(func: Any, args: tuple[Any, ...], size_of: Callable[[Any], Any] = rounded) -> int:
    """Bytes that a kernel allocates for itself and frees before it returns; 0 for those without a large workspace.

    Left out, each below 0.1 % of any peak seen: reductions, rms_norm's partial weight gradients, the embedding
    gradient's sorted indices, split-KV accumulators of one-token decoding.
    """
    if func is aten._scaled_dot_product_flash_attention_backward.default:
        requests = _flash_backward_workspace(query=args[1], key=args[2])
    elif func is aten._scaled_dot_product_efficient_attention_backward.default:
        requests = _efficient_backward_workspace(query=args[1], key=args[2])
    elif func is aten._safe_softmax.default:  # the plain softmax, and which scores are masked, before rows of zeros
        requests = args[0].nbytes, args[0].numel()
    else:
        return 0
    return sum(size_of(request) for request in requests if request)


def _flash_backward_workspace(query: Tensor, key: Tensor) -> tuple[int, ...]:
    """float32 sums of dq and of the softmax, rounded to the kernel's tiles; one dk and dv per query head if grouped.

    Source: mha_bwd in torch/aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp.
    """
    batch, heads, length, head_dim = query.shape
    rows = batch * heads * multiple(length, 128)
    softmax_sum = 4 * rows
    dq_sum = 4 * rows * multiple(head_dim, 32 if head_dim <= 128 else 64)
    expanded = 2 * batch * heads * key.shape[2] * head_dim if key.shape[1] != heads else 0
    return softmax_sum, dq_sum, expanded, expanded


def _efficient_backward_workspace(query: Tensor, key: Tensor) -> tuple[int, ...]:
    """float32 row sums; one dk and dv per query head if grouped.

    Source: _efficient_attention_backward in attention_backward.cu beside it (`delta`); grouped heads: the reduction
    described in pytorch/pytorch#191085 (assumption: in the dtype of the keys).
    """
    batch, heads, length, head_dim = query.shape
    delta = 4 * batch * heads * multiple(length, 32)
    expanded = key.element_size() * batch * heads * key.shape[2] * head_dim if key.shape[1] != heads else 0
    return delta, expanded, expanded
