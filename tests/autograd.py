"""The memory of a real step on the CPU, as the events of torch's profiler tell it.

Nothing of this project follows the tensors here: no dispatch mode and no engine of its own. The profiler writes down
every request to the allocator and every freeing, while torch's own autograd runs the backward pass.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

from diymodel import DIYConfig
from diymodel.step import make_optimizer
from solver.memory.tensors import rounded
from solver.recipe import Recipe
from solver.verify.job import build, tokens, training_step

MARK = "moment "

RANDOM_STATE_BYTES = torch.get_rng_state().nbytes
"""What checkpointing keeps of the CPU's generator, on the host even where the model is on a card."""


def measured(config: DIYConfig, recipe: Recipe) -> dict[str, int]:
    """Peak of each moment in bytes, requests counted in blocks of 512, in a steady state of the optimizer."""
    torch.manual_seed(0)
    model = build(config, recipe, "cpu")
    optimizer = make_optimizer(model.parameters(), recipe.optimizer)
    batch = [tokens(config, recipe, "cpu")] * (recipe.accumulation or 1)
    _take_states(model, optimizer)
    held = _held(model, optimizer, batch[0])

    def mark(moment: str) -> None:
        with record_function(MARK + moment):
            pass

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        training_step(model, batch, recipe, optimizer=optimizer, mark=mark)
    return _peaks(profiler, held)


def _take_states(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """A first step makes them; its gradients are gone before the step that is measured."""
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _held(model: nn.Module, optimizer: torch.optim.Optimizer, input_ids: Tensor) -> int:
    """Bytes that are there before the step: weights, buffers, states, token ids."""
    states = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    tensors = [*model.parameters(), *model.buffers(), *states, input_ids]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(int(rounded(nbytes)) for nbytes in storages.values())


def _peaks(profiler: profile, held: int) -> dict[str, int]:
    events = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    marks = sorted((event.start_ns(), event.name()) for event in events if event.name().startswith(MARK))
    requests = sorted(
        (event.start_ns(), index, event.nbytes())
        for index, event in enumerate(events)
        if event.name() == "[memory]" and abs(event.nbytes()) != RANDOM_STATE_BYTES
    )
    peaks: dict[str, int] = {}
    live = largest = held
    requests.reverse()
    for at, name in marks:
        moment = name.removeprefix(MARK)
        while requests and requests[-1][0] < at:
            nbytes = requests.pop()[2]
            live += int(rounded(abs(nbytes))) * (1 if nbytes > 0 else -1)
            largest = max(largest, live)
        peaks[moment] = max(peaks.get(moment, 0), largest)
        largest = live
    return peaks
