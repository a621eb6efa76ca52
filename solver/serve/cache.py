"""Replies that were given before, as many as fit into a number of bytes."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from solver.serve.answers import Reply

ENTRY_BYTES = 300
"""What an entry takes besides the body of its reply."""


class Cache:
    """Least recently used goes first. A reply depends on nothing but the path and the body, so it never grows old."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self._replies: OrderedDict[bytes, Reply] = OrderedDict()

    def get(self, path: str, body: bytes) -> Reply | None:
        key = _key(path, body)
        if key in self._replies:
            self._replies.move_to_end(key)
        return self._replies.get(key)

    def put(self, path: str, body: bytes, reply: Reply) -> None:
        key = _key(path, body)
        if key in self._replies or _size(reply) > self.most_bytes // 8:
            return
        self._replies[key] = reply
        self.bytes += _size(reply)
        while self.bytes > self.most_bytes:
            _, oldest = self._replies.popitem(last=False)
            self.bytes -= _size(oldest)


def _key(path: str, body: bytes) -> bytes:
    return hashlib.sha256(path.encode() + b"\0" + body).digest()


def _size(reply: Reply) -> int:
    return len(reply.body) + ENTRY_BYTES
