"""The tree of exceptions. All are the user's to mend; each message names what was given, what is allowed, what to try.

    ValueError
    ├── RequestError              the request is wrong (the command line ends with exit code 2)
    │   ├── UnitError             text that is not a number of params, bytes or tokens
    │   ├── QueryError            a query that contradicts itself
    │   ├── RecipeError           a training or serving recipe that does not exist
    │   ├── DeviceError           a device that is not known, not here, or too small for what was asked
    │   ├── InputFileError        a file that cannot be read, or does not hold what it should
    │   └── ExchangeError         a config, or weights, that the other side does not have: another program's or ours
    └── diymodel.ConfigError      a config from which no model can be built

A sound query that nothing satisfies is no error: it is a `Solution` whose status is infeasible. A verification that
disagrees is no error either: it is a result.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RequestError(ValueError):
    """The request is wrong.

    Args:
        argument: the name of what is wrong, as the user wrote it.
        value: what was given.
        allowed: what would have been right; the rest of the sentence.
    """

    shown_length = 60
    """Longest value that the message shows whole."""

    def __init__(self, argument: str, value: object, allowed: str) -> None:
        self.argument = argument
        self.value = value
        self.allowed = allowed
        super().__init__(f"{argument}={shown(value, self.shown_length)}: {allowed}")

    def __reduce__(self) -> tuple[type[RequestError], tuple[str, object, str]]:
        """Errors travel between processes."""
        return type(self), (self.argument, self.value, self.allowed)


class UnitError(RequestError):
    """Text that is not a number of params, bytes or tokens."""


class QueryError(RequestError):
    """A query that contradicts itself, or asks for nothing."""


class RecipeError(RequestError):
    """A training or serving recipe that does not exist."""


class DeviceError(RequestError):
    """A device that is not known, not on this machine, or too small for what was asked of it."""


class InputFileError(RequestError):
    """A file that cannot be read, or does not hold what it should."""

    shown_length = 300  # the end of a path is its name


class ExchangeError(RequestError):
    """A config, or weights, that cannot be said in another program's words, or another program's not in ours."""


def shown(value: object, limit: int = 60) -> str:
    """The value as written, cut where it would flood the line."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 10]}...{text[-7:]}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: the nearest known one, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(word.lower(), names, n=1)
    return f"did you mean {near[0]}?" if near else f"use one of {', '.join(names)}"
