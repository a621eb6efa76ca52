"""A batch: every entry of a spec answered once, appended as it comes, and put in order at the end.

Solving is spread over the cores, verifying is an executor's. An entry that has no answer has its error in its row.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from heapq import nsmallest
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solver.batch.spec import Entry, Spec
from solver.batch.store import Store, body, key_of, line
from solver.errors import InputFileError, RequestError
from solver.query import Query
from solver.search.many import Answer, answer_together, as_completed, in_order, kin
from solver.solution import Candidate, Solution, Status

if TYPE_CHECKING:
    from solver.verify.executors import Verifier

FEW = 64
"""Entries up to which one process is quicker than starting others (assumption: half a second of solving)."""

AHEAD = 32
"""Entries whose verifications are under way while the first of them is waited for."""

SYNC_EVERY = 256
"""Results between two that are forced to the disk."""

Progress = Callable[[int, int], None]
"""Called with how many are done, and of how many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verify:
    """What is to be built."""

    each: int = 0
    """How many of the best candidates of each query."""
    overall: int = 0
    """How many of the best queries: their best candidates."""
    device: str = "auto"

    def __str__(self) -> str:
        return f"{self.each} each, {self.overall} overall, on {self.device}" if self.each or self.overall else "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """How a batch ended."""

    total: int
    solved: int
    infeasible: int
    failed: int
    disagreeing: int
    """Entries with a verification that disagrees."""
    reused: int = 0
    """Results that were there before."""

    @property
    def counts(self) -> dict[str, int]:
        """How many ended in which way."""
        return {name: getattr(self, name) for name in ("total", "solved", "infeasible", "failed", "disagreeing")}

    @property
    def exit_code(self) -> int:
        """2 where an entry contradicts itself, 1 where nothing satisfies one or a verification disagrees, else 0."""
        return 2 if self.failed else 1 if self.infeasible or self.disagreeing else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """A spec that has been checked, and how it is to be answered."""

    spec: Spec
    total: int
    """Entries of the spec."""
    workers: int = 1
    verify: Verify = Verify()
    verifier: Verifier | None = None
    """Where `verify` is answered; needed where it asks for anything."""
    version: str = field(default_factory=lambda: version("diysolve"))
    """Results of another one are not used."""

    @property
    def name(self) -> Name:
        """From a query to the key of its result."""
        return partial(key_of, version=self.version, verify=str(self.verify))

    def key(self, entry: Entry) -> str:
        """The key of an entry's result."""
        return self.name(entry.query)

    @property
    def built(self) -> Verifier:
        """The verifier, where there is one."""
        if self.verifier is None:
            raise ValueError("verify: asks for verifications, and there is no verifier; give one along")
        return self.verifier

    @property
    def processes(self) -> int:
        """Processes that solve: a few entries are not worth starting any."""
        return 1 if self.total <= FEW else self.workers


def run(batch: Batch, folder: Path, *, fresh: bool = False, progress: Progress = lambda done, total: None) -> Tally:
    """Answer what is not answered yet, and write `results.jsonl` in the order of the spec.

    What is finished stays on disk whatever ends the run; the same call goes on from there.

    Args:
        fresh: start over.

    Raises:
        InputFileError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputFileError("out", str(folder), f"cannot be made: {(error.strerror or str(error)).lower()}") from None
    with Store(folder, fresh=fresh) as store:
        reused = _answer_missing(batch, store, progress)
        if batch.verify.overall:
            _verify_overall(batch, store)
        store.sync()
        return replace(tally(store.rewrite((entry, batch.key(entry)) for entry in batch.spec.entries())), reused=reused)


def stream(batch: Batch) -> Iterator[bytes]:
    """The line of each entry, in order, as soon as it is there; nothing is kept. The best overall are not known then.

    Raises:
        RequestError: `verify` asks for them.
    """
    if batch.verify.overall:
        raise RequestError("verify_overall", batch.verify.overall, "needs a folder to write to; give out DIR")
    if batch.verify.each:
        answered = in_order(batch.spec.entries(), partial(_solved, batch.name), _kin, workers=batch.processes)
        found = (kept for _, kept in _verified(batch, answered))
    else:
        found = (kept for _, kept in in_order(batch.spec.entries(), partial(_kept, batch.name), _kin,
                                              workers=batch.processes))  # fmt: skip
    for entry, kept in zip(batch.spec.entries(), found, strict=True):
        yield line(entry, kept.encode())


def _answer_missing(batch: Batch, store: Store, progress: Progress) -> int:
    """Answer the entries whose results are not in the store; returns how many are."""
    reused = sum(batch.key(entry) in store for entry in batch.spec.entries()) if len(store) else 0
    done = reused
    progress(done, batch.total)
    for key, kept in _answers(batch, _missing(batch, store)):
        store.add(key, kept)
        done += 1
        progress(done, batch.total)
        if done % SYNC_EVERY == 0:
            store.sync()
    progress(batch.total, batch.total)  # equal entries have one result
    return reused


def _missing(batch: Batch, store: Store) -> Iterator[Entry]:
    """The entries that are to be answered; of equal ones the first."""
    asked: set[bytes] = set()
    for entry in batch.spec.entries():
        key = batch.key(entry)
        name = bytes.fromhex(key)
        if key not in store and name not in asked:
            asked.add(name)
            yield entry


def _answers(batch: Batch, entries: Iterator[Entry]) -> Iterator[tuple[str, str]]:
    """(key, result as it is kept) of each entry, as they are finished."""
    if not batch.verify.each:
        kept = as_completed(entries, partial(_kept, batch.name), _kin, workers=batch.processes)
        yield from (found for _, found in kept)
        return
    solved = as_completed(entries, partial(_solved, batch.name), _kin, workers=batch.processes)
    yield from _verified(batch, (found for _, found in solved))


# In the processes that solve

Name = Callable[[Query], str]
"""From a query to the key of its result."""

Answered = tuple[str, Answer]
"""The key of an entry, and its answer."""


def _kin(entry: Entry) -> Hashable:
    return kin(entry.query)


def _solved(name: Name, entries: Sequence[Entry]) -> Iterator[Answered]:
    answers = answer_together(entry.query for entry in entries)
    return ((name(entry.query), answer) for entry, answer in zip(entries, answers, strict=True))


def _kept(name: Name, entries: Sequence[Entry]) -> Iterator[tuple[str, str]]:
    return ((key, _body(key, answer)) for key, answer in _solved(name, entries))


def _body(key: str, answer: Answer, notes: Sequence[str] = ()) -> str:
    if isinstance(answer, Solution):
        return body(key, answer, answer.message, notes)
    return body(key, None, str(answer))


# Verifying


def _verified(batch: Batch, solved: Iterable[Answered]) -> Iterator[tuple[str, str]]:
    """The answers in their order with their best candidates verified; those of the next AHEAD are under way."""
    waiting: deque[Answered] = deque()
    for key, answer in solved:
        if isinstance(answer, Solution):
            for candidate in answer.candidates[: batch.verify.each]:
                batch.built.ask(candidate)
        waiting.append((key, answer))
        if len(waiting) > AHEAD:
            yield _with_verifications(batch, *waiting.popleft())
    while waiting:
        yield _with_verifications(batch, *waiting.popleft())


def _with_verifications(batch: Batch, key: str, answer: Answer) -> tuple[str, str]:
    if not isinstance(answer, Solution):
        return key, _body(key, answer)
    first, rest = answer.candidates[: batch.verify.each], answer.candidates[batch.verify.each :]
    notes: list[str] = []
    built = tuple(_built(batch, candidate, answer.query, notes) for candidate in first)
    return key, _body(key, replace(answer, candidates=(*built, *rest)), notes)


def _built(batch: Batch, candidate: Candidate, query: Query, notes: list[str]) -> Candidate:
    """The candidate with its verification; without, where it could not be made, and a note that says why."""
    from solver.verify.executors import LostError
    from solver.verify.verification import with_builder

    try:
        return replace(candidate, verification=with_builder(batch.built.answer(candidate), query))
    except (LostError, RequestError) as error:
        notes.append(f"rank {candidate.rank}: {error}")
        return candidate


def _verify_overall(batch: Batch, store: Store) -> None:
    """Verify the best candidate of the queries with the lowest predicted loss."""
    keys = dict.fromkeys(batch.key(entry) for entry in batch.spec.entries())
    solved = ((key, json.loads(store.get(key))["solution"]) for key in keys)
    losses = (
        (found["candidates"][0]["score"]["predicted_loss"], key)
        for key, found in solved
        if found and found["candidates"]
    )
    best = [(key, json.loads(store.get(key))) for _, key in nsmallest(batch.verify.overall, losses)]
    missing = [
        (key, Solution.from_dict(kept["solution"]))
        for key, kept in best
        if not kept["solution"]["candidates"][0]["verification"] and not kept["notes"]
    ]
    for _, solution in missing:
        batch.built.ask(solution.candidates[0])
    for key, solution in missing:
        notes: list[str] = []
        first = _built(batch, solution.candidates[0], solution.query, notes)
        store.add(key, _body(key, replace(solution, candidates=(first, *solution.candidates[1:])), notes))


# Counting


def tally(lines: Iterable[bytes]) -> Tally:
    """How the entries of these lines ended."""
    by_status: Counter[str] = Counter()
    disagreeing = 0
    for found in map(json.loads, lines):
        by_status[found["status"]] += 1
        disagreeing += _disagrees(found)
    return Tally(
        total=by_status.total(),
        solved=by_status[Status.SOLVED],
        infeasible=by_status[Status.INFEASIBLE],
        failed=by_status["error"],
        disagreeing=disagreeing,
    )


def _disagrees(found: dict[str, Any]) -> bool:
    candidates = found["solution"]["candidates"] if found["solution"] else []
    verifications = (candidate["verification"] for candidate in candidates)
    return any(verification and not verification["agrees"] for verification in verifications)
