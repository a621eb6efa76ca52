"""Mixed load on `diysolve serve` over the loopback: does its memory stay flat, and how long do answers take?

    python -m benchmarks.serve_load --seconds 600 --rate 200 --out benchmarks/results/serve-load-DATE.md
    python -m benchmarks.serve_load --seconds 60 --rate 200 --solves

Requests start at fixed times, whether or not earlier ones are answered, and their latency counts from that time: a
service that falls behind cannot hide it. It ends by itself. Nothing leaves this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

CONNECTIONS = 48
"""Kept open by the clients, below the service's bound on requests at once."""

SAMPLE_SECONDS = 5.0

WARM_SECONDS = 60.0
"""After which memory counts: until then caches fill."""

PRESETS = ("diy-493m", "smollm2-135m", "mobilellm-350m", "qwen3-0.6b", "tinyllama-1.1b")
CARDS = ("24GB", "32GB", "48GB", "80GB")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request, as bytes, and the statuses that are right for it."""

    kind: str
    data: bytes
    right: tuple[int, ...] = (200,)
    abandoned: bool = False
    """Sent, and the connection closed before the answer."""


def post(path: str, body: Any) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: load\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: load\r\n\r\n".encode()


# What is asked


def solve(draw: random.Random) -> Request:
    """A size that was hardly asked for before, on a card that holds it."""
    body = {"target": draw.randrange(50_000_000, 700_000_000), "vram": draw.choice(CARDS), "top": 10}
    return Request(kind="solve, a new one", data=post("/v1/solve", body))


def known_solve(draw: random.Random) -> Request:
    body = {"target": draw.choice(["125M", "350M", "500M"]), "vram": draw.choice(CARDS)}
    return Request(kind="solve, asked before", data=post("/v1/solve", body))


def band(draw: random.Random) -> Request:
    body = {"target": draw.randrange(50_000_000, 700_000_000), "top": 1000}
    return Request(kind="band", data=post("/v1/band", body))


def memory(draw: random.Random) -> Request:
    body = {"file": draw.choice(PRESETS), "vram": draw.choice(CARDS), "micro_batch": draw.randrange(1, 9), "seq": 2048}
    return Request(kind="memory", data=post("/v1/memory", body))


def count(draw: random.Random) -> Request:
    config = {"hidden_size": 64 * draw.randrange(4, 64), "num_layers": draw.randrange(1, 99), "num_heads": 4}
    return Request(kind="count", data=post("/v1/count", {"files": [draw.choice(PRESETS), config]}))


def rank(draw: random.Random) -> Request:
    configs = [
        {"hidden_size": 64 * draw.randrange(4, 32), "num_layers": draw.randrange(4, 60), "num_heads": 4}
        for _ in range(8)
    ]
    return Request(kind="rank", data=post("/v1/rank", {"file": configs, "tokens": "1T"}))


def page(draw: random.Random) -> Request:
    path = draw.choice(["/", "/page/main.js", "/v1/devices", "/v1/presets", "/healthz", "/openapi.json"])
    return Request(kind="page and tables", data=get(path))


def wrong(draw: random.Random) -> Request:
    bodies = [b"{", b"[" * 50_000, b'{"target": NaN}', b'{"tarfet": 1}', b'{"target": ' + b"9" * 5000 + b"}",
              b'{"target": "500M", "vocab": "1:16777216:1"}', b" " * 1_100_000]  # fmt: skip
    return Request(kind="wrong", data=post("/v1/solve", draw.choice(bodies)), right=(400, 413, 422))


def abandoned(draw: random.Random) -> Request:
    return Request(kind="abandoned", data=solve(draw).data, abandoned=True)


MIX: list[tuple[Callable[[random.Random], Request], int]] = [
    (solve, 35), (known_solve, 10), (band, 10), (memory, 10), (count, 10), (rank, 5), (page, 14), (wrong, 5),
    (abandoned, 1),
]  # fmt: skip
"""Percent."""

SOLVES = [(solve, 1)]


# How it is asked


class Connection:
    """A connection that is kept open, and opened again where the service closed it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def ask(self, request: Request) -> int:
        """The status of the answer; 0 for an abandoned request."""
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        assert self.reader
        self.writer.write(request.data)
        if request.abandoned:
            self.close()
            return 0
        try:
            await self.writer.drain()
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            assert length
            await self.reader.readexactly(int(length[1]))
        except BaseException:
            self.close()
            raise
        if b"connection: close" in head.lower():
            self.close()
        return int(head.split()[1])

    def close(self) -> None:
        if self.writer:
            self.writer.close()
        self.reader = self.writer = None


@dataclass
class Record:
    """What was seen."""

    latencies: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    memory: list[tuple[float, int, int]] = field(default_factory=list)
    """(seconds, bytes of the service's own process, bytes of its workers)"""


async def load(port: int, process: psutil.Process, arguments: argparse.Namespace) -> Record:
    """Ask for so long."""
    draw, record, rate = random.Random(arguments.seed), Record(), arguments.rate
    idle: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        idle.put_nowait(Connection(port))
    makers, weights = zip(*(SOLVES if arguments.solves else MIX), strict=True)
    started = time.perf_counter()
    tasks: set[asyncio.Task[None]] = set()
    watcher = asyncio.create_task(watch(process, started, record))
    for number in range(int(rate * arguments.seconds)):
        due = started + number / rate
        if (ahead := due - time.perf_counter()) > 0:
            await asyncio.sleep(ahead)
        request = draw.choices(makers, weights)[0](draw)
        task = asyncio.create_task(ask(idle, request, due, record))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    watcher.cancel()
    sample(process, started, record)
    return record


async def ask(idle: asyncio.Queue[Connection], request: Request, due: float, record: Record) -> None:
    connection = await idle.get()
    try:
        status = await connection.ask(request)
    except (OSError, EOFError) as error:
        record.wrong.append(f"{request.kind}: {error!r}")
        return
    finally:
        idle.put_nowait(connection)
    if request.abandoned:
        return
    record.latencies[request.kind].append(time.perf_counter() - due)
    record.statuses[request.kind, status] += 1
    if status not in request.right:
        record.wrong.append(f"{request.kind}: {status}")


async def watch(process: psutil.Process, started: float, record: Record) -> None:
    while True:
        sample(process, started, record)
        await asyncio.sleep(SAMPLE_SECONDS)


def sample(process: psutil.Process, started: float, record: Record) -> None:
    workers = sum(child.memory_info().rss for child in process.children())
    record.memory.append((time.perf_counter() - started, process.memory_info().rss, workers))


# What comes of it


def growth(record: Record) -> float:
    """Bytes a minute by which all processes grow after the caches are full: the slope of a line through the samples."""
    late = [(when, own + workers) for when, own, workers in record.memory if when >= WARM_SECONDS]
    if len(late) < 3:
        return float("nan")
    when, size = np.array(late, dtype=np.float64).T
    return float(60 * np.polyfit(when, size, 1)[0])


def report(record: Record, arguments: argparse.Namespace) -> Iterator[str]:
    total = sum(map(len, record.latencies.values()))
    cpu = os.cpu_count()
    yield "# Load on the service\n"
    what = "solves, hardly one of them asked for before," if arguments.solves else "mixed load"
    yield f"{arguments.seconds:g} s of {what} at {arguments.rate:g} requests a second over the loopback, asked on "
    yield f"the same machine: {cpu} cores ({platform.machine()}), Python {platform.python_version()}, "
    yield f"{arguments.workers} workers. Latency counts from when a request was due.\n"
    yield f"\nLoad average of the machine when it ended: {os.getloadavg()[0]:.1f}.\n"
    yield "\n| request | answers | median ms | 95 % | 99 % | largest |\n|:---|---:|---:|---:|---:|---:|\n"
    rows = [("all", [one for many in record.latencies.values() for one in many]), *sorted(record.latencies.items())]
    for kind, latencies in rows:
        figures = 1000 * np.percentile(latencies, [50, 95, 99, 100])
        yield f"| {kind} | {len(latencies):,} | " + " | ".join(f"{figure:.1f}" for figure in figures) + " |\n"
    statuses: Counter[int] = Counter()
    for (_, status), number in record.statuses.items():
        statuses[status] += number
    yield "\nStatuses: " + ", ".join(f"{status}: {number:,}" for status, number in sorted(statuses.items())) + ".\n"
    yield f"\nAnswers that were not as they should be: {len(record.wrong):,} of {total:,}"
    yield f" ({dict(Counter(record.wrong).most_common(5))}).\n" if record.wrong else ".\n"
    yield "\n| minute | service MiB | workers MiB |\n|---:|---:|---:|\n"
    for when, own, workers in record.memory[:: max(1, round(60 / SAMPLE_SECONDS))]:
        yield f"| {when / 60:.0f} | {own / 2**20:.1f} | {workers / 2**20:.1f} |\n"
    when, own, workers = record.memory[-1]
    yield f"| {when / 60:.1f} | {own / 2**20:.1f} | {workers / 2**20:.1f} |\n"
    yield f"\nGrowth after the first minute: {growth(record) / 2**20:+.2f} MiB a minute, all processes together, as a "
    yield "line through the samples; the table shows whether it levels off.\n"


@contextmanager
def service(workers: int) -> Iterator[tuple[psutil.Process, int]]:
    """A service of its own, and its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "serve", "--port", "0", "--quiet", "--workers", str(workers)],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr
    try:
        found = re.search(r":(\d+) ", process.stderr.readline())
        assert found
        with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/healthz", timeout=60):  # the workers are there
            pass
        yield psutil.Process(process.pid), int(found[1])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--solves", action="store_true", help="ask for nothing but solves")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with service(arguments.workers) as (process, port):
        record = asyncio.run(load(port, process, arguments))
    text = "".join(report(record, arguments))
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
