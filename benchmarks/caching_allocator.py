"""torch's CUDA caching allocator, replayed: what it counts as allocated and as reserved for a sequence of requests.

`max_memory_allocated` counts whole blocks. A block is what was asked for, rounded up to 512 bytes, unless the rest of
the free block that it is cut from is too small to be kept apart: 1 MiB or less of a large one stays with it. And a
large request that finds no free block reserves a multiple of 2 MiB. So a weight of 25 MiB counts as 26.

Source: c10/cuda/CUDACachingAllocator.cpp of torch 2.11 (default settings: no expandable segments, no split limit).
Left out: several streams, and the freeing of cached segments when the card is full.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

MIB = 2**20
MIN_BLOCK = 512
SMALL_REQUEST = 1 * MIB
"""Up to here a request is small; small and large blocks are kept apart."""
SMALL_SEGMENT = 2 * MIB
LARGE_SEGMENT = 20 * MIB
MIN_OWN_SEGMENT = 10 * MIB
"""From here on a request reserves a segment of its own size."""
SEGMENT_STEP = 2 * MIB


class Event(NamedTuple):
    """What happened, in order: besides requests, a matrix product, and the start of a step and of a backward pass."""

    kind: Literal["request", "release", "product", "step", "backward"]
    key: int = 0
    nbytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Peak:
    """Largest bytes since the last step began (allocated) and of all time (reserved)."""

    allocated: int
    reserved: int
    workspaces: int
    """How many workspaces of cuBLAS are among them."""


@dataclass(eq=False, slots=True)
class _Block:
    address: int
    size: int
    small: bool
    free: bool = False
    before: _Block | None = None
    after: _Block | None = None

    @property
    def place(self) -> tuple[int, int]:
        return self.size, self.address


@dataclass(slots=True)
class _Pool:
    """Free blocks by size, then address."""

    places: list[tuple[int, int]] = field(default_factory=list)
    blocks: dict[int, _Block] = field(default_factory=dict)

    def add(self, block: _Block) -> None:
        block.free = True
        insort(self.places, block.place)
        self.blocks[block.address] = block

    def remove(self, block: _Block) -> None:
        block.free = False
        del self.places[bisect_left(self.places, block.place)], self.blocks[block.address]

    def take(self, size: int) -> _Block | None:
        """The smallest block of at least this size."""
        index = bisect_left(self.places, (size, 0))
        if index == len(self.places):
            return None
        block = self.blocks[self.places[index][1]]
        self.remove(block)
        return block


class CachingAllocator:
    """Blocks of one device and one stream."""

    def __init__(self) -> None:
        self.allocated = self.max_allocated = self.reserved = 0
        self._pools = {True: _Pool(), False: _Pool()}
        self._held: dict[int, _Block] = {}

    def request(self, key: int, nbytes: int) -> None:
        size = max(MIN_BLOCK, _multiple(nbytes, MIN_BLOCK))
        small = size <= SMALL_REQUEST
        block = self._pools[small].take(size) or self._segment(size, small)
        rest = block.size - size
        if rest >= MIN_BLOCK if small else rest > SMALL_REQUEST:
            self._split(block, size)
        self._held[key] = block
        self.allocated += block.size
        self.max_allocated = max(self.max_allocated, self.allocated)

    def release(self, key: int) -> None:
        block = self._held.pop(key)
        self.allocated -= block.size
        pool = self._pools[block.small]
        if block.before is not None and block.before.free:
            pool.remove(block.before)
            block = _join(block.before, block)
        if block.after is not None and block.after.free:
            pool.remove(block.after)
            block = _join(block, block.after)
        pool.add(block)

    def _segment(self, size: int, small: bool) -> _Block:
        own = LARGE_SEGMENT if size < MIN_OWN_SEGMENT else _multiple(size, SEGMENT_STEP)
        length = SMALL_SEGMENT if small else own
        # Nothing is ever given back, so what is reserved so far is a fresh address.
        block = _Block(address=self.reserved, size=length, small=small)
        self.reserved += length
        return block

    def _split(self, block: _Block, size: int) -> None:
        rest = _Block(block.address + size, block.size - size, block.small, before=block, after=block.after)
        if rest.after is not None:
            rest.after.before = rest
        block.after, block.size = rest, size
        self._pools[block.small].add(rest)


def _join(first: _Block, second: _Block) -> _Block:
    first.size += second.size
    first.after = second.after
    if first.after is not None:
        first.after.before = first
    return first


def _multiple(value: int, of: int) -> int:
    return -(-value // of) * of


def replay(events: Iterable[Event], workspace_bytes: int) -> Peak:
    """What the allocator would have counted.

    cuBLAS keeps a workspace for each thread that multiplies matrices: one for the forward pass and one for the thread
    in which autograd runs the backward pass (aten/src/ATen/cuda/CublasHandlePool.cpp). Each is requested at the first
    product of its thread, and stays.
    """
    allocator = CachingAllocator()
    backward = False
    workspaces: set[bool] = set()
    for kind, key, nbytes in events:
        match kind:
            case "request":
                allocator.request(key, nbytes)
            case "release":
                allocator.release(key)
            case "step":
                allocator.max_allocated, backward = allocator.allocated, False
            case "backward":
                backward = True
            case "product" if backward not in workspaces:
                workspaces.add(backward)
                allocator.request(-1 - backward, workspace_bytes)
    return Peak(allocated=allocator.max_allocated, reserved=allocator.reserved, workspaces=len(workspaces))
