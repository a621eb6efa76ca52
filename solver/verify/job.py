"""What is run, the same on fake tensors and on a device: the model in its recipe's dtype, its input, an inference step.

The model is `diymodel`'s or transformers', by the recipe's profile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from diymodel.config import DIYConfig
from diymodel.model import DIYForCausalLM
from diymodel.step import autocast, weight_dtype
from diymodel.step import training_step as diy_training_step
from solver.recipe import Recipe
from solver.verify import huggingface


class _WeightsIn(TorchFunctionMode):
    """Weights are made in `dtype`; whatever names its own dtype, such as the RoPE tables, is made in that.

    Made so and not cast afterwards: a cast would hold the float32 weights first. A mode and not torch's default
    dtype: that one belongs to the whole process.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func is torch.empty and named.get("dtype") is None:
            named = {**named, "dtype": self.dtype}
        return func(*args, **named)


def build(config: DIYConfig, recipe: Recipe, device: str) -> nn.Module:
    """The model on `device`, in the dtype and the mode (training or not) of the recipe."""
    if recipe.profile == "hf":
        with torch.device(device):
            return huggingface.build(config, recipe)
    dtype = weight_dtype(recipe.precision)
    with torch.device(device), _WeightsIn(dtype):
        model = DIYForCausalLM(config)
    return model.to(dtype).train(recipe.mode == "train")  # the RoPE tables too, as in a model that is cast whole


def tokens(config: DIYConfig, recipe: Recipe, device: str) -> Tensor:
    """Random tokens, int64 (micro_batch, seq_len), the same on every device."""
    generator = torch.Generator().manual_seed(0)
    shape = (recipe.micro_batch, recipe.seq_len)
    return torch.randint(config.vocab_size, shape, generator=generator).to(device)


def logits_of(model: nn.Module, input_ids: Tensor, recipe: Recipe) -> Tensor:
    """Of a plain forward pass."""
    if recipe.profile == "hf":
        return huggingface.logits_of(model, input_ids)
    logits: Tensor = model(input_ids, attention=recipe.attention)
    return logits


def training_step(model: nn.Module, batch: Tensor | Sequence[Tensor], recipe: Recipe, **means: Any) -> Tensor:
    """`diymodel.step.training_step`, or the same of a model of transformers."""
    if recipe.profile == "hf":
        return huggingface.training_step(model, batch, recipe, **means)
    return diy_training_step(cast(DIYForCausalLM, model), batch, recipe, **means)


@torch.no_grad()
def inference_step(
    model: nn.Module,
    input_ids: Tensor,
    recipe: Recipe,
    *,
    mark: Callable[[Literal["prefill", "decode"]], None] = lambda moment: None,
) -> Tensor:
    """Prefill the prompt of int (B, T) tokens in one pass, decode the rest one by one over a cache for all of them.

    Returns the last logits, (B, 1, V). `mark` is called with the name of each moment as it ends.
    """
    prompt = recipe.prompt_len
    with autocast(recipe.precision, input_ids.device.type):
        serve = _server(model, input_ids, recipe)
        logits = serve(input_ids[:, :prompt])
        mark("prefill")
        for position in range(prompt, input_ids.shape[1]):
            logits = serve(input_ids[:, position : position + 1])
        mark("decode")
    return logits


def _server(model: nn.Module, input_ids: Tensor, recipe: Recipe) -> Callable[[Tensor], Tensor]:
    """What takes more tokens, over a new cache, and returns the logits of the last one."""
    if recipe.profile == "hf":
        cache = huggingface.new_cache(model)
        return lambda tokens: huggingface.serve(model, tokens, cache)
    own_cache = cast(DIYForCausalLM, model).new_cache(input_ids.shape[0], input_ids.shape[1])
    return lambda tokens: cast(Tensor, model(tokens, cache=own_cache, attention=recipe.attention, last_only=True))
