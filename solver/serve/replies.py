"""Answers and problems as HTTP responses."""

from __future__ import annotations

from starlette.responses import Response

from solver.serve.answers import Reply, refusal
from solver.serve.problems import MEDIA_TYPE, Problem

NOT_KEPT = {"Cache-Control": "no-store"}


def json_response(reply: Reply, status: int | None = None) -> Response:
    """A reply as it is."""
    media_type = "application/json" if reply.status < 400 else MEDIA_TYPE
    return Response(reply.body, status or reply.status, NOT_KEPT, media_type)


def problem_response(problem: Problem) -> Response:
    """Problem details, with the headers that go with their status."""
    response = json_response(refusal(problem))
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if problem.status in (408, 413):  # the rest of the body is not waited for
        response.headers["Connection"] = "close"
    return response
