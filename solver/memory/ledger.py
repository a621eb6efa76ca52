"""A ledger of what is alive, in symbols: each entry a part and the name of a size, counted as a + b * layers.

A script (`solver.memory.script`) takes and frees tensors in the order of the program. After each taking the ledger
notes an instant. The peak of a stage is the maximum over its instants, for any values of the sizes; instants that
another one exceeds whatever the sizes are get struck out, and about a dozen are left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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
    """Takes and frees named tensors, and notes an instant after each taking."""

    def __init__(self, live: Mapping[Entry, Count] | None = None) -> None:
        self.part = "activations"
        self.where = ""
        self.min_layers = 1
        self.instants: list[Instant] = []
        self._live: dict[Entry, Count] = dict(live or {})
        self._names: dict[str, Entry] = {}

    def add(self, part: str, size: str, count: int = 1, per_layer: int = 0) -> None:
        """Change the number of nameless tensors, without an instant."""
        a, b = self._live.get((part, size), (0, 0))
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

    def settle(self, part: str, *names: str) -> None:
        """Leave tensors where they are for good, in another part and without names."""
        for name in names:
            _, size = self._names[name]
            self.free(name)
            self.add(part, size)

    def note(self, label: str) -> None:
        self.instants.append(Instant(f"{self.where}{label}", dict(self._live), self.min_layers))

    def harvest(self) -> list[Instant]:
        """The instants of the stage that ends here."""
        instants, self.instants = self.instants, []
        return instants

    def counts(self) -> dict[Entry, Count]:
        return {entry: count for entry, count in self._live.items() if count != (0, 0)}

    def names(self) -> dict[str, Entry]:
        return dict(self._names)

    def restore(self, names: Mapping[str, Entry]) -> None:
        """Give names to tensors that are counted already."""
        self._names |= names


def binding(instants: Iterable[Instant]) -> tuple[Instant, ...]:
    """The instants that can be the first of the largest ones, for some sizes and some depth.

    Sizes are positive, so an instant is struck out if another one has at least as many of each; a later one must have
    more, since of equal instants the first one counts.
    """
    kept: list[tuple[Instant, dict[str, Count]]] = []
    for instant in instants:
        layers, counts = instant.min_layers, _by_size(instant)
        if any(other.min_layers <= layers and _covers(have, counts) for other, have in kept):
            continue
        kept = [(other, have) for other, have in kept if other.min_layers < layers or not _covers(counts, have)]
        kept.append((instant, counts))
    return tuple(instant for instant, _ in kept)


def _by_size(instant: Instant) -> dict[str, Count]:
    """How many tensors of each size there are with 1 layer, and how many more with each further one."""
    counts: dict[str, Count] = {}
    for (_, size), (a, b) in instant.live.items():
        once, per_layer = counts.get(size, (0, 0))
        counts[size] = (once + a + b, per_layer + b)
    return counts


def _covers(greater: dict[str, Count], less: dict[str, Count]) -> bool:
    """Whether `greater` has at least as many of every size at any depth. Both know the sizes that `less` has."""
    none = (0, 0)
    for size, (once, per_layer) in less.items():
        have = greater.get(size, none)
        if have[0] < once or have[1] < per_layer:
            return False
    return all(size in less or (once >= 0 and per_layer >= 0) for size, (once, per_layer) in greater.items())
