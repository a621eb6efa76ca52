"""The page's files, read once; they travel in the package."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """One file of the page."""

    content: bytes
    media_type: str
    etag: str

    async def respond(self, request: Request) -> Response:
        """The file, or 304 where the browser has it: it asks every time, so that an upgrade is seen at once."""
        headers = {"ETag": self.etag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == self.etag:
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=headers, media_type=self.media_type)


class Assets:
    """All of them, by the path that they are served at."""

    def __init__(self) -> None:
        self.by_path = {}
        for file in files("solver.serve").joinpath("page").iterdir():
            suffix = file.name.rpartition(".")[2]
            if suffix in TYPES:
                content = file.read_bytes()
                etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
                path = "/" if file.name == "index.html" else f"/page/{file.name}"
                self.by_path[path] = Asset(content=content, media_type=TYPES[suffix], etag=etag)
