"""A spec: where it stands, what kind of text it is, and its entries one by one.

    spec.yaml, spec.json     a list of queries, or an object with `queries`, `grid` and `defaults`
    spec.csv                 a header of words, one query a row
    spec.jsonl               one query a line
    -                        standard input, any of these

CSV and JSON lines are read as they are needed, twice: once to find every mistake, once to run. Standard input is
therefore kept in a temporary file. YAML and JSON are read whole.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice, product
from math import prod
from pathlib import Path
from typing import IO, Any, Literal

from solver.batch import words
from solver.batch.words import MAX_NAME, NAME, WORDS
from solver.errors import InputFileError, RequestError, did_you_mean, shown
from solver.query import Query

STDIN = "-"
Kind = Literal["yaml", "json", "csv", "jsonl"]
SUFFIXES: dict[str, Kind] = {
    ".yaml": "yaml", ".yml": "yaml", ".json": "json", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl",
}  # fmt: skip

MAX_WHOLE_BYTES = 64 * 2**20
"""Largest YAML or JSON spec (assumption: a person writes kilobytes; programs have JSON lines)."""

MAX_LINE = 2**20
"""Longest line of CSV or JSON lines, in characters (assumption: an entry has a few hundred)."""

MAX_GRID = 1_000_000
"""Most queries of one grid (assumption: at 200 a second that is more than an hour)."""

MAX_MISTAKES = 20
"""Mistakes that are named; more are counted."""

KEYS = ("queries", "grid", "defaults")
WANTED = "wanted is a list of queries, or an object with queries, grid and defaults"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One query of a spec."""

    number: int
    """From 1, in the order of the spec."""
    name: str
    words: dict[str, Any]
    """The words of the command line that make the query, defaults included."""
    query: Query


class SpecError(RequestError):
    """A spec with mistakes in it. `mistakes` are the sentences, each with its place; at most MAX_MISTAKES of them."""

    shown_length = 300

    def __init__(self, source: str, mistakes: list[str], number: int) -> None:
        self.mistakes = mistakes
        one = "one mistake" if number == 1 else f"{number:,} mistakes"
        named = "" if number == len(mistakes) else f" (the first {len(mistakes)} are named)"
        super().__init__("spec", source, f"has {one}{named}; nothing was run")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Raw:
    """An entry as it was read."""

    where: str
    values: Any = None
    complaint: str = ""
    """Why there are no values, where they could not be read."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Where single words stand, where that is known better."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """A spec that can be read more than once."""

    source: str
    path: Path
    kind: Kind

    @property
    def title(self) -> str:
        """What a report of it is called."""
        return "Queries from standard input" if self.source == STDIN else self.path.name

    def check(self) -> int:
        """The number of entries.

        Raises:
            SpecError: mistakes, all of them.
            InputFileError: it cannot be read as a spec at all.
        """
        total = number = 0
        mistakes: dict[str, None] = {}  # a mistake in the defaults or the grid is every entry's, and named once
        for found in self._read():
            total += isinstance(found, Entry)
            new = [] if isinstance(found, Entry) else [sentence for sentence in found if sentence not in mistakes]
            number += len(new)
            mistakes.update(dict.fromkeys(new[: MAX_MISTAKES - len(mistakes)]))
        if number:
            raise SpecError(self.source, list(mistakes), number)
        if not total:
            raise InputFileError("spec", self.source, f"holds no query; {WANTED}")
        return total

    def entries(self) -> Iterator[Entry]:
        """The entries, in order, of a spec that has been checked."""
        return (found for found in self._read() if isinstance(found, Entry))

    def _read(self) -> Iterator[Entry | list[str]]:
        return (_entry(number, raw) for number, raw in enumerate(_raw_entries(self), start=1))


@contextmanager
def opened(source: str) -> Iterator[Spec]:
    """The spec at a path, or on standard input.

    Raises:
        InputFileError: there is nothing that can be read.
    """
    if source == STDIN:
        with tempfile.TemporaryDirectory(prefix="diysolve-") as folder:
            path = Path(folder) / "spec"
            with path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
            yield Spec(source=source, path=path, kind=_sniffed(source, path))
        return
    path = Path(source)
    if not path.is_file():
        complaint = "is a folder; name the file in it" if path.is_dir() else "there is no such file"
        raise InputFileError("spec", source, complaint)
    yield Spec(source=source, path=path, kind=SUFFIXES.get(path.suffix.lower()) or _sniffed(source, path))


def _sniffed(source: str, path: Path) -> Kind:
    """The kind of a text without a suffix, from its first line that has something on it."""
    with _text(source, path) as file:
        line = next((line.strip() for line in islice(file, 1000) if line.strip()), "")
    if line.startswith("{"):
        try:
            value = json.loads(line)
        except ValueError:
            return "json"
        return "json" if isinstance(value, dict) and set(value) & set(KEYS) else "jsonl"
    if line.startswith("["):
        return "json"
    cells = [words.plain(cell) for cell in line.split(",")]
    return "csv" if all(cell in WORDS or cell == NAME for cell in cells) else "yaml"


@contextmanager
def _text(source: str, path: Path) -> Iterator[IO[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except UnicodeDecodeError as error:
        raise InputFileError("spec", source, f"is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise InputFileError("spec", source, f"cannot be read: {(error.strerror or str(error)).lower()}") from None


# From text to raw entries


def _raw_entries(spec: Spec) -> Iterator[_Raw]:
    with _text(spec.source, spec.path) as file:
        if spec.kind == "csv":
            yield from _of_csv(spec.source, file)
        elif spec.kind == "jsonl":
            yield from _of_lines(spec.source, file)
        else:
            text = file.read(MAX_WHOLE_BYTES + 1)
            if len(text) > MAX_WHOLE_BYTES:
                complaint = (
                    f"is larger than {MAX_WHOLE_BYTES // 2**20} MiB; write JSON lines, which are read one by one"
                )
                raise InputFileError("spec", spec.source, complaint)
            yield from _of_document(_json(text, spec.source) if spec.kind == "json" else _yaml(text, spec.source))


def _bounded(source: str, file: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        if len(line) > MAX_LINE:
            raise InputFileError("spec", source, f"line {number} is longer than {MAX_LINE:,} characters")
        yield line


def _of_csv(source: str, file: IO[str]) -> Iterator[_Raw]:
    reader = csv.reader(_bounded(source, file), strict=True)
    try:
        header = [words.plain(cell) for cell in next(reader, [])]
        if len(set(header)) < len(header):
            raise InputFileError("spec", source, f"line 1 names a column twice: {', '.join(header)}")
        for row in reader:
            where = f"{source} line {reader.line_num}"
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                complaint = f"has {len(row)} cells, and the header has {len(header)}"
                yield _Raw(where=where, complaint=complaint)
                continue
            given = {word: cell for word, cell in zip(header, row, strict=True) if cell.strip()}
            yield _Raw(where=where, values=given)
    except csv.Error as error:
        raise InputFileError("spec", source, f"line {reader.line_num} is not CSV: {error}") from None


def _of_lines(source: str, file: IO[str]) -> Iterator[_Raw]:
    for number, line in enumerate(_bounded(source, file), start=1):
        if not line.strip():
            continue
        where = f"{source} line {number}"
        try:
            yield _Raw(where=where, values=json.loads(line, object_pairs_hook=_object))
        except (ValueError, RecursionError) as error:
            yield _Raw(where=where, complaint=f"is not a JSON object: {error}")


class _Document:
    """A spec that was read whole: its value, and where each part stands."""

    def __init__(self, source: str, value: Any, lines: dict[tuple[Any, ...], int]) -> None:
        self.source, self.value, self.lines = source, value, lines

    def where(self, *path: Any) -> str:
        """The place of a part, for a message: its line where it is known, and what it is."""
        parts = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
        line = self.lines.get(path)
        return f"{self.source} line {line}" if line else f"{self.source} {parts}".rstrip()


def _json(text: str, source: str) -> _Document:
    try:
        return _Document(source, json.loads(text, object_pairs_hook=_object), {})
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise InputFileError("spec", source, f"is not JSON ({place}: {error.msg}); {WANTED}") from None
    except (ValueError, RecursionError) as error:
        raise InputFileError("spec", source, f"is not JSON that can be used: {error}; {WANTED}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key is given twice")
    return values


def _yaml(text: str, source: str) -> _Document:
    """Scalars stay text, but for null, true and false: YAML 1.1 would make 1488 of 24:48."""
    import yaml

    lines: dict[tuple[Any, ...], int] = {}
    try:
        node = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return _Document(source, None if node is None else _value(node, (), lines), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" (line {mark.line + 1} column {mark.column + 1}: {error.problem})" if mark else ""
        raise InputFileError("spec", source, f"is not YAML{place}; {WANTED}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputFileError("spec", source, f"is not YAML that can be used: {error}; {WANTED}") from None


MAX_DEPTH = 5
"""Levels of a YAML spec: the document, its queries, a query, a word, a list of a grid."""

_TRUTHS: dict[str, Any] = {"null": None, "~": None, "": None, "true": True, "false": False}


def _value(node: Any, path: tuple[Any, ...], lines: dict[tuple[Any, ...], int]) -> Any:
    lines[path] = node.start_mark.line + 1
    if len(path) > MAX_DEPTH:
        raise ValueError(f"line {lines[path]} is nested too deeply for a spec")
    if node.id == "scalar":
        return node.value if node.style else _TRUTHS.get(node.value.lower(), node.value)
    if node.id == "sequence":
        return [_value(item, (*path, index), lines) for index, item in enumerate(node.value)]
    pairs = [(key.value, _value(item, (*path, key.value), lines)) for key, item in node.value if key.id == "scalar"]
    for key, _ in node.value:
        lines[(*path, key.value if key.id == "scalar" else None)] = key.start_mark.line + 1
    if len({key for key, _ in pairs}) < len(node.value):
        raise ValueError(f"line {lines[path]}: a key is given twice, or is no text")
    return dict(pairs)


# From a document to raw entries


def _of_document(document: _Document) -> Iterator[_Raw]:
    value = document.value
    if isinstance(value, list):
        yield from _listed(document, value, (), {})
        return
    if not isinstance(value, dict):
        raise InputFileError("spec", document.source, f"is no spec; {WANTED}")
    for key in value:
        if key not in KEYS:
            complaint = f"{document.where(key)}: {shown(key)} is not a part of a spec; {did_you_mean(key, KEYS)}"
            raise SpecError(document.source, [complaint], 1)
    parts = {key: part for key, part in value.items() if part is not None}  # a key with nothing behind it, in YAML
    defaults = parts.get("defaults", {})
    if not isinstance(defaults, dict) or NAME in defaults:
        complaint = f"{document.where('defaults')}: defaults are words of a query with their values, without a name"
        raise SpecError(document.source, [complaint], 1)
    queries, grid = parts.get("queries", []), parts.get("grid", {})
    if not isinstance(queries, list) or not isinstance(grid, dict):
        raise SpecError(document.source, [f"{document.source}: queries is a list, and grid an object of lists"], 1)
    yield from _listed(document, queries, ("queries",), defaults)
    if grid:
        yield from _cells(document, grid, defaults)


def _listed(document: _Document, queries: list[Any], path: tuple[Any, ...], defaults: dict[str, Any]) -> Iterator[_Raw]:
    for index, own in enumerate(queries):
        here = (*path, index)
        where = document.where(*here)
        if not isinstance(own, dict):
            yield _Raw(where=where, values=own)
            continue
        places = {words.plain(word): document.where("defaults", word) for word in defaults}
        places |= {words.plain(word): document.where(*here, word) for word in own if document.lines}
        yield _Raw(where=where, values=_over(defaults, own), places=places)


def _cells(document: _Document, grid: dict[str, Any], defaults: dict[str, Any]) -> Iterator[_Raw]:
    """Every combination of the grid's values, the last word changing first."""
    axes = {word: value if isinstance(value, list) else [value] for word, value in grid.items()}
    number = prod(map(len, axes.values()))
    empty = [word for word, values in axes.items() if not values]
    if empty:
        raise SpecError(document.source, [f"{document.where('grid', empty[0])}: {empty[0]} has no values"], 1)
    if number > MAX_GRID:
        complaint = f"{document.where('grid')}: the grid has {number:,} queries; at most {MAX_GRID:,} are allowed"
        raise SpecError(document.source, [complaint], 1)
    places = {words.plain(word): document.where("grid", word) for word in grid}
    places |= {words.plain(word): document.where("defaults", word) for word in defaults if word not in grid}
    varied = [word for word, values in axes.items() if len(values) > 1] or list(axes)
    for values in product(*axes.values()):
        cell = dict(zip(axes, values, strict=True))
        name = ", ".join(str(cell[word]) if word in _SPEAKING else f"{word} {cell[word]}" for word in varied)
        raw = _over(defaults, cell)
        yield _Raw(where=document.where("grid"), values={NAME: name[:MAX_NAME], **raw}, places=places)


_SPEAKING = {"target", "gpu", "precision", "optimizer", "mode"}
"""Words whose values say what they are."""


def _over(defaults: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    return words.with_defaults(
        {words.plain(word): value for word, value in defaults.items()},
        {words.plain(word): value for word, value in own.items()},
    )


# From raw entries to entries


def _entry(number: int, raw: _Raw) -> Entry | list[str]:
    """The entry, or every mistake in it with its place."""
    if raw.complaint:
        return [f"{raw.where}: {raw.complaint}"]
    if not isinstance(raw.values, dict):
        return [f"{raw.where}: {shown(raw.values)} is no query; wanted is an object of words and values"]
    values = {words.plain(word): value for word, value in raw.values.items()}
    name = values.pop(NAME, None)
    known = {word: value for word, value in values.items() if word in WORDS}
    strange = [(word, words.unknown(word)) for word in values if word not in WORDS]
    if name is not None and (not isinstance(name, str | int | float) or len(str(name)) > MAX_NAME):
        strange.append((NAME, f"name={shown(name)}: write a text of at most {MAX_NAME} characters"))
    query, mistakes = words.query(known)
    if strange or query is None:
        return [f"{raw.places.get(word, raw.where)}: {sentence}" for word, sentence in strange + mistakes]
    given = {word: value for word, value in known.items() if value is not None}
    return Entry(number=number, name=str(name or _named(given)), words=given, query=query)


def _named(given: Mapping[str, Any]) -> str:
    """A name for an entry that has none: what it asks for, in few words."""
    return ", ".join(str(value) if word in _SPEAKING else f"{word} {value}" for word, value in given.items())[:MAX_NAME]
