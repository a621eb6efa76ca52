"""The words of a request body: those of the command line, with what each may be.

One table serves twice: it reads the values, with the command line's sentences, and it is the schema that the OpenAPI
document shows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, get_args

from solver.errors import RequestError, did_you_mean
from solver.interop.export import Program
from solver.query import MAX_TOP, OPTIONS, Prefer
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

DEVICES = ("auto", "cuda", "xpu", "mps", "cpu", "meta")

MOST = 2**24
"""Largest whole number of a recipe."""


class Word(ABC):
    """What one word of a body may be. An absent word and null are the same."""

    meaning: str

    @abstractmethod
    def read(self, name: str, value: Any) -> Any:
        """The value as the library takes it. Raises RequestError by the word's name."""

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """Its JSON schema, without the null."""


@dataclass(frozen=True, slots=True)
class Text(Word):
    """What the library reads from text; a JSON number is its text."""

    meaning: str
    example: Any

    def read(self, name: str, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise RequestError(name, value, f"write a text or a number, such as {self.example!r}")
        return str(_whole(value))

    def schema(self) -> dict[str, Any]:
        return {"type": ["string", "number", "null"], "description": self.meaning, "examples": [self.example]}


@dataclass(frozen=True, slots=True)
class Whole(Word):
    """A whole number from 1, or one of a few words."""

    meaning: str
    high: int
    words: tuple[str, ...] = ()

    def read(self, name: str, value: Any) -> Any:
        if value in self.words:
            return value
        value = _whole(value)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= self.high:
            raise RequestError(name, value, f"write a whole number from 1 to {self.high:,}")
        return value

    def schema(self) -> dict[str, Any]:
        number = {"type": "integer", "minimum": 1, "maximum": self.high}
        others = [{"type": "null"}, *([{"enum": list(self.words)}] if self.words else [])]
        return {"anyOf": [number, *others], "description": self.meaning}


@dataclass(frozen=True, slots=True)
class Number(Word):
    """A number; its range is the library's to check."""

    meaning: str
    example: float

    def read(self, name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
            raise RequestError(name, value, f"write a number such as {self.example:g}")
        return float(value)

    def schema(self) -> dict[str, Any]:
        return {"type": ["number", "null"], "description": self.meaning, "examples": [self.example]}


@dataclass(frozen=True, slots=True)
class Choice(Word):
    """One of a few words."""

    meaning: str
    words: tuple[str, ...]

    def read(self, name: str, value: Any) -> str:
        if value not in self.words:
            raise RequestError(name, value, f"use one of {', '.join(self.words)}")
        return str(value)

    def schema(self) -> dict[str, Any]:
        return {"enum": [*self.words, None], "description": self.meaning}


@dataclass(frozen=True, slots=True)
class Flag(Word):
    """True or false."""

    meaning: str

    def read(self, name: str, value: Any) -> bool:
        if not isinstance(value, bool):
            raise RequestError(name, value, "write true or false")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": ["boolean", "null"], "description": self.meaning}


@dataclass(frozen=True, slots=True)
class File(Word):
    """A config, where the command line has a FILE: an object, or a preset's name. Never a path."""

    meaning: str
    many: bool = False
    """True where it may be a list of objects."""

    def read(self, name: str, value: Any) -> Any:
        allowed = (str, dict, list) if self.many else (str, dict)
        if not isinstance(value, allowed):
            raise RequestError(name, value, f"write a preset's name or a config{', or a list of them' * self.many}")
        return value

    def schema(self) -> dict[str, Any]:
        one = [{"type": "string", "description": "a preset's name"}, {"$ref": "#/components/schemas/Config"}]
        many = [{"type": "array", "items": {"type": "object"}}] if self.many else []
        return {"anyOf": [*one, *many], "description": self.meaning}


@dataclass(frozen=True, slots=True)
class Files(Word):
    """Several of them."""

    meaning: str
    most: int

    def read(self, name: str, value: Any) -> list[Any]:
        if not isinstance(value, list) or not all(isinstance(one, str | dict) for one in value):
            raise RequestError(name, value, "write a list of presets' names and configs")
        if not 1 <= len(value) <= self.most:
            raise RequestError(name, f"{len(value)} entries", f"give 1 to {self.most:,} of them in one request")
        return value

    def schema(self) -> dict[str, Any]:
        one = File("a config").schema()["anyOf"]
        return {
            "type": "array", "minItems": 1, "maxItems": self.most, "items": {"anyOf": one}, "description": self.meaning,
        }  # fmt: skip


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 24.0 is 24."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


Words = dict[str, Word]

BUDGET: Words = {
    "vram": Text("GPU memory with its unit", "24GB"),
    "gpu": Text("A card in place of vram; /v1/devices lists them", "rtx4090"),
}

RECIPE: Words = {
    "mode": Choice("Train, or generate", get_args(Mode)),
    "precision": Choice("In Lightning's words", get_args(Precision)),
    "optimizer": Choice("adamw is the fused one, adamw-foreach torch's default", get_args(Optimizer)),
    "micro_batch": Whole("Sequences per step on the device; max: as many as the budget holds", MOST, ("max",)),
    "accumulate": Whole("Micro-batches of an optimizer step", MAX_ACCUMULATION),
    "seq": Whole("Tokens per sequence", MOST),
    "prompt": Whole("Tokens taken in one pass, with mode infer", MOST),
    "checkpointing": Choice("full: each block is recomputed in the backward pass", get_args(Checkpointing)),
    "attention": Choice("Fused, or written out", get_args(Attention)),
    "loss": Choice("chunked: 1,024 tokens at a time", get_args(Loss)),
    "gpus": Whole("Cards in data parallel, each with its own micro-batch", MAX_GPUS),
    "profile": Choice("Whose code runs it: diymodel's, or transformers' own model", get_args(Profile)),
}

TRAINING: Words = {
    "train_days": Number("Days of training on gpu, in place of tokens", 30),
    "flops": Text("Training FLOPs, in place of tokens", "1e20"),
    "price": Number("Of one card for an hour: training then has a cost", 2.5),
}

SHAPE: Words = {
    **{word: Text(f"The dimension {word}: 24, 24:48, 24:48:4 or 24,32", "24:48") for word in OPTIONS.values()},
    "untied": Flag("A head of its own instead of the tied embedding"),
}

SOLVE: Words = {
    "target": Text("Parameters wanted", "500M"),
    "family": Text("Another kind of model: llama, qwen3, gpt2 and others", "qwen3"),
    "like": File("A model whose proportions are kept, and whose size is not"),
    **BUDGET,
    "tolerance": Text("How far from the target", "1%"),
    "top": Whole("How many candidates to list", MAX_TOP),
    "tokens": Text("Training tokens that the ranking assumes", "1T"),
    "tokens_per_param": Number("The same, in proportion to the parameters", 20),
    "prefer": Choice("What the order trades predicted loss against", get_args(Prefer)),
    "explain": Flag("Say what loosening each constraint would buy, and the score in words"),
    **TRAINING,
    **SHAPE,
    **RECIPE,
}

BAND: Words = {name: word for name, word in SOLVE.items() if name != "explain"}

RANK: Words = {
    "file": File("The configs to rank; each may have its own tokens", many=True),
    "tokens": Text("Training tokens of the configs that do not say their own", "1T"),
    "tokens_per_param": Number("The same, in proportion to each config's parameters", 20),
}

_CANDIDATE = Whole("Which candidate, where the config is a solve's JSON", MAX_TOP)

MEMORY: Words = {"file": File("The config"), "rank": _CANDIDATE, **BUDGET, **RECIPE}


EXPLAIN: Words = {
    "file": File("The config to explain"),
    "rank": _CANDIDATE,
    "target": Text("In place of file: the best shape of a search is explained", "500M"),
    "tolerance": Text("How far from the target", "1%"),
    **BUDGET,
    "tokens": Text("Training tokens; the compute-optimal number unless given", "1T"),
    "tokens_per_param": Number("The same, in proportion to the parameters", 20),
    **TRAINING,
    "tokens_per_second": Number("As a verification measured it, of all cards together", 50_000),
    **SHAPE,
    **RECIPE,
}

EXPORT: Words = {
    "file": File("The config"),
    "rank": _CANDIDATE,
    "to": Choice("The program that is to read it; hf is transformers", get_args(Program)),
}


def count_words(most: int) -> Words:
    """The words of a count of at most so many configs."""
    return {"files": Files("The configs to count", most), "rank": _CANDIDATE}


def verify_words(most: int) -> Words:
    """The words of a verification of at most so many configs."""
    place = Choice("Where they are built; auto takes a GPU if there is one", DEVICES)
    return {"files": Files("The configs to build", most), "rank": _CANDIDATE, "device": place, **BUDGET, **RECIPE}


REQUIRED = {"file", "files"}


def read(body: Any, words: Words, *, required: bool = True) -> dict[str, Any]:
    """The words of a body that are given.

    Raises:
        RequestError: a word that is not known, or a value that it may not have.
    """
    if not isinstance(body, dict):
        raise RequestError("body", body, "write a JSON object of the words of the command line")
    for name, value in body.items():
        if name not in words:
            raise RequestError(name, value, f"is not a word that is known here; {did_you_mean(name, words)}")
    given = {name: words[name].read(name, value) for name, value in body.items() if value is not None}
    for name in words.keys() & REQUIRED - given.keys() if required else ():
        raise RequestError(name, None, f"is missing: {words[name].meaning.lower()}, as objects or presets' names")
    return given


def schema(words: Words, *, required: bool = True) -> dict[str, Any]:
    """The JSON schema of a body of these words."""
    return {
        "type": "object",
        "properties": {name: word.schema() for name, word in words.items()},
        "required": sorted(words.keys() & REQUIRED) if required else [],
        "additionalProperties": False,
    }
