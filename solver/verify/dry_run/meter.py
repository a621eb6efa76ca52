"""Live bytes of one device, by part, after every operator: what the caching allocator would hold.

A dispatch mode sees the tensors that operators return; a weak reference to each storage tells when it dies. Works on
fake tensors and on real ones.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from solver.memory.moments import PARTS
from solver.memory.tensors import counted, rounded
from solver.verify.dry_run.kernels import workspace_bytes

aten = torch.ops.aten

_INDEX = {part: index for index, part in enumerate(PARTS)}

IN_PLACE_ON_REAL_TENSORS = {
    aten.scatter.src: aten.scatter_.src,
    aten.scatter.value: aten.scatter_.value,
    aten.scatter_add.default: aten.scatter_add_.default,
}
"""Backward formulas fill a new tensor of zeros in place, but on subclasses, and so on fake tensors, out of place
(isTensorSubclassLike in torch/csrc/autograd/FunctionsManual.cpp, for gather, max and others)."""


@dataclass(frozen=True, slots=True)
class Instant:
    """Live bytes, in the order of PARTS, while the operator `op` runs."""

    op: str
    live: tuple[int, ...]
    allocated: int
    """The same in all, with the rests that stay with large blocks."""

    @property
    def total(self) -> int:
        return sum(self.live)


class _Block(NamedTuple):
    """A storage that is alive."""

    nbytes: int
    counted: int
    part: str
    reference: weakref.ref[Any]


class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows storages on one type of device.

    Attributes:
        part_of_new: names the part that a newly made tensor belongs to.
        instants: one per operator that made something, in order; the caller empties it.
    """

    def __init__(self, device_type: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device_type = device_type
        self.part_of_new: Callable[[], str] = lambda: "temporaries"
        self.instants: list[Instant] = []
        self._live = [0] * len(PARTS)
        self._allocated = 0
        self._blocks: dict[int, _Block] = {}
        self._new_zeros = 0
        """The storage that the last operator made, if that was new_zeros."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is aten._local_scalar_dense.default and type(args[0]) is not Tensor:
            return _value_of_fake(args[0])
        if func in IN_PLACE_ON_REAL_TENSORS and self._fills_new_zeros(args[0]):
            func = IN_PLACE_ON_REAL_TENSORS[func]
        result = func(*args, **(kwargs or {}))
        made = False
        for tensor in tensors_in(result):
            made |= self._follow(tensor, lambda: self._part(func, args))
        workspace = workspace_bytes(func, args) if self.device_type == "cuda" else 0
        if made or workspace:
            self.record(str(func), workspace, workspace_bytes(func, args, counted) if workspace else 0)
        self._new_zeros = result.untyped_storage()._cdata if func is aten.new_zeros.default else 0
        return result

    def _fills_new_zeros(self, tensor: Tensor) -> bool:
        """Whether this is a backward formula that fills what it has just made."""
        return not torch.is_grad_enabled() and tensor.untyped_storage()._cdata == self._new_zeros

    def adopt(self, tensor: Tensor, part: str) -> None:
        """Count a tensor that was made elsewhere, or move one to another part."""
        if self._follow(tensor, lambda: part):
            return
        block = self._blocks.get(tensor.untyped_storage()._cdata)
        if block is not None:
            self._live[_INDEX[block.part]] -= block.nbytes
            self._live[_INDEX[part]] += block.nbytes
            self._blocks[tensor.untyped_storage()._cdata] = block._replace(part=part)

    def record(self, op: str, workspace: int = 0, allocated: int = 0) -> None:
        """Note what is alive now, and the bytes of a workspace that the operator held while it ran, in both counts."""
        live = list(self._live)
        live[_INDEX[self.part_of_new()]] += workspace
        self.instants.append(Instant(op, tuple(live), self._allocated + allocated))

    def _part(self, func: Any, args: tuple[Any, ...]) -> str:
        """Casts of weights, which autocast makes, are a part of their own; everything else is what the caller says."""
        if func is aten._to_copy.default:
            source = self._blocks.get(args[0].untyped_storage()._cdata)
            if source is not None and source.part == "weights":
                return "weight_copies"
        return self.part_of_new()

    def _follow(self, tensor: Tensor, part: Callable[[], str]) -> bool:
        """Start to follow the tensor's storage; False if it is followed already or lives elsewhere."""
        if tensor.device.type != self.device_type:
            return False
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._blocks or storage.nbytes() == 0:
            return False
        nbytes, reference = storage.nbytes(), weakref.ref(storage, lambda _: self._forget(key))
        self._blocks[key] = block = _Block(rounded(nbytes), counted(nbytes), part(), reference)
        self._live[_INDEX[block.part]] += block.nbytes
        self._allocated += block.counted
        return True

    def _forget(self, key: int) -> None:
        block = self._blocks.pop(key)
        self._live[_INDEX[block.part]] -= block.nbytes
        self._allocated -= block.counted


def _value_of_fake(tensor: Tensor) -> int:
    """What optimizers read: their step count, which is kept on the CPU, and the scaler's overflows, on the card."""
    return 1 if tensor.device.type == "cpu" else 0


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Of what an operator takes or returns: a tensor, or lists of them."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)
