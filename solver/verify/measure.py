"""A trial on a device, in a process of its own: what is asked, what came of it, and the process.

The worker gets the trial as JSON on stdin and answers with one line of JSON on stdout. Whatever happens to it is an
outcome and no exception: it may run out of memory, take too long, or crash.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from diymodel.config import DIYConfig
from solver.recipe import Recipe

TIMEOUT_SECONDS = 300.0
"""Longest life of a worker (assumption: loading torch, building and five steps take well under a minute for whatever
fits into one card)."""

WORKER = (sys.executable, "-m", "solver.verify.worker")

_ROOT = Path(__file__).resolve().parents[2]
"""The folder of the packages `solver` and `diymodel`, so that the worker starts from a bare checkout too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """Steps of one config at one recipe on one device."""

    config: DIYConfig
    recipe: Recipe
    device: str
    """torch's name of the kind of device: cuda, xpu, mps, cpu."""
    warm_up: int = 2
    """Steps before the peak is reset: the first makes the optimizer's states, the second runs with them."""
    timed: int = 3
    """Steps in the steady state, each with its own time."""

    def to_json(self) -> str:
        values = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({**values, "config": self.config.to_dict(), "recipe": self.recipe.to_dict()})

    @classmethod
    def from_json(cls, text: str) -> Trial:
        values = json.loads(text)
        config, recipe = DIYConfig.from_dict(values.pop("config")), Recipe(**values.pop("recipe"))
        return cls(config=config, recipe=recipe, **values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of a trial. None where the trial did not get there, or the device cannot say."""

    kind: Literal["done", "out of memory", "timed out", "crashed"]
    device: str
    """The kind of device and its name: `cuda: NVIDIA H100 80GB HBM3`."""
    stage: str = ""
    """What the trial was doing when it ended: build, forward, warm-up, steps, done."""
    error: str = ""
    loss: float | None = None
    """Nats per token in the first training step; may be not finite."""
    forward_finite: bool | None = None
    peak_bytes: int | None = None
    """`max_memory_allocated` of the steady state without the workspace; before it, of all so far."""
    workspace_bytes: int | None = None
    """What cuBLAS keeps inside the allocator; `max_memory_allocated` is this and the peak."""
    reserved_bytes: int | None = None
    """`max_memory_reserved`."""
    process_bytes: int | None = None
    """By how much the device's memory in use grew since this process' context was made (`mem_get_info`)."""
    free_bytes: int | None = None
    """Free on the device at the start, this process' context made."""
    total_bytes: int | None = None
    step_seconds: float | None = None
    """Median of the timed steps; in inference a step is the prefill and all decoded tokens."""
    tokens_per_second: float | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        """Raises ValueError or TypeError for what is not an outcome."""
        return cls(**json.loads(text))


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a process ended. `exit_code` is None where it was killed for taking too long, negative for a signal."""

    exit_code: int | None
    stdout: str
    stderr: str

    @property
    def last_words(self) -> str:
        """The last line on stderr: an exception's message, or the stage that was begun last."""
        lines = self.stderr.strip().splitlines()
        return lines[-1].strip()[:300] if lines else ""


def accelerator() -> str | None:
    """torch's name of the kind of accelerator on this machine, if there is one."""
    device = torch.accelerator.current_accelerator(check_available=True)
    return None if device is None else device.type


def run_worker(trial: Trial, *, timeout_seconds: float = TIMEOUT_SECONDS, command: Sequence[str] = WORKER) -> Outcome:
    """Run a trial in a process of its own. Nothing of it is left running, whatever happens.

    Args:
        command: what to run; this process' id is appended, so that the worker can tell when it is left alone.
    """
    ended = run_process((*command, str(os.getpid())), trial.to_json(), timeout_seconds)
    if ended.exit_code is None:
        error = f"after {timeout_seconds:g} s"
        return Outcome(kind="timed out", device=trial.device, stage=ended.last_words, error=error)
    if ended.exit_code == 0:
        try:
            return Outcome.from_json(ended.stdout)
        except (ValueError, TypeError):
            return Outcome(kind="crashed", device=trial.device, error="the answer of the worker cannot be read")
    return Outcome(kind="crashed", device=trial.device, error=f"{_cause(ended.exit_code)}: {ended.last_words}")


def run_process(command: Sequence[str], text: str, timeout_seconds: float) -> Ended:
    """Run a command with `text` on its stdin, in a session of its own, so that it can be killed with its children."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(_ROOT), os.getenv("PYTHONPATH"))))}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(text, timeout=timeout_seconds)
        except subprocess.TimeoutExpired as expired:
            _kill(process)
            return Ended(exit_code=None, stdout="", stderr=_decoded(expired.stderr))
        except BaseException:  # an interrupt from the keyboard reaches this process only: the session is another
            _kill(process)
            raise
    return Ended(exit_code=process.returncode, stdout=stdout, stderr=stderr)


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill the process and its children; for a process that was not waited for yet, so that its id is still its own."""
    if sys.platform == "win32":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)


def _decoded(output: Any) -> str:
    """What was read before the timeout: bytes, in spite of text=True."""
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def _cause(exit_code: int) -> str:
    if exit_code >= 0:
        return f"the worker ended with exit code {exit_code}"
    hint = "; often the machine ran out of RAM" if -exit_code == 9 else ""
    return f"the worker was killed by signal {-exit_code}{hint}"
