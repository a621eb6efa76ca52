"""A process that answers one query after another: frames on standard input, frames on standard output.

It is a process of its own so that a query that takes too long, or too much memory, can be killed without the service.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from typing import BinaryIO

from solver.search.known import Known
from solver.serve.answers import Reply, answer
from solver.serve.bounds import Bounds

ASKED = struct.Struct(">HI")
"""Bytes of the path and of the body, before both."""

REPLIED = struct.Struct(">HI")
"""The status and the bytes of the body, before it."""

WARM_UP = (("/v1/solve", b'{"target":"500M","vram":"24GB","explain":true}'), ("/v1/band", b'{"target":"500M"}'))
"""Answered before the first query, so that it does not pay for what is read and cached once."""


def main() -> None:
    bounds, known = Bounds(**json.loads(sys.argv[1])), Known()
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever prints cannot break a frame
    limit_memory(bounds.worker_bytes)
    for path, body in WARM_UP:
        answer(path, body, bounds, known)
    write(replies, Reply(200, b"ready"))
    while header := sys.stdin.buffer.read(ASKED.size):
        path_length, length = ASKED.unpack(header)
        path = sys.stdin.buffer.read(path_length).decode()
        write(replies, answer(path, sys.stdin.buffer.read(length), bounds, known))


def write(file: BinaryIO, reply: Reply) -> None:
    file.write(REPLIED.pack(reply.status, len(reply.body)) + reply.body)
    file.flush()


def limit_memory(most: int) -> None:
    """Let this process fail, rather than the machine. Where the system has no such limit there is none."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main()
