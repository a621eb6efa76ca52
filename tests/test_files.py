"""What a FILE may be, and what is said of one that is not what it should be."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from diymodel.config import ConfigError, DIYConfig
from solver.errors import InputFileError, RequestError
from solver.interop import files, from_huggingface, load, load_config, load_configs_to_rank
from solver.interop.files import Loaded
from solver.presets import preset
from tests.finished import DEEP, INFEASIBLE, SOLVED, WIDE


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_file(content: Any, name: str = "model.json") -> str:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return str(path)

    return write_file


def stdin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


# what works


def test_a_config_file(write: Any) -> None:
    assert load_config(write(DEEP.to_dict())) == DEEP


def test_fields_that_are_missing_or_null_take_their_defaults(write: Any) -> None:
    assert load_config(write({"num_layers": 3, "head_dim": None})) == DIYConfig(num_layers=3)


def test_a_byte_order_mark_is_no_part_of_the_config(write: Any) -> None:
    assert load_config(write("\ufeff" + json.dumps(DEEP.to_dict()))) == DEEP


def test_a_folder_that_holds_config_json(write: Any) -> None:
    path = write(DEEP.to_dict(), "config.json")
    assert load_config(str(Path(path).parent)) == DEEP


LLAMA = {"model_type": "llama", "num_hidden_layers": 3, "rope_scaling": {"rope_type": "llama3"}}


def test_a_config_of_transformers(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = from_huggingface(LLAMA)
    path = write(LLAMA, "config.json")
    assert load(path) == Loaded(wanted, ("RoPE scaling ('llama3')",))
    assert load_config(str(Path(path).parent)) == wanted
    stdin(monkeypatch, json.dumps(LLAMA))
    assert load_config("-") == wanted
    assert load_configs_to_rank(write([{**LLAMA, "tokens": 7}, {}])) == [(wanted, 7), (DIYConfig(), None)]
    with pytest.raises(InputFileError, match="index 1 model_type='bloom'"):
        load_configs_to_rank(write([{}, {"model_type": "bloom"}]))


def test_a_preset_by_its_name() -> None:
    assert load_config("smollm2-135m") == preset("smollm2-135m").config


def test_a_file_wins_over_a_preset_of_the_same_name(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(write(DEEP.to_dict(), "diy-3m")).parent)
    assert load_config("diy-3m") == DEEP


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, json.dumps(WIDE.to_dict()))
    assert load_config("-") == WIDE


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_json_of_a_solve(write: Any, rank: int) -> None:
    assert load_config(write(SOLVED.to_dict()), rank=rank) == SOLVED.candidates[rank - 1].config


# what does not

BAD_TEXTS = [
    ("", "is empty"),
    (" \n\t", "is empty"),
    ("num_layers: 3", r"not JSON \(line 1 column 1: Expecting value\)"),
    ('{"num_layers": 3,\n "hidden_size": }', r"not JSON \(line 2 column 17"),
    ('{"num_layers": 3} 4', "not JSON"),
    ("[1, 2]", "holds a list"),
    ("3", "holds a number"),
    ("3.5", "holds a number"),
    ("null", "holds null"),
    ("true", "holds true or false"),
    ('"diy-3m"', "holds a text"),
    ('{"eps": NaN}', "NaN is not a number that JSON knows"),
    ('{"eps": -Infinity}', "-Infinity is not a number"),
    ('{"num_layers": 3, "num_layers": 4}', "'num_layers' is given twice"),
    ('{"num_layers": ' + "9" * 5000 + "}", "thousands of digits"),
    ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
    ("[" * 100_000, "nested too deeply"),
    (b"\xff\xfe{\x00}\x00", "not UTF-8"),
    (b"\x80abc", "not UTF-8"),
]


@pytest.mark.parametrize(("content", "complaint"), BAD_TEXTS, ids=[complaint[:20] for _, complaint in BAD_TEXTS])
def test_a_file_that_holds_no_config(write: Any, content: Any, complaint: str) -> None:
    path = write(content)
    with pytest.raises(InputFileError, match=complaint) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"file={path!r}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"num_layer": 3}, "not a field of DIYConfig; did you mean num_layers?"),
        ({"num_layers": "3"}, "num_layers='3'"),
        ({"num_layers": 3.0}, "must be a whole number"),
        ({"num_layers": True}, "must be a whole number"),
        ({"num_layers": -1}, "must be from 1"),
        ({"num_layers": 10**30}, "must be from 1"),
        ({"num_heads": 7, "hidden_size": 512}, "must divide hidden_size=512"),
        ({"tie_embeddings": 1}, "must be true or false"),
        ({"dropout": 2}, "dropout=2"),
        ({"num_layers": "x" * 100_000}, "num_layers='xxx"),
        ({"x" * 100_000: 1}, "xxx"),
    ],
)
def test_fields_from_which_no_model_can_be_built(write: Any, fields: dict[str, Any], complaint: str) -> None:
    path = write(fields)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert complaint in message
    assert len(message) < 1000


def test_a_missing_file_suggests_the_nearest_preset(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"no such file.*did you mean smollm2-135m"):
        load_config("smollm2-135")
    with pytest.raises(InputFileError, match="no such file"):
        load_config(str(tmp_path / "none.json"))
    for name in ("", "a\0b", "x" * 5000):
        with pytest.raises(InputFileError, match="no such file"):
            load_config(name)


def test_a_folder_without_config_json(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="is a folder that holds no config"):
        load_config(str(tmp_path))


def test_a_file_that_is_too_large_is_not_read_to_its_end(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 1000)
    with pytest.raises(InputFileError, match="larger than"):
        load_config(write(" " * 1001))
    with pytest.raises(InputFileError, match="larger than"):
        load_config("/dev/zero")
    stdin(monkeypatch, " " * 1001)
    with pytest.raises(InputFileError, match="larger than"):
        load_config("-")


@pytest.mark.parametrize("rank", [0, 4, -1])
def test_a_rank_that_the_solve_does_not_have(write: Any, rank: int) -> None:
    with pytest.raises(RequestError, match="3 candidates; write 1 to 3"):
        load_config(write(SOLVED.to_dict()), rank=rank)


def test_a_rank_is_for_solves_only(write: Any) -> None:
    for source in (write(DEEP.to_dict()), "diy-3m"):
        with pytest.raises(RequestError, match="leave rank out"):
            load_config(source, rank=2)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (INFEASIBLE.to_dict(), "found no candidate"),
        ({"schema": "diysolve.solution/1"}, "not a list of objects"),
        ({"schema": "diysolve.solution/1", "candidates": [3]}, "not a list of objects"),
        ({"schema": "diysolve.solution/1", "candidates": [{}]}, "candidate 1 has no config"),
        ({"schema": "diysolve.count/1", "configs": []}, "JSON of another command"),
        ({"schema": 3}, "JSON of another command"),
    ],
)
def test_the_json_of_a_command_that_names_no_config(write: Any, values: Any, complaint: str) -> None:
    with pytest.raises(InputFileError, match=complaint):
        load_config(write(values))


# configs to rank


def test_a_list_and_lines_mean_the_same(write: Any) -> None:
    entries = [{**DEEP.to_dict(), "tokens": "10B"}, WIDE.to_dict(), {"tokens": 5}, {"tokens": None}]
    wanted = [(DEEP, 10**10), (WIDE, None), (DIYConfig(), 5), (DIYConfig(), None)]
    assert load_configs_to_rank(write(entries)) == wanted
    lines = "\n\n".join(json.dumps(entry) for entry in entries)
    assert load_configs_to_rank(write(lines + "\n")) == wanted


def test_one_config_a_preset_and_a_solve_can_be_ranked_too(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_configs_to_rank(write(json.dumps(DEEP.to_dict(), indent=2))) == [(DEEP, None)]
    assert load_configs_to_rank("diy-3m") == [(DIYConfig(), None)]
    solved = load_configs_to_rank(write(SOLVED.to_dict()))
    assert [config for config, _ in solved] == [candidate.config for candidate in SOLVED.candidates]
    stdin(monkeypatch, "[{}]")
    assert load_configs_to_rank("-") == [(DIYConfig(), None)]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[]", "holds no config"),
        ("[{}, 3]", "index 1.*is a number"),
        ("{}\n3\n", "line 2.*is a number"),
        ('{}\n\n{"num_layers":}\n', "line 3 column 15"),
        ('{}\n{"eps": NaN}\n', "line 2.*NaN"),
        ('{"num_layers":}\n{}\n', "line 1 column 15"),
        ('[{"tokens": "x"}]', "index 0.*tokens='x'"),
        ('[{"tokens": 1.5}]', "index 0.*tokens=1.5"),
        ('[{"tokens": true}]', "index 0.*tokens=True"),
        ('[{"tokens": 0}]', "index 0.*tokens='0'"),
        ("3", "index 0.*is a number"),
    ],
)
def test_an_entry_that_is_no_config_is_named(write: Any, content: str, complaint: str) -> None:
    with pytest.raises(InputFileError, match=complaint):
        load_configs_to_rank(write(content))


def test_an_entry_from_which_no_model_can_be_built_is_named(write: Any) -> None:
    with pytest.raises(ConfigError, match="index 1: num_layers=0"):
        load_configs_to_rank(write([{}, {"num_layers": 0}]))
    with pytest.raises(ConfigError, match=r"line 2: .*num_layer.*: not a field"):
        load_configs_to_rank(write('{}\n{"num_layer": 1}'))
