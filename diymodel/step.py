"""One training step, the same for the dry run, the measured step and `verify_model`, so that they cannot drift.

Labels are the input shifted by one; the loss is computed in float32; gradients are dropped before the first
forward pass and added up over the micro-batches.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from diymodel.model import AttentionKind, CheckpointingKind, DIYForCausalLM

CHUNK_TOKENS = 1024
"""Tokens whose logits exist at a time under the chunked loss."""

IGNORED = -100
"""Label of the last position, which has no next token; cross_entropy skips it."""

Moment = Literal["forward_end", "loss", "backward", "optimizer_step"]

AUTOCAST_DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class TrainingRecipe(Protocol):
    """What a step needs to know of how the model is trained."""

    @property
    def precision(self) -> str: ...
    @property
    def optimizer(self) -> str: ...
    @property
    def checkpointing(self) -> CheckpointingKind: ...
    @property
    def attention(self) -> AttentionKind: ...
    @property
    def loss(self) -> str: ...


def weight_dtype(precision: str) -> torch.dtype:
    """dtype of the weights, gradients and optimizer states: bfloat16 for bf16-true, else float32."""
    return torch.bfloat16 if precision == "bf16-true" else torch.float32


def autocast(precision: str, device_type: str) -> contextlib.AbstractContextManager[object]:
    """The autocast region of a mixed precision; nothing for the others."""
    if precision in AUTOCAST_DTYPES:
        return torch.autocast(device_type, AUTOCAST_DTYPES[precision])
    return contextlib.nullcontext()


def make_optimizer(parameters: Iterable[nn.Parameter], kind: str, lr: float = 3e-4) -> torch.optim.Optimizer:
    """The optimizer that a recipe names. "adamw" is torch's fused one; torch's own default is "adamw-foreach".

    Raises:
        ValueError: a name that is not known.
        ImportError: "adamw-8bit" without bitsandbytes.
    """
    if kind == "adamw":
        return torch.optim.AdamW(parameters, lr=lr, fused=True)
    if kind == "adamw-foreach":
        return torch.optim.AdamW(parameters, lr=lr, foreach=True)
    if kind in ("sgd", "sgd-momentum"):
        return torch.optim.SGD(parameters, lr=lr, momentum=0.9 if kind == "sgd-momentum" else 0.0, foreach=True)
    if kind == "adamw-8bit":
        from bitsandbytes.optim import AdamW8bit  # an extra: `pip install diysolve[bnb]`

        optimizer: torch.optim.Optimizer = AdamW8bit(parameters, lr=lr)
        return optimizer
    raise ValueError(
        f"optimizer={kind!r}: no such optimizer; use adamw, adamw-foreach, adamw-8bit, sgd or sgd-momentum"
    )


def make_scaler(precision: str, device_type: str) -> torch.amp.GradScaler | None:
    """The loss scaler that float16 needs (Micikevicius et al. 2018, arXiv:1710.03740, section 3.2), else None."""
    return torch.amp.GradScaler(device_type) if precision == "16-mixed" else None


def training_step(
    model: DIYForCausalLM,
    batch: Tensor | Sequence[Tensor],
    recipe: TrainingRecipe,
    *,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None = None,
    backward: Callable[[Tensor], None] = torch.autograd.backward,
    mark: Callable[[Moment], None] = lambda moment: None,
) -> Tensor:
    """Forward, loss, backward and optimizer step; returns the loss, a detached scalar.

    Args:
        batch: int (B, T) tokens, or a sequence of such micro-batches, whose gradients are accumulated.
        backward: what runs the backward pass of the (scaled) loss.
        mark: called with the name of each moment as it ends; the first three come once for each micro-batch.
    """

    def loss_of(input_ids: Tensor, accumulation: int) -> Tensor:
        with autocast(recipe.precision, input_ids.device.type):
            hidden = model.hidden_states(input_ids, attention=recipe.attention, checkpointing=recipe.checkpointing)
            labels = next_tokens(input_ids)
            shares = accumulation * num_labels(labels)
            if recipe.loss == "chunked":
                mark("forward_end")
                return chunked_loss(hidden, model.lm_head.weight, labels) / shares
            logits = model.lm_head(hidden).float()  # in the loss, the half-precision logits would live beside these
            del hidden
            mark("forward_end")
            return token_loss(logits, labels) / shares

    return step_of(loss_of, batch, optimizer=optimizer, scaler=scaler, backward=backward, mark=mark)


def step_of(
    loss_of: Callable[[Tensor, int], Tensor],
    batch: Tensor | Sequence[Tensor],
    *,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
    backward: Callable[[Tensor], None],
    mark: Callable[[Moment], None],
) -> Tensor:
    """One step of any model: gradients are dropped, those of all micro-batches added up, the weights updated.

    Args:
        loss_of: the loss of int (B, T) tokens divided by the number of micro-batches; it marks forward_end.

    Returns the sum of what `loss_of` gave, a detached scalar.
    """
    micro_batches = [batch] if isinstance(batch, Tensor) else batch
    optimizer.zero_grad(set_to_none=True)
    total: Tensor | None = None
    for input_ids in micro_batches:
        loss = loss_of(input_ids, len(micro_batches))
        mark("loss")
        scaled = scaler.scale(loss) if scaler else loss
        loss = loss.detach()  # the graph belongs to `scaled` alone, so that it dies as the backward pass consumes it
        backward(scaled)
        mark("backward")
        total = loss if total is None else total.add_(loss)
        del loss, scaled  # so that every micro-batch but the first starts from the same tensors
    if scaler:
        scaler.step(optimizer)
        scaler.update()
    else:
        optimizer.step()
    mark("optimizer_step")
    assert total is not None, "a step has a micro-batch"
    return total


def next_tokens(input_ids: Tensor) -> Tensor:
    """Labels (B, T): the input shifted left by one, the last position ignored."""
    return F.pad(input_ids[:, 1:], (0, 1), value=IGNORED)


def token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum of the cross-entropies of float32 logits (B, T, V), in nats."""
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")


def chunked_loss(hidden: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    """Sum of the cross-entropies, with logits for CHUNK_TOKENS tokens at a time; recomputed in the backward pass."""

    def chunk_loss(hidden_chunk: Tensor, label_chunk: Tensor) -> Tensor:
        return token_loss(F.linear(hidden_chunk, head).float()[None], label_chunk)

    total = hidden.new_zeros((), dtype=torch.float32)
    chunks = zip(
        torch.split(hidden.flatten(0, 1), CHUNK_TOKENS), torch.split(labels.flatten(), CHUNK_TOKENS), strict=True
    )
    for hidden_chunk, label_chunk in chunks:
        total = total + checkpoint(chunk_loss, hidden_chunk, label_chunk, use_reentrant=False)
    return total


def num_labels(labels: Tensor) -> int:
    return labels.shape[0] * (labels.shape[1] - 1)
