"""One step of one model, followed operator by operator, on fake tensors or on real ones."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from diymodel.config import DIYConfig
from diymodel.model import DIYForCausalLM, KVCache
from diymodel.step import (
    Moment,
    autocast,
    make_optimizer,
    make_scaler,
    next_tokens,
    num_labels,
    step_of,
    token_loss,
    training_step,
    weight_dtype,
)
from solver.errors import RecipeError
from solver.recipe import Recipe
from solver.verify import huggingface
from solver.verify.dry_run.engine import run_backward
from solver.verify.dry_run.kernels import CardAttention
from solver.verify.dry_run.meter import Instant, Meter

Curves = list[tuple[str, list[Instant]]]
"""(moment, the instants of the stage that ends there), in order. Of a step that accumulates gradients each micro-batch
has stages of its own."""

TRACED_MICRO_BATCHES = 2
"""From the second one on all micro-batches of a step are alike: the gradients are there from start to end."""

ModuleFactory = Callable[[], nn.Module]

_PRETENDING = threading.RLock()


@contextlib.contextmanager
def fake_device(device_type: str) -> Iterator[None]:
    """Fake tensors are made on the device by default, and a missing card is treated as if it were there.

    On a machine without CUDA, torch.autocast and GradScaler disable themselves. The one function that they ask is
    replaced for as long as the region lasts; the lock keeps the regions of other threads apart.
    """
    with contextlib.ExitStack() as stack:
        if device_type == "cuda" and not torch.cuda.is_available():
            stack.enter_context(_PRETENDING)
            here = mock.Mock(return_value=False), mock.Mock(return_value=True)
            stack.enter_context(mock.patch.object(torch.cuda.amp.common, "amp_definitely_not_available", here[0]))
            stack.enter_context(mock.patch.object(torch.cuda, "is_bf16_supported", here[1]))
        stack.enter_context(FakeTensorMode())
        stack.enter_context(torch.device(device_type))
        if device_type == "cuda":
            stack.enter_context(CardAttention())
        yield


def trace(factory: ModuleFactory, recipe: Recipe, *, device: str = "cuda") -> Curves:
    """Curves of one training step in the steady state, or of a prefill and a decoding step, on fake tensors.

    Args:
        factory: makes the module; called where tensors are fake and on the device.
    """
    with fake_device(device):
        module = factory()
        cast_module(module, weight_dtype(recipe.precision))
        if recipe.mode == "infer":
            return follow_inference(module.eval(), recipe, device)
        return follow_training(module.train(), recipe, device)


def trace_huggingface(config: DIYConfig, recipe: Recipe, *, device: str = "cuda") -> Curves:
    """The same of the model of transformers that is equal to a config."""
    huggingface.require_transformers()
    with huggingface.on_fake_tensors(), fake_device(device):
        module = huggingface.build(config, recipe)
        if recipe.mode == "infer":
            return follow_huggingface(module, recipe, device)
        return follow_training(module, recipe, device)


def follow_training(
    module: nn.Module,
    recipe: Recipe,
    device: str,
    *,
    backward: Callable[[Tensor], None] | None = None,
) -> Curves:
    """Curves of a step of `module` whose optimizer has its states already.

    Args:
        backward: another engine than ours, which then sees the parts only roughly.
    """
    meter, state = Meter(device), _Training(module)
    optimizer = make_optimizer(module.parameters(), recipe.optimizer)
    scaler = make_scaler(recipe.precision, device)
    input_ids = torch.zeros(recipe.micro_batch, recipe.seq_len, dtype=torch.int64, device=device)
    _adopt_module(meter, module)
    meter.adopt(input_ids, "buffers")
    meter.part_of_new = state.part
    curves: Curves = []

    def mark(moment: str) -> None:
        curves.append((moment, meter.instants))
        meter.instants = []
        state.end_stage(moment)
        if moment == "backward" and sum(passed == "backward" for passed, _ in curves) < len(batch):
            state.begin_micro_batch()
        meter.record(moment)  # a stage that makes nothing has a figure too

    def our_backward(loss: Tensor) -> None:
        run_backward(loss, on_node=state.enter_node, on_gradient=lambda gradient: meter.adopt(gradient, "gradients"))

    step, batch = _step_of(module, recipe), [input_ids] * min(recipe.accumulation or 1, TRACED_MICRO_BATCHES)
    hooks = {"optimizer": optimizer, "scaler": scaler, "backward": backward or our_backward, "mark": mark}
    with meter, state.watch_head():
        _make_states(module, optimizer, scaler, device)
        for tensor in _optimizer_tensors(optimizer, scaler):
            meter.adopt(tensor, "optimizer")
        meter.instants = []
        step(module, batch, recipe, **hooks)
    return curves


def _step_of(module: nn.Module, recipe: Recipe) -> Callable[..., object]:
    if isinstance(module, DIYForCausalLM):
        return training_step
    return huggingface.training_step if recipe.profile == "hf" else generic_step


class _Training:
    """Which part a tensor belongs to, by when it is made."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.ended: str | None = None
        """The moment that was passed last."""
        self.in_head = False
        self.first_of_head: int | None = None
        """Sequence number of the first node of the head and the loss."""

    def part(self) -> str:
        forward, backward = self.ended in (None, "forward_end"), self.ended == "loss"
        if self.in_head and (forward or backward):
            return "logits_loss"
        recomputed = backward and torch.is_grad_enabled()
        return "activations" if forward or recomputed else "temporaries"

    def end_stage(self, moment: str) -> None:
        self.ended = moment
        if moment == "forward_end" and not self.in_head:  # the chunked loss calls no head module
            self.begin_head()

    def begin_micro_batch(self) -> None:
        self.ended, self.in_head, self.first_of_head = None, False, None

    def begin_head(self, *_: object) -> None:
        self.in_head = True
        self.first_of_head = torch._C._autograd._get_sequence_nr()

    def enter_node(self, sequence: int) -> None:
        self.in_head = self.first_of_head is not None and sequence >= self.first_of_head

    @contextlib.contextmanager
    def watch_head(self) -> Iterator[None]:
        """Note when the head begins: when its module is called."""
        self.begin_micro_batch()
        head = getattr(self.module, "lm_head", None)
        hook = head.register_forward_pre_hook(self.begin_head) if head is not None else None
        try:
            yield
        finally:
            if hook is not None:
                hook.remove()


def generic_step(
    module: nn.Module,
    batch: Tensor | Sequence[Tensor],
    recipe: Recipe,
    *,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
    backward: Callable[[Tensor], None],
    mark: Callable[[Moment], None],
) -> Tensor:
    """`training_step` for a module that maps int (B, T) to logits, or to an object that has `logits`.

    Raises:
        RecipeError: the chunked loss or full checkpointing, of which a module knows nothing (it may checkpoint itself).
    """
    for name, word in (("loss", "plain"), ("checkpointing", "none")):
        if getattr(recipe, name) != word:
            raise RecipeError(name, getattr(recipe, name), f"must be {word} for a module that is not a DIYForCausalLM")

    def loss_of(input_ids: Tensor, accumulation: int) -> Tensor:
        with autocast(recipe.precision, input_ids.device.type):
            output = module(input_ids)
            logits = output if isinstance(output, Tensor) else output.logits
            del output
            mark("forward_end")
            labels = next_tokens(input_ids)
            return token_loss(logits.float(), labels) / (accumulation * num_labels(labels))

    return step_of(loss_of, batch, optimizer=optimizer, scaler=scaler, backward=backward, mark=mark)


@torch.no_grad()
def follow_inference(module: nn.Module, recipe: Recipe, device: str) -> Curves:
    """Curves of a prefill of the prompt in one pass, and of decoding the last token of the sequence."""
    if not isinstance(module, DIYForCausalLM):
        raise RecipeError("mode", recipe.mode, "only a DIYForCausalLM can be served in a dry run; use train")
    meter = Meter(device)
    _adopt_module(meter, module)
    curves: Curves = []
    with autocast(recipe.precision, device):
        cache = module.new_cache(recipe.micro_batch, recipe.seq_len)
        _adopt_cache(meter, cache)
        for moment, first, end in (("prefill", 0, recipe.prompt_len), ("decode", recipe.seq_len - 1, recipe.seq_len)):
            ids = torch.zeros(recipe.micro_batch, end - first, dtype=torch.int64, device=device)
            meter.adopt(ids, "buffers")
            meter.record(moment)
            with meter:
                if first == 0 or recipe.prompt_len < recipe.seq_len:
                    cache.num_tokens = first
                    _serve(meter, module, ids, cache, recipe)
            curves.append((moment, meter.instants))
            meter.instants = []
    return curves


@torch.no_grad()
def follow_huggingface(module: nn.Module, recipe: Recipe, device: str) -> Curves:
    """`follow_inference` of a model of transformers, whose cache holds what has been, and no more."""
    meter = Meter(device)
    _adopt_module(meter, module)
    cache = huggingface.new_cache(module)
    parts = _watch_cache(cache)
    curves: Curves = []
    with autocast(recipe.precision, device), _watch_serving_head(module, parts):
        for moment, tokens in (("prefill", recipe.prompt_len), ("decode", 1)):
            decodes = recipe.prompt_len < recipe.seq_len
            if moment == "decode" and decodes:
                _fill(meter, cache, recipe.seq_len - 1)
            ids = torch.zeros(recipe.micro_batch, tokens, dtype=torch.int64, device=device)
            meter.adopt(ids, "buffers")
            meter.part_of_new = lambda: parts[-1]
            meter.record(moment)
            if moment == "prefill" or decodes:
                with meter:
                    huggingface.serve(module, ids, cache)
                parts[:] = ["activations"]
            curves.append((moment, meter.instants))
            meter.instants = []
    return curves


def _watch_cache(cache: Any) -> list[str]:
    """The part of what is made now, last in a list: a cache's update makes the cache."""
    parts, update = ["activations"], cache.update

    def watched(*args: Any, **kwargs: Any) -> Any:
        parts.append("kv_cache")
        try:
            return update(*args, **kwargs)
        finally:
            parts.pop()

    cache.update = watched
    return parts


@contextlib.contextmanager
def _watch_serving_head(module: nn.Module, parts: list[str]) -> Iterator[None]:
    head: Any = module.get_submodule("lm_head")
    hook = head.register_forward_pre_hook(lambda *_: parts.append("logits_loss"))
    try:
        yield
    finally:
        hook.remove()


def _fill(meter: Meter, cache: Any, tokens: int) -> None:
    """Keys and values for so many tokens, as the passes before would have left them."""
    for layer in cache.layers:
        for name in ("keys", "values"):
            held: Tensor = getattr(layer, name)
            shape = (*held.shape[:2], tokens, held.shape[3])
            setattr(layer, name, torch.zeros(shape, dtype=held.dtype, device=held.device))
            del held
            meter.adopt(getattr(layer, name), "kv_cache")


def _serve(meter: Meter, module: DIYForCausalLM, ids: Tensor, cache: KVCache, recipe: Recipe) -> None:
    head = False

    def begin(*_: object) -> None:
        nonlocal head
        head = True

    meter.part_of_new = lambda: "logits_loss" if head else "activations"
    hook = module.lm_head.register_forward_pre_hook(begin)
    try:
        module(ids, cache=cache, attention=recipe.attention, last_only=True)
    finally:
        hook.remove()


def cast_module(module: nn.Module, dtype: torch.dtype) -> None:
    """`module.to(dtype)`, which refuses fake parameters; shared ones stay shared."""
    cast: dict[Tensor, nn.Parameter] = {}
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None and parameter.is_floating_point() and parameter.dtype != dtype:
                part._parameters[name] = cast.setdefault(parameter, nn.Parameter(parameter.detach().to(dtype)))
        for name, buffer in part._buffers.items():
            if buffer is not None and buffer.is_floating_point():
                part._buffers[name] = buffer.to(dtype)


def _adopt_module(meter: Meter, module: nn.Module) -> None:
    for parameter in module.parameters():
        meter.adopt(parameter, "weights")
    for buffer in module.buffers():
        meter.adopt(buffer, "buffers")


def _adopt_cache(meter: Meter, cache: KVCache) -> None:
    for layer in cache.layers:
        meter.adopt(layer.keys, "kv_cache")
        meter.adopt(layer.values, "kv_cache")


def _make_states(
    module: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None, device: str
) -> None:
    """What the first step leaves behind, without the step: the states of the optimizer and of the scaler."""
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with torch.device("cpu"):  # where AdamW counts its steps; before torch 2.13 it took the default device for that
        optimizer.step()
    if scaler is not None:
        scaler.scale(torch.zeros((), device=device))


def _optimizer_tensors(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None) -> Iterator[Tensor]:
    for state in optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, Tensor))
    if scaler is not None:
        yield from (value for value in (scaler._scale, scaler._growth_tracker) if value is not None)
