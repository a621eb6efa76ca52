"""The model of transformers that a config is equal to: built, trained, served. The profile `hf` of a recipe.

A training step is what its documentation shows and its Trainer runs: `model(input_ids, labels=labels).loss`, a cache
not kept, the logits dropped before the backward pass. Serving is forward passes with its own DynamicCache, as
`generate` makes them.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from importlib.util import find_spec
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from diymodel.config import DIYConfig
from diymodel.step import Moment, autocast, step_of, weight_dtype
from solver.errors import RecipeError
from solver.interop.huggingface import to_huggingface
from solver.recipe import Recipe

_PATCHING = threading.RLock()

_COMPONENTS = {
    "norm": "norm",
    "embed_tokens": "embedding",
    "self_attn": "attention",
    "mlp": "mlp",
    "lm_head": "lm_head",
}
"""What a parameter's name contains -> its component; the norms inside attention come first."""


def require_transformers() -> None:
    """Raises RecipeError where transformers is not installed."""
    if find_spec("transformers") is None:
        raise RecipeError("profile", "hf", "needs transformers, which is not installed: `pip install transformers`")


def build(config: DIYConfig, recipe: Recipe) -> nn.Module:
    """The model on the default device, in the dtype, with the attention and the checkpointing of the recipe.

    Raises:
        ExchangeError: transformers has no such model.
        RecipeError: transformers is not installed.
    """
    require_transformers()
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    values = to_huggingface(config)
    settings = CONFIG_MAPPING[values["model_type"]].from_dict(values)
    model: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        settings, dtype=weight_dtype(recipe.precision), attn_implementation=recipe.attention
    )
    if recipe.checkpointing == "full" and recipe.mode == "train":
        model.activation_checkpointing_enable()
    module: nn.Module = model.train(recipe.mode == "train")
    return module


def training_step(
    model: Any,
    batch: Tensor | Sequence[Tensor],
    recipe: Recipe,
    *,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None = None,
    backward: Callable[[Tensor], None] = torch.autograd.backward,
    mark: Callable[[Moment], None] = lambda moment: None,
) -> Tensor:
    """`diymodel.step.training_step` for a model of transformers, which computes its own loss."""
    own_loss = model.loss_function

    def marked_loss(*args: Any, **kwargs: Any) -> Any:
        mark("forward_end")
        return own_loss(*args, **kwargs)

    def loss_of(input_ids: Tensor, accumulation: int) -> Tensor:
        with autocast(recipe.precision, input_ids.device.type):
            loss: Tensor = model(input_ids=input_ids, labels=input_ids, use_cache=False).loss
        return loss / accumulation if accumulation > 1 else loss

    model.loss_function = marked_loss
    try:
        return step_of(loss_of, batch, optimizer=optimizer, scaler=scaler, backward=backward, mark=mark)
    finally:
        model.loss_function = own_loss


@contextlib.contextmanager
def on_fake_tensors() -> Iterator[None]:
    """Whether a batch is packed from several sequences is seen from its positions, which fake tensors do not have: it
    is not. What is looked at to see it is made all the same."""
    from transformers import masking_utils

    look = masking_utils.find_packed_sequence_indices

    def found_none(position_ids: Tensor) -> Tensor | None:
        found = look(position_ids)
        return None if isinstance(position_ids, FakeTensor) else found

    with _PATCHING, mock.patch.object(masking_utils, "find_packed_sequence_indices", found_none):
        yield


def count_on_meta(config: DIYConfig) -> dict[str, int]:
    """Params of each component of the instantiated model, in the words of our own count, and their sum as "total"."""
    with torch.device("meta"):
        model = build(config, Recipe(profile="hf"))
    parts = dict.fromkeys(("embedding", "attention", "mlp", "norm", "lm_head"), 0)
    for name, parameter in model.named_parameters():  # a tied head is not named again
        parts[next(part for mark, part in _COMPONENTS.items() if mark in name)] += parameter.numel()
    return {"total": sum(parts.values()), **parts}


def version() -> str:
    """`transformers 5.24.0`."""
    return f"transformers {metadata.version('transformers')}"


def logits_of(model: nn.Module, input_ids: Tensor) -> Tensor:
    """Of a plain forward pass, (B, T, V)."""
    logits: Tensor = model(input_ids=input_ids, use_cache=False).logits
    return logits


def new_cache(model: Any) -> Any:
    """An empty DynamicCache, which grows by a concatenation at every pass."""
    from transformers import DynamicCache

    return DynamicCache(config=model.config)


def serve(model: nn.Module, input_ids: Tensor, cache: Any) -> Tensor:
    """Logits of the last token of int (B, T), (B, 1, V), after those in the cache."""
    known = inspect.signature(model.forward).parameters
    word = "cache" if "cache" in known else "past_key_values"  # renamed in transformers 5.24
    logits: Tensor = model(input_ids=input_ids, use_cache=True, logits_to_keep=1, **{word: cache}).logits
    return logits
