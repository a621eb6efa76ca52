"""Verifications elsewhere: in other processes of this machine, or on the machines of a Ray cluster.

An executor is one of the standard library's (`concurrent.futures.Executor`). What was lost with its worker is given to
a new one; what was asked for already is not built twice.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, Literal

from solver.errors import DeviceError
from solver.search.many import process_pool
from solver.solution import Candidate, Verification
from solver.verify.verification import find_device, verify_candidate

Kind = Literal["local", "ray"]

ATTEMPTS = 3
"""How often a verification is begun whose worker is lost each time."""


class LostError(RuntimeError):
    """A verification whose worker was lost ATTEMPTS times."""


class Verifier:
    """Verifications through an executor: each config once per recipe, and again where its worker was lost.

    Args:
        start: makes an executor; called anew when the one before is broken.
    """

    work = staticmethod(verify_candidate)
    """What is sent to the executor."""

    def __init__(self, start: Callable[[], Executor], device: str = "auto") -> None:
        self._start, self._device = start, device
        self._executor: Executor | None = None
        self._asked: dict[Hashable, Future[Verification]] = {}

    def __enter__(self) -> Verifier:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._executor:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def ask(self, candidate: Candidate) -> None:
        """Begin a verification, unless it has been asked for before."""
        if _key(candidate) not in self._asked:
            self._asked[_key(candidate)] = self._submit(candidate)

    def answer(self, candidate: Candidate) -> Verification:
        """Its result, when it is there. Where a worker was lost on the way, its note says so.

        Raises:
            LostError: its workers were all lost.
            DeviceError, RecipeError: as `verify_config`.
        """
        self.ask(candidate)
        for lost in range(ATTEMPTS):
            try:
                verification = self._asked[_key(candidate)].result()
            except BrokenExecutor:
                self._asked[_key(candidate)] = self._submit(candidate)
            else:
                return _after_losses(verification, lost)
        raise LostError(f"not verified: its worker was lost {ATTEMPTS} times")

    def _submit(self, candidate: Candidate) -> Future[Verification]:
        if self._executor is None:
            self._executor = self._start()
        try:
            return self._executor.submit(self.work, candidate, self._device)
        except BrokenExecutor:
            self._executor.shutdown(wait=False)
            self._executor = self._start()
            return self._executor.submit(self.work, candidate, self._device)


def _key(candidate: Candidate) -> Hashable:
    """Equal where a verification would be: the budget matters only in whether there is one."""
    memory = candidate.memory
    return (candidate.config, memory.recipe, memory.verdict is None) if memory else candidate.config


def _after_losses(verification: Verification, lost: int) -> Verification:
    if not lost:
        return verification
    times = "once" if lost == 1 else f"{lost} times"
    note = "; ".join(filter(None, (verification.note, f"its worker was lost {times}, and it was verified again")))
    return replace(verification, note=note)


def starter(kind: Kind, device: str, workers: int) -> Callable[[], Executor]:
    """What makes an executor of that kind.

    Raises:
        DeviceError: the device is not here; Ray is not installed.
    """
    if kind == "ray":
        if find_spec("ray") is None:
            raise DeviceError("executor", "ray", "Ray is not installed; pip install 'diysolve[ray]', or use local")
        return RayExecutor
    alone = find_device(device) != "meta"  # a card, or the RAM of a step, is one verification's at a time
    return lambda: process_pool(1 if alone else workers)


class RayExecutor(Executor):
    """Tasks on a Ray cluster: the one that RAY_ADDRESS names, or a new one of this machine.

    Args:
        num_gpus: of each task. None: one if the cluster has any, else none.
    """

    def __init__(self, num_gpus: float | None = None) -> None:
        from importlib import import_module

        ray: Any = import_module("ray")  # its types are incomplete
        errors: Any = import_module("ray.exceptions")
        self._ray, self._lost = ray, (errors.WorkerCrashedError, errors.NodeDiedError)
        self._own = not ray.is_initialized()
        if self._own:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR", configure_logging=False)
        self.num_gpus = num_gpus if num_gpus is not None else float(ray.cluster_resources().get("GPU", 0) >= 1)
        self._refs: list[Any] = []

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run `function` somewhere in the cluster. Its future is broken (BrokenExecutor) where the worker is lost."""
        task = self._ray.remote(function).options(num_gpus=self.num_gpus, max_retries=0)
        ref = task.remote(*args, **kwargs)
        self._refs.append(ref)
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        ref.future().add_done_callback(lambda done: self._settle(future, done))
        return future

    def _settle(self, future: Future[Any], done: Future[Any]) -> None:
        error = done.exception()
        if error is None:
            future.set_result(done.result())
        elif isinstance(error, self._lost):
            future.set_exception(BrokenExecutor(f"a worker of the cluster was lost: {type(error).__name__}"))
        else:
            future.set_exception(getattr(error, "cause", None) or error)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster; one of its own is ended."""
        if wait and not cancel_futures:
            self._ray.wait(self._refs, num_returns=len(self._refs)) if self._refs else None
        for ref in self._refs if cancel_futures else []:
            self._ray.cancel(ref, force=True)
        if self._own:
            self._ray.shutdown()
