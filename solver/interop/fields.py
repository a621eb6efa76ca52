"""The fields of a Hugging Face config.json, checked as they are read. Nothing in a file is trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from solver.errors import InputFileError, shown

_NOWHERE = object()

MAX_SIZE = 10**9
"""Largest dimension that is believed (assumption: a thousand times the widest published one)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fields:
    """What a file says, and where it is silent what the model type's own config class says.

    Raises, in every method:
        InputFileError: the field is not what it has to be; the message names the file, the field and its value.
    """

    source: str
    model_type: str
    values: Mapping[str, Any]
    defaults: Mapping[str, Any]
    names: Mapping[str, tuple[str, ...]]
    """Our name of a field -> the names that a file of this type may use for it, where they differ: its own first,
    none where it has no such field. "object.field" is a field inside of an object."""

    def get(self, name: str) -> Any:
        """The value as it stands there, or the default."""
        given = self._given(name)
        for key in given[1:]:
            if self._value(key) != self._value(given[0]):
                self.refuse(name, f"but {key}={_shown(self._value(key))}, another name of the same; keep one")
        return self._value(given[0]) if given else self.defaults[name]

    def size(self, name: str, otherwise: int | None = None) -> int:
        """A whole number from 1. `otherwise` stands for null."""
        value = self.get(name)
        if value is None and otherwise is not None:
            return otherwise
        return self._whole(name, value, 1)

    def count(self, name: str, otherwise: int | None = None) -> int:
        """A whole number from 0. `otherwise` stands for null."""
        value = self.get(name)
        if value is None and otherwise is not None:
            return otherwise
        return self._whole(name, value, 0)

    def flag(self, name: str) -> int:
        """true or false, as 1 or 0. null is false where it is the default."""
        value = self.get(name)
        if not isinstance(value, bool) and not (value is None and self.defaults[name] is None):
            self.refuse(name, "write true or false")
        return int(bool(value))

    def indices(self, name: str, layers: int) -> set[int] | None:
        """A list of layers, numbered from 0, those beyond the last left out; None for null."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(i, int) and not isinstance(i, bool) for i in value):
            self.refuse(name, "write a list of layers, numbered from 0")
        return {index for index in value if 0 <= index < layers}

    def words(self, name: str, layers: int, allowed: tuple[str, ...]) -> list[str] | None:
        """A list with one of the allowed words for each layer; None for null."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != layers or any(word not in allowed for word in value):
            self.refuse(name, f"write a list of {layers} words, one a layer: {' or '.join(allowed)}")
        return value

    def sizes(self, name: str, layers: int) -> list[int] | None:
        """A list with a whole number from 1 for each layer; None for null."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != layers:
            self.refuse(name, f"write a list of {layers} numbers, one a layer")
        return [self._whole(name, size, 1) for size in value]

    def refuse(self, name: str, allowed: str) -> NoReturn:
        """End with a sentence about one field."""
        given = self._given(name)
        key = (*given, *self._names(name), name)[0]
        value = _shown(self._value(key)) if given else f"{_shown(self.defaults[name])} (the default)"
        raise InputFileError("file", self.source, f"is a config of {self.model_type} with {key}={value}: {allowed}")

    def _names(self, name: str) -> tuple[str, ...]:
        return self.names.get(name, (name,))

    def _given(self, name: str) -> list[str]:
        """The names under which the file has the field."""
        return [key for key in self._names(name) if self._value(key) is not _NOWHERE]

    def _value(self, key: str) -> Any:
        """The value of a key, which for a field inside of an object is "object.field"; _NOWHERE without it."""
        outer, _, inner = key.rpartition(".")
        values = self.values.get(outer) if outer else self.values
        if values is None:
            return _NOWHERE
        if not isinstance(values, Mapping):
            complaint = f"is a config of {self.model_type} with {outer}={_shown(values)}: write an object"
            raise InputFileError("file", self.source, complaint)
        return values.get(inner, _NOWHERE)

    def _whole(self, name: str, value: Any, low: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= MAX_SIZE:
            self.refuse(name, f"write a whole number from {low} to {MAX_SIZE:,}")
        return value


def _shown(value: object) -> str:
    """As JSON spells it, cut where it is long."""
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else shown(value)
