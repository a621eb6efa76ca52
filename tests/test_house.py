"""The rules of the house, executed: which room may import which, where torch lives, what a value is."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS: list[set[str]] = [
    {"solver.errors"},
    {"solver.units", "solver.recipe", "solver.families", "diymodel.config"},
    {"solver.devices"},
    {"solver.counts", "solver.presets"},
    {"solver.interop"},
    {"solver.query"},
    {"solver.compute"},
    {"solver.inverse", "solver.memory", "solver.ranking"},
    {"solver.lattice", "solver.solution"},
    {"solver.search"},
    {"solver.explain", "solver.card"},
    {"solver.verify", "solver.report"},
    {"solver.commands", "solver.batch"},
    {"solver.serve"},
    {"cli"},
]
"""From the ground up: a room may import rooms of lower floors, and itself."""

MODEL_FLOORS: list[set[str]] = [{"diymodel.config"}, {"diymodel.model"}, {"diymodel.step"}, {"diymodel.checks"}]

TORCH_ROOMS = (
    "diymodel/model.py",
    "diymodel/step.py",
    "diymodel/checks.py",
    "solver/verify/",
    "solver/interop/weights.py",
)


def sources() -> list[Path]:
    files = [ROOT / "cli.py", *(ROOT / "solver").rglob("*.py"), *(ROOT / "diymodel").rglob("*.py")]
    return [file for file in files if file.name != "__init__.py" or file.parent.parent != ROOT]


def module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room(name: str) -> str:
    """The room of a module: the second part of its name below solver/ and diymodel/."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] in ("solver", "diymodel") else parts[0]


def floor(name: str, floors: list[set[str]]) -> int:
    found = [number for number, rooms in enumerate(floors) if name in rooms]
    assert found, f"{name} has no floor: add it to the table"
    return found[0]


def imports(file: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            found += [node.module or ""]
            found += [f"{node.module}.{alias.name}" for alias in node.names if node.module in ("solver", "diymodel")]
    return found


@pytest.mark.parametrize("file", sources(), ids=lambda file: module(file))
def test_imports_run_one_way(file: Path) -> None:
    own = room(module(file))
    floors = MODEL_FLOORS if own.startswith("diymodel") else FLOORS
    for name in imports(file):
        other = room(name)
        if other == own or other in ("solver", "diymodel") or not other.startswith(("solver.", "diymodel.")):
            continue
        if own.startswith("diymodel"):
            assert other.startswith("diymodel"), f"{module(file)} knows {other}: the model knows nothing of the solver"
        elif other.startswith("diymodel.") and other != "diymodel.config":
            assert own == "solver.verify", f"{module(file)} imports {other}: torch lives in solver.verify"
            continue
        assert floor(other, floors) < floor(own, floors), f"{module(file)} may not import {other}"


@pytest.mark.parametrize("file", sources(), ids=lambda file: module(file))
def test_torch_only_where_it_is_needed(file: Path) -> None:
    if not str(file.relative_to(ROOT)).startswith(TORCH_ROOMS):
        assert not [name for name in imports(file) if name.split(".")[0] == "torch"]


def loaded_by(code: str) -> set[str]:
    """Top-level modules that are loaded after running `code` in a fresh interpreter."""
    script = f"{code}\nimport sys; print('LOADED', *{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.rsplit("LOADED", 1)[1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import solver",
        "import diymodel",
        "import cli",
        "from solver import Query, solve; solve(Query.parse(target='500M', vram='24GB'))",
        "import cli; cli.main(['--help'], standalone_mode=False)",
        "import cli; cli.main(['--target', '500M', '--vram', '24GB', '--verify', '0'], standalone_mode=False)",
    ],
)
def test_start_up_loads_neither_torch_nor_scipy(code: str) -> None:
    assert not {"torch", "scipy", "psutil", "matplotlib", "jinja2", "yaml", "ray"} & loaded_by(code)


def modules() -> list[str]:
    return [module(file) for file in sources() if "worker" not in file.name]


@pytest.mark.parametrize("name", modules())
def test_values_are_frozen_and_keyword_only(name: str) -> None:
    for value in vars(importlib.import_module(name)).values():
        if dataclasses.is_dataclass(value) and isinstance(value, type) and value.__module__ == name:
            settings = value.__dataclass_params__  # type: ignore[attr-defined]
            assert settings.frozen, f"{value} can be changed"
            few = len(dataclasses.fields(value)) <= 3
            assert few or all(field.kw_only for field in dataclasses.fields(value)), f"{value} takes positions"


@pytest.mark.parametrize(
    "package",
    ["solver", "diymodel", "solver.compute", "solver.memory", "solver.ranking", "solver.search", "solver.card"],
)
def test_public_names_are_there(package: str) -> None:
    loaded = importlib.import_module(package)
    assert all(hasattr(loaded, name) for name in loaded.__all__)


@pytest.mark.parametrize("file", [*sources(), *(ROOT / "tests").rglob("*.py")], ids=lambda file: module(file))
def test_no_room_for_odds_and_ends(file: Path) -> None:
    assert file.stem not in ("utils", "common", "helpers", "misc")
