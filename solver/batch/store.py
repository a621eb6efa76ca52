"""results.jsonl: what is finished, one JSON line per query, kept under the query's content.

While a batch runs, lines are appended as they come. At its end they are rewritten whole, in the order of the spec, each
with the number, name and words of its entry in front. Either kind of line is found again by its key, so a run that was
cut off goes on, and a spec that has grown solves only what is new.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from solver.batch.spec import Entry
from solver.errors import InputFileError
from solver.query import Query
from solver.report.files import whole_file
from solver.solution import Solution

SCHEMA = "diysolve.batch/1"
RESULTS = "results.jsonl"

_BODY = re.compile(rb'(?:^\{|,)("key":"([0-9a-f]{32})","status":)')


def key_of(query: Query, *, version: str, verify: str) -> str:
    """The name of a result: equal for equal questions to the same version, whatever the entry calls itself."""
    content = json.dumps([query.to_dict(), version, verify], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def body(key: str, solution: Solution | None, message: str, notes: Iterable[str] = ()) -> str:
    """A result as it is kept: the line of an entry without the entry. Without a solution `message` is why."""
    status = solution.status.value if solution else "error"
    found = {"key": key, "status": status, "message": message, "notes": list(notes)}
    return _json({**found, "solution": solution.to_dict() if solution else None})


def line(entry: Entry, kept: bytes) -> bytes:
    """The line of an entry in the finished file."""
    front = _json({"schema": SCHEMA, "number": entry.number, "name": entry.name, "words": entry.words})
    return front.encode()[:-1] + b"," + kept[1:] + b"\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class _Place:
    offset: int
    size: int


class Store:
    """The results of a folder, by key. Only where they stand is held in memory.

    Args:
        fresh: forget what is there.

    Raises:
        InputFileError: the file cannot be read or written, or another run is writing to it.
    """

    def __init__(self, folder: Path, *, fresh: bool = False) -> None:
        self.path = folder / RESULTS
        self._places: dict[bytes, _Place] = {}
        try:
            self._file: BinaryIO = self.path.open("r+b" if self.path.exists() else "w+b")
            _lock(self._file, folder)
            for left in folder.glob(f".{RESULTS}.*.part"):  # of a rewriting that was cut off
                left.unlink()
            if fresh:
                self._file.truncate(0)
            self._size = self._find()
        except OSError as error:
            raise InputFileError("out", str(self.path), f"cannot be written: {error.strerror}") from None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._places

    def __len__(self) -> int:
        return len(self._places)

    def add(self, key: str, kept: str) -> None:
        """Append a result; it is not lost where the process is killed afterwards."""
        text = kept.encode() + b"\n"
        self._file.seek(self._size)
        self._file.write(text)
        self._file.flush()
        self._places[bytes.fromhex(key)] = _Place(self._size, len(text) - 1)
        self._size += len(text)

    def get(self, key: str) -> bytes:
        """A result as it was added."""
        place = self._places[bytes.fromhex(key)]
        self._file.seek(place.offset)
        return b"{" + self._file.read(place.size)[1:]

    def rewrite(self, entries: Iterable[tuple[Entry, str]]) -> Iterator[bytes]:
        """Write the finished file, whole or not at all, and give each of its lines."""
        with whole_file(str(self.path)) as file:
            for entry, key in entries:
                text = line(entry, self.get(key))
                file.write(text)
                yield text

    def sync(self) -> None:
        """On disk, so that not even the end of the machine loses it."""
        os.fsync(self._file.fileno())

    def _find(self) -> int:
        """Note where the results stand, drop a torn last line, and say where the next one goes."""
        end = 0
        for text in self._file:
            if not text.endswith(b"\n"):
                break
            found = _BODY.search(text)
            if found and text.endswith(b"}\n"):
                kept = len(text) - found.start(1)
                self._places[bytes.fromhex(found[2].decode())] = _Place(end + found.start(1) - 1, kept)
            end += len(text)
        self._file.truncate(end)
        return end


def _lock(file: BinaryIO, folder: Path) -> None:
    """Refuse a second run in the same folder. The lock ends with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        complaint = "another run is writing there; wait for it, or give another folder"
        raise InputFileError("out", str(folder), complaint) from None


def results(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of a finished file, as values."""
    with (folder / RESULTS).open("rb") as file:
        yield from map(json.loads, file)
