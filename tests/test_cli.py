"""The door: what goes to stdout, what to stderr, which exit code; and that every mistake ends in one sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from cli import PREFERENCES, PROGRAMS, cli
from diymodel.config import DIYConfig
from solver import counts
from solver.devices import device
from solver.interop import to_huggingface
from solver.interop.export import Program
from solver.query import Prefer
from solver.solution import Solution, Verification
from tests.finished import COUNTED_ONLY, DEEP, REFUTED, WIDE

ROOT = Path(__file__).parent.parent
COMMANDS = (
    "solve", "count", "memory", "verify", "rank", "export", "explain", "compare", "batch", "devices", "presets",
    "serve",
)  # fmt: skip
SOLVE = ("--target", "20M", "--vram", "24GB", "--verify", "0")


def diysolve(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, words, input=stdin, prog_name="diysolve")


def run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The real process, for what only a process can show."""
    return subprocess.run(
        [sys.executable, "-m", "cli", *words], cwd=ROOT, capture_output=True, text=True, timeout=60, **options
    )


def check_refused(result: Result, *words: str) -> None:
    """Exit code 2 and one sentence on stderr that has these words in it."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


# requests that are wrong


@pytest.mark.parametrize(
    "target",
    ["abc", "-5M", "0", "1.5", "1e400", "nan", "inf", "500MB", "", " ", "5M5", "1e16", "٥M"],  # noqa: RUF001
)
def test_a_target_that_is_no_number_of_params(target: str) -> None:
    check_refused(diysolve("--target", target), f"target={target!r}", "500M")


@pytest.mark.parametrize("vram", ["24", "24XB", "-1GB", "0GB", "", "GB", "nanGB", "24 G B"])
def test_a_budget_that_is_no_size(vram: str) -> None:
    check_refused(diysolve("--target", "5M", "--vram", vram), f"vram={vram!r}", "24GB")
    check_refused(diysolve("memory", "diy-3m", "--vram", vram), f"vram={vram!r}", "24GB")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--heads", "7", "--hidden", "512", "--target", "5M"), "heads 7"),
        (("--layers", "10:5", "--target", "5M"), "layers='10:5'"),
        (("--layers", "x", "--target", "5M"), "layers='x'"),
        (("--layers", "0", "--target", "5M"), "layers='0'"),
        (("--vocab", "", "--target", "5M"), "vocab=''"),
        ((), "give a target"),
        (("--tokens", "1T", "--tokens-per-param", "20", "--target", "5M"), "give it or tokens, not both"),
        (("--tokens-per-param", "nan", "--target", "5M"), "tokens_per_param=nan"),
        (("--tokens-per-param", "x", "--target", "5M"), "tokens_per_param='x'"),
        (("--tolerance", "200%", "--target", "5M"), "tolerance='200%'"),
        (("--vram", "24GB", "--gpu", "rtx4090"), "give it or vram, not both"),
        (("memory", "diy-3m", "--vram", "24GB", "--gpu", "rtx4090"), "give it or vram, not both"),
        (("--gpu", "rtx4091"), "did you mean rtx4090?"),
        (("--top", "0", "--target", "5M"), "top='0': write a whole number from 1"),
        (("--verify", "-1", "--target", "5M"), "verify='-1'"),
        (("--micro-batch", "many", "--target", "5M"), "micro_batch='many'"),
        (("--micro-batch", "16777216", "--target", "5M"), "at most 16,777,216 tokens"),
        (("--precision", "fp16", "--target", "5M"), "use one of 32-true, bf16-mixed, 16-mixed, bf16-true"),
        (("--format", "yaml", "--target", "5M"), "format='yaml': use one of table, json, csv, markdown"),
        (("--prefer", "price", "--target", "5M"), "prefer='price': use one of quality, speed, memory, balanced"),
        (("--device", "gpu", "--target", "5M"), "use one of auto, cuda, xpu, mps, cpu, meta"),
        (("memory", "diy-3m", "--seq", "100000"), "max_seq_len=512"),
        (("rank", "diy-3m", "--tokens", "many"), "tokens='many'"),
        (("rank", "diy-3m", "--tokens-per-param", "0"), "tokens_per_param=0"),
        (("count", "diy-3m", "--rank", "0"), "rank='0'"),
        (("--train-days", "-2", "--gpu", "rtx4090"), "train_days=-2.0: must be greater than 0"),
        (("--train-days", "nan", "--gpu", "rtx4090"), "train_days=nan"),
        (("--train-days", "2", "--vram", "24GB"), "needs a card; give gpu along"),
        (("--train-days", "2", "--gpu", "v100-16gb"), "no peak in bf16 is known of it"),
        (("--train-days", "2", "--gpu", "rtx4090", "--tokens", "1B"), "give it or tokens, not both"),
        (("--train-days", "2", "--gpu", "rtx4090", "--micro-batch", "max"), "give a number"),
        (("--train-days", "2", "--gpu", "rtx4090", "--prefer", "speed"), "counts time already"),
        (("--train-days", "2", "--gpu", "rtx4090", "--mode", "infer"), "use mode train"),
        (("--flops", "0", "--target", "5M"), "flops='0': must be a whole number from 1"),
        (("--flops", "1.5", "--target", "5M"), "flops='1.5'"),
        (("--flops", "1e20", "--price", "-1"), "price=-1.0"),
        (("--gpus", "0", "--target", "5M"), "gpus='0'"),
        (("--gpus", "2", "--mode", "infer", "--target", "5M"), "gpus=2: data parallel is for training"),
        (("explain",), "give a FILE or a preset to explain"),
        (("explain", "diy-3m", "--target", "5M"), "target='5M': is for a search"),
        (("explain", "diy-3m", "--layers", "4"), "layers='4': is for a search"),
        (("explain", "diy-3m", "--tokens", "0"), "tokens='0'"),
        (("explain", "diy-3m", "--train-days", "-1", "--gpu", "rtx4090"), "train_days=-1.0"),
        (("explain", "diy-3m", "--train-days", "1"), "needs a card"),
        (("explain", "diy-3m", "--train-days", "1", "--gpu", "t4"), "it has one for precision 32-true or 16-mixed"),
        (("explain", "diy-3m", "--flops", "5"), "does not buy a single token"),
        (("explain", "diy-3m", "--flops", "1e30"), "buys more than 1e+15 tokens"),
        (("explain", "diy-3m", "--tokens-per-second", "0"), "tokens_per_second=0.0"),
        (("explain", "diy-3m", "--price", "-1"), "price=-1.0"),
        (("explain", "--target", "7B", "--vram", "8GB"), "`diysolve solve` says what comes nearest"),
        (("compare",), "FILE"),
        (("compare", "diy-3m", "nothing"), "file='nothing'"),
        (("--target",), "requires an argument"),
        (("count",), "FILE"),
        (("memory", "diy-3m", "diy-208m"), "diy-208m"),
    ],
)
def test_a_request_that_is_wrong(words: tuple[str, ...], complaint: str) -> None:
    check_refused(diysolve(*words), complaint)


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (("slove",), "did you mean solve?"),
        (("cuont", "diy-3m"), "did you mean count?"),
        (("xyz",), "use one of solve, count"),
        (("--tarfet", "5M"), "did you mean --target?"),
        (("memory", "diy-3m", "--micro-bach", "2"), "did you mean --micro-batch?"),
        (("--zzz",), "`diysolve solve --help` lists what there is"),
        (("--target", "5M", "model.json"), "model.json"),
    ],
)
def test_an_unknown_word_gets_the_nearest_known_one(words: tuple[str, ...], nearest: str) -> None:
    check_refused(diysolve(*words), nearest)


@pytest.mark.parametrize("command", ["memory", "verify", "rank"])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "there is no such file"),
        ("", "is empty"),
        ("hidden_size: 3", "is not JSON"),
        ("[1, 2]", ""),
        ('{"hidden_size": "big"}', "hidden_size='big'"),
        ('{"hidden_sise": 3}', "did you mean hidden_size?"),
        ('{"model_type": "mamba"}', "DIYConfig expresses llama"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 65 * 2**20, "larger than 64 MiB"),
    ],
    ids=["missing", "empty", "not JSON", "a list", "of the wrong type", "unknown key", "hugging face", "deep", "huge"],
)
def test_a_file_that_is_no_config(tmp_path: Path, command: str, content: str | None, complaint: str) -> None:
    path = tmp_path / "model.json"
    if content is not None:
        path.write_text(content)
    check_refused(diysolve(command, str(path)), str(path), complaint)


@pytest.mark.parametrize("output", ["missing/answer.json", ".", ""])
def test_an_output_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path, output: str) -> None:
    check_refused(diysolve(*SOLVE, "--output", f"{tmp_path}/{output}" if output else ""), "output=")
    assert list(tmp_path.iterdir()) == []


# solve


def test_solve_is_the_command_where_none_is_named() -> None:
    bare, named = diysolve(*SOLVE, "--format", "json"), diysolve("solve", *SOLVE, "--format", "json")
    assert bare.exit_code == named.exit_code == 0
    first, second = json.loads(bare.stdout), json.loads(named.stdout)
    assert first["candidates"] == second["candidates"]
    assert first["schema"] == "diysolve.solution/1"
    assert first["status"] == "solved"


def test_the_candidates_hit_the_target_and_fit_the_budget() -> None:
    result = diysolve("--target", "500M", "--vram", "24GB", "--verify", "0", "--format", "json", "--top", "4")
    candidates = json.loads(result.stdout)["candidates"]
    assert [candidate["rank"] for candidate in candidates] == [1, 2, 3, 4]
    assert all(abs(candidate["params"]["total"] - 500e6) <= 5e6 for candidate in candidates)
    assert all(candidate["memory"]["device_bytes"] <= 24e9 for candidate in candidates)
    assert all(candidate["memory"]["budget_bytes"] == 24 * 10**9 for candidate in candidates)
    assert all(candidate["verification"] is None for candidate in candidates)


def test_the_options_reach_the_query() -> None:
    result = diysolve(
        *(
            "--target",
            "20M",
            "--gpu",
            "rtx4090",
            "--verify",
            "0",
            "--format",
            "json",
            "--tolerance",
            "2%",
            "--top",
            "3",
        ),
        *("--layers", "4:12", "--hidden", "256,384", "--vocab", "8192", "--untied", "--tokens-per-param", "20"),
        *("--precision", "bf16-true", "--optimizer", "sgd", "--micro-batch", "2", "--seq", "512"),
        *("--checkpointing", "full", "--attention", "eager", "--loss", "chunked", "--accumulate", "16"),
    )
    answer = json.loads(result.stdout)
    query = answer["query"]
    assert query["vram_bytes"] == device("rtx4090").memory_bytes
    assert (query["tolerance"], query["top"], query["tokens_per_param"]) == (0.02, 3, 20.0)
    assert (query["num_layers"], query["hidden_size"], query["vocab_size"]) == ("4:12", [256, 384], [8192])
    assert query["tie_embeddings"] is False
    assert query["recipe"] == {
        "mode": "train", "precision": "bf16-true", "optimizer": "sgd", "micro_batch": 2, "seq_len": 512,
        "checkpointing": "full", "attention": "eager", "loss": "chunked", "profile": "diy",
        "prompt": None, "gpus": 1, "accumulation": 16,
    }  # fmt: skip
    assert all(candidate["config"]["max_seq_len"] == 512 for candidate in answer["candidates"])


@pytest.mark.parametrize("prefer", get_args(Prefer))
def test_a_preference_reaches_the_score_and_the_page(prefer: str) -> None:
    first = json.loads(diysolve(*SOLVE, "--prefer", prefer, "--format", "json").stdout)["candidates"][0]
    assert ("speed" in first["score"]["terms"]) == (prefer in ("speed", "balanced"))
    assert ("memory" in first["score"]["terms"]) == (prefer in ("memory", "balanced"))
    assert first["relative_step_time"] == 1
    assert first["pareto"] is True
    assert (f"prefer {prefer}" in diysolve(*SOLVE, "--prefer", prefer).stdout) == (prefer != "quality")


@pytest.mark.parametrize("form", ["table", "json", "markdown"])
def test_explain_is_there_when_it_is_asked_for(form: str) -> None:
    words = (*SOLVE, "--layers", "6", "--format", form)
    plain, explained = diysolve(*words), diysolve(*words, "--explain")
    assert plain.exit_code == explained.exit_code == 0
    assert "layers free" not in plain.stdout
    assert "layers free" in explained.stdout
    assert "Liu et al. 2024, table 13" in explained.stdout
    if form == "json":
        answer = json.loads(explained.stdout)
        assert set(answer) - set(json.loads(plain.stdout)) == {"explanation"}
        assert answer["binding"]["constraint"] == "layers"


@pytest.mark.parametrize("form", ["table", "json", "csv", "markdown"])
def test_a_query_that_nothing_satisfies_is_an_answer_with_exit_code_1(form: str) -> None:
    result = diysolve("--target", "7B", "--vram", "1GB", "--format", form)
    assert result.exit_code == 1
    assert result.stdout
    assert "Error" not in result.stderr
    if form == "json":
        answer = json.loads(result.stdout)
        assert answer["status"] == "infeasible"
        assert answer["nearest"]
        assert answer["largest_target_that_fits"] > 0
        assert answer["message"] in result.stderr


def test_a_table_is_no_wider_than_its_words_and_has_a_row_per_candidate() -> None:
    result = diysolve(*SOLVE, "--top", "2")
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert "budget 24 GB (22.35 GiB)" in result.stdout
    assert len([line for line in result.stdout.splitlines() if line.split()[:1] in (["1"], ["2"], ["2="])]) == 2


@pytest.fixture
def verifying(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A solver.verify that says what it was asked and loads no torch. What it finds can be changed."""
    calls: list[dict[str, Any]] = []
    module: Any = types.ModuleType("solver.verify")
    module.found = COUNTED_ONLY

    def verify_candidates(
        solution: Solution, count: int, *, device: str, progress: Callable[[int, int], None]
    ) -> Solution:
        calls.append({"count": count, "device": device})
        progress(1, count)
        verified = [replace(candidate, verification=module.found) for candidate in solution.candidates[:count]]
        return replace(solution, candidates=(*verified, *solution.candidates[count:]))

    def verify_config(config: DIYConfig, recipe: Any, *, device: str, budget_bytes: int | None = None) -> Verification:
        calls.append({"config": config, "recipe": recipe, "device": device, "budget_bytes": budget_bytes})
        return module.found

    module.verify_candidates, module.verify_config = verify_candidates, verify_config
    monkeypatch.setitem(sys.modules, "solver.verify", module)
    return calls


def test_the_first_candidates_are_verified(verifying: list[dict[str, Any]]) -> None:
    result = diysolve("--target", "20M", "--device", "meta", "--verify", "2", "--format", "json")
    assert result.exit_code == 0
    assert verifying == [{"count": 2, "device": "meta"}]
    verified = [candidate["verification"] for candidate in json.loads(result.stdout)["candidates"]]
    assert verified[0] == verified[1] == COUNTED_ONLY.to_dict()
    assert verified[2:] == [None] * 8
    assert "not measured (no GPU)" in diysolve("--target", "20M").stdout
    assert verifying[-1] == {"count": 3, "device": "auto"}


def test_an_infeasible_query_verifies_nothing(verifying: list[dict[str, Any]]) -> None:
    assert diysolve("--target", "7B", "--vram", "1GB").exit_code == 1
    assert verifying == []


def test_a_verification_that_disagrees_is_exit_code_1(verifying: list[dict[str, Any]]) -> None:
    sys.modules["solver.verify"].found = REFUTED  # type: ignore[attr-defined]
    assert diysolve("--target", "20M").exit_code == 1
    assert diysolve("verify", "diy-3m").exit_code == 1


# the other commands


@pytest.mark.parametrize(
    ("fields", "total"),
    [
        ({}, 2_950_400),
        ({"final_norm": False}, 2_950_144),
        ({"hidden_size": 1024, "num_layers": 29, "num_heads": 16, "intermediate_size": 4096}, 493_153_280),
        ({"hidden_size": 1024, "num_layers": 12, "num_heads": 16, "intermediate_size": 4096}, 207_905_792),
        ({"hidden_size": 768, "num_layers": 24, "num_heads": 12, "intermediate_size": 3072}, 231_445_248),
        ({"hidden_size": 768, "num_layers": 52, "num_heads": 12, "intermediate_size": 3072}, 495_729_408),
    ],
)
def test_count_gives_the_results_that_are_known(tmp_path: Path, fields: dict[str, Any], total: int) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps(fields))
    result = diysolve("count", str(path), "--format", "json")
    assert result.exit_code == 0
    counted = json.loads(result.stdout)["configs"][0]
    assert counted["source"] == str(path)
    assert counted["model_type"] == "diy"
    assert counted["active"] == counted["params"]["total"] == total
    assert sum(value for name, value in counted["params"].items() if name != "total") == total


def test_a_file_that_cannot_be_counted_does_not_stop_the_others(tmp_path: Path) -> None:
    result = diysolve("count", "diy-3m", str(tmp_path / "none.json"), "diy-208m", "--format", "json")
    assert result.exit_code == 2
    first, second, third = json.loads(result.stdout)["configs"]
    assert "there is no such file" in second["error"]
    assert "params" not in second
    assert (first["params"]["total"], third["params"]["total"]) == (2_950_400, 207_905_792)
    assert result.stderr == f"Error: {second['error']}\n"


def test_a_candidate_goes_from_a_solve_into_the_other_commands(tmp_path: Path) -> None:
    path = tmp_path / "solution.json"
    assert diysolve(*SOLVE, "--format", "json", "--output", str(path)).exit_code == 0
    second = json.loads(path.read_text())["candidates"][1]
    counted = json.loads(diysolve("count", str(path), "--rank", "2", "--format", "json").stdout)
    assert counted["configs"][0]["params"] == second["params"]
    memory = json.loads(diysolve("memory", str(path), "--rank", "2", "--vram", "24GB", "--format", "json").stdout)
    assert {key: memory[key] for key in second["memory"]} == second["memory"]


def test_memory_is_exit_code_1_where_it_does_not_fit() -> None:
    assert diysolve("memory", "diy-493m", "--vram", "24GB").exit_code == 0
    assert diysolve("memory", "diy-493m", "--vram", "2GB").exit_code == 1
    unlimited = diysolve("memory", "diy-493m", "--format", "json")
    assert unlimited.exit_code == 0
    report = json.loads(unlimited.stdout)
    assert report["verdict"] is None
    assert report["schema"] == "diysolve.memory/1"


def test_the_sequence_is_the_config_s_own_unless_it_is_given() -> None:
    for words, seq_len in ((("memory", "diy-3m"), 512), (("memory", "diy-3m", "--seq", "64"), 64)):
        assert json.loads(diysolve(*words, "--format", "json").stdout)["recipe"]["seq_len"] == seq_len


def test_verify_builds_each_file_at_its_own_sequence(verifying: list[dict[str, Any]]) -> None:
    result = diysolve("verify", "diy-3m", "diy-493m", "--vram", "24GB", "--device", "cpu", "--format", "json")
    assert result.exit_code == 0
    assert [call["recipe"].seq_len for call in verifying] == [512, 2048]
    assert {call["budget_bytes"] for call in verifying} == {24 * 10**9}
    answer = json.loads(result.stdout)
    assert answer["schema"] == "diysolve.verify/1"
    assert [config["source"] for config in answer["configs"]] == ["diy-3m", "diy-493m"]


def test_verify_looks_at_every_file_before_it_builds_one(verifying: list[dict[str, Any]]) -> None:
    check_refused(diysolve("verify", "diy-3m", "none.json"), "none.json")
    assert verifying == []


def test_rank_orders_configs_and_keeps_their_places() -> None:
    lines = "\n".join(json.dumps(config.to_dict()) for config in (DIYConfig(), WIDE, DEEP))
    answer = json.loads(diysolve("rank", "-", "--format", "json", stdin=lines).stdout)
    assert answer["schema"] == "diysolve.rank/1"
    assert answer["tokens"] == 10**12
    assert [row["rank"] for row in answer["configs"]] == [1, 2, 3]
    assert answer["configs"][-1]["index"] == 0
    totals = [row["score"]["total"] for row in answer["configs"]]
    assert totals == sorted(totals)


def test_rank_takes_a_config_s_own_tokens_before_the_option() -> None:
    entries = json.dumps([{**DEEP.to_dict(), "tokens": "10B"}, DEEP.to_dict()])
    answer = json.loads(diysolve("rank", "-", "--tokens", "2T", "--format", "json", stdin=entries).stdout)
    assert answer["tokens"] is None
    assert [(row["index"], row["tokens"]) for row in answer["configs"]] == [(1, 2 * 10**12), (0, 10**10)]


def test_rank_takes_tokens_in_proportion_to_each_config() -> None:
    entries = json.dumps([DEEP.to_dict(), {**WIDE.to_dict(), "tokens": "1T"}])
    answer = json.loads(diysolve("rank", "-", "--tokens-per-param", "20", "--format", "json", stdin=entries).stdout)
    tokens = {row["index"]: row["tokens"] for row in answer["configs"]}
    assert tokens == {0: 20 * counts.total(DEEP), 1: 10**12}
    check_refused(diysolve("rank", "diy-3m", "--tokens-per-param", "20", "--tokens", "1B"), "not both")


def test_rank_says_where_the_law_extrapolates() -> None:
    """As a solve says it, in every format; where all configs lie within what the law is fitted on it says nothing."""
    for format_name in ("table", "markdown"):
        said = diysolve("rank", "diy-493m", "--tokens", "2T", "--format", format_name).stdout
        assert "The law extrapolates here" in said
        assert "extrapolates" not in diysolve("rank", "diy-493m", "--tokens", "20B", "--format", format_name).stdout
    entries = json.dumps([{**DEEP.to_dict(), "tokens": tokens} for tokens in ("10B", "2T")])
    answer = json.loads(diysolve("rank", "-", "--format", "json", stdin=entries).stdout)
    assert answer["caution"] == (
        "The law extrapolates for 1 of the 2 configs (index 1): "
        "it is fitted on 48M to 2B params and 1.6B to 350B tokens"
    )
    within = json.loads(diysolve("rank", "diy-493m", "--tokens", "20B", "--format", "json").stdout)
    assert "caution" not in within


def test_equal_configs_are_ranked_in_the_order_of_the_input() -> None:
    answer = json.loads(diysolve("rank", "-", "--format", "json", stdin=json.dumps([DEEP.to_dict()] * 3)).stdout)
    assert [row["index"] for row in answer["configs"]] == [0, 1, 2]


@pytest.mark.parametrize("form", ["table", "json", "csv", "markdown"])
@pytest.mark.parametrize(
    "words",
    [("devices",), ("presets",), ("count", "diy-3m"), ("memory", "diy-3m", "--gpu", "t4"), ("rank", "diy-3m"), SOLVE],
    ids=["devices", "presets", "count", "memory", "rank", "solve"],
)
def test_every_command_writes_every_format_and_nothing_on_stderr(words: tuple[str, ...], form: str) -> None:
    result = diysolve(*words, "--format", form)
    assert result.exit_code == 0
    assert result.stdout.endswith("\n")
    assert result.stderr == ""


# export


def test_export_writes_a_folder_that_the_other_commands_read(tmp_path: Path) -> None:
    out = tmp_path / "model"
    result = diysolve("export", "qwen3-0.6b", "--to", "hf", "--out", str(out), "--format", "json")
    assert result.exit_code == 0
    assert result.stderr == ""
    answer = json.loads(result.stdout)
    assert answer["files"] == [{"path": str(out / "config.json"), "bytes": (out / "config.json").stat().st_size}]
    counted = json.loads(diysolve("count", str(out), "--format", "json").stdout)["configs"][0]
    assert answer["params"] == counted["params"]
    assert counted["params"]["total"] == 596_049_920
    for command in ("memory", "rank", "export"):
        more = ("--to", "diy", "--out", str(tmp_path / "back")) if command == "export" else ()
        again = diysolve(command, str(out), *more)
        assert (again.exit_code, again.stderr) == (0, "")
    assert json.loads((tmp_path / "back" / "config.json").read_text())["head_dim"] == 128


def test_a_candidate_of_a_solve_is_exported(tmp_path: Path) -> None:
    path = tmp_path / "solution.json"
    diysolve(*SOLVE, "--format", "json", "--output", str(path))
    out = tmp_path / "out"
    assert diysolve("export", str(path), "--rank", "2", "--out", str(out)).exit_code == 0
    second = json.loads(path.read_text())["candidates"][1]["config"]
    assert json.loads((out / "config.json").read_text()) == to_huggingface(DIYConfig.from_dict(second))


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_gets_its_file_and_what_it_needs_to_know(program: str, tmp_path: Path) -> None:
    config = tmp_path / "model.json"
    config.write_text(json.dumps(replace(DEEP, dropout=0.1).to_dict()))
    result = diysolve("export", str(config), "--to", program, "--out", str(tmp_path / "out"))
    assert result.exit_code == 0
    assert f"{tmp_path}/out/" in result.stdout
    assert ("dropout 0.1" in result.stdout) == (program in ("hf", "litgpt"))


def test_an_export_overwrites_when_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("mine")
    words = ("export", "diy-3m", "--out", str(tmp_path))
    check_refused(diysolve(*words), "config.json", "--force")
    assert (tmp_path / "config.json").read_text() == "mine"
    assert diysolve(*words, "--force").exit_code == 0
    assert diysolve(*words).exit_code == 0, "the same again is no loss"


def test_an_export_that_cannot_be_is_one_sentence_and_no_file(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    for fields, words in (({"final_norm": False}, "final_norm"), ({"qkv_bias": True, "qk_norm": True}, "qkv_bias")):
        check_refused(diysolve("export", "-", "--out", out, stdin=json.dumps(fields)), words)
    check_refused(diysolve("export", "diy-3m"), "--out")
    check_refused(diysolve("export", "diy-3m", "--to", "onnx", "--out", out), "to='onnx'", "hf, diy, litgpt, python")
    check_refused(diysolve("export", "diy-3m", "--to", "litgpt", "--weights", "x.pt", "--out", out), "--to hf or diy")
    check_refused(diysolve("export", "diy-3m", "--weights", str(tmp_path / "none.pt"), "--out", out), "none.pt")
    assert not Path(out).exists()


SCALED = {"model_type": "llama", "num_hidden_layers": 1, "rope_scaling": {"rope_type": "llama3"}}


def test_what_a_config_cannot_take_along_is_a_note_and_with_weights_an_error(tmp_path: Path) -> None:
    words = ("export", "-", "--out", str(tmp_path / "out"))
    result = diysolve(*words, stdin=json.dumps(SCALED))
    assert result.exit_code == 0
    assert "RoPE scaling" in result.stderr
    check_refused(diysolve(*words, "--weights", "x.pt", stdin=json.dumps(SCALED)), "RoPE scaling", "weights")
    assert "RoPE scaling" in diysolve("memory", "-", "--seq", "64", stdin=json.dumps(SCALED)).stderr


def test_weights_go_out_and_come_back(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    from diymodel import DIYForCausalLM

    config = DIYConfig(vocab_size=50, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=24, max_seq_len=8)
    (tmp_path / "model.json").write_text(json.dumps(config.to_dict()))
    state = DIYForCausalLM(config).bfloat16().state_dict()
    torch.save(state, tmp_path / "state.pt")
    there, back = str(tmp_path / "there"), str(tmp_path / "back")
    result = diysolve(
        "export",
        str(tmp_path / "model.json"),
        "--weights",
        str(tmp_path / "state.pt"),
        "--out",
        there,
        "--format",
        "csv",
    )
    assert result.exit_code == 0, result.stderr
    assert [Path(line.split(",")[4]).name for line in result.stdout.splitlines()[1:]] == [
        "model.safetensors", "config.json",
    ]  # fmt: skip
    assert json.loads((tmp_path / "there" / "config.json").read_text())["dtype"] == "bfloat16"
    assert len({path.stat().st_mode for path in (tmp_path / "there").iterdir()}) == 1
    assert diysolve("export", there, "--weights", there, "--to", "diy", "--out", back).exit_code == 0
    found = load_file(tmp_path / "back" / "model.safetensors")
    assert all(torch.equal(tensor, state[name]) for name, tensor in found.items())
    assert found.keys() == state.keys() - {"lm_head.weight"}
    check_refused(
        diysolve("export", there, "--weights", there, "--to", "diy", "--out", back), "model.safetensors", "--force"
    )


# files, notes, help


def test_output_holds_what_stdout_would_have_held(tmp_path: Path) -> None:
    path = tmp_path / "presets.csv"
    result = diysolve("presets", "--format", "csv", "--output", str(path))
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr == f"written to {path}\n"
    assert path.read_text() == diysolve("presets", "--format", "csv").stdout
    assert [found.name for found in tmp_path.iterdir()] == ["presets.csv"]


def test_quiet_says_nothing_on_stderr(tmp_path: Path) -> None:
    for words in (("devices",), ("--target", "7B", "--vram", "1GB")):
        assert diysolve(*words, "--quiet", "--output", str(tmp_path / "out.txt")).stderr == ""
    check_refused(diysolve("--target", "abc", "--quiet"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_one_sentence_and_an_example_that_names_it(command: str) -> None:
    text = diysolve(command, "--help").stdout
    assert "Example: diysolve" in text
    summary = cli.commands[command].get_short_help_str(200)
    assert summary.endswith(".")
    assert summary in diysolve("--help").stdout.replace("\n", " ")


def test_every_option_has_a_word_of_help() -> None:
    for command in COMMANDS:
        for param in cli.commands[command].params:
            assert not isinstance(param, click.Option) or param.help, (command, param.name)


def test_the_commands_are_listed_in_the_order_of_use() -> None:
    assert tuple(cli.commands) == COMMANDS
    assert diysolve("-h").stdout == diysolve("--help").stdout


def test_the_preferences_of_the_command_are_those_of_the_library() -> None:
    """Written twice, so that the command's help need not wait for the library."""
    assert get_args(Prefer) == PREFERENCES


def test_the_programs_of_export_are_those_of_the_library() -> None:
    assert get_args(Program) == PROGRAMS


def test_version() -> None:
    result = diysolve("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("diysolve, version ")


@pytest.mark.parametrize(
    ("words", "incomplete", "completion"),
    [
        ([], "so", "solve"),
        ([], "--ta", "--target"),
        (["--target", "5M"], "--vr", "--vram"),
        (["memory", "diy-3m", "--gpu"], "rtx40", "rtx4090"),
        (["memory", "diy-3m", "--precision"], "bf16", "bf16-true"),
        (["count"], "smollm2-1", "smollm2-135m"),
        (["count"], "./", "./"),
    ],
)
def test_the_shell_completes(words: list[str], incomplete: str, completion: str) -> None:
    found = ShellComplete(cli, {}, "diysolve", "_DIYSOLVE_COMPLETE").get_completions(words, incomplete)
    assert completion in [item.value for item in found]


# what only a process can show


def test_a_solve_without_verification_loads_neither_torch_nor_other_heavy_packages() -> None:
    script = (
        "import sys\nfrom cli import cli\n"
        f"try: cli({list(SOLVE)!r})\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print([name for name in ('torch', 'scipy', 'rich', 'psutil') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr == "[]\n"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = f"{sys.executable} -m cli presets --format json; echo $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({command}) | head -c 1"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == "0\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_stdout_that_is_full_is_one_sentence() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cli", "presets"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("Error: output='stdout': cannot be written: ")
    assert done.stderr.count("\n") == 1


def test_ctrl_c_ends_it_without_a_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "cli", "count", "-"], cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        process.stdin.write(" " * 2**20)  # more than a pipe holds: when it is written, the process has come to read
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.split() == ["Stopped."]


def test_a_terminal_gets_a_table_of_its_width_and_color_unless_it_is_declined() -> None:
    shown = on_a_terminal(["devices"], {})
    assert "\x1b[1m" in shown
    assert "─" in shown
    plain = on_a_terminal(["devices"], {"NO_COLOR": "1"})
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 80


def on_a_terminal(words: list[str], environment: dict[str, str]) -> str:
    """What a terminal of 80 columns is sent."""
    import pty

    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "cli", *words],
        cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "COLUMNS": "80", **environment},
    ) as process:  # fmt: skip
        os.close(slave)
        text = b""
        while chunk := read_terminal(master):
            text += chunk
    os.close(master)
    assert process.returncode == 0
    return text.decode()


def read_terminal(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end is closed
        return b""


def test_results_are_recorded_as_they_come(tmp_path: Path) -> None:
    kept = tmp_path / "record.jsonl"
    for _ in range(2):
        result = diysolve("verify", "diy-3m", "diy-208m", "--device", "meta", "--record", str(kept))
        assert result.exit_code == 0, result.output
    records = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [record["source"] for record in records] == ["diy-3m", "diy-208m"] * 2
    for record in records:
        assert record["schema"] == "diysolve.record/1"
        assert DIYConfig.from_dict(record["config"])
        assert record["verification"]["params"]["equal"]
        assert record["recipe"]["precision"] == "bf16-mixed"


def test_a_record_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    check_refused(diysolve("verify", "diy-3m", "--record", str(tmp_path / "no" / "r.jsonl")), "there is no folder")


def test_as_many_sequences_as_fit() -> None:
    result = diysolve("memory", "diy-493m", "--vram", "24GB", "--micro-batch", "max", "--format", "json")
    report = json.loads(result.stdout)
    assert report["recipe"]["micro_batch"] == report["max_micro_batch"] > 1
    check_refused(diysolve("memory", "diy-493m", "--micro-batch", "max"), "micro_batch='max'", "needs a budget")
    check_refused(diysolve("--target", "5M", "--micro-batch", "max"), "micro_batch='max'", "needs a budget")
