"""Proofs about an instantiated model: how many parameters it has, and that it computes and learns."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from diymodel.config import DIYConfig
from diymodel.model import AttentionKind, CheckpointingKind, DIYForCausalLM
from diymodel.step import make_optimizer, training_step

LOSS_MARGIN, NARROW_MARGIN = 1.0, 40.0
"""Nats that the loss of an untrained model may lie away from ln(vocab_size): the first, and the second over
sqrt(hidden_size) (assumption; 0.2 is expected from the initialisation's logit variance of 0.4, but narrow models
scatter: of 1,500 odd shapes drawn, none lay further than 29 / sqrt(hidden_size) beyond the first)."""

MIN_SEQ_LEN = 3
"""Below this no label depends on queries and keys: the first position sees only itself, the last has no label."""


class ModelCheckError(ValueError):
    """A model that is not what its config says, or that does not compute."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelReport:
    """What `verify_model` saw. `loss` in nats per token."""

    params: dict[str, int]
    logits_shape: tuple[int, int, int]
    loss: float
    expected_loss: float


def count_by_component(model: nn.Module) -> dict[str, int]:
    """Parameters of a DIYForCausalLM by component: embedding, attention, mlp, norm, lm_head (0 when tied).

    A tied weight is counted once, as embedding. Works on the meta device.
    """
    counts = dict.fromkeys(("embedding", "attention", "mlp", "norm", "lm_head"), 0)
    for name, parameter in model.named_parameters():  # yields a shared parameter once, under its first name
        counts[_component(name)] += parameter.numel()
    return counts


def _component(name: str) -> str:
    owner = name.rsplit(".", 2)[-2]  # the module that holds the weight
    if owner.endswith("norm"):
        return "norm"
    if ".feedforward." in name:
        return "mlp"
    if ".attention." in name:
        return "attention"
    return owner


def count_parameters(model: nn.Module) -> tuple[float, float]:
    """(total, trainable) parameters in millions, shared weights once."""
    total = sum(parameter.numel() for parameter in model.parameters())
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return total / 1e6, trainable / 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class _CheckRecipe:
    """The plainest recipe: every parameter is reached in the precision it is stored in."""

    precision: str = "32-true"
    optimizer: str = "sgd"
    checkpointing: CheckpointingKind = "none"
    attention: AttentionKind = "sdpa"
    loss: str = "plain"


def verify_model(model: DIYForCausalLM, config: DIYConfig, *, batch: int = 2, seq_len: int = 16) -> ModelReport:
    """Prove that `model` is what `config` says and that it computes: shape, finite logits, one training step.

    The loss of the step must be finite and, as for any untrained model, near ln(vocab_size); the backward pass must
    reach every parameter. The step is taken with a learning rate of 0, so weights, mode and gradients are left as
    they were found. `seq_len` is cut to the config's max_seq_len.

    Raises:
        ModelCheckError: the first of these that is not true, or a sequence too short to show it (below MIN_SEQ_LEN).
    """
    if model.config != config:
        raise ModelCheckError(f"config: the model was built from another one, {model.config}, than was given, {config}")
    if min(seq_len, config.max_seq_len) < MIN_SEQ_LEN:
        raise ModelCheckError(
            f"seq_len={seq_len} (max_seq_len={config.max_seq_len}): at least {MIN_SEQ_LEN} tokens are needed for the "
            "backward pass to reach queries and keys"
        )
    weight = model.embedding.weight
    shape = (batch, min(seq_len, config.max_seq_len))
    input_ids = torch.arange(batch * shape[1], device=weight.device).view(shape) % config.vocab_size
    was_training, gradients = model.training, [parameter.grad for parameter in model.parameters()]
    try:
        model.eval()
        with torch.no_grad():
            logits = model(input_ids)
        _check_logits(logits, (*shape, config.vocab_size))
        optimizer = make_optimizer(model.parameters(), "sgd", lr=0.0)
        loss = float(training_step(model, input_ids, _CheckRecipe(), optimizer=optimizer))
        _check_loss(loss, config)
        _check_gradients(model)
    finally:
        model.train(was_training)
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient
    return ModelReport(
        params=count_by_component(model),
        logits_shape=(*shape, config.vocab_size),
        loss=loss,
        expected_loss=math.log(config.vocab_size),
    )


def _check_logits(logits: torch.Tensor, shape: tuple[int, int, int]) -> None:
    if logits.shape != shape:
        raise ModelCheckError(f"logits: shape {tuple(logits.shape)}, expected {shape}")
    if not bool(torch.isfinite(logits).all()):
        raise ModelCheckError("logits: not all finite; look at the weights and at eps")


def _check_loss(loss: float, config: DIYConfig) -> None:
    if not math.isfinite(loss):
        raise ModelCheckError(f"loss={loss}: not finite")
    expected, margin = math.log(config.vocab_size), LOSS_MARGIN + NARROW_MARGIN / math.sqrt(config.hidden_size)
    if abs(loss - expected) > margin:
        raise ModelCheckError(
            f"loss={loss:.2f}: an untrained model has about ln(vocab_size) = {expected:.2f}, "
            f"within {margin:.2g}; look at the initialisation"
        )


def _check_gradients(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and (parameter.grad is None or not bool(parameter.grad.abs().max() > 0)):
            raise ModelCheckError(f"{name}: the backward pass does not reach it")
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            raise ModelCheckError(f"{name}: its gradient is not finite")
