"""Why an answer is what it is: each constraint loosened and solved again, the score in words, published neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from solver import ranking
from solver.errors import QueryError
from solver.presets import PUBLISHED, Preset
from solver.query import DEFAULT_TOKENS, OPTIONS, Query
from solver.search.answer import solved_message
from solver.search.binding import BINDS, twice_the_tolerance
from solver.search.order import prices, regime, totals
from solver.search.passes import winner
from solver.solution import Binding, Candidate, Explanation, Neighbour, Reading, Relaxation, Solution
from solver.units import GIB, exact_count, short_bytes, short_count

READ = 3
"""Candidates whose terms are put into words."""

NEIGHBOURS = 4

SMALLEST_VOCAB = 6400
"""A vocabulary is halved down to this: the smallest of the published models that are known here."""

TARGET_STEP = 1.1
TOKENS_STEP = 10

HARD = ("memory", "tolerance", *(word for word in OPTIONS.values() if word != "vocab"))
"""Constraints that can bind. The others ask for something else: a target, tokens, a vocabulary, a recipe."""

WISHES = ("target", "tokens", "flops", "train_days")
"""With these a preference has other prices, so that the scores do not compare."""


def explain(solution: Solution) -> Solution:
    """The same answer with its explanation. What binds is then judged by full searches: a solve each."""
    relaxations = tuple(_relaxation(solution, *loosened) for loosened in _loosened(solution))
    explanation = Explanation(
        relaxations=relaxations,
        readings=tuple(
            reading for candidate in solution.candidates[:READ] for reading in _readings(candidate, solution.query)
        ),
        neighbours=_neighbours(solution.candidates[0].params["total"]) if solution.candidates else (),
    )
    if solution.binding is None:
        return replace(solution, explanation=explanation)
    bound = max([solution.binding, *_bindings(relaxations)], key=lambda bound: bound.gain)
    message = solved_message(solution.query, solution.stats, bound)
    return replace(solution, explanation=explanation, binding=bound, message=message)


def _bindings(relaxations: tuple[Relaxation, ...]) -> Iterator[Binding]:
    for relaxation in relaxations:
        gain = relaxation.score_gain or 0
        if relaxation.constraint in HARD and gain > BINDS:
            yield Binding(constraint=relaxation.constraint, change=relaxation.change, gain=gain)


# What each constraint costs


def _loosened(solution: Solution) -> Iterator[tuple[str, str, str, Query]]:
    """(constraint, change in words, note, the query with it)."""
    query = solution.query
    yield from _loosened_memory(query, solution)
    if query.target_params is not None:
        wider = twice_the_tolerance(query)
        note = "scored at the target's size: overshooting it gains nothing, undershooting costs nothing"
        yield "tolerance", f"tolerance {100 * wider.tolerance:g} %", note, wider
    for name, word in OPTIONS.items():
        if name != "vocab_size" and query.axis(name) is not None:
            yield word, f"{word} free", "", replace(query, **{name: None})  # type: ignore[arg-type]
    if not query.tie_embeddings:
        yield "untied", "a tied head", "", replace(query, tie_embeddings=True)
    yield from _smaller_vocab(query)
    if solution.candidates:
        yield from _wishes(query)


def _loosened_memory(query: Query, solution: Solution) -> Iterator[tuple[str, str, str, Query]]:
    if query.vram_bytes is None:
        return
    yield "memory", "one more GiB", "", replace(query, vram_bytes=query.vram_bytes + GIB)
    binds = solution.binding is None or solution.binding.constraint == "memory"
    if query.target_params is not None and not query.largest_micro_batch:
        yield "memory", "no budget", "", replace(query, vram_bytes=None)
    if binds and query.recipe.mode == "train" and query.recipe.checkpointing == "none":
        recipe = replace(query.recipe, checkpointing="full")
        note = "every block is computed once more: about a third more time"
        yield "checkpointing", "checkpointing full", note, replace(query, recipe=recipe)


def _smaller_vocab(query: Query) -> Iterator[tuple[str, str, str, Query]]:
    half = query.vocab_size[0] // 2 if isinstance(query.vocab_size, tuple) and len(query.vocab_size) == 1 else 0
    if half >= SMALLEST_VOCAB:
        note = "in nats a token: a smaller vocabulary makes more tokens of a text, which is not charged here"
        yield "vocab", f"vocab {half}", note, replace(query, vocab_size=(half,))


def _wishes(query: Query) -> Iterator[tuple[str, str, str, Query]]:
    if query.target_params is not None:
        larger = round(TARGET_STEP * query.target_params)
        yield from _asked(query, "target", f"target {short_count(larger)}", target_params=larger)
    if query.train_days is not None:
        days = TOKENS_STEP * query.train_days
        yield from _asked(query, "train_days", f"{days:g} days", train_days=days)
    elif query.train_flops is not None:
        flops = TOKENS_STEP * query.train_flops
        yield from _asked(query, "flops", f"{flops:.3g} FLOPs", train_flops=flops)
    elif query.tokens_per_param is not None:
        ratio = TOKENS_STEP * query.tokens_per_param
        yield from _asked(query, "tokens", f"{ratio:g} tokens a parameter", tokens_per_param=ratio)
    else:
        tokens = TOKENS_STEP * (query.tokens or DEFAULT_TOKENS)
        yield from _asked(query, "tokens", f"{exact_count(tokens)} tokens", tokens=tokens)


def _asked(query: Query, constraint: str, change: str, **values: float) -> Iterator[tuple[str, str, str, Query]]:
    """The changed query, unless it is beyond what may be asked for."""
    try:
        changed = replace(query, **values)  # type: ignore[arg-type]
    except QueryError:
        return
    yield constraint, change, "", changed


def _relaxation(solution: Solution, constraint: str, change: str, note: str, query: Query) -> Relaxation:
    found, first = winner(query), solution.candidates[0].score if solution.candidates else None
    if found is None:
        return Relaxation(constraint=constraint, change=change, note="nothing satisfies that")
    config, _ = found
    loss = float(ranking.evaluate(config, **regime(config, query))["predicted_loss"])
    price = prices(replace(query, vram_bytes=solution.query.vram_bytes))  # without a target, that of the budget
    comparable = query.prefer == "quality" or constraint not in WISHES
    return Relaxation(
        constraint=constraint,
        change=change,
        config=config,
        predicted_loss=loss,
        loss_gain=first.predicted_loss - loss if first else None,
        score_gain=first.total - float(totals(config, query, price)) if first and comparable else None,
        note=note,
    )


# The score in words


def _readings(candidate: Candidate, query: Query) -> Iterator[Reading]:
    words = _words(candidate, query)
    for term, nats in candidate.score.terms.items():
        meaning = ranking.meaning(term, candidate.config)
        yield Reading(rank=candidate.rank, term=term, nats=nats, shape=words[term], meaning=meaning)


def _words(candidate: Candidate, query: Query) -> dict[str, str]:
    """What each term looks at, in this shape."""
    config = candidate.config
    scored = regime(config, query)
    size = f"{short_count(scored['params'])} params, {short_count(int(scored['tokens']))} tokens"
    sides = {
        "hidden": config.hidden_size,
        "heads": config.num_heads * config.head_dim,
        "intermediate": config.intermediate_size,
    }
    odd = [f"{name} {side}" for name, side in sides.items() if side % 128]
    return {
        "predicted_loss": f"{config.num_layers} layers of {config.hidden_size}, {size}",
        "mlp_share": f"intermediate is {config.intermediate_size / config.hidden_size:.2f} times hidden",
        "kv_heads": f"{config.num_kv_heads} kv heads",
        "heads": f"{config.num_heads} heads of {config.head_dim}",
        "alignment": f"{', '.join(odd)} off the multiples of 128" if odd else "all sides are multiples of 128",
        **_preference_words(candidate.score.terms, query),
    }


def _preference_words(terms: dict[str, float], query: Query) -> dict[str, str]:
    """Step time and peak at the query's recipe, read back from their terms."""
    price, words = prices(query), {}
    if "speed" in terms:
        words["speed"] = f"{math.exp(terms['speed'] / price.speed_rate):.2f} times the time of its arithmetic alone"
    if "memory" in terms:
        times = math.exp(terms["memory"] / price.memory_rate)
        words["memory"] = f"peak {short_bytes(round(times * price.state_bytes))}, {times:.2f} times 16 bytes a param"
    return words


# Published neighbours


def _neighbours(params: int) -> tuple[Neighbour, ...]:
    """The published models nearest in size, each shape once, in its latest release."""
    shapes: dict[tuple[int, int, int], Preset] = {
        (known.config.num_layers, known.config.hidden_size, known.params): known for known in PUBLISHED
    }
    nearest = sorted(shapes.values(), key=lambda known: abs(math.log(known.params / params)))
    return tuple(
        Neighbour(name=known.name, params=known.params, config=known.config, source=known.source)
        for known in nearest[:NEIGHBOURS]
    )
