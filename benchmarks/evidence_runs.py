"""Dry runs of published measurements: what was run, on which model, and the peak that fake tensors give for it."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.caching_allocator import MIB, Event
from benchmarks.evidence_models import (
    BookGPT,
    BookVariant,
    CourseAdamW,
    CourseLM,
    HeadAndLoss,
    HubGPT2,
    HubLlama,
    HubQwen3,
    KeysAndValues,
    Shape,
    hand_cross_entropy,
)
from diymodel import DIYConfig, DIYForCausalLM
from diymodel.step import autocast, make_optimizer, make_scaler, training_step, weight_dtype
from solver.recipe import Recipe
from solver.verify.dry_run.engine import run_backward
from solver.verify.dry_run.meter import Meter
from solver.verify.dry_run.tracing import fake_device

TABLE = Path(__file__).with_name("evidence") / "measured_memory.csv"
"""The published figures: each with its source, what was run, the metric, the value and the unit it was published in."""


def _course(hidden_size: int, num_layers: int, num_heads: int, intermediate_size: int) -> Shape:
    return Shape(
        vocab_size=10_000, hidden_size=hidden_size, num_layers=num_layers, num_heads=num_heads,
        intermediate_size=intermediate_size,
    )  # fmt: skip


def _gpt2(vocab_size: int = 50_257) -> Shape:
    return Shape(vocab_size=vocab_size, hidden_size=768, num_layers=12, num_heads=12, intermediate_size=3072)


def _qwen3(hidden_size: int, num_layers: int, num_heads: int, intermediate_size: int) -> Shape:
    return Shape(
        vocab_size=151_936, hidden_size=hidden_size, num_layers=num_layers, num_heads=num_heads, num_kv_heads=8,
        head_dim=128, intermediate_size=intermediate_size,
    )  # fmt: skip


SHAPES = {
    "cs336-small": _course(768, 12, 12, 3072),
    "cs336-medium": _course(1024, 24, 16, 4096),
    "cs336-large": _course(1280, 36, 20, 5120),
    "cs336-xl": _course(2560, 32, 32, 10240),
    "cs336-10b": _course(4608, 50, 36, 12288),
    "book-gpt2": _gpt2(),
    "hub-gpt2": _gpt2(),
    "qwen3-0.6b": _qwen3(1024, 28, 16, 3072),
    "qwen3-1.7b": _qwen3(2048, 28, 16, 6144),
    "qwen3-4b": _qwen3(2560, 36, 32, 9728),
    "llama-3.1-8b": Shape(
        vocab_size=128_256,
        hidden_size=4096,
        num_layers=32,
        num_heads=32,
        num_kv_heads=8,
        intermediate_size=14_336,
    ),
}

GPT2_CONTEXT = 1024

BOOK_VARIANTS = {
    0: BookVariant(),
    1: BookVariant(mask_on_the_fly=True),
    6: BookVariant(mask_on_the_fly=True, torch_classes=True),
    7: BookVariant(mask_on_the_fly=True, torch_classes=True, torch_attention=True),
}
"""By the last of the README's numbered changes to the model that is in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What was run when a peak was measured."""

    model: str
    """A key of SHAPES, or `loss V` or `loss V C`: a cross-entropy of V classes, behind a head of width C."""
    micro_batch: int
    seq_len: int
    precision: str
    """diysolve's words."""
    optimizer: str
    """diysolve's words, "course" for the course's own AdamW, or "none"."""
    mode: str
    """A key of MODES."""
    segment: int = 0
    """Blocks per checkpoint; 0 none, -1 halves within halves."""
    variant: int = 0
    """A key of BOOK_VARIANTS."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One published figure."""

    id: str
    source: str
    run: Run
    gpu: str
    metric: Literal["allocated", "reserved", "resident", "oom", "prefill"]
    """max_memory_allocated, max_memory_reserved, what is alive at the end, what a card that ran out of it holds, or
    max_memory_allocated of taking in a prompt, read off a plot."""
    bytes: int
    note: str

    @property
    def workspace_bytes(self) -> int:
        """What cuBLAS takes for each thread: 32 MiB on Hopper, 8.125 MiB on older cards.

        Source: parseChosenWorkspaceSize in torch/aten/src/ATen/cuda/CublasHandlePool.cpp. Assumptions: 8.125 MiB where
        the card is not stated, on ROCm (none or 32 MiB, by version), and on the RTX PRO 6000: Blackwell has 32 MiB in
        later versions of torch, but the rows that were measured with 2.11 fit the smaller one.
        """
        large = any(name in self.gpu for name in ("H100", "H200", "H20 "))
        return 32 * MIB if large else 8 * MIB + MIB // 8


UNITS = {"MiB": 2**20, "GiB": 2**30, "GB": 10**9}


def measurements(path: Path = TABLE) -> list[Measurement]:
    """The rows of the table of published figures that can be traced."""
    with path.open(newline="") as file:
        return [_measurement(row) for row in csv.DictReader(file)]


def _measurement(row: dict[str, Any]) -> Measurement:
    run = Run(
        model=row["model"], micro_batch=int(row["micro_batch"]), seq_len=int(row["seq_len"]),
        precision=row["precision"], optimizer=row["optimizer"], mode=row["mode"], segment=int(row["segment"]),
        variant=int(row["variant"]),
    )  # fmt: skip
    nbytes = round(float(row["value"]) * UNITS[row["unit"]])
    return Measurement(
        id=row["id"], source=row["source"], run=run, gpu=row["gpu"], metric=row["metric"], bytes=nbytes,
        note=row["note"],
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Traced:
    """What fake tensors show of a run."""

    moments: dict[str, int]
    """Moment -> peak bytes of the tensors, each rounded up to 512 bytes, as diysolve predicts them."""
    allocated: dict[str, int]
    """The same with the rests that stay with large blocks, as diysolve counts them."""
    events: tuple[Event, ...]

    @property
    def peak_bytes(self) -> int:
        return max(self.moments.values())


@cache
def dry_run(run: Run) -> Traced:
    """A run on fake tensors, at full depth."""
    with fake_device("cuda"):
        watch = MODES[run.mode](run)
    return Traced(moments=watch.moments, allocated=watch.allocated, events=tuple(watch.events))


STEPS = 3
"""Steps of our own models: the last one finds the allocator in its steady state."""


def own_run(config: DIYConfig, recipe: Recipe) -> tuple[Event, ...]:
    """What some training steps of our own model request and release, at full depth."""
    with fake_device("cuda"), _default_dtype(weight_dtype(recipe.precision)):
        module = DIYForCausalLM(config).train()
        optimizer, scaler = make_optimizer(module.parameters(), recipe.optimizer), make_scaler(recipe.precision, "cuda")
        input_ids = torch.zeros(recipe.micro_batch, recipe.seq_len, dtype=torch.int64)
        watch = _Watch(*module.parameters(), *module.buffers(), input_ids)
        for _ in range(STEPS):
            watch.events.append(Event("step"))
            with watch:
                training_step(
                    module, input_ids, recipe, optimizer=optimizer, scaler=scaler, backward=run_backward
                )  # fmt: skip
    return tuple(watch.events)


PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.bmm.default, torch.ops.aten.addmm.default)
"""The operators that come to cuBLAS."""


class _Watch(Meter):  # type: ignore[no-untyped-call]
    """A meter that also writes down each request and release, and keeps the peak of each moment."""

    def __init__(self, *tensors: Tensor) -> None:
        super().__init__("cuda")
        self.moments: dict[str, int] = {}
        self.allocated: dict[str, int] = {}
        self.events: list[Event] = []
        self._number = 0
        self._numbers: dict[int, int] = {}
        for tensor in tensors:
            self.adopt(tensor, "weights")

    def end(self, moment: str) -> None:
        self.record(moment)
        self.moments[moment] = max(instant.total for instant in self.instants)
        self.allocated[moment] = max(instant.allocated for instant in self.instants)
        self.instants = []

    def record(self, op: str, workspace: int = 0, allocated: int = 0) -> None:
        super().record(op, workspace, allocated)
        if workspace:
            self._number += 1
            self.events += [Event("request", self._number, workspace), Event("release", self._number)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS:
            self.events.append(Event("product"))
        return super().__torch_dispatch__(func, types, args, kwargs)

    def _follow(self, tensor: Tensor, part: Callable[[], str]) -> bool:
        followed = super()._follow(tensor, part)
        if followed:
            storage = tensor.untyped_storage()
            self._number += 1
            self._numbers[storage._cdata] = self._number
            self.events.append(Event("request", self._number, storage.nbytes()))
        return followed

    def _forget(self, key: int) -> None:
        super()._forget(key)
        self.events.append(Event("release", self._numbers.pop(key)))


def _model(run: Run) -> nn.Module:
    shape = SHAPES[run.model]
    with _default_dtype(weight_dtype(run.precision)):
        if run.model == "book-gpt2":
            return BookGPT(shape, GPT2_CONTEXT, BOOK_VARIANTS[run.variant])
        if run.model == "hub-gpt2":
            return HubGPT2(shape, GPT2_CONTEXT)
        if run.model.startswith("qwen3"):
            return HubQwen3(shape)
        if run.model.startswith("llama"):
            return HubLlama(shape)
        return CourseLM(shape, run.seq_len, run.segment)


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _optimizer(module: nn.Module, kind: str) -> torch.optim.Optimizer | None:
    if kind == "none":
        return None
    return CourseAdamW(module.parameters()) if kind == "course" else make_optimizer(module.parameters(), kind)


def _loss(run: Run) -> Callable[[Tensor, Tensor], Tensor]:
    if run.mode.endswith("of the mean"):
        return lambda logits, targets: logits.mean()
    if run.model.startswith("cs336") and run.segment >= 0:
        return hand_cross_entropy
    wide = run.model == "cs336-xl" or run.model.startswith("hub")
    return lambda logits, targets: F.cross_entropy(
        (logits.float() if wide else logits).flatten(0, 1), targets.flatten()
    )


def _ids(run: Run) -> Tensor:
    return _tokens(run, run.seq_len)


def _train(run: Run, steps: int) -> _Watch:
    """The last of a number of training steps; without an optimizer, of forward and backward passes."""
    module, inputs, targets = _model(run).train(), _ids(run), _ids(run)
    optimizer, loss_of = _optimizer(module, run.optimizer), _loss(run)
    watch = _Watch(*module.parameters(), *module.buffers(), inputs, targets)
    for _ in range(steps):
        module.zero_grad(set_to_none=True)
        watch.events.append(Event("step"))
        with watch:
            with autocast(run.precision, "cuda"):
                logits = module(inputs)
            watch.end("forward")
            with autocast(run.precision, "cuda"):
                loss = loss_of(logits, targets)
            # The course's scripts hold the logits until the step ends; here without their graph, which must die.
            logits = logits.detach() if run.model.startswith("cs336") else None
            watch.end("loss")
            watch.events.append(Event("backward"))
            run_backward(loss)
            watch.end("backward")
            if optimizer is not None:
                with torch.device("cpu"):  # foreach counts its steps there, but before torch 2.13 on the default device
                    optimizer.step()
                watch.end("optimizer step")
        del logits, loss
    return watch


def _forward(run: Run, *, gradients: bool) -> _Watch:
    module, inputs = _model(run).train(gradients), _ids(run)
    watch = _Watch(*module.parameters(), *module.buffers(), inputs)
    with watch, torch.set_grad_enabled(gradients), autocast(run.precision, "cuda"):
        module(inputs)
        watch.end("forward")
    return watch


GENERATED = 2048
"""Tokens that Qwen's speed benchmark generates after the prompt."""


def _generate(run: Run) -> _Watch:
    """The prefill of what is not generated, and the last token."""
    module, shape = _model(run).eval(), SHAPES[run.model]
    watch = _Watch(*module.parameters(), *module.buffers())
    with watch, torch.no_grad():
        module(_tokens(run, run.seq_len - GENERATED), [])
        watch.end("prefill")
        module(_tokens(run, 1), [_cached(run, shape) for _ in range(shape.num_layers)])
        watch.end("decode")
    return watch


def _prefill(run: Run) -> _Watch:
    module = _model(run).eval()
    watch = _Watch(*module.parameters(), *module.buffers())
    with watch, torch.no_grad():
        module(_ids(run), [])
        watch.end("prefill")
    return watch


def _tokens(run: Run, count: int) -> Tensor:
    return torch.zeros(run.micro_batch, count, dtype=torch.int64)


def _cached(run: Run, shape: Shape) -> KeysAndValues:
    size = (run.micro_batch, shape.kv_heads, run.seq_len - 1, shape.head_width)
    dtype = weight_dtype(run.precision)
    return torch.empty(size, dtype=dtype), torch.empty(size, dtype=dtype)


def _component(run: Run) -> _Watch:
    """The second of several passes that never drop their gradients."""
    vocab_size, hidden_size = (int(size) for size in (*run.model.split()[1:], "0")[:2])
    shape = Shape(vocab_size=vocab_size, hidden_size=hidden_size, num_layers=0, num_heads=1, intermediate_size=0)
    tokens = run.micro_batch * run.seq_len
    with _default_dtype(weight_dtype(run.precision)):
        module = HeadAndLoss(shape)
        inputs = torch.zeros(tokens, hidden_size or vocab_size, requires_grad=True)
    targets = torch.zeros(tokens, dtype=torch.int64)
    # The script also makes the head of the kernel that it compares with, and leaves it idle.
    idle = [torch.empty_like(parameter) for parameter in module.parameters()]
    watch = _Watch(*module.parameters(), *idle, inputs, targets)
    with watch:
        for _ in range(2):
            watch.events.append(Event("step"))
            loss = module(inputs, targets)
            watch.events.append(Event("backward"))
            run_backward(loss)
            watch.end("forward and backward")
    return watch


MODES: dict[str, Callable[[Run], _Watch]] = {
    "train": lambda run: _train(run, steps=2),
    "train, first step": lambda run: _train(run, steps=1),
    "train, first step of the mean": lambda run: _train(run, steps=1),
    "forward and backward": lambda run: _train(run, steps=2),
    "forward and backward of the mean": lambda run: _train(run, steps=1),
    "forward": lambda run: _forward(run, gradients=False),
    "forward, graph kept": lambda run: _forward(run, gradients=True),
    "generate": _generate,
    "prefill": _prefill,
    "component": _component,
}
