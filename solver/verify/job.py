"""What is run, the same on fake tensors and on a device: the model in its recipe's dtype, its input, an inference step.

The training step is `diymodel.step.training_step`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from diymodel.config import DIYConfig
from diymodel.model import DIYForCausalLM
from diymodel.step import autocast, weight_dtype
from solver.recipe import Recipe


class _WeightsIn(TorchFunctionMode):
    """Weights are made in `dtype`; whatever names its own dtype, such as the RoPE tables, keeps it.

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


def build(config: DIYConfig, recipe: Recipe, device: str) -> DIYForCausalLM:
    """The model on `device`, in the dtype and the mode (training or not) of the recipe."""
    with torch.device(device), _WeightsIn(weight_dtype(recipe.precision)):
        model = DIYForCausalLM(config)
    return model.train(recipe.mode == "train")


def tokens(config: DIYConfig, recipe: Recipe, device: str) -> Tensor:
    """Random tokens, int64 (micro_batch, seq_len), the same on every device."""
    generator = torch.Generator().manual_seed(0)
    shape = (recipe.micro_batch, recipe.seq_len)
    return torch.randint(config.vocab_size, shape, generator=generator).to(device)


@torch.no_grad()
def inference_step(
    model: DIYForCausalLM,
    input_ids: Tensor,
    recipe: Recipe,
    *,
    mark: Callable[[Literal["prefill", "decode"]], None] = lambda moment: None,
) -> Tensor:
    """Prefill all but the last of int (B, T) tokens in one pass, decode the last over a cache for all of them.

    Returns the last logits, (B, 1, V). `mark` is called with the name of each moment as it ends.
    """
    prompt = max(1, input_ids.shape[1] - 1)
    with autocast(recipe.precision, input_ids.device.type):
        cache = model.new_cache(input_ids.shape[0], input_ids.shape[1])
        logits: Tensor = model(input_ids[:, :prompt], cache=cache, attention=recipe.attention, last_only=True)
        mark("prefill")
        for position in range(prompt, input_ids.shape[1]):
            token = input_ids[:, position : position + 1]
            logits = model(token, cache=cache, attention=recipe.attention, last_only=True)
        mark("decode")
    return logits
