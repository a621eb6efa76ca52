"""What is wrong with a request, as RFC 9457 problem details: the command line's sentence, and the field it is about."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from diymodel.config import ConfigError
from solver.errors import RequestError

MEDIA_TYPE = "application/problem+json"

FIELDS = {"target_params": "target", "vram_bytes": "vram", "seq_len": "seq", "preset": "file", "constraints": None}
"""What the library calls some of the words; several at once are no field."""


class Problem(Exception):
    """A request that is not answered with what it asked for.

    Args:
        status: of HTTP.
        detail: one sentence.
        field: the word of the body, or the header, that it is about.
        retry_after: seconds after which it may be tried again.
        mistakes: one sentence each, where there are several.
    """

    def __init__(
        self, status: int, detail: str, field: str | None = None, retry_after: int | None = None,
        mistakes: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(detail)
        self.status, self.detail, self.field, self.retry_after = status, detail, field, retry_after
        self.mistakes = list(mistakes)

    def to_dict(self) -> dict[str, Any]:
        about: dict[str, Any] = {"field": self.field} if self.field else {}
        if self.mistakes:
            about["mistakes"] = self.mistakes
        title = HTTPStatus(self.status).phrase
        return {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail, **about}


def problem_of(error: RequestError | ConfigError, field: str | None = None) -> Problem:
    """A mistake that the command line would end with exit code 2. `field` is the word whose value holds it."""
    if isinstance(error, RequestError):
        field = field or FIELDS.get(error.argument, error.argument)
    return Problem(status=422, detail=" ".join(str(error).split()), field=field)
