"""The worker processes: who is idle, who has taken too long, and a new one for each that had to be killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Coroutine
from dataclasses import asdict
from typing import Any, Self, TypeVar

from solver.serve.answers import Reply
from solver.serve.bounds import Bounds
from solver.serve.problems import Problem
from solver.serve.worker import ASKED, REPLIED

T = TypeVar("T")

START_SECONDS = 60
"""Longest that a worker may take to start, on a machine that is busy."""


class Worker:
    """One process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin
        assert process.stdout
        self.process, self.stdin, self.stdout = process, process.stdin, process.stdout

    @classmethod
    async def start(cls, bounds: Bounds) -> Self:
        """A worker that is ready. Raises OSError, TimeoutError or EOFError where it cannot be."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "solver.serve.worker",
            json.dumps(asdict(bounds)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},  # one core a worker
            start_new_session=True,  # Ctrl-C is for the service, which stops them when they are done
        )
        worker = cls(process)
        try:
            async with asyncio.timeout(START_SECONDS):
                await worker._reply()
        except BaseException:
            worker.kill()
            raise
        return worker

    async def ask(self, path: str, body: bytes) -> Reply:
        self.stdin.write(ASKED.pack(len(path), len(body)) + path.encode() + body)
        await self.stdin.drain()
        return await self._reply()

    async def _reply(self) -> Reply:
        status, length = REPLIED.unpack(await self.stdout.readexactly(REPLIED.size))
        return Reply(status, await self.stdout.readexactly(length))

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    async def stop(self) -> None:
        self.kill()
        await self.process.wait()


class Pool:
    """`size` workers, and a queue of those that are idle."""

    def __init__(self, size: int, bounds: Bounds) -> None:
        self.size, self.bounds = size, bounds
        self._idle: asyncio.LifoQueue[Worker] = asyncio.LifoQueue()  # the warmest first
        self._workers: set[Worker] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = self._failing = False

    async def __aenter__(self) -> Self:
        await asyncio.gather(*(self._start() for _ in range(self.size)))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    @property
    def ready(self) -> bool:
        """False where workers do not start."""
        return not self._failing

    async def answer(self, path: str, body: bytes) -> Reply:
        """The reply to a body at a path.

        Raises:
            Problem: 503 where no worker is free in time, or it takes longer than it may.
        """
        seconds = self.bounds.seconds
        try:
            async with asyncio.timeout(seconds):
                worker = await self._idle.get()
        except TimeoutError:
            detail = f"the service is busy: nothing was free within {seconds:g} s; try again in a moment"
            raise Problem(status=503, detail=detail, retry_after=1) from None
        task = self._task(self._answer_on(worker, path, body))
        return await asyncio.shield(task)  # who asked may leave; the worker is not killed for it

    async def _answer_on(self, worker: Worker, path: str, body: bytes) -> Reply:
        """The reply of a worker, which is idle again then, or replaced."""
        seconds = self.bounds.seconds
        try:
            async with asyncio.timeout(seconds):
                reply = await worker.ask(path, body)
        except BaseException as error:  # whatever it was: its answer must not become the next one's
            self._replace(worker)
            if isinstance(error, TimeoutError):
                detail = f"not answered within {seconds:g} s; bound the dimensions, or lower top or the tolerance"
                raise Problem(status=503, detail=detail) from None
            if isinstance(error, OSError | EOFError):
                raise Problem(status=503, detail="the process that answered this died; ask for less at once") from None
            raise
        self._idle.put_nowait(worker)
        return reply

    async def _start(self) -> None:
        worker = await Worker.start(self.bounds)
        self._failing = False
        self._workers.add(worker)
        self._idle.put_nowait(worker)

    def _replace(self, worker: Worker) -> None:
        worker.kill()
        self._workers.discard(worker)
        if self._closed:
            return
        self._task(self._restart(worker))

    def _task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Work that goes on by itself, until the pool is closed."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, though who asked may have left

    async def _restart(self, old: Worker) -> None:
        await old.process.wait()
        while not self._closed:
            try:
                return await self._start()
            except (OSError, EOFError, TimeoutError) as error:
                self._failing = True
                logging.getLogger(__name__).error("a worker does not start: %r", error)
                await asyncio.sleep(1)
