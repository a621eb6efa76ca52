"""A ledger of what is alive, in symbols: each entry a part and the name of a size, counted as a + b * layers.

A script (`solver.memory.script`) takes and frees tensors in the order of the program. After each taking the ledger
notes an instant. The peak of a stage is the maximum over its instants, for any values of the sizes; instants that
another one exceeds whatever the sizes are get struck out, and about a dozen are left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

Entry = tuple[str, str]
"""(part, size)"""

Count = tuple[int, int]
"""(a, b): a + b * layers tensors"""


@dataclass(frozen=True, slots=True, eq=False)
class Instant:
    """Everything that is alive at one moment of the program. Compared by identity, so that it can be a key."""

    label: str
    live: Mapping[Entry, Count]
    min_layers: int = 1
    """It exists in models of at least so many layers."""


class Ledger:
    """Takes and frees named tensors, and notes an instant after each taking.

    Args:
        accumulates: gradients are there already, so that each new one is added to its own and dies.
    """

    def __init__(self, live: Mapping[Entry, Count] | None = None, *, accumulates: bool = False) -> None:
        self.accumulates = accumulates
        self.part = "activations"
        self.where = ""
        self.min_layers = 1
        self.instants: list[Instant] = []
        self._live: dict[Entry, Count] = dict(live or {})
        self._names: dict[str, Entry] = {}

    def add(self, part: str, size: str, count: int = 1, per_layer: int = 0) -> None:
        """Change the number of nameless tensors, without an instant."""
        a, b = self._live.pop((part, size), (0, 0))
        if (a + count, b + per_layer) != (0, 0):
            self._live[part, size] = (a + count, b + per_layer)

    def take(self, part: str | None = None, /, **tensors: str) -> None:
        """Take tensors, name=size, into a part (default: the current one), and note the instant."""
        for name, size in tensors.items():
            assert name not in self._names, f"{name} is taken already"
            self._names[name] = (part or self.part, size)
            self.add(*self._names[name])
        self.note(next(iter(tensors)))

    def free(self, *names: str) -> None:
        for name in names:
            self.add(*self._names.pop(name), count=-1)

    def rename(self, old: str, new: str) -> None:
        self._names[new] = self._names.pop(old)

    def move(self, name: str, part: str) -> None:
        """Put a tensor into another part."""
        _, size = self._names[name]
        self.free(name)
        self._names[name] = (part, size)
        self.add(part, size)

    def merge(self, first: str, second: str) -> None:
        """Add two gradients of one tensor, of which the first is a view, into a new tensor: the first from now on."""
        self.take(sum=self._names[first][1])
        self.free(first, second)
        self.rename("sum", first)

    def settle(self, *names: str) -> None:
        """Gradients of weights: they stay where they are for good, without names, or are added to those of before."""
        for name in names:
            _, size = self._names[name]
            self.free(name)
            if not self.accumulates:
                self.add("gradients", size)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Lines whose instants count, after which everything is as it was before them."""
        live, names = dict(self._live), dict(self._names)
        yield
        self._live, self._names = live, names

    def note(self, label: str) -> None:
        self.instants.append(Instant(f"{self.where}{label}", dict(self._live), self.min_layers))

    def harvest(self) -> list[Instant]:
        """The instants of the stage that ends here."""
        instants, self.instants = self.instants, []
        return instants

    def counts(self) -> dict[Entry, Count]:
        return dict(self._live)

    def names(self) -> dict[str, Entry]:
        return dict(self._names)


def binding(instants: Sequence[Instant]) -> tuple[Instant, ...]:
    """The instants that can be the first of the largest ones, for some sizes and some depth.

    Sizes are positive, so an instant is struck out if another one has at least as many of each, with 1 layer and with
    each further one; a later one must have more of some, since of equal instants the first one counts.
    """
    counted = [by_size(instant) for instant in instants]
    sizes = sorted({size for counts in counted for size in counts})
    table = np.array([[counts.get(size, (0, 0)) for size in sizes] for counts in counted])  # (instants, sizes, 2)
    table[:, :, 0] += table[:, :, 1]
    table = table.reshape(len(instants), -1)
    covers = (table[:, None] >= table[None, :]).all(axis=2)  # [i, j]: i has at least what j has
    layers = np.array([instant.min_layers for instant in instants])
    earlier = np.tri(len(instants), k=-1, dtype=bool).T
    strikes = covers & (layers[:, None] <= layers[None, :]) & (earlier | ~covers.T)
    return tuple(instants[index] for index in np.flatnonzero(~strikes.any(axis=0)).tolist())


def by_size(instant: Instant) -> dict[str, Count]:
    """Its tensors counted by size, whatever their part."""
    counts: dict[str, Count] = {}
    for (_, size), (a, b) in instant.live.items():
        once, per_layer = counts.get(size, (0, 0))
        counts[size] = (once + a, per_layer + b)
    return counts
