"""The JSON schema of a spec: what `diysolve batch --schema` prints."""

from __future__ import annotations

from typing import Any

from solver.batch.words import MAX_NAME, NAME, WORDS


def schema() -> dict[str, Any]:
    """JSON schema, draft 2020-12, of a spec in JSON or YAML; `$defs/query` is that of a line of JSON lines.

    It refuses what is wrong with one value. What only the whole query shows, such as a card that is not known or two
    words that exclude each other, the reader finds.
    """
    query = {"$ref": "#/$defs/query"}
    queries = {"type": "array", "items": query, "minItems": 1}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "diysolve batch spec",
        "anyOf": [queries, {"$ref": "#/$defs/spec"}],
        "$defs": {
            "spec": {
                "type": "object",
                "properties": {
                    "defaults": _or_null(query),
                    "grid": _or_null({"$ref": "#/$defs/grid"}),
                    "queries": _or_null({"type": "array", "items": query}),
                },
                "anyOf": [{"required": ["queries"], "properties": {"queries": queries}}, {"required": ["grid"]}],
                "additionalProperties": False,
            },
            "query": _of_words(lambda word: {"$ref": f"#/$defs/{word}"}, named=True),
            "grid": {
                **_of_words(lambda word: {"anyOf": [_each(word), {"$ref": f"#/$defs/{word}"}]}, named=False),
                "minProperties": 1,
            },
            **{word: {"description": known.meaning, **_or_null(known.schema)} for word, known in WORDS.items()},
        },
    }


def _each(word: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/$defs/{word}"}, "minItems": 1}


def _of_words(value: Any, *, named: bool) -> dict[str, Any]:
    """An object of words, in either spelling."""
    properties: dict[str, Any] = {NAME: {"type": "string", "maxLength": MAX_NAME}} if named else {}
    for word in WORDS:
        properties[word] = properties[word.replace("_", "-")] = value(word)
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _or_null(schema: Any) -> dict[str, Any]:
    """None takes a default away."""
    return {"anyOf": [dict(schema), {"type": "null"}]}
