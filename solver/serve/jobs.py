"""Verifications as jobs: one at a time, each in a process of its own, with an id, its progress, a way to stop it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
from collections import OrderedDict
from dataclasses import asdict
from typing import Any, Literal, Self

from solver.serve.bounds import Bounds
from solver.serve.problems import Problem

SCHEMA = "diysolve.job/1"

MOST_WAITING = 16
"""Most jobs that wait; one more is refused with 429."""

MOST_KEPT = 100
"""Most finished jobs whose answers are kept."""

State = Literal["queued", "running", "done", "failed", "cancelled"]


class Job:
    """One verification that was asked for: of so many configs, of which `done` are done."""

    def __init__(self, body: bytes, of: int) -> None:
        self.id = secrets.token_urlsafe(9)
        self.body, self.of, self.done = body, of, 0
        self.state: State = "queued"
        self.answer: dict[str, Any] | None = None  # the JSON of `diysolve verify`, when it is done
        self.problem: dict[str, Any] | None = None  # what went wrong, where it failed
        self.task: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    def to_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in ("id", "state", "done", "of", "answer", "problem")}
        return {"schema": SCHEMA, **values, "url": f"/v1/jobs/{self.id}"}


class Jobs:
    """The jobs of a service."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for job in list(self._jobs.values()):
            await self.cancel(job.id)

    def add(self, body: bytes, of: int) -> Job:
        """A new job, behind those that wait. Raises Problem 429 where too many do."""
        if sum(not job.ended for job in self._jobs.values()) > MOST_WAITING:
            raise Problem(status=429, detail=f"{MOST_WAITING} verifications wait already; try later", retry_after=60)
        job = Job(body, of)
        self._jobs[job.id] = job
        job.task = asyncio.create_task(self._run(job))
        for old in [old for old in self._jobs.values() if old.ended][:-MOST_KEPT]:
            del self._jobs[old.id]
        return job

    def find(self, id: str) -> Job:
        """The job of that id. Raises Problem 404 where it is not known, or no longer."""
        if id not in self._jobs:
            raise Problem(status=404, detail=f"there is no job {id!r}; the last {MOST_KEPT} are kept")
        return self._jobs[id]

    async def cancel(self, id: str) -> Job:
        """Stop a job and everything that it started. One that has ended stays as it is."""
        job = self.find(id)
        if not job.ended and job.task:
            job.state = "cancelled"
            job.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await job.task
        return job

    async def _run(self, job: Job) -> None:
        async with self._turn:
            job.state = "running"
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "solver.serve.job_worker",
                json.dumps(asdict(self.bounds)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=2**26,  # the answer is one line
                start_new_session=True,  # a group, so that what it starts can be stopped with it
            )
            try:
                await self._follow(job, process)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()

    async def _follow(self, job: Job, process: asyncio.subprocess.Process) -> None:
        assert process.stdin
        assert process.stdout
        process.stdin.write(job.body)
        process.stdin.close()
        async for line in process.stdout:
            said = json.loads(line)
            job.done = said.get("done", job.done)
            job.answer = said.get("answer")
            job.problem = said.get("problem")
        if job.answer is None and job.problem is None:
            job.problem = Problem(status=500, detail="the process that verified died; its log says why").to_dict()
        job.state = "done" if job.answer is not None else "failed"
