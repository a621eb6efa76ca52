"""What a FILE on the command line means: a config, whatever it is written in.

    model.json      the JSON of a DIYConfig, a Hugging Face config.json, or the JSON of a solve
    model/          a folder that holds config.json
    smollm2-135m    a preset
    -               standard input

A file that exists wins over a preset of the same name. What is read is not trusted: its size, its depth and its words
are checked, and every message starts with its name.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from diymodel.config import ConfigError, DIYConfig
from solver.errors import ExchangeError, InputFileError, RequestError, UnitError, shown
from solver.families import Architecture
from solver.interop import architecture
from solver.interop.huggingface import from_huggingface, is_huggingface, left_out
from solver.presets import find, find_published, nearest
from solver.units import parse_tokens

MAX_FILE_BYTES = 64 * 2**20
"""Largest file that is read (assumption: a config has a few hundred bytes, a list of 100,000 configs 30 MB)."""

STDIN = "-"
SOLUTION = "diysolve.solution/"
"""How the schema of a solve begins."""

WANTED = "wanted is a JSON object of DIYConfig fields, a Hugging Face config, the JSON of a solve, or a preset's name"

ToRank = tuple[DIYConfig, int | None]
"""A config and the tokens it is to be trained on; None: the default."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a FILE holds."""

    config: DIYConfig
    left_out: tuple[str, ...] = ()
    """What a Hugging Face config says and DIYConfig cannot, such as RoPE scaling. It changes no count."""


def load_config(source: str, *, rank: int = 1, values: Any = None) -> DIYConfig:
    """The config that `source` names: `load` without what was left out."""
    return load(source, rank=rank, values=values).config


def load(source: str, *, rank: int = 1, values: Any = None) -> Loaded:
    """The config that `source` names. `rank` picks the candidate where it is the JSON of a solve.

    Where `values` are given they are what it holds, read elsewhere: `source` is their name, and no file is looked for.

    Raises:
        InputFileError: nothing can be read there, or it does not hold a config.
        ConfigError: it holds the fields of a config that no model can be built from.
        RequestError: a rank that the solve does not have.
    """
    return loaded(source, load_values(source, rank=rank, values=values))


def loaded(source: str, values: dict[str, Any]) -> Loaded:
    """The config of these fields, of which `source` says where they stand. Raises as load does."""
    return Loaded(config_of(source, values), tuple(left_out(values)) if is_huggingface(values) else ())


def load_values(source: str, *, rank: int = 1, values: Any = None) -> dict[str, Any]:
    """The JSON object of the config that `source` names: the fields of a DIYConfig, or of a Hugging Face config.
    `values` as for load.

    Raises:
        InputFileError, RequestError: as for load. What the object holds is not checked yet.
    """
    values = _values(source, values)
    if _is_solution(values):
        return _candidate(source, values, rank)
    _refuse_rank(source, rank)
    return values


def load_architecture(source: str, *, rank: int = 1, values: Any = None) -> Architecture:
    """What decides the count of the model that `source` names: a config as above, or a Hugging Face config of any
    model type that is known.

    Raises:
        InputFileError, ConfigError, RequestError: as for load.
    """
    values = load_values(source, rank=rank, values=values)
    if not is_huggingface(values):
        return architecture.of_config(config_of(source, values))
    return architecture.of_hugging_face(source, values)


def load_configs_to_rank(source: str, *, values: Any = None) -> list[ToRank]:
    """The configs of a JSON list, of JSONL (one object a line) or of a solve, each with its own tokens if it has them.

    `values` as for load_config.

    Raises:
        InputFileError: nothing can be read there, or an entry is not a config; the message names its index or line.
        ConfigError: an entry from which no model can be built, likewise.
    """
    if values is None and source != STDIN and not os.path.exists(source):
        return [(config_of(source, preset_fields(source)), None)]
    entries = _entries(source, _text(source)) if values is None else _entries_of(source, values)
    found = [_entry_to_rank(source, where, entry) for where, entry in entries]
    if not found:
        raise InputFileError("file", source, "holds no config; wanted are a JSON list of configs, or one JSON a line")
    return found


def _values(source: str, values: Any) -> dict[str, Any]:
    """The JSON object that `source` names: the values that are given, a preset's, a file's, or standard input's."""
    if values is None:
        is_preset = source != STDIN and not os.path.exists(source)
        values = preset_fields(source) if is_preset else _json(source, _text(source))
    if not isinstance(values, dict):
        raise InputFileError("file", source, f"holds {_kind(values)}; {WANTED}")
    return values


def preset_fields(name: str) -> dict[str, Any]:
    """The fields of a preset: of a DIYConfig, or of a Hugging Face config. Raises InputFileError for no preset."""
    diy, published = find(name), find_published(name)
    if diy is not None:
        return diy.config.to_dict()
    if published is not None:
        return dict(published.config)
    raise InputFileError("file", name, f"there is no such file, and no preset of that name; {nearest(name)}")


def _refuse_rank(source: str, rank: int) -> None:
    if rank != 1:
        raise RequestError("rank", rank, f"{source} is one config, not the JSON of a solve; leave rank out")


# Reading


def _text(source: str) -> str:
    try:
        if source == STDIN:
            raw = _read(source, sys.stdin.buffer)
        else:
            with open(_path(source), "rb") as file:
                raw = _read(source, file)
    except (OSError, ValueError) as error:
        if isinstance(error, RequestError):
            raise
        raise InputFileError("file", source, f"cannot be read: {_reason(error)}") from None
    if not raw.strip():
        raise InputFileError("file", source, f"is empty; {WANTED}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputFileError("file", source, f"is not UTF-8 text (byte {error.start}); {WANTED}") from None


def _path(source: str) -> Path:
    path = Path(source)
    if not path.is_dir():
        return path
    inside = path / "config.json"
    if not inside.is_file():
        raise InputFileError("file", source, "is a folder that holds no config.json; name the file itself")
    return inside


def _read(source: str, file: BinaryIO) -> bytes:
    raw = file.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise InputFileError("file", source, f"is larger than {MAX_FILE_BYTES // 2**20} MiB, too large for configs")
    return raw


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)


def _json(source: str, text: str, where: str = "") -> Any:
    """The value of a JSON text. `where` is said in front of a complaint."""
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        place = f"{where} column {error.colno}" if where else f"line {error.lineno} column {error.colno}"
        raise InputFileError("file", source, f"is not JSON ({place}: {error.msg}); {WANTED}") from None
    except RecursionError:
        complaint = "is nested too deeply for a config"
    except _UnusableError as error:
        complaint = f"is not JSON that can be used: {error}"
    except ValueError:  # int() refuses more than 4,300 digits
        complaint = "holds a number of thousands of digits"
    raise InputFileError("file", source, f"{where} {complaint}; {WANTED}".lstrip())


class _UnusableError(ValueError):
    """JSON that Python would read, and that is a mistake all the same."""


def _refuse_constant(name: str) -> NoReturn:
    raise _UnusableError(f"{name} is not a number that JSON knows")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise _UnusableError(f"the field {shown(name)} is given twice")
        values[name] = value
    return values


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_object)


def _entries(source: str, text: str) -> Iterator[tuple[str, Any]]:
    """(where it stands, value) of each entry of a list, of a solve, or of JSONL."""
    try:
        _, end = _DECODER.raw_decode(text, len(text) - len(text.lstrip()))
        is_lines = bool(text[end:].strip())  # something follows the first value: one value a line
    except (ValueError, RecursionError):
        is_lines = False
    if is_lines:
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield f"line {number}", _json(source, line, f"line {number}")
        return
    yield from _entries_of(source, _json(source, text))


def _entries_of(source: str, values: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(values, dict) and _is_solution(values):
        for index in range(len(_candidates(source, values))):
            yield f"index {index}", _candidate(source, values, index + 1)
        return
    for index, value in enumerate(values if isinstance(values, list) else [values]):
        yield f"index {index}", value


# From values to configs


def _entry_to_rank(source: str, where: str, entry: Any) -> ToRank:
    if not isinstance(entry, dict):
        complaint = f"{where} is {_kind(entry)}; each entry is a JSON object of DIYConfig fields"
        raise InputFileError("file", source, complaint)
    tokens = entry.get("tokens")
    config = config_of(source, {name: value for name, value in entry.items() if name != "tokens"}, where)
    if tokens is None:
        return config, None
    if isinstance(tokens, bool) or not isinstance(tokens, int | str):
        complaint = f'{where} has tokens={shown(tokens)}: write a whole number, or text such as "10B"'
        raise InputFileError("file", source, complaint)
    try:
        return config, parse_tokens(str(tokens))
    except UnitError as error:
        raise InputFileError("file", source, f"{where} has {error}") from None


def config_of(source: str, values: dict[str, Any], where: str = "") -> DIYConfig:
    """The config of these fields. `where` says which of the source's entries they are."""
    if "schema" in values:
        complaint = f"is the JSON of another command ({shown(values['schema'])}); {WANTED}"
        raise InputFileError("file", source, f"{where} {complaint}".lstrip())
    try:
        return from_huggingface(values) if is_huggingface(values) else DIYConfig.from_dict(values)
    except (ExchangeError, InputFileError) as error:
        complaint = error.allowed if isinstance(error, InputFileError) else str(error)
        raise InputFileError("file", source, f"{where} {_cut(complaint)}".lstrip()) from None
    except ConfigError as error:
        raise ConfigError(f"{source}{where and f', {where}'}: {_cut(str(error))}") from None


def _cut(message: str, limit: int = 400) -> str:
    """A file may hold a value of megabytes; the sentence about it stays a sentence."""
    return message if len(message) <= limit else f"{message[: limit // 2]} ... {message[-limit // 2 :]}"


def _is_solution(values: dict[str, Any]) -> bool:
    schema = values.get("schema")
    return isinstance(schema, str) and schema.startswith(SOLUTION)


def _candidates(source: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    candidates = values.get("candidates")
    if not isinstance(candidates, list) or not all(isinstance(candidate, dict) for candidate in candidates):
        raise InputFileError("file", source, "is the JSON of a solve, but its candidates are not a list of objects")
    if not candidates:
        raise InputFileError("file", source, "is the JSON of a solve that found no candidate; there is no config in it")
    return candidates


def _candidate(source: str, values: dict[str, Any], rank: int) -> dict[str, Any]:
    """The fields of the config at a rank, counted from 1 in the order of the file."""
    candidates = _candidates(source, values)
    if not 1 <= rank <= len(candidates):
        raise RequestError("rank", rank, f"{source} holds {len(candidates)} candidates; write 1 to {len(candidates)}")
    config = candidates[rank - 1].get("config")
    if not isinstance(config, dict):
        raise InputFileError("file", source, f"is the JSON of a solve, but candidate {rank} has no config")
    return config


def _kind(value: object) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    kinds = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "an object",
    }
    return kinds[type(value)]
