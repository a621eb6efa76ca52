"""A service on a socket, until it is told to stop."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import uvicorn

from solver.errors import RequestError
from solver.serve.app import create_app
from solver.serve.connection import connection_class
from solver.serve.settings import Settings
from solver.serve.shell import log_line

BACKLOG = 512


def serve(host: str, port: int, settings: Settings) -> None:
    """Listen until SIGINT or SIGTERM; what is being answered then is answered first.

    Raises:
        RequestError: an address that cannot be listened on.
    """
    listener = listen(host, port)
    logging.basicConfig(handlers=[_Lines()], level=logging.ERROR if settings.quiet else logging.WARNING)
    config = uvicorn.Config(
        create_app(settings),
        http=connection_class(settings.bounds),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(2 * settings.bounds.seconds) + 1,
    )
    host, port = listener.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    print(f"diysolve is at http://{name}:{port} (stop with Ctrl-C)", file=sys.stderr, flush=True)
    with _signals_end_the_loop_only(), listener:
        uvicorn.Server(config).run(sockets=[listener])


class _Lines(logging.Handler):
    """What uvicorn and asyncio have to say, as lines of the same log."""

    def emit(self, record: logging.LogRecord) -> None:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else None
        log_line({"time": when, "level": record.levelname, "message": record.getMessage(), "trace": trace})


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        RequestError: an address that cannot be listened on.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a name"
        raise RequestError("host", host, f"cannot be found ({reason}); use 127.0.0.1, or 0.0.0.0 for all") from None
    family, kind, protocol, _, address = found[0]
    # with the protocol named, asyncio turns Nagle's algorithm off, which holds an answer's body back for 40 ms
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise RequestError("port", port, f"cannot be listened on at {host} ({reason}); try another --port") from None
    return listener


@contextmanager
def _signals_end_the_loop_only() -> Iterator[None]:
    """uvicorn raises the signal that ended it once more when it is done; that must not end us in the middle of that."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
