"""The bytes of a request body into plain values: strict JSON, whatever a client sends."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from solver.errors import shown
from solver.serve.problems import Problem

LONGEST = 2000
"""Most characters of one text in a body: words and names are short, and what reads them may take the square of it."""


def parse(body: bytes, nesting: int) -> Any:
    """The value of a JSON text.

    Raises:
        Problem: 400 for what is not JSON; 422 where it is nested deeper than `nesting`, or has a text of more than
            LONGEST characters.
    """
    try:
        value = _DECODER.decode(body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _refused(f"is not UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise _refused(f"is not JSON (line {error.lineno} column {error.colno}: {error.msg})") from None
    except RecursionError:
        raise _too_deep(nesting) from None
    except _UnusableError as error:
        raise _refused(f"is not JSON that can be used: {error}") from None
    except ValueError:  # int() refuses more than 4,300 digits
        raise _refused("holds a number of thousands of digits") from None
    _check(value, nesting)
    return value


def _refused(complaint: str) -> Problem:
    return Problem(status=400, detail=f"the body {complaint}; wanted is a JSON object", field="body")


def _too_deep(nesting: int) -> Problem:
    detail = f"the body is nested deeper than {nesting} levels; a config needs one or two"
    return Problem(status=422, detail=detail, field="body")


def _check(value: Any, nesting: int) -> None:
    """Refuse what lies too deep or is too long. Level by level: no recursion."""
    layer = [value]
    for depth in range(nesting + 1):
        inside: list[Any] = []
        for one in layer:
            if isinstance(one, str) and len(one) > LONGEST:
                detail = f"the body has a text of {len(one):,} characters; words and names have at most {LONGEST:,}"
                raise Problem(status=422, detail=detail, field="body")
            if isinstance(one, list | dict):
                if depth == nesting:
                    raise _too_deep(nesting)
                inside += (*one, *one.values()) if isinstance(one, dict) else one
        layer = inside


class _UnusableError(ValueError):
    """JSON that Python would read, and that is a mistake all the same."""


def _refuse_constant(name: str) -> NoReturn:
    raise _UnusableError(f"{name} is not a number that JSON knows")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in values if names.count(name) > 1)
        raise _UnusableError(f"the field {shown(twice)} is given twice")
    return values


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_object)
