"""The routes. Everything that computes happens in worker processes; here bodies come in and replies go out."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse

from solver.commands import presets_answer
from solver.devices import DEVICES
from solver.report.answers import DevicesAnswer
from solver.serve import openapi
from solver.serve.answers import ENTRY, Reply, dump, error_line
from solver.serve.assets import Assets
from solver.serve.cache import Cache
from solver.serve.jobs import Job, Jobs
from solver.serve.pool import Pool
from solver.serve.problems import Problem
from solver.serve.replies import NOT_KEPT, json_response, problem_response
from solver.serve.settings import Settings
from solver.serve.shell import Gate, Recorded, log_line

ASKED = ("/v1/solve", "/v1/count", "/v1/memory", "/v1/rank", "/v1/band", "/v1/export", "/v1/explain")
"""Paths whose reply depends on the body alone."""


class Service:
    """What the routes share."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.bounds = settings, settings.bounds
        self.pool = Pool(settings.workers, settings.bounds)
        self.jobs = Jobs(settings.bounds)
        self.cache = Cache(settings.cache_bytes)

    @asynccontextmanager
    async def running(self, app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.pool)
            await stack.enter_async_context(self.jobs)
            yield

    async def reply(self, path: str, body: bytes) -> Reply:
        """From the cache, or from a worker. Raises Problem as the pool does."""
        reply = self.cache.get(path, body)
        if reply is None:
            reply = await self.pool.answer(path, body)
            if reply.status == 200:
                self.cache.put(path, body, reply)
        return reply

    async def body(self, request: Request) -> bytes:
        """The body of a request.

        Raises:
            Problem: 408 where it takes too long, 413 where it is too large, 415 where it is not said to be JSON.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            detail = f"the content type is {kind[:60]!r}; send a JSON body with Content-Type: application/json"
            raise Problem(status=415, detail=detail, field="Content-Type")
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.bounds.client_seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size <= self.bounds.body_bytes:
                        chunks.append(chunk)
                    elif size > 8 * self.bounds.body_bytes:  # read a little on: many clients only listen when done
                        break
        except TimeoutError:
            detail = f"the body did not arrive within {self.bounds.client_seconds:g} s"
            raise Problem(status=408, detail=detail, field="body") from None
        except ClientDisconnect:
            raise Problem(status=400, detail="the body was not sent whole", field="body") from None
        if size > self.bounds.body_bytes:
            detail = f"the body has more than {self.bounds.body_bytes:,} bytes, the most that this service reads"
            raise Problem(status=413, detail=detail, field="body")
        return b"".join(chunks)

    async def lines(self, entries: list[dict[str, Any]]) -> AsyncIterator[bytes]:
        """The line of each entry, in order; no more are under way than there are workers."""
        waiting: deque[asyncio.Task[bytes]] = deque()
        try:
            for entry in entries:
                waiting.append(asyncio.create_task(self._line(entry)))
                if len(waiting) == self.settings.workers:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()

    async def _line(self, entry: dict[str, Any]) -> bytes:
        try:
            reply = await self.pool.answer(ENTRY, dump(entry))
        except Problem as problem:
            return error_line(entry, problem.detail)
        return reply.body if reply.status == 200 else error_line(entry, json.loads(reply.body)["detail"])


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application."""
    service = Service(settings)
    app = FastAPI(
        title="diysolve",
        version=version("diysolve"),
        lifespan=service.running,
        docs_url=None,  # they load scripts from another host
        redoc_url=None,
        openapi_url=None,
    )
    app.add_middleware(Gate, bounds=settings.bounds, token=settings.token)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    app.add_middleware(Recorded, log=(lambda values: None) if settings.quiet else log_line)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _mistake)
    for path in ASKED:
        app.add_api_route(path, _asking(service, path), methods=["POST"])
    app.add_api_route("/v1/batch", _batching(service), methods=["POST"])
    _add_known(app, service, openapi.document(settings, version("diysolve")))
    _add_jobs(app, service)
    for path, asset in Assets().by_path.items():
        app.add_api_route(path, asset.respond, methods=["GET", "HEAD"])
    return app


def _asking(service: Service, path: str) -> Callable[[Request], Awaitable[Response]]:
    async def ask(request: Request) -> Response:
        body = await service.body(request)
        return json_response(await service.reply(path, body))

    return ask


def _batching(service: Service) -> Callable[[Request], Awaitable[Response]]:
    async def batch(request: Request) -> Response:
        checked = await service.pool.answer("/v1/batch", await service.body(request))
        if checked.status != 200:
            return json_response(checked)
        lines = service.lines(json.loads(checked.body)["entries"])
        return StreamingResponse(lines, headers=NOT_KEPT, media_type="application/jsonl")

    return batch


def _add_known(app: FastAPI, service: Service, document: dict[str, Any]) -> None:
    """What is answered without computing: made once, when the service starts."""
    known = {
        "/v1/devices": DevicesAnswer(DEVICES).to_dict(),
        "/v1/presets": presets_answer().to_dict(),
        "/version": {"version": app.version},
        "/openapi.json": document,
    }
    for path, values in known.items():
        app.add_api_route(path, _giving(Reply(200, dump(values))), methods=["GET"])

    async def health() -> Response:
        ready = service.pool.ready
        return json_response(Reply(200 if ready else 503, dump({"status": "ok" if ready else "no worker"})))

    app.add_api_route("/healthz", health, methods=["GET"])


def _giving(reply: Reply) -> Callable[[], Awaitable[Response]]:
    async def give() -> Response:
        return json_response(reply)

    return give


def _add_jobs(app: FastAPI, service: Service) -> None:
    async def verify(request: Request) -> Response:
        if not service.settings.allow_verify:
            raise Problem(status=403, detail="this service verifies nothing; start it with --allow-verify")
        body = await service.body(request)
        checked = await service.pool.answer("/v1/verify", body)
        if checked.status != 200:
            return json_response(checked)
        job = service.jobs.add(body, of=json.loads(checked.body)["configs"])
        response = _job(job, status=202)
        response.headers["Location"] = f"/v1/jobs/{job.id}"
        return response

    async def look_or_cancel(request: Request, id: str) -> Response:
        return _job(await service.jobs.cancel(id) if request.method == "DELETE" else service.jobs.find(id))

    app.add_api_route("/v1/verify", verify, methods=["POST"])
    app.add_api_route("/v1/jobs/{id}", look_or_cancel, methods=["GET", "DELETE"])  # one route: its Allow has both


def _job(job: Job, status: int = 200) -> Response:
    return json_response(Reply(status, dump(job.to_dict())))


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(error)


async def _http_error(request: Request, error: Exception) -> Response:
    """What the router refuses: an unknown path, a method that a path does not have."""
    assert isinstance(error, HTTPException)
    detail = (
        f"{request.method} {request.url.path[:200]}: there is no such thing here; /openapi.json lists what there is"
    )
    response = problem_response(Problem(status=error.status_code, detail=detail))
    response.headers.update(error.headers or {})
    return response


async def _mistake(request: Request, error: Exception) -> Response:
    return problem_response(Problem(status=500, detail="this is a mistake of the service, not of the request"))
