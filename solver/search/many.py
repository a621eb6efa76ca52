"""Many queries: in the order of the input, with shared work, on as many cores as are asked for.

Queries are taken in windows. Those of a window that share a lattice and a band are answered one after the other with
one `Known`, wherever they stand in it, and a window's answers come out in its own order. So a generator of any length
is read as it is answered.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from solver.errors import RequestError
from solver.query import Query
from solver.search.answer import solve_knowing
from solver.search.known import Known
from solver.solution import Solution

WINDOW = 256
"""Queries that are looked at together."""

MOST_TOGETHER = 32
"""Queries of one task: few enough that the cores end together, and that little is lost where one is stopped."""

WAITING = 3
"""Tasks of each worker that are under way or wait, so that it is never idle."""

T = TypeVar("T")
R = TypeVar("R")

Answer = Solution | RequestError


def solve_many(queries: Iterable[Query], *, workers: int = 1) -> Iterator[Solution]:
    """The solution of each query, in the order of the queries; each as `solve` alone would give it, but for its time.

    What queries have in common is computed once. With more than one worker, processes answer them: the calling script
    must then be importable (its own work under `if __name__ == "__main__":`), as `multiprocessing` asks.

    Raises:
        RequestError: in place of the first solution that has none: a query whose constraints contradict each other.
    """
    for answer in answers(queries, workers=workers):
        if isinstance(answer, RequestError):
            raise answer
        yield answer


def answers(queries: Iterable[Query], *, workers: int = 1) -> Iterator[Answer]:
    """The same, with the error of a query in its place."""
    return in_order(queries, answer_together, kin, workers=workers)


def answer_together(queries: Iterable[Query]) -> Iterator[Answer]:
    """The answers to a few queries, with shared work."""
    known = Known()
    for query in queries:
        try:
            yield solve_knowing(query, known)
        except RequestError as error:
            yield error


def kin(query: Query) -> Hashable:
    """Equal for queries that share most of their work."""
    size = (query.target_params, query.tolerance, query.recipe, query.hidden_size, query.num_layers, query.vocab_size)
    return (*size, query.blueprint)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    items: Iterable[T], work: Callable[[Sequence[T]], Iterable[R]], key: Callable[[T], Hashable], *, workers: int = 1
) -> Iterator[R]:
    """The result of each item, in the order of the items."""
    early: dict[int, R] = {}
    wanted = 0
    for position, result in as_completed(items, work, key, workers=workers):
        early[position] = result
        while wanted in early:
            yield early.pop(wanted)
            wanted += 1


def as_completed(
    items: Iterable[T], work: Callable[[Sequence[T]], Iterable[R]], key: Callable[[T], Hashable], *, workers: int = 1
) -> Iterator[tuple[int, R]]:
    """(position, result) of each item, as they are finished.

    `work` is given those of a window with equal keys together, and gives a result for each, in their order. With more
    than one worker `work` and the items travel to other processes.
    """
    groups = _groups(items, key)
    if workers <= 1:
        for positions, group in groups:
            yield from zip(positions, work(group), strict=True)
        return
    with _pool(workers) as pool:
        running: dict[Future[list[R]], list[int]] = {}
        for positions, group in groups:
            running[pool.submit(_listed, work, group)] = positions
            while len(running) > WAITING * workers:
                yield from _finished(running)
        while running:
            yield from _finished(running)


def _finished(running: dict[Future[list[R]], list[int]]) -> Iterator[tuple[int, R]]:
    """What is finished next, taken out of what is running."""
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for task in done:
        yield from zip(running.pop(task), task.result(), strict=True)


def _listed(work: Callable[[Sequence[T]], Iterable[R]], items: Sequence[T]) -> list[R]:
    return list(work(items))


def _groups(items: Iterable[T], key: Callable[[T], Hashable]) -> Iterator[tuple[list[int], list[T]]]:
    """Items of a window with equal keys, at most MOST_TOGETHER, and their positions."""
    stream = iter(enumerate(items))
    while window := list(islice(stream, WINDOW)):
        by_key: dict[Hashable, list[tuple[int, T]]] = {}
        for position, item in window:
            by_key.setdefault(key(item), []).append((position, item))
        for group in by_key.values():
            for start in range(0, len(group), MOST_TOGETHER):
                part = group[start : start + MOST_TOGETHER]
                yield [position for position, _ in part], [item for _, item in part]


def process_pool(workers: int) -> ProcessPoolExecutor:
    """Processes that end with this one, however it ends, and that leave Ctrl-C to it."""
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """The same; what has not begun when it is left is given up."""
    pool = process_pool(workers)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    """A parent that is killed cannot end its processes, which would wait for work for ever."""
    parent.join()
    os._exit(1)
