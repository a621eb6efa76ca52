"""What `explain` says of an answer: true of a solve with that one thing changed, and of the score term by term."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from solver import Query, Solution, Status, ranking, solve
from solver.compute import step_time
from solver.explain import NEIGHBOURS, READ, explain
from solver.presets import PRESETS
from solver.solution import Relaxation
from solver.units import short_bytes

CLOSE = 1e-6


def explained(**words: Any) -> Solution:
    return explain(solve(Query.parse(**words)))


def relaxation(solution: Solution, change: str) -> Relaxation:
    assert solution.explanation
    found = [entry for entry in solution.explanation.relaxations if entry.change == change]
    assert len(found) == 1, [entry.change for entry in solution.explanation.relaxations]
    return found[0]


@pytest.fixture(scope="module")
def tight() -> Solution:
    """Short of memory, and with two dimensions given."""
    return explained(target="500M", vram="24GB", micro_batch=5, hidden="1024:1536", heads="16,24", vocab="32000")


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ("one more GiB", {"vram_bytes": 24 * 10**9 + 2**30}),
        ("no budget", {"vram_bytes": None}),
        ("tolerance 2 %", {"tolerance": 0.02}),
        ("hidden free", {"hidden_size": None}),
        ("heads free", {"num_heads": None}),
        ("vocab 16000", {"vocab_size": (16000,)}),
        ("10T tokens", {"tokens": 10**13}),
    ],
)
def test_a_relaxation_is_what_a_solve_with_it_finds(tight: Solution, change: str, changed: dict[str, Any]) -> None:
    first = tight.candidates[0]
    again = solve(replace(tight.query, **changed)).candidates[0]
    found = relaxation(tight, change)
    assert found.config == again.config
    assert found.predicted_loss == pytest.approx(again.score.predicted_loss, abs=CLOSE)
    assert found.loss_gain == pytest.approx(first.score.predicted_loss - again.score.predicted_loss, abs=CLOSE)
    assert found.score_gain == pytest.approx(first.score.total - again.score.total, abs=CLOSE)


def test_a_recipe_that_needs_less_memory_is_tried_where_memory_binds(tight: Solution) -> None:
    assert relaxation(tight, "checkpointing full").score_gain == pytest.approx(
        relaxation(tight, "no budget").score_gain, abs=CLOSE
    )
    easy = explained(target="500M", vram="80GB")
    assert easy.explanation
    assert "checkpointing" not in {entry.constraint for entry in easy.explanation.relaxations}


@pytest.mark.parametrize("prefer", ["quality", "speed", "memory", "balanced"])
@pytest.mark.parametrize("words", [{"target": "125M", "vram": "6GB"}, {"vram": "6GB", "hidden": "512:1024"}])
def test_what_only_admits_more_never_raises_the_score(prefer: str, words: dict[str, Any]) -> None:
    solution = explained(prefer=prefer, micro_batch=2, layers="8:12", **words)
    assert solution.explanation
    for entry in solution.explanation.relaxations:
        if entry.constraint in ("tolerance", "layers", "hidden") or entry.change == "no budget":
            assert entry.score_gain is not None
            assert entry.score_gain >= -CLOSE, entry


@pytest.mark.parametrize("words", [{"target": "125M"}, {"hidden": "256:512"}])
def test_more_memory_never_raises_the_score_where_each_shape_runs_at_its_largest(words: dict[str, Any]) -> None:
    """The larger budget's winner is judged at the micro-batch that it has there."""
    solution = explained(prefer="speed", micro_batch="max", vram="4GB", layers="4:12", tokens_per_param=20, **words)
    assert (relaxation(solution, "one more GiB").score_gain or 0) > 0


def test_the_binding_constraint_is_that_of_the_largest_gain(tight: Solution) -> None:
    assert tight.binding is not None
    assert (tight.binding.constraint, tight.binding.change) == ("memory", "no budget")
    assert "binding constraint: memory" in tight.message
    free = explained(target="500M", layers="20")
    assert free.binding is not None
    assert (free.binding.constraint, free.binding.change) == ("layers", "layers free")
    assert free.binding.gain == relaxation(free, "layers free").score_gain


def test_nothing_is_loosened_that_was_not_asked_for() -> None:
    plain = explained(target="500M")
    assert plain.explanation
    assert [entry.constraint for entry in plain.explanation.relaxations] == ["tolerance", "target", "tokens"]
    assert plain.binding is not None
    assert plain.binding.constraint == "none"


def test_a_tenth_more_of_everything_ends_where_queries_end() -> None:
    ratio = explained(target="20M", tokens_per_param=200_000.0)
    assert ratio.explanation
    assert "tokens" not in {entry.constraint for entry in ratio.explanation.relaxations}
    untied = explained(target="60M", untied=True, tokens_per_param=20.0)
    assert relaxation(untied, "a tied head").config is not None
    assert relaxation(untied, "200 tokens a parameter").loss_gain is not None


def test_every_term_of_the_first_candidates_is_read(tight: Solution) -> None:
    for solution in (tight, explained(target="500M", vram="24GB", prefer="balanced")):
        assert solution.explanation
        read = {(reading.rank, reading.term): reading for reading in solution.explanation.readings}
        first = solution.candidates[:READ]
        assert set(read) == {(candidate.rank, term) for candidate in first for term in candidate.score.terms}
        for (rank, term), reading in read.items():
            assert reading.nats == solution.candidates[rank - 1].score.terms[term]
            assert reading.meaning == ranking.MEANINGS[term]
            assert reading.shape


def test_scores_at_other_prices_are_not_compared() -> None:
    for prefer, compared in (("quality", True), ("speed", False)):
        found = relaxation(explained(target="500M", prefer=prefer), "10T tokens")
        assert found.loss_gain is not None
        assert (found.score_gain is not None) == compared


def test_what_is_read_is_true_of_the_shape() -> None:
    words = {"layers": "30", "hidden": "1088", "heads": "17", "kv_heads": "17", "intermediate": "2944"}
    solution = explained(target="437M", tolerance="5%", prefer="speed", **words)
    assert solution.explanation
    shape = {reading.term: reading.shape for reading in solution.explanation.readings}
    assert shape["predicted_loss"] == "30 layers of 1088, 437.0M params, 1.000T tokens"
    assert shape["mlp_share"] == "intermediate is 2.71 times hidden"
    assert shape["kv_heads"] == "17 kv heads"
    assert shape["heads"] == "17 heads of 64"
    assert shape["alignment"] == "hidden 1088, heads 1088 off the multiples of 128"
    times = float(shape["speed"].split()[0])
    seconds = ranking.relative_step_time(solution.candidates[0].config, 2048)
    assert times == pytest.approx(seconds / (6 * 437e6 * 2048 / (312e12 * step_time.fitted().products)), abs=0.01)


def test_the_peak_that_is_read_is_that_of_the_recipe() -> None:
    solution = explained(target="500M", vram="24GB", prefer="memory")
    assert solution.explanation
    peaks = [reading.shape for reading in solution.explanation.readings if reading.term == "memory"]
    for candidate, words in zip(solution.candidates, peaks, strict=False):
        peak = candidate.memory.peak_bytes
        assert words == f"peak {short_bytes(peak)}, {peak / (16 * 500e6):.2f} times 16 bytes a param"


@pytest.mark.parametrize(
    ("target", "known"), [("130M", "smollm2-135m"), ("600M", "mobilellm-600m"), ("1.2B", "llama-3.2-1b")]
)
def test_published_neighbours_are_the_nearest_in_size(target: str, known: str) -> None:
    solution = explained(target=target)
    assert solution.explanation
    near = solution.explanation.neighbours
    assert len(near) == NEIGHBOURS
    assert known in [neighbour.name for neighbour in near]
    assert not [neighbour.name for neighbour in near if neighbour.name.startswith("diy")]
    distances = [abs(math.log(n.params / solution.candidates[0].params["total"])) for n in near]
    assert distances == sorted(distances)
    assert len({(n.config.num_layers, n.config.hidden_size, n.params) for n in near}) == NEIGHBOURS
    assert {n.name for n in near} <= {preset.name for preset in PRESETS}


def test_an_infeasible_answer_says_what_would_be_found() -> None:
    solution = explained(target="500M", vram="24GB", micro_batch=6, layers="30")
    assert solution.status is Status.INFEASIBLE
    assert solution.explanation
    assert solution.explanation.readings == solution.explanation.neighbours == ()
    found = relaxation(solution, "no budget")
    assert found.config is not None
    assert found.loss_gain is found.score_gain is None
    assert relaxation(solution, "tolerance 2 %").note == "nothing satisfies that"


def test_the_candidates_stay_what_they_were() -> None:
    solution = solve(Query.parse(target="500M", vram="24GB", layers="20"))
    assert explain(solution).candidates == solution.candidates
    assert explain(solution).stats == solution.stats
