"""A request's path and body into its answer. No socket, no clock: this runs in a worker process, or in a test."""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from diymodel.config import ConfigError, DIYConfig
from solver import commands
from solver.batch import words as batch_words
from solver.batch.run import Verify
from solver.batch.spec import Entry, Spec, SpecError
from solver.batch.store import SCHEMA as BATCH_SCHEMA
from solver.batch.store import body as store_body
from solver.batch.store import key_of, line
from solver.errors import InputFileError, RequestError
from solver.explain import explain
from solver.families import Architecture
from solver.interop import (
    Blueprint,
    draft,
    like,
    load_any,
    load_architecture,
    load_config,
    load_configs_to_rank,
    preset_fields,
)
from solver.presets import nearest
from solver.query import OPTIONS, Query
from solver.recipe import Recipe
from solver.report.answers import CountAnswer
from solver.search.answer import solve_knowing
from solver.search.band import band
from solver.search.known import Known
from solver.serve import words
from solver.serve.bodies import parse
from solver.serve.bounds import Bounds, require_lattice
from solver.serve.problems import Problem, problem_of

ENTRY = "entry"
"""In place of a path: one entry of a batch."""


class Reply(NamedTuple):
    """A status, and the JSON that goes with it."""

    status: int
    body: bytes


def answer(path: str, body: bytes, bounds: Bounds, known: Known | None = None) -> Reply:
    """What the service replies to a body at a path of ENDPOINTS, mistakes of the client and of ours included.

    `known` is what earlier answers of this process have left; it changes none of them. A verification and a batch are
    only checked here: one is a job, the other many queries, each asked at ENTRY.
    """
    known = known or Known()
    try:
        if path == ENTRY:
            return Reply(200, answer_entry(json.loads(body), known))
        found = ENDPOINTS[path](parse(body, bounds.nesting), bounds, known)
        return Reply(200, dump(found))
    except Problem as problem:
        return refusal(problem)
    except (RequestError, ConfigError) as error:
        return refusal(problem_of(error, "file" if isinstance(error, ConfigError) else None))
    except MemoryError:
        detail = "this takes more memory than the service gives one request; bound the dimensions"
        return refusal(Problem(status=503, detail=detail))
    except Exception:  # a mistake of ours: the client learns that it is one, the log learns which
        traceback.print_exc(file=sys.stderr)
        return refusal(Problem(status=500, detail="this is a mistake of the service, not of the request"))


def refusal(problem: Problem) -> Reply:
    return Reply(problem.status, dump(problem.to_dict()))


def dump(values: dict[str, Any]) -> bytes:
    return json.dumps(values, separators=(",", ":"), allow_nan=False).encode()


def _solve(body: Any, bounds: Bounds, known: Known) -> dict[str, Any]:
    given = words.read(body, words.SOLVE)
    explained = given.pop("explain", False)
    solution = solve_knowing(_query(given, bounds), known)
    return (explain(solution) if explained else solution).to_dict()


def _band(body: Any, bounds: Bounds, known: Known) -> dict[str, Any]:
    return band(_query(words.read(body, words.BAND), bounds), known).to_dict()


def _query(given: dict[str, Any], bounds: Bounds) -> Query:
    if "like" in given:
        given["like"] = _blueprint(given["like"])
    query = Query.parse(**given)
    require_lattice(query, bounds)
    return query


def _explain(body: Any, bounds: Bounds, known: Known) -> dict[str, Any]:
    given = words.read(body, words.EXPLAIN, required=False)
    file, rank = given.pop("file", None), given.pop("rank", 1)
    if file is None:
        _require_shape(given, bounds)
    load = None if file is None else (lambda: (_name(file), _config(_name(file), file, rank)))
    return commands.explain_answer(given, load=load, rank=rank).to_dict()


def _require_shape(given: dict[str, Any], bounds: Bounds) -> None:
    """As `require_lattice`, of the dimensions alone; what is wrong with them is for the answer to say."""
    try:
        query = Query.parse(target="1M", **{word: given[word] for word in OPTIONS.values() if word in given})
    except RequestError:
        return
    require_lattice(query, bounds)


def _count(body: Any, bounds: Bounds, known: Known) -> dict[str, Any]:
    given = words.read(body, words.count_words(bounds.batch))
    rank = given.get("rank", 1)
    return CountAnswer(
        tuple(commands.counted(name, partial(_architecture, name, file, rank)) for name, file in _named(given["files"]))
    ).to_dict()


def _memory(body: Any, bounds: Bounds, known: Known) -> dict[str, Any]:
    given = words.read(body, words.MEMORY)
    file, (card, budget) = given.pop("file"), commands.card_and_budget(given.pop("vram", None), given.pop("gpu", None))
    source = _name(file)
    config = _config(source, file, given.pop("rank", 1))
    return commands.memory_answer(source, config, given, budget, card).to_dict()


def _rank(body: Any, bounds: Bounds, known: Known) -> dict[str, Any]:
    given = words.read(body, words.RANK)
    file = given["file"]
    if isinstance(file, list) and len(file) > bounds.batch:
        raise RequestError("file", f"{len(file)} entries", f"give at most {bounds.batch:,} of them in one request")
    configs = load_configs_to_rank(_name(file), values=_values(file))
    return commands.rank_answer(configs, given.get("tokens"), given.get("tokens_per_param")).to_dict()


def _export(body: Any, bounds: Bounds, known: Known) -> dict[str, Any]:
    """The files of an export as texts: the service writes none."""
    given = words.read(body, words.EXPORT)
    file, program = given["file"], given.get("to", "hf")
    config, _ = load_any(_name(file), rank=given.get("rank", 1), values=_values(file))
    made = draft(config, program)
    return {
        "schema": "diysolve.draft/1",
        "program": program,
        "builds": made.builds,
        "files": made.files,
        "notes": list(made.notes),
    }


def _batch(body: Any, bounds: Bounds, known: Known) -> dict[str, Any]:
    """The entries of a spec: all of it is checked before the first of them is answered."""
    number = _number_of_queries(body)
    if number > bounds.batch:
        raise RequestError("body", f"{number:,} queries", f"give at most {bounds.batch:,} in one request")
    with tempfile.TemporaryDirectory(prefix="diysolve-") as folder:
        path = Path(folder) / "spec.json"
        path.write_bytes(dump(body))
        spec = Spec(source="body", path=path, kind="json")
        try:
            spec.check()
        except SpecError as error:
            detail = f"the body {error.allowed}"
            raise Problem(status=422, detail=detail, field="body", mistakes=error.mistakes) from None
        entries = list(spec.entries())
    for entry in entries:
        require_lattice(entry.query, bounds)
    return {"entries": [{"number": entry.number, "name": entry.name, "words": entry.words} for entry in entries]}


def _number_of_queries(body: Any) -> int:
    """How many queries a spec has, from the lengths of its lists: a small grid may have billions."""
    if not isinstance(body, dict):
        return len(body) if isinstance(body, list) else 0
    queries, grid = body.get("queries"), body.get("grid")
    axes = grid.values() if isinstance(grid, dict) else ()
    cells = prod(len(values) if isinstance(values, list) else 1 for values in axes) if axes else 0
    return cells + (len(queries) if isinstance(queries, list) else 0)


def answer_entry(entry: dict[str, Any], known: Known) -> bytes:
    """The line of an entry of a spec that was checked, as `diysolve batch` writes it."""
    query, _ = batch_words.query(entry["words"])
    assert query
    key = key_of(query, version=version("diysolve"), verify=str(Verify()))
    try:
        solution = solve_knowing(query, known)
        kept = store_body(key, solution, solution.message)
    except RequestError as error:
        kept = store_body(key, None, str(error))
    return line(Entry(**entry, query=query), kept.encode())


def error_line(entry: dict[str, Any], message: str) -> bytes:
    """The line of an entry that the service could not answer."""
    unanswered: dict[str, Any] = {"key": None, "status": "error", "message": message, "notes": [], "solution": None}
    return dump({"schema": BATCH_SCHEMA, **entry, **unanswered}) + b"\n"


class ToVerify(NamedTuple):
    """What a verification was asked for."""

    configs: list[tuple[str, DIYConfig, Recipe]]
    device: str
    budget: int | None


def to_verify(body: Any, bounds: Bounds) -> ToVerify:
    """The configs of a verification, each with its recipe. Raises RequestError or ConfigError for the first mistake."""
    given = words.read(body, words.verify_words(bounds.batch))
    files, rank, device = given.pop("files"), given.pop("rank", 1), given.pop("device", "auto")
    budget = commands.budget_bytes(given.pop("vram", None), given.pop("gpu", None))
    configs = []
    for name, file in _named(files):
        config = _config(name, file, rank)
        configs.append((name, config, commands.recipe_for(config, given, budget)))
    return ToVerify(configs, device, budget)


def _check_verify(body: Any, bounds: Bounds, known: Known) -> dict[str, Any]:
    return {"configs": len(to_verify(body, bounds).configs)}


def _named(files: list[Any]) -> list[tuple[str, Any]]:
    return [(file if isinstance(file, str) else f"files[{index}]", file) for index, file in enumerate(files)]


def _name(file: str | dict[str, Any]) -> str:
    """What messages and answers call it: a preset by its name, an object by its place."""
    return file if isinstance(file, str) else "file"


def _values(file: Any) -> Any:
    """The fields that a client sent or named. No file is looked for, whatever the name."""
    if not isinstance(file, str):
        return file
    try:
        return preset_fields(file)
    except InputFileError:
        complaint = f"there is no preset of that name, and no path is read here; {nearest(file)}"
        raise InputFileError("file", file, complaint) from None


def _blueprint(file: Any) -> Blueprint:
    """What is kept of a preset, or of a config that a client sent."""
    try:
        values = _values(file)
    except InputFileError as error:
        raise InputFileError("like", file, error.allowed) from None
    return like(file if isinstance(file, str) else "config", values=values)


def _config(name: str, file: Any, rank: int) -> DIYConfig:
    return load_config(name, rank=rank, values=_values(file))


def _architecture(name: str, file: Any, rank: int) -> Architecture:
    return load_architecture(name, rank=rank, values=_values(file))


ENDPOINTS: dict[str, Callable[[Any, Bounds, Known], dict[str, Any]]] = {
    "/v1/solve": _solve,
    "/v1/explain": _explain,
    "/v1/count": _count,
    "/v1/memory": _memory,
    "/v1/rank": _rank,
    "/v1/band": _band,
    "/v1/export": _export,
    "/v1/batch": _batch,
    "/v1/verify": _check_verify,
}
