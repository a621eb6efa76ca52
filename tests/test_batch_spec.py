"""Specs: what they may hold, where each mistake is, and a schema that agrees with the reader."""

from __future__ import annotations

import io
import json
import sys
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import cli
from solver.batch import spec as reader
from solver.batch.schema import schema
from solver.batch.spec import Entry, SpecError, opened
from solver.batch.words import WORDS
from solver.devices import DEVICES
from solver.errors import InputFileError
from solver.query import Query, Span

SCHEMA = jsonschema.Draft202012Validator(schema())
ENTRY = jsonschema.Draft202012Validator({**schema(), "anyOf": [{"$ref": "#/$defs/query"}]})


def read(folder: Path, name: str, text: str) -> list[Entry]:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    with opened(str(path)) as found:
        assert found.check() == len(list(found.entries()))
        return list(found.entries())


def mistakes(folder: Path, name: str, text: str) -> list[str]:
    """The mistakes of a spec, its own name cut off in front."""
    with pytest.raises(SpecError) as refused:
        read(folder, name, text)
    return [sentence.removeprefix(str(folder / name)).strip() for sentence in refused.value.mistakes]


GRID = """
defaults: {vram: 24GB, top: 3}
grid:
  target: [125M, 350M]
  tokens: [20B, 1T]
  layers: 24:48
queries:
  - {name: mine, target: 5e8, gpu: rtx4090, tokens-per-param: 20, micro-batch: max}
"""


def test_a_grid_with_defaults_and_queries(tmp_path: Path) -> None:
    mine, *cells = read(tmp_path, "spec.yaml", GRID)
    assert mine.name == "mine"
    assert mine.query == Query.parse(target="500M", gpu="rtx4090", tokens_per_param=20, micro_batch="max", top=3)
    asked = [Query.parse(target=t, tokens=k, vram="24GB", layers="24:48", top=3)
             for t, k in product(["125M", "350M"], ["20B", "1T"])]  # fmt: skip
    assert [cell.query for cell in cells] == asked
    assert [cell.name for cell in cells] == [
        "125M, tokens 20B", "125M, tokens 1T", "350M, tokens 20B", "350M, tokens 1T",
    ]  # fmt: skip
    assert [entry.number for entry in (mine, *cells)] == [1, 2, 3, 4, 5]


def test_every_kind_of_text_says_the_same(tmp_path: Path) -> None:
    wanted = Query.parse(target="500M", vram="24GB", layers="24:48", untied=True, tolerance="2%")
    words = {"name": "a", "target": "500M", "vram": "24GB", "layers": "24:48", "untied": True, "tolerance": "2%"}
    texts = {
        "a.json": json.dumps([words]),
        "b.json": json.dumps({"queries": [words]}),
        "a.yaml": "- {name: a, target: 500M, vram: 24GB, layers: 24:48, untied: true, tolerance: 2%}",
        "a.jsonl": json.dumps(words) + "\n\n",
        "a.csv": "\ufeffname,target,vram,layers,untied,tolerance,gpu\r\na,500M,24GB,24:48,true,2%,\r\n",
        "sniffed-json": json.dumps([words], indent=2),
        "sniffed-object": json.dumps({"queries": [words]}),
        "sniffed-lines": json.dumps(words),
        "sniffed-csv": "name,target,vram,layers,untied,tolerance\na,500M,24GB,24:48,true,2%",
        "sniffed-yaml": "queries:\n- {name: a, target: 500M, vram: 24GB, layers: 24:48, untied: true, tolerance: 2%}",
    }
    for name, text in texts.items():
        (entry,) = read(tmp_path, name, text)
        assert (entry.name, entry.query) == ("a", wanted), name


def test_a_range_in_yaml_is_no_number_of_base_sixty(tmp_path: Path) -> None:
    (entry,) = read(tmp_path, "spec.yml", "- target: 500M\n  layers: 24:48\n")
    assert entry.query.num_layers == Span(24, 48)


def test_null_takes_a_default_away(tmp_path: Path) -> None:
    (entry,) = read(tmp_path, "s.yaml", "defaults: {vram: 24GB}\nqueries: [{target: 5M, vram: null}]")
    assert entry.query.vram_bytes is None


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(json.dumps({"target": n * 10**6}) + "\n" for n in range(1, 301))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    with opened("-") as found:
        assert found.check() == 300
        assert [entry.query.target_params for entry in found.entries()] == [n * 10**6 for n in range(1, 301)]


BAD = """defaults:
  vrm: 24GB
grid:
  target: [125M, 35X0M]
  gpu: [rtx4090, h1000]
queries:
  - name: mine
    target: 500MB
    layers: [1, 2]
    tokens-per-param: many
  - 7
"""


def test_every_mistake_has_its_place(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "bad.yaml", BAD)
    for place, words in [
        ("line 2", "'vrm' is not a word of a query; did you mean vram?"),
        ("line 4", "target='35X0M'"),
        ("line 5", "gpu='h1000'"),
        ("line 5", "did you mean h100?"),
        ("line 8", "target='500MB'"),
        ("line 9", "several are for the grid"),
        ("line 10", "tokens_per_param='many'"),
        ("line 11", "'7' is no query"),
    ]:
        assert any(sentence.startswith(f"{place}: ") and words in sentence for sentence in found), (place, words)
    assert len(found) == 7


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.csv", "target,vram\n5M,24GB\n6M\n", "line 3: has 1 cells, and the header has 2"),
        ("a.csv", "target,vram\n5M,24\n", "line 2: vram='24': a unit is missing"),
        ("a.csv", "target,wram\n5M,24GB\n", "line 2: 'wram' is not a word of a query; did you mean vram?"),
        ("a.jsonl", '{"target": "5M"}\n{"target": \n', "line 2: is not a JSON object"),
        ("a.jsonl", '{"target": "5M", "target": "6M"}\n', "line 1: is not a JSON object: a key is given twice"),
        ("a.jsonl", '{"target": "5M", "micro_batch": "max"}\n', "line 1: micro_batch='max': needs a budget"),
        ("a.json", '[{"target": "5M"}, {"target": "5M", "top": 0}]', "[1]: top=0"),
        ("a.json", '[{"top": 3}]', "[0]: target=None: give a target"),
        ("a.json", '[{"target": "5M", "untied": 1}]', "[0]: untied=1: write true or false"),
        ("a.json", '[{"target": true}]', "[0]: target='True'"),
        ("a.json", '{"queries": [], "gird": {}}', "gird: 'gird' is not a part of a spec; did you mean grid?"),
        ("a.json", '{"grid": {"target": []}}', "grid.target: target has no values"),
        ("a.json", '[{"target": "5M", "name": {}}]', "[0]: name={}: write a text of at most 200 characters"),
        ("a.json", json.dumps({"grid": {w: list(range(1, 101)) for w in ("target", "top", "seq", "heads")}}),
         "grid: the grid has 100,000,000 queries; at most 1,000,000 are allowed"),
    ],
)  # fmt: skip
def test_one_mistake(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    (found,) = mistakes(tmp_path, name, text)
    assert found.startswith(complaint)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.yaml", "", "is no spec"),
        ("a.yaml", "[]", "holds no query"),
        ("a.yaml", "a: [", "is not YAML (line 2 column 1"),
        ("a.yaml", "queries: [[[[[[[1]]]]]]]", "nested too deeply"),
        ("a.yaml", "queries:\n- target: 5M\n  target: 6M\n", "line 2: a key is given twice"),
        ("a.yaml", "&a [*a]", "YAML"),
        ("a.json", "{", "is not JSON (line 1 column 2"),
        ("a.json", '"text"', "is no spec"),
        ("a.csv", "target,target\n5M,6M\n", "names a column twice"),
        ("a.csv", 'target\n"5M\n', "is not CSV"),
        ("a.jsonl", "\n\n", "holds no query"),
        ("a.jsonl", '{"target": "' + "5" * reader.MAX_LINE + '"}', "is longer than 1,048,576 characters"),
    ],
)
def test_what_is_no_spec_at_all(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    with pytest.raises(InputFileError) as refused:
        read(tmp_path, name, text)
    assert complaint in str(refused.value)


def test_many_mistakes_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("target\n" + "".join(f"{n}X\n" for n in range(100)))
    with opened(str(tmp_path / "a.csv")) as found, pytest.raises(SpecError, match="100 mistakes") as refused:
        found.check()
    assert len(refused.value.mistakes) == reader.MAX_MISTAKES


def test_not_a_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(InputFileError), opened(str(path)):
            pass
    (tmp_path / "bytes.csv").write_bytes(b"target\n\xff\n")
    with opened(str(tmp_path / "bytes.csv")) as found, pytest.raises(InputFileError, match="not UTF-8"):
        found.check()


# the schema


def test_the_words_are_those_of_the_command_line() -> None:
    options = {name.lstrip("-").replace("-", "_") for param in cli.commands["solve"].params for name in param.opts}
    assert set(WORDS) == options - {"verify", "device", "explain", "format", "output", "quiet", "plot"}


SOUND: dict[str, list[Any]] = {
    "target": ["500M", 500_000_000, "0.5B", 5e8, "500_000_000"],
    "vram": ["24GB", "1TiB", "24.5 gb"],
    "gpu": [card.name for card in DEVICES[:3]],
    "tolerance": ["1%", 0.02, "0.5"],
    "top": [1, "12"],
    "tokens": ["1T", 10**12],
    "tokens_per_param": [20, "20", 1.5],
    "flops": [1e20, "3e19"],
    "train_days": [2, "0.5"],
    "price": [0, "1.99"],
    "gpus": [1, "8"],
    "prefer": ["speed", "balanced"],
    "layers": ["24", 24, "24:48", "24:48:4", "24,32"],
    "vocab": [6400, "6400,32000"],
    "untied": [True, "false"],
    "precision": ["32-true"],
    "micro_batch": [4, "max", "8"],
    "seq": [1024],
    "loss": ["chunked"],
}


BUDGETS = {"tokens", "tokens_per_param", "train_days", "flops"}


@st.composite
def sound_words(draw: st.DrawFn) -> dict[str, Any]:
    """Words that make a query."""
    chosen = draw(st.sets(st.sampled_from(sorted(SOUND))))
    words = {word: draw(st.sampled_from(SOUND[word])) for word in sorted(chosen)}
    if {"vram", "gpu"} <= set(words):
        del words["gpu"]
    for budget in sorted(BUDGETS & set(words))[1:]:
        del words[budget]
    if "train_days" in words:
        words = {word: value for word, value in words.items() if word not in ("vram", "prefer", "micro_batch")}
        words["gpu"] = "rtx4090"
    if not {"target", "vram", "gpu"} & set(words) or words.get("micro_batch") == "max":
        words |= {"target": "500M", "micro_batch": 1}
    return {draw(st.sampled_from([word, word.replace("_", "-")])): value for word, value in words.items()}


@given(st.lists(sound_words(), min_size=1, max_size=3))
def test_what_the_reader_takes_the_schema_takes(tmp_path_factory: pytest.TempPathFactory, entries: list[Any]) -> None:
    assert len(read(tmp_path_factory.mktemp("spec"), "a.json", json.dumps({"queries": entries}))) == len(entries)
    SCHEMA.validate(entries)
    SCHEMA.validate({"defaults": entries[0], "queries": entries, "grid": {"target": ["5M", 10**7], **entries[0]}})
    ENTRY.validate(entries[0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"vrm": "24GB"}, {"target": "500X"}, {"target": []}, {"target": -5}, {"vram": 24}, {"vram": "24"},
        {"gpu": 4090}, {"tolerance": 2}, {"top": 0}, {"top": 1.5}, {"top": 10**6}, {"layers": "a:b"}, {"layers": [24]},
        {"untied": "yes"}, {"precision": "fp16"}, {"micro_batch": "many"}, {"prefer": "price"}, {"seq": "long"},
        {"name": "x" * 300},
    ],
)  # fmt: skip
def test_what_the_schema_refuses_the_reader_refuses(tmp_path: Path, wrong: dict[str, Any]) -> None:
    entry = {"target": "500M", **wrong}
    assert not SCHEMA.is_valid([entry])
    assert not ENTRY.is_valid(entry)
    assert mistakes(tmp_path, "a.json", json.dumps([entry]))


@pytest.mark.parametrize("wrong", [{}, [], {"queries": []}, {"gird": {}}, {"grid": {}}, {"queries": [1]}, "text", 5])
def test_what_is_no_spec_the_schema_refuses(wrong: Any) -> None:
    assert not SCHEMA.is_valid(wrong)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
