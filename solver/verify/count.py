"""The count of the real model: DIYForCausalLM on the meta device, where a weight has a shape and no bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from diymodel.checks import count_by_component
from diymodel.config import DIYConfig
from diymodel.model import DIYForCausalLM

_INITIALISERS = frozenset(
    {
        Tensor.normal_,
        Tensor.fill_,
        Tensor.zero_,
        nn.init.normal_,
        nn.init.uniform_,
        nn.init.kaiming_uniform_,
    }
)


class _ShapesOnly(TorchFunctionMode):
    """Weights are made on the meta device and left unfilled.

    On meta, torch fills a tensor through its Python reference operators, and the first such call imports sympy and
    the compiler: seconds, where the whole model takes milliseconds.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func is torch.empty:
            return func(*args, **{**named, "device": "meta"})
        if func in _INITIALISERS:
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def count_on_meta(config: DIYConfig) -> dict[str, int]:
    """Params of each component of the instantiated module, and their sum as "total"."""
    shortest = replace(config, max_seq_len=1)  # the RoPE tables are no params, and they are made for real
    with _ShapesOnly():
        model = DIYForCausalLM(shortest)
    parts = count_by_component(model)
    return {"total": sum(parts.values()), **parts}


def differences(predicted: Mapping[str, int], counted: Mapping[str, int]) -> list[str]:
    """One phrase for each component whose count is not the predicted one."""
    return [
        f"{name}: {predicted.get(name, 0):,} predicted, {counted.get(name, 0):,} counted"
        for name in dict.fromkeys((*predicted, *counted))
        if predicted.get(name, 0) != counted.get(name, 0)
    ]
