"""The service gives the command line's answers and the command line's sentences."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cli
from diymodel.config import DIYConfig
from solver.search.known import Known
from solver.serve import openapi, words
from solver.serve.answers import ENDPOINTS, answer
from solver.serve.assets import Assets
from solver.serve.bounds import Bounds, lattice_rows
from solver.serve.problems import FIELDS
from solver.serve.settings import Settings
from tests.serving import Service
from tests.strategies import configs

BOUNDS = Bounds()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service("--workers", "1", "--quiet") as running:
        yield running


def diysolve(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli.cli, [*arguments], input=stdin, prog_name="diysolve")


def options(given: dict[str, Any]) -> list[str]:
    """The words of a body as options."""
    found = []
    for word, value in given.items():
        option = f"--{word.replace('_', '-')}"
        if isinstance(value, bool):
            found += [option] * value
        else:
            found.append(f"{option}={value}")
    return found


def timeless(values: Any) -> Any:
    """An answer without what differs from run to run."""
    if isinstance(values, dict):
        return {name: timeless(value) for name, value in values.items() if name != "seconds"}
    return [timeless(value) for value in values] if isinstance(values, list) else values


def check_equal(result: Result, status: int, body: Any) -> None:
    """Exit code 0 or 1 and the JSON, or exit code 2 and the sentence."""
    if result.exit_code != 2:
        assert status == 200, body
        assert timeless(body) == timeless(json.loads(result.stdout))
        return
    assert status == 422, body
    assert unquoted(f"Error: {body['detail']}\n") == unquoted(result.stderr)


def unquoted(sentence: str) -> str:
    """A number in a body is a number, in an option it is text."""
    return re.sub(r"='(-?[\d.]+)'", r"=\1", sentence)


# the same as the command line

RECIPES = {
    "mode": st.sampled_from(["train", "infer"]),
    "precision": st.sampled_from(["32-true", "bf16-mixed", "bf16-true", "fp16"]),
    "optimizer": st.sampled_from(["adamw", "adamw-foreach", "sgd", "adam"]),
    "micro_batch": st.sampled_from([1, 2, 7, "max", 0]),
    "seq": st.sampled_from([64, 1024, 4096, 2**24, 1]),
    "prompt": st.sampled_from([16, 100_000]),
    "checkpointing": st.sampled_from(["none", "full"]),
    "attention": st.sampled_from(["sdpa", "eager"]),
    "loss": st.sampled_from(["plain", "chunked"]),
}

BUDGETS = {
    "vram": st.sampled_from(["24GB", "1.5GiB", "500MB", "24", "80 GB"]),
    "gpu": st.sampled_from(["rtx4090", "RTX 3060", "rtx4091"]),
}

QUERIES = {
    "target": st.sampled_from(["500M", "1.5B", 20_000_000, 5e8, "123456789", "abc", "-1", 1, "7B"]),
    **BUDGETS,
    "family": st.sampled_from(["qwen3", "gpt2", "gtp2", "mixtral", 7]),
    "like": st.sampled_from(["smollm2-135m", "gpt2-xl", "mixtral-8x7b"]),
    "tolerance": st.sampled_from(["1%", 0.001, 0, "200%"]),
    "top": st.sampled_from([1, 3, 12, 0]),
    "tokens": st.sampled_from(["1T", "20B", 10**9, 0]),
    "tokens_per_param": st.sampled_from([20, 0.5, 0, 1e9]),
    "prefer": st.sampled_from(["quality", "speed", "memory", "balanced", "price"]),
    "explain": st.booleans(),
    "layers": st.sampled_from([24, "12:32", "4,8,16", "10:5", "x", 0]),
    "hidden": st.sampled_from([512, "256:2048", "64:4096:128", "7", "768"]),
    "heads": st.sampled_from([8, "4:16", "7,12"]),
    "kv_heads": st.sampled_from([4, "1:8", "3"]),
    "head_dim": st.sampled_from([64, "32,128", "48:96"]),
    "intermediate": st.sampled_from([2048, "512:8192", "1,2,3"]),
    "vocab": st.sampled_from([32_000, "6400,50304", ""]),
    "untied": st.booleans(),
    **RECIPES,
}


EXPLAINED = {
    "gpu": st.sampled_from(["rtx4090", "h100", "rtx4091"]),
    "tokens": st.sampled_from(["20B", "many"]),
    "train_days": st.sampled_from([3, 0.5, -1]),
    "flops": st.sampled_from(["1e20", "x"]),
    "price": st.sampled_from([2.5, -1]),
    "layers": st.sampled_from(["8:24", "x"]),
    "micro_batch": st.sampled_from([4, "max"]),
    "gpus": st.sampled_from([1, 8]),
}


def some(choices: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """A few of the words, in the order of the command line."""
    names = st.lists(st.sampled_from(sorted(choices)), max_size=3, unique=True)
    return names.flatmap(
        lambda chosen: st.fixed_dictionaries({name: choices[name] for name in choices if name in chosen})
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(target=some({"target": QUERIES["target"]}), given_words=some(QUERIES))
def test_solve_is_the_command_lines(service: Service, target: dict[str, Any], given_words: dict[str, Any]) -> None:
    body = {**target, **given_words}
    mistakes = [word for word in body if unread(word, body[word])]
    if len(mistakes) > 1:  # each names the first that it meets, and a body has another order
        body = {word: value for word, value in body.items() if word not in mistakes[1:]}
    response = service.post("/v1/solve", body)
    check_equal(diysolve("solve", "--format=json", "--verify=0", *options(body)), response.status_code, response.json())


def unread(word: str, value: Any) -> bool:
    """Whether a word is a mistake by itself."""
    known = {"target": "1M"} if word != "target" else {}
    return answer("/v1/solve", json.dumps({**known, word: value}).encode(), BOUNDS).status != 200


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(config=configs(), given_words=some({**BUDGETS, **RECIPES}))
def test_memory_is_the_command_lines(
    service: Service, tmp_path: Path, config: DIYConfig, given_words: dict[str, Any]
) -> None:
    mistakes = [word for word in given_words if unread(word, given_words[word]) and word != "micro_batch"]
    body = {word: value for word, value in given_words.items() if word not in mistakes[1:]}
    path = tmp_path / "file"
    path.write_text(json.dumps(config.to_dict()))
    response = service.post("/v1/memory", {"file": config.to_dict(), **body})
    result = diysolve("memory", str(path), "--format=json", *options(body))
    found = response.json()
    if "source" in found:
        found["source"] = str(path)
    check_equal(result, response.status_code, found)


@pytest.mark.parametrize("name", ["diy-493m", "smollm2-135m"])
def test_presets_are_the_command_lines(service: Service, name: str) -> None:
    for path, body in (("count", {"files": [name]}), ("memory", {"file": name, "gpu": "rtx3060", "micro_batch": 8})):
        response = service.post(f"/v1/{path}", body)
        given_words = {word: value for word, value in body.items() if not word.startswith("file")}
        check_equal(diysolve(path, name, "--format=json", *options(given_words)), response.status_code, response.json())


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawn=st.lists(configs(), min_size=1, max_size=4),
    given_words=some(
        {"tokens": st.sampled_from(["1T", "3B", "many"]), "tokens_per_param": QUERIES["tokens_per_param"]}
    ),
)
def test_rank_is_the_command_lines(
    service: Service, tmp_path: Path, drawn: list[DIYConfig], given_words: dict[str, Any]
) -> None:
    entries = [config.to_dict() for config in drawn]
    entries[0]["tokens"] = "10B"
    path = tmp_path / "configs.json"
    path.write_text(json.dumps(entries))
    response = service.post("/v1/rank", {"file": entries, **given_words})
    result = diysolve("rank", str(path), "--format=json", *options(given_words))
    check_equal(result, response.status_code, response.json())


def test_rank_says_where_the_law_extrapolates(service: Service) -> None:
    config = DIYConfig(hidden_size=768, num_layers=12, num_heads=12, intermediate_size=2048, vocab_size=50304)
    for tokens, said in (("2T", True), ("20B", False)):
        answer = service.post("/v1/rank", {"file": [config.to_dict()], "tokens": tokens}).json()
        assert ("The law extrapolates here" in answer.get("caution", "")) == said


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.lists(configs(), min_size=1, max_size=3))
def test_count_is_the_command_lines(service: Service, tmp_path: Path, drawn: list[DIYConfig]) -> None:
    paths = [tmp_path / f"{number}.json" for number in range(len(drawn))]
    for path, config in zip(paths, drawn, strict=True):
        path.write_text(json.dumps(config.to_dict()))
    found = service.post("/v1/count", {"files": [config.to_dict() for config in drawn]}).json()
    assert [config.pop("source") for config in found["configs"]] == [f"files[{i}]" for i in range(len(drawn))]
    expected = json.loads(diysolve("count", *map(str, paths), "--format=json").stdout)
    for config in expected["configs"]:
        del config["source"]
    assert found == expected


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=st.sampled_from(["diy-493m", "smollm2-135m", None]), given_words=some(EXPLAINED))
def test_explain_is_the_command_lines(service: Service, file: str | None, given_words: dict[str, Any]) -> None:
    body = {"target": "100M", **given_words} if file is None else given_words
    response = service.post("/v1/explain", {**body, "file": file})
    result = diysolve("explain", *([file] if file else []), "--format=json", *options(body))
    check_equal(result, response.status_code, response.json())


@pytest.mark.parametrize("path", ["devices", "presets"])
def test_what_is_known_is_the_command_lines(service: Service, path: str) -> None:
    assert service.client.get(f"/v1/{path}").json() == json.loads(diysolve(path, "--format=json").stdout)


@pytest.mark.parametrize("program", ["hf", "litgpt", "python"])
def test_an_export_is_the_command_lines(service: Service, tmp_path: Path, program: str) -> None:
    found = service.post("/v1/export", {"file": "smollm2-135m", "to": program}).json()
    diysolve("export", "smollm2-135m", f"--to={program}", f"--out={tmp_path}")
    assert found["files"] == {path.name: path.read_text() for path in tmp_path.iterdir()}


SPECS = [
    [{"target": "20M", "top": 2}, {"name": "too much", "target": "7B", "vram": "2GB"}, {"target": "1M", "heads": 7}],
    {"grid": {"target": ["10M", "20M"], "gpu": ["rtx3060", "rtx4090"]}, "defaults": {"top": 1, "layers": "4:12"}},
]


@pytest.mark.parametrize("spec", SPECS)
def test_a_batch_is_the_command_lines(service: Service, spec: Any) -> None:
    response = service.post("/v1/batch", spec)
    assert response.headers["content-type"] == "application/jsonl"
    lines = [timeless(json.loads(line)) for line in response.text.splitlines()]
    printed = diysolve("batch", "-", "--out=-", stdin=json.dumps(spec)).stdout
    assert lines == [timeless(json.loads(line)) for line in printed.splitlines()]
    assert len(lines) > 2


def test_a_batch_is_checked_before_it_is_answered(service: Service) -> None:
    response = service.post("/v1/batch", [{"target": "20M"}, {"target": "1M", "tarfet": 1}, {"target": "x"}])
    problem = response.json()
    assert response.status_code == 422
    assert len(problem["mistakes"]) == 2
    assert "did you mean target?" in problem["mistakes"][0]


@pytest.mark.parametrize(
    "spec",
    [
        [{"target": "1M"}] * 3,
        {"queries": [{"target": "1M"}], "grid": {"target": ["2M", "3M"]}},
        {"grid": {word: ["x"] * 100 for word in ("target", "vram", "tokens", "layers", "hidden", "heads")}},
    ],
)
def test_a_batch_that_is_too_long(spec: Any) -> None:
    reply = answer("/v1/batch", json.dumps(spec).encode(), Bounds(batch=2))
    assert reply.status == 422
    assert b"give at most 2 in one request" in reply.body


def test_an_entry_that_the_service_cannot_answer() -> None:
    with Service("--workers=1", "--quiet", "--max-seconds=0.2", "--max-lattice=1000T") as hurried:
        body = [{"vram": "24GB", "vocab": "1000:40000:1000"}, {"target": "20M", "top": 1}]
        first, _ = map(json.loads, hurried.post("/v1/batch", body).text.splitlines())
    assert (first["number"], first["status"], first["solution"]) == (1, "error", None)
    assert "not answered within 0.2 s" in first["message"]


NOT_ASKED_FOR = {"format", "output", "quiet", "help"}
"""How the command line writes an answer down."""


@pytest.mark.parametrize(
    ("command", "table", "elsewhere"),
    [
        ("solve", words.SOLVE, {"verify", "device", "plot"}),  # a verification is a job, a picture is a file
        ("memory", words.MEMORY, set()),
        ("count", words.count_words(10), set()),
        ("rank", words.RANK, set()),
        ("explain", words.EXPLAIN, {"sources"}),  # the JSON has them always
        ("export", words.EXPORT, {"out", "weights", "force"}),  # files of the machine
        ("verify", words.verify_words(10), {"record"}),  # a path of the machine
    ],
)
def test_the_words_are_the_options(command: str, table: words.Words, elsewhere: set[str]) -> None:
    params = cli.cli.commands[command].params
    named = {param.opts[0].lstrip("-").replace("-", "_") for param in params if isinstance(param, click.Option)}
    assert named - NOT_ASKED_FOR - elsewhere == set(table) - {"file", "files"}


# what a body may be


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tarfet": "500M"}, "tarfet"),
        ({"target": ["500M"]}, "target"),
        ({"target": True}, "target"),
        ({"target": "500M", "top": "10"}, "top"),
        ({"target": "500M", "top": 1.5}, "top"),
        ({"target": "500M", "top": 10**400}, "top"),
        ({"target": "500M", "explain": "yes"}, "explain"),
        ({"target": "500M", "tokens_per_param": "20"}, "tokens_per_param"),
        ({"target": "500M", "prefer": ["speed"]}, "prefer"),
        ({"target": "500M", "seq": 1}, "seq"),
        ({"target": 10**400}, "target"),
        ([{"target": "500M"}], "body"),
        ("500M", "body"),
        (None, "body"),
    ],
)
def test_a_mistake_is_named_by_its_field(body: Any, field: str) -> None:
    reply = answer("/v1/solve", json.dumps(body).encode(), BOUNDS)
    problem = json.loads(reply.body)
    assert (reply.status, problem["status"], problem["field"]) == (422, 422, field)
    assert problem["title"]
    assert problem["type"] == "about:blank"
    assert "\n" not in problem["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"target": 5e8,}',
        b'{"target": NaN}',
        b'{"target": Infinity}',
        b'{"target": "1M", "target": "2M"}',
        b'{"target": ' + b"9" * 5000 + b"}",
        b'{"target": "\xff"}',
        b'{"target": "1M"} {"target": "2M"}',
    ],
)
def test_what_is_not_json(body: bytes) -> None:
    reply = answer("/v1/solve", body, BOUNDS)
    assert reply.status == 400
    assert json.loads(reply.body)["field"] == "body"


@pytest.mark.parametrize("levels", [33, 1000, 200_000])
@pytest.mark.parametrize(("left", "right"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nested_too_deeply(levels: int, left: bytes, right: bytes) -> None:
    reply = answer("/v1/solve", left * levels + b"1" + right * levels, BOUNDS)
    assert reply.status == 422
    assert "nested" in json.loads(reply.body)["detail"]


@pytest.mark.parametrize("inside", [b"1", b""])
def test_as_deep_as_it_may_be(inside: bytes) -> None:
    for levels, complaint in ((32, "write a JSON object"), (33, "nested")):
        reply = answer("/v1/solve", b"[" * levels + inside + b"]" * levels, BOUNDS)
        assert complaint in json.loads(reply.body)["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/solve", {"target": "500M", "vram": "1" + " " * 900_000 + "!"}),
        ("/v1/solve", {"target": "500M", "layers": "1," * 400_000}),
        ("/v1/solve", {"tarfet" * 100_000: 1}),
        ("/v1/memory", {"file": "diy-493n" * 100_000}),
        ("/v1/memory", {"file": {"num_layers": 2, "model_type": "llama" * 100_000}}),
    ],
)
def test_a_text_that_is_too_long_to_be_read(path: str, body: Any) -> None:
    """Some of these would be looked at for minutes."""
    reply = answer(path, json.dumps(body).encode(), BOUNDS)
    assert reply.status == 422
    assert "at most 2,000" in json.loads(reply.body)["detail"]


@pytest.mark.parametrize("path", ["/etc/passwd", "README.md", ".", "-", "http://127.0.0.1/", "tests"])
def test_no_path_is_read(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.open", lambda *_, **__: pytest.fail("a file was opened"))
    for at, body in (("count", {"files": [path]}), ("memory", {"file": path}), ("rank", {"file": path})):
        reply = answer(f"/v1/{at}", json.dumps(body).encode(), BOUNDS)
        assert b"there is no preset of that name, and no path is read here" in reply.body


@pytest.mark.parametrize(
    "dimensions",
    [
        {"vocab": "1:16777216:1"},
        {"hidden": "1:131072:1"},
        {"hidden": "1024:4096:1", "heads": "1:4096", "head_dim": "2:512:2"},
        {"intermediate": "64:1048576:1"},
        {"layers": "1:4096", "vocab": "64:1048576"},
        {"vocab": ",".join(map(str, range(1000, 1350)))},
    ],
)
def test_a_lattice_that_is_too_large(dimensions: dict[str, str]) -> None:
    reply = answer("/v1/solve", json.dumps({"target": "500M", **dimensions}).encode(), BOUNDS)
    problem = json.loads(reply.body)
    assert reply.status == 422
    assert problem["field"] in dimensions
    assert "20,000,000" in problem["detail"]


def test_the_rows_are_never_more_than_their_bound() -> None:
    from solver.lattice import lattice
    from solver.query import Query
    from tests.strategies import small_queries

    @given(small_queries())
    def check(query: Query) -> None:
        from solver.errors import QueryError

        try:
            grid = lattice(query)
        except QueryError:
            return
        rows = int(max(len(grid.columns) * len(grid.layers), grid.widths.sum()))
        assert rows <= lattice_rows(query)

    check()
    assert lattice_rows(Query.parse(target="500M")) < BOUNDS.lattice


def test_so_many_at_once() -> None:
    few = Bounds(batch=2)
    for path, body in (("count", {"files": ["diy-3m"] * 3}), ("rank", {"file": [{}] * 3})):
        reply = answer(f"/v1/{path}", json.dumps(body).encode(), few)
        assert reply.status == 422
        assert "2 of them" in json.loads(reply.body)["detail"]


def test_a_mistake_of_ours_is_not_the_clients(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(body: Any, bounds: Bounds, known: Known) -> dict[str, Any]:
        raise ZeroDivisionError("secret")

    monkeypatch.setitem(ENDPOINTS, "/v1/solve", broken)
    reply = answer("/v1/solve", b"{}", BOUNDS)
    assert reply.status == 500
    assert b"secret" not in reply.body
    assert "secret" in capsys.readouterr().err


# the document, and the page


def test_everything_that_the_page_asks_for_is_there() -> None:
    assets = Assets().by_path
    texts = [asset.content.decode() for path, asset in assets.items()]
    wanted = {name for text in texts for name in re.findall(r'(?:"/page/|from "\./)([a-z.]+)"', text)}
    assert wanted
    assert {f"/page/{name}" for name in wanted} == set(assets) - {"/"}


@pytest.mark.parametrize("path", [path for path in openapi.EXAMPLES if path in ENDPOINTS])
def test_every_example_is_answered(path: str) -> None:
    for body in openapi.EXAMPLES[path].values():
        reply = answer(path, json.dumps(body).encode(), BOUNDS)
        assert reply.status == 200, reply.body


def test_every_endpoint_is_in_the_document() -> None:
    document = openapi.document(Settings(allow_verify=True), "0")
    assert {path for path in document["paths"] if "post" in document["paths"][path]} == set(ENDPOINTS)


def test_fields_are_words() -> None:
    known = {*words.SOLVE, *words.MEMORY, None}
    assert set(FIELDS.values()) <= known
