"""The connection of a client that may be slow, silent or flooding: uvicorn's own, with bounds.

uvicorn waits for ever for the head of a request and for a client that does not read, and takes heads of any size.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from solver.serve.bounds import Bounds

HEAD_BYTES = 16 * 2**10
"""Largest request line and headers, h11's bound."""

REFUSED = b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def connection_class(bounds: Bounds) -> type[HttpToolsProtocol]:
    """A protocol that keeps the bounds on connections and on the seconds of a client."""

    class Connection(HttpToolsProtocol):
        head_bytes = 0
        in_head = False
        head_timer: asyncio.TimerHandle | None = None
        stalled_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > bounds.connections:
                self._refuse(b"503 Service Unavailable")
                return
            self._await_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel("head_timer")
            self._cancel("stalled_timer")
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            waiting = self.cycle is None or self.cycle.response_complete
            if (waiting or self.in_head) and not self.head_timer:
                self._await_head()
            if self.head_timer:
                self.head_bytes += len(data)
                if self.head_bytes - len(data) > HEAD_BYTES:
                    self._refuse(b"431 Request Header Fields Too Large")
                    return
            super().data_received(data)

        def on_message_begin(self) -> None:
            self.in_head = True
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self.in_head, self.head_bytes = False, 0
            self._cancel("head_timer")
            super().on_headers_complete()

        def pause_writing(self) -> None:
            super().pause_writing()
            self.stalled_timer = self.loop.call_later(bounds.client_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._cancel("stalled_timer")

        def timeout_keep_alive_handler(self) -> None:
            if not self.transport.is_closing():
                self.transport.abort()  # not close: that would wait for the client to read what is left

        def _await_head(self) -> None:
            self.head_bytes = 0
            self.head_timer = self.loop.call_later(bounds.client_seconds, self._refuse, b"408 Request Timeout")

        def _refuse(self, status: bytes) -> None:
            self._cancel("head_timer")
            self.transport.write(REFUSED % status)
            self.transport.close()
            self.head_timer = self.loop.call_later(1, self.transport.abort)

        def _cancel(self, name: str) -> None:
            timer: asyncio.TimerHandle | None = getattr(self, name)
            if timer:
                timer.cancel()
                setattr(self, name, None)

    return Connection
