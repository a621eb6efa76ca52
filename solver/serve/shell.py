"""What is around every request: its id, the security headers, the access log, the token, how many at once."""

from __future__ import annotations

import hmac
import json
import secrets
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from solver.serve.bounds import Bounds
from solver.serve.problems import Problem
from solver.serve.replies import problem_response

SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

Log = Callable[[dict[str, Any]], None]


def log_line(values: dict[str, Any]) -> None:
    """One JSON line on stderr."""
    print(json.dumps(values), file=sys.stderr, flush=True)


class Recorded:
    """The outermost: an id and headers for every response, one line of log when it is over."""

    def __init__(self, app: ASGIApp, log: Log) -> None:
        self.app, self.log = app, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, id = time.perf_counter(), secrets.token_hex(8)
        seen = {"status": 0, "bytes": 0}

        async def recorded(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = id
                for name, value in SECURITY.items():
                    headers[name] = value
            else:
                seen["bytes"] += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, recorded)
        finally:
            client = scope["client"]
            self.log(
                {
                    "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "id": id,
                    "client": client[0] if client else None,
                    "method": scope["method"],
                    "path": scope["path"][:200],
                    **seen,
                    "seconds": round(time.perf_counter() - started, 4),
                }
            )


class Gate:
    """Lets in who has the token, and so many at once. What is outside /v1/ is open: it costs nothing."""

    def __init__(self, app: ASGIApp, bounds: Bounds, token: str | None) -> None:
        self.app, self.most, self.token = app, bounds.concurrent, token
        self.inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            return await self.app(scope, receive, send)
        problem = self._refusal(scope)
        if problem:
            return await problem_response(problem)(scope, receive, send)
        self.inside += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.inside -= 1

    def _refusal(self, scope: Scope) -> Problem | None:
        if self.token is not None:
            kind, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self.token.encode()):
                return Problem(status=401, detail="this service asks for a token: send Authorization: Bearer TOKEN")
        if self.inside >= self.most:
            detail = f"{self.most} requests are being answered already; try again in a moment"
            return Problem(status=429, detail=detail, retry_after=1)
        return None
