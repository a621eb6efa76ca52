"""The OpenAPI document: written out, since the bodies are the command line's words and not pydantic's models."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from solver.batch.schema import schema as spec_schema
from solver.serve import words
from solver.serve.problems import MEDIA_TYPE
from solver.serve.settings import Settings

Schema = dict[str, Any]

EXAMPLES: dict[str, dict[str, Any]] = {
    "/v1/solve": {
        "a size and a budget": {"target": "500M", "vram": "24GB"},
        "a card, and a range of depths": {"target": "1.5B", "gpu": "rtx4090", "layers": "24:48", "micro_batch": "max"},
        "the best that fits": {"vram": "8GB", "hidden": "512:1024", "tokens_per_param": 20},
    },
    "/v1/count": {"a preset and a config": {"files": ["smollm2-135m", {"hidden_size": 1024, "num_layers": 29}]}},
    "/v1/memory": {"a preset on a card": {"file": "diy-493m", "gpu": "rtx4090", "micro_batch": 16, "seq": 1024}},
    "/v1/rank": {
        "deep against wide": {
            "file": [{"num_layers": 30, "hidden_size": 576, "num_heads": 9}, {"num_layers": 12, "hidden_size": 768}],
            "tokens": "1T",
        }
    },
    "/v1/explain": {
        "a preset on a card": {"file": "diy-493m", "gpu": "rtx4090", "micro_batch": 4},
        "the best of a size, in a month": {"target": "500M", "gpu": "rtx4090", "train_days": 30},
    },
    "/v1/band": {"every depth and width of 500M": {"target": "500M", "top": 400}},
    "/v1/batch": {
        "sizes on cards": {"grid": {"target": ["125M", "500M"], "gpu": ["rtx3060", "rtx4090"]}, "defaults": {"top": 3}},
        "a list": [{"name": "small", "target": "20M"}, {"target": "7B", "vram": "24GB"}],
    },
    "/v1/export": {"for transformers": {"file": "diy-493m", "to": "hf"}},
    "/v1/verify": {"a small model": {"files": ["diy-3m"], "device": "cpu"}},
}
"""Bodies that are answered, by path and by what they are."""

SUMMARIES = {
    "/v1/solve": "Find the best shapes for a size and a budget (diysolve solve)",
    "/v1/count": "Count the parameters of configs exactly, by component (diysolve count)",
    "/v1/memory": "Predict the memory of a config, and what would make it fit (diysolve memory)",
    "/v1/rank": "Rank given configs against each other (diysolve rank)",
    "/v1/explain": "What each part of a config costs, and why (diysolve explain)",
    "/v1/band": "The best shape of every depth and width, as columns for a plot",
    "/v1/batch": "Answer many queries: one JSON line each, as they are answered (diysolve batch)",
    "/v1/export": "A config as other programs read it, as texts (diysolve export)",
    "/v1/verify": "Build configs and compare, as a job (diysolve verify; with --allow-verify)",
    "/v1/devices": "The cards that gpu knows (diysolve devices)",
    "/v1/presets": "The configs that are known by name (diysolve presets)",
    "/healthz": "Whether the service can answer",
    "/version": "Its version",
}

SPEC = "Spec"

REFUSALS = (400, 401, 408, 413, 415, 422, 429, 500, 503)
"""What a request with a body may be refused with."""


def document(settings: Settings, version: str) -> Schema:
    """The whole of it."""
    bodies = {
        "/v1/solve": (words.SOLVE, "Solution"),
        "/v1/count": (words.count_words(settings.bounds.batch), "Count"),
        "/v1/memory": (words.MEMORY, "Memory"),
        "/v1/rank": (words.RANK, "Rank"),
        "/v1/band": (words.BAND, "Band"),
        "/v1/export": (words.EXPORT, "Draft"),
    }
    paths: Schema = {path: {"post": _post(path, *body)} for path, body in bodies.items()}
    paths["/v1/batch"] = {"post": _batch_post()}
    paths["/v1/explain"] = {"post": _explain_post()}
    if settings.allow_verify:
        paths |= _job_paths(settings)
    known = {"/v1/devices": "Devices", "/v1/presets": "Presets", "/healthz": "Health", "/version": "Version"}
    paths |= {path: {"get": _get(path, name)} for path, name in known.items()}
    found: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "diysolve",
            "version": version,
            "description": "Bodies are the words of the command line, answers its JSON. Problems are RFC 9457 problem "
            "details with the command line's sentence and the field that it is about.",
        },
        "paths": paths,
        "components": {"schemas": {**SCHEMAS, **_spec_schemas()}},
    }
    if settings.token:
        found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, methods in paths.items():
            for operation in methods.values() if path.startswith("/v1/") else ():
                operation["security"] = [{"token": []}]
    return found


def _post(path: str, body: words.Words, answer: str, status: int = 200) -> Schema:
    return _posted(path, words.schema(body), {str(status): _answer(answer)})


def _posted(path: str, body: Schema, answers: Schema) -> Schema:
    examples = {name: {"value": value} for name, value in EXAMPLES[path].items()}
    return {
        "summary": SUMMARIES[path],
        "operationId": path.rpartition("/")[2],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body, "examples": examples}}},
        "responses": {**answers, **_refusals(*REFUSALS)},
    }


def _explain_post() -> Schema:
    return _posted("/v1/explain", words.schema(words.EXPLAIN, required=False), {"200": _answer("Explanation")})


def _batch_post() -> Schema:
    lines = {"description": "One line for each query", "content": {"application/jsonl": {"schema": TEXT}}}
    return _posted("/v1/batch", {"$ref": f"#/components/schemas/{SPEC}"}, {"200": lines})


def _spec_schemas() -> Schema:
    """The JSON schema of a spec, its parts under names of their own."""
    named = json.dumps(spec_schema()).replace('"#/$defs/', f'"#/components/schemas/{SPEC}.')
    whole: Schema = json.loads(named)
    parts = {f"{SPEC}.{name}": part for name, part in whole.pop("$defs").items()}
    del whole["$schema"]
    return {SPEC: whole, **parts}


def _get(path: str, answer: str) -> Schema:
    refusals = (401, 429) if path.startswith("/v1/") else (503,) if path == "/healthz" else ()
    return {
        "summary": SUMMARIES[path],
        "operationId": path.rpartition("/")[2],
        "responses": {"200": _answer(answer), **_refusals(*refusals)},
    }


def _job_paths(settings: Settings) -> Schema:
    id = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}, "example": "kq3xQZ0a"}
    ask = _post("/v1/verify", words.verify_words(settings.bounds.batch), "Job", 202)
    responses = {"200": _answer("Job"), **_refusals(401, 404, 429)}
    look = {"summary": "How far a job is, and its answer", "operationId": "job", "parameters": [id]}
    stop = {"summary": "Stop a job", "operationId": "stop_job", "parameters": [id]}
    return {
        "/v1/verify": {"post": ask},
        "/v1/jobs/{id}": {"get": {**look, "responses": responses}, "delete": {**stop, "responses": responses}},
    }


def _answer(name: str) -> Schema:
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"description": "The answer", "content": {"application/json": {"schema": schema}}}


def _refusals(*statuses: int) -> Schema:
    schema = {"$ref": "#/components/schemas/Problem"}
    refused = {
        str(status): {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }
    if "429" in refused:
        wait = {"description": "Seconds to wait", "schema": {"type": "integer"}}
        refused["429"]["headers"] = {"Retry-After": wait}
    return refused


# The answers


def _object(required: Schema, **optional: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


INT: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}

COMPONENTS = ("total", "embedding", "attention", "mlp", "norm", "lm_head")
COLUMNS = ("num_layers", "hidden_size", "num_heads", "num_kv_heads", "head_dim", "intermediate_size", "params",
           "predicted_loss", "score")  # fmt: skip
UNKNOWN_OF_SOME = ("peak_bytes", "relative_step_time")
"""Columns that are null for a family of which only the count is known."""


def _schema_is(name: str) -> Schema:
    return {"const": f"diysolve.{name}/1"}


_VERDICT = {"enum": ["fits", "uncertain", "does not fit", None]}

_MEMORY = {
    "schema": _schema_is("memory"),
    "recipe": {"type": "object"},
    "peak_bytes": INT,
    "device_bytes": INT,
    "binding": TEXT,
    "moments": {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": INT}},
    "budget_bytes": _or_null(INT),
    "verdict": _VERDICT,
    "max_micro_batch": _or_null(INT),
    "remedies": _list(_object({"change": TEXT, "peak_bytes": INT, "fits": _or_null(FLAG), "verdict": _VERDICT})),
    "note": TEXT,
}

SCHEMAS: Schema = {
    "Config": {
        "type": "object",
        "description": "The fields of a DIYConfig, a Hugging Face config, or the JSON of a solve (rank picks one)",
        "examples": [{"hidden_size": 1024, "num_layers": 29, "num_heads": 16, "intermediate_size": 4096}],
    },
    "Params": _object(dict.fromkeys(COMPONENTS, INT)),
    "Score": _object(
        {
            "total": NUMBER,
            "terms": {"type": "object", "additionalProperties": NUMBER},
            "predicted_loss": NUMBER,
            "tie": FLAG,
        }
    ),
    "MemoryReport": _object(_MEMORY),
    "Candidate": _object(
        {
            "rank": INT,
            "config_format": {"enum": ["diy", "hf"]},
            "config": {"type": "object"},
            "params": _ref("Params"),
            "target_error": _or_null(NUMBER),
            "memory": _or_null(_ref("MemoryReport")),
            "score": _ref("Score"),
            "relative_step_time": _or_null(NUMBER),
            "pareto": _or_null(FLAG),
            "verification": {"type": ["object", "null"]},
        },
        shape={"type": "object", "additionalProperties": INT},
    ),
    "Solution": _object(
        {
            "schema": _schema_is("solution"),
            "status": {"enum": ["solved", "infeasible"]},
            "message": TEXT,
            "query": {"type": "object"},
            "stats": _object({"lattice": INT, "in_band": INT, "fitting": INT, "seconds": NUMBER}),
            "candidates": _list(_ref("Candidate")),
            "binding": _or_null(_object({"constraint": TEXT, "change": TEXT, "gain": NUMBER})),
        },
        nearest=_list(
            _object({"config": {"type": "object"}, "params": INT, "device_bytes": _or_null(INT), "breaks": _list(TEXT)})
        ),
        largest_target_that_fits=_or_null(INT),
        explanation={"type": "object"},
    ),
    "Count": _object(
        {
            "schema": _schema_is("count"),
            "configs": _list(_object({"source": TEXT}, params=_ref("Params"), active=INT, model_type=TEXT, error=TEXT)),
        }
    ),
    "Memory": _object({**_MEMORY, "source": TEXT, "config": {"type": "object"}}),
    "Rank": _object(
        {
            "schema": _schema_is("rank"),
            "tokens": _or_null(INT),
            "configs": _list(
                _object(
                    {"index": INT, "rank": INT, "tokens": INT, "score": _ref("Score"), "config": {"type": "object"}}
                )
            ),
        },
        caution=TEXT,
    ),
    "Band": _object(
        {
            "schema": _schema_is("band"),
            **{name: _list(NUMBER) for name in COLUMNS},
            **{name: _or_null(_list(NUMBER)) for name in UNKNOWN_OF_SOME},
        }
    ),
    "Explanation": _object({"schema": _schema_is("explain")}),
    "Draft": _object(
        {
            "schema": _schema_is("draft"),
            "program": TEXT,
            "builds": TEXT,
            "files": {"type": "object", "additionalProperties": TEXT},
            "notes": _list(TEXT),
        }
    ),
    "Devices": _object({"schema": _schema_is("devices"), "devices": _list({"type": "object"})}),
    "Presets": _object({"schema": _schema_is("presets"), "presets": _list({"type": "object"})}),
    "Health": _object({"status": TEXT}),
    "Version": _object({"version": TEXT}),
    "Job": _object(
        {
            "schema": _schema_is("job"),
            "id": TEXT,
            "state": {"enum": ["queued", "running", "done", "failed", "cancelled"]},
            "done": INT,
            "of": INT,
            "answer": _or_null({"type": "object"}),
            "problem": _or_null(_ref("Problem")),
            "url": TEXT,
        }
    ),
    "Problem": {
        **_object({"type": TEXT, "title": TEXT, "status": INT, "detail": TEXT}, field=TEXT, mistakes=_list(TEXT)),
        "examples": [
            {
                "type": "about:blank",
                "title": "Unprocessable Entity",
                "status": 422,
                "detail": "vram='24': a unit is missing; write a positive number and a unit: 24GB (10^9 bytes) or "
                "24GiB (2^30); MB, TB, MiB and TiB work too",
                "field": "vram",
            }
        ],
    },
}
