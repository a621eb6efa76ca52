"""The words of a batch entry: those of `diysolve solve`, each with what may stand for it.

A value is text, as it would be on the command line, or the number or truth that the text means. From here come the
reading of an entry and the JSON schema of a spec, so that they cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from solver.errors import QueryError, RequestError, did_you_mean, shown
from solver.interop import Blueprint, like, preset_fields
from solver.presets import find, find_published, nearest
from solver.query import MAX_TOP, Prefer, Query
from solver.recipe import (
    MAX_ACCUMULATION,
    MAX_GPUS,
    Attention,
    Checkpointing,
    Loss,
    Mode,
    Optimizer,
    Precision,
    Profile,
)

NAME = "name"
"""The one word of an entry that the command line does not have."""

MAX_NAME = 200
"""Longest name of an entry, in characters (assumption: a title, not a text)."""

NUMBER = r"[0-9][0-9_]*(\.[0-9_]*)?([eE][+-]?[0-9]+)?"
COUNT = {"type": ["string", "integer", "number"], "pattern": rf"^\s*{NUMBER}\s*[KMBTkmbt]?\s*$", "exclusiveMinimum": 0}
BYTES = {"type": "string", "pattern": rf"^\s*{NUMBER}\s*[KMGTkmgt]?[iI]?[bB]\s*$"}
TOLERANCE = {"type": ["string", "number"], "pattern": rf"^\s*{NUMBER}\s*%?\s*$", "minimum": 0, "exclusiveMaximum": 1}
AXIS = {"type": ["string", "integer"], "pattern": r"^\s*[0-9]+\s*([,:]\s*[0-9]+\s*)*$", "minimum": 1}
POSITIVE = {"type": ["string", "number"], "pattern": rf"^\s*{NUMBER}\s*$", "exclusiveMinimum": 0}
PRICE = {"type": ["string", "number"], "pattern": rf"^\s*{NUMBER}\s*$", "minimum": 0}
TRUTH = {"type": ["boolean", "string"], "enum": [True, False, "true", "false"]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """One word of an entry."""

    meaning: str
    read: Callable[[str, Any], Any]
    """From the word and its value to what `Query.parse` takes."""
    schema: Mapping[str, Any]
    """What JSON schema can say about the value."""


def _text(word: str, value: Any) -> str:
    return str(value)


def _whole(word: str, value: Any) -> int:
    try:
        return value if isinstance(value, int) else int(str(value))
    except ValueError:
        raise QueryError(word, value, "write a whole number") from None


def _number(word: str, value: Any) -> float:
    try:
        return float(value)
    except ValueError:
        raise QueryError(word, value, "write a number such as 20") from None


def _micro_batch(word: str, value: Any) -> Any:
    return value if value == "max" else _whole(word, value)


def _preset(word: str, value: Any) -> Blueprint:
    """A spec may come from a stranger: what is on this machine stays unread."""
    name = str(value)
    if find(name) is None and find_published(name) is None:
        raise QueryError(word, name, f"a spec names a preset, and no path is read; {nearest(name)}")
    return like(name, values=preset_fields(name))


def _truth(word: str, value: Any) -> bool:
    truths = {True: True, False: False, "true": True, "false": False}
    if value not in truths or (isinstance(value, int | float) and not isinstance(value, bool)):
        raise QueryError(word, value, "write true or false")
    return truths[value]


def _text_word(meaning: str, schema: Mapping[str, Any]) -> Word:
    return Word(meaning=meaning, read=_text, schema=schema)


def _one_of(meaning: str, kind: Any) -> Word:
    return Word(meaning=meaning, read=_text, schema={"enum": list(get_args(kind))})


def _whole_word(meaning: str, high: int) -> Word:
    schema = {"type": ["string", "integer"], "pattern": r"^\s*[0-9][0-9_]*\s*$", "minimum": 1, "maximum": high}
    return Word(meaning=meaning, read=_whole, schema=schema)


WORDS: dict[str, Word] = {
    "target": _text_word("Parameters wanted: 500M, 0.5B, 5e8.", COUNT),
    "vram": _text_word("GPU memory with its unit: 24GB or 24GiB.", BYTES),
    "gpu": _text_word("A card in place of vram: rtx4090.", {"type": "string", "minLength": 1}),
    "tolerance": _text_word("How far from the target: 1% or 0.01.", TOLERANCE),
    "top": _whole_word("How many candidates to list.", MAX_TOP),
    "tokens": _text_word("Training tokens that the ranking assumes.", COUNT),
    "tokens_per_param": Word(meaning="The same, in proportion to the parameters.", read=_number, schema=POSITIVE),
    "train_days": Word(meaning="The same, as days of training on gpu.", read=_number, schema=POSITIVE),
    "flops": _text_word("The same, as training FLOPs: 1e20.", COUNT),
    "price": Word(meaning="Of one card for an hour, in any currency.", read=_number, schema=PRICE),
    "prefer": _one_of("What the order trades predicted loss against.", Prefer),
    "layers": _text_word("Number of layers: 24, 24:48, 24:48:4 or 24,32.", AXIS),
    "hidden": _text_word("Width of the residual stream, likewise.", AXIS),
    "heads": _text_word("Query heads, likewise.", AXIS),
    "kv_heads": _text_word("Key and value heads, likewise.", AXIS),
    "head_dim": _text_word("Width of a head, likewise.", AXIS),
    "intermediate": _text_word("Width of the MLP, likewise.", AXIS),
    "vocab": _text_word("Vocabulary, likewise.", AXIS),
    "family": _text_word("Another kind of model: llama, qwen3, gpt2.", {"type": "string", "minLength": 1}),
    "like": Word(
        meaning="The proportions of a preset: smollm2-135m. Never a path.",
        read=_preset,
        schema={"type": "string", "minLength": 1},
    ),
    "untied": Word(meaning="A head of its own instead of the tied embedding.", read=_truth, schema=TRUTH),
    "mode": _one_of("Train, or generate.", Mode),
    "precision": _one_of("In Lightning's words.", Precision),
    "optimizer": _one_of("adamw is the fused one, adamw-foreach torch's default.", Optimizer),
    "micro_batch": Word(
        meaning="Sequences per step on the device, or max.",
        read=_micro_batch,
        schema={"type": ["string", "integer"], "pattern": r"^\s*([0-9][0-9_]*|max)\s*$", "minimum": 1},
    ),
    "accumulate": _whole_word("Micro-batches of an optimizer step.", MAX_ACCUMULATION),
    "gpus": _whole_word("Cards in data parallel, each with a micro-batch of its own.", MAX_GPUS),
    "seq": _whole_word("Tokens per sequence.", 2**24),
    "prompt": _whole_word("Tokens taken in one pass, with mode infer.", 2**24),
    "checkpointing": _one_of("full: each block is recomputed in the backward pass.", Checkpointing),
    "attention": _one_of("Fused, or written out.", Attention),
    "loss": _one_of("chunked: 1,024 tokens at a time.", Loss),
    "profile": _one_of("Whose model it is: diy, or hf for transformers'.", Profile),
}

ALTERNATIVES = (("vram", "gpu"), ("tokens", "tokens_per_param", "train_days", "flops"), ("family", "like"))
"""Words for one thing: an entry's own takes the place of the others among the defaults."""

_ARGUMENTS = {
    "target_params": "target",
    "vram_bytes": "vram",
    "train_flops": "flops",
    "seq_len": "seq",
    "accumulation": "accumulate",
}
"""The engine's names for a few words."""

_SOUND = {"target": "1B", "vram": "1TB", "gpu": None}
"""What stands in for a word that is wrong while the others are looked at."""

Mistake = tuple[str, str]
"""The word that is wrong, or "", and the sentence about it."""


def plain(word: str) -> str:
    """A word in the spelling of this table: `kv-heads` is `kv_heads`."""
    return word.strip().replace("-", "_")


def unknown(word: str) -> str:
    """The sentence about a word that is not known."""
    return f"{shown(word)} is not a word of a query; {did_you_mean(plain(word), [NAME, *WORDS])}"


def with_defaults(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """An entry's words over the defaults."""
    replaced = {other for group in ALTERNATIVES for word in group if word in own for other in group if other != word}
    return {**{word: value for word, value in defaults.items() if word not in replaced}, **own}


def query(words: Mapping[str, Any]) -> tuple[Query | None, list[Mistake]]:
    """The query of an entry's known words, or every mistake in it. A value of None is as if not given."""
    given = {word: value for word, value in words.items() if value is not None}
    mistakes: list[Mistake] = []
    read: dict[str, Any] = {}
    for word, value in given.items():
        if isinstance(value, list | dict):
            mistakes.append((word, f"{word}={shown(value)}: write one value; several are for the grid"))
            read[word] = _SOUND.get(word)
            continue
        try:
            read[word] = WORDS[word].read(word, value.strip() if isinstance(value, str) else value)
        except RequestError as error:
            mistakes.append((word, str(error)))
    while True:
        try:
            found = Query.parse(**read)
        except RequestError as error:
            word = _ARGUMENTS.get(error.argument, error.argument)
            mistakes.append((word if word in given else "", str(error)))
            if word not in read or read[word] == _SOUND.get(word):
                return None, mistakes
            read[word] = _SOUND.get(word)
        else:
            return (None, mistakes) if mistakes else (found, [])
