"""README.md is true: its commands run and print what it shows, its examples run, its tree is the tree.

DIYSOLVE_REFRESH=1 pytest writes the outputs anew.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from solver.batch.spec import opened

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def steady(text: str) -> str:
    """Without what differs from run to run."""
    return re.sub(r"solved in [\d,]+ ms", "solved in 11 ms", text)


def run(command: str) -> str:
    """stdout of a `diysolve ...` line, as it prints into a pipe."""
    program, *arguments = shlex.split(command)
    assert program == "diysolve", "only the project's own command is run here"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return steady(done.stdout)


@pytest.mark.parametrize("block", blocks("console"), ids=lambda block: block.splitlines()[0].removeprefix("$ "))
def test_commands_print_what_is_shown(block: str) -> None:
    command, _, shown = block.partition("\n")
    printed = run(command.removeprefix("$ "))
    if os.environ.get("DIYSOLVE_REFRESH"):
        text = README.read_text(encoding="utf-8")
        README.write_text(
            text.replace(f"```console\n{block}```", f"```console\n{command}\n{printed}```"), encoding="utf-8"
        )
    else:
        assert printed == shown


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.splitlines()[0])
def test_examples_run(block: str) -> None:
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize(("layers", "code"), [(29, 0), (60, 1)])
def test_the_gate_fails_when_a_config_stops_fitting(tmp_path: Path, layers: int, code: int) -> None:
    (gate,) = [block for block in blocks("sh") if "diysolve memory" in block]
    shape = {"vocab_size": 6400, "hidden_size": 1024, "num_layers": layers, "num_heads": 16, "intermediate_size": 4096}
    (tmp_path / "config.json").write_text(json.dumps({**shape, "max_seq_len": 2048}))
    (tmp_path / "diysolve").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cli "$@"\n')
    (tmp_path / "diysolve").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-e", "-c", gate], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr


def test_the_spec_that_is_shown_can_be_read(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    (tmp_path / "grid.yaml").write_text(text, encoding="utf-8")
    with opened(str(tmp_path / "grid.yaml")) as spec:
        assert spec.check() == 4 * 3 * 3 + 1


def test_main_run_explains_every_column() -> None:
    table = blocks("console")[0]
    explained = set(re.findall(r"^\| `(.+?)` \|", TEXT, re.MULTILINE))
    headers = [
        line
        for line, below in zip(table.splitlines(), table.splitlines()[1:], strict=False)
        if set(below) == {"-", " "}
    ]
    titles = {title for header in headers for title in re.split(r" {2,}", header.strip())}
    assert titles
    assert titles <= explained


def tree() -> dict[str, str]:
    """path -> its line, from the block of the tree."""
    paths, folder = {}, ""
    for line in blocks("text")[0].splitlines():
        name = line.split()[0]
        indented = line.startswith("  ")
        folder = folder if indented else name if name.endswith("/") else ""
        paths[f"{folder}{name}" if indented else name] = line
    return paths


def test_tree_is_the_tree() -> None:
    shown = set(tree())
    missing = [path for path in shown if not (ROOT / path).exists()]
    assert not missing
    rooms = {
        f"{package}/{path.name}{'/' if path.is_dir() else ''}"
        for package in ("solver", "diymodel")
        for path in (ROOT / package).iterdir()
        if not path.name.startswith("__") and path.suffix != ".typed"
    }
    assert rooms <= shown


def test_gates_begin_with_the_test_command() -> None:
    command = "pip install uv && uv run pytest"
    assert f"```sh\n{command}\n```" in TEXT
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("broken", ["pip", "uv"])
def test_the_gates_fail_where_the_tests_cannot_be_run(broken: str, tmp_path: Path) -> None:
    """Bash goes on after `a && b` where a fails, whatever `set -e` says."""
    for name in ("pip", "uv", "chromium"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\nexit {int(name == broken)}\n")
        program.chmod(0o755)
    script = tmp_path / ".ci" / "run"
    script.parent.mkdir()
    script.write_bytes((ROOT / ".ci" / "run").read_bytes())
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    ended = subprocess.run(["bash", str(script)], env={**os.environ, "PATH": path}, check=False)
    assert ended.returncode != 0


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


def test_changelog_has_the_version() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version
    assert f"## {version[1]} " in changes
