"""From what was asked to a card: a budget for one config, or the answer of a solve."""

from __future__ import annotations

from diymodel.config import DIYConfig
from solver import counts
from solver.card.card import Card, make_card
from solver.compute.plan import SECONDS_PER_DAY, tokens_in_flops, tokens_in_seconds
from solver.devices import Device
from solver.errors import QueryError
from solver.query import Query
from solver.recipe import Recipe
from solver.solution import Solution, Status
from solver.units import MAX_COUNT

FEWEST = "does not buy a single token; give more"


def tokens_of_budget(
    config: DIYConfig,
    recipe: Recipe,
    *,
    device: Device | None = None,
    measured: float | None = None,
    tokens: str | None = None,
    tokens_per_param: float | None = None,
    train_days: float | None = None,
    flops: str | None = None,
    price: float | None = None,
) -> tuple[int | None, str]:
    """The tokens that a budget means for a config, and the budget in words; None where none is given.

    At most one of `tokens`, `tokens_per_param`, `train_days` and `flops`, in the command line's words. `measured` are
    tokens per second of all cards, in place of the estimate. A price is only checked.

    Raises:
        RequestError: as `Query` does, and a budget that does not buy a token.
    """
    if measured is not None and not 0 < measured <= 1e12:
        raise QueryError("tokens_per_second", measured, "must be greater than 0, at most 10^12")
    words = {"tokens": tokens, "tokens_per_param": tokens_per_param, "train_days": train_days, "flops": flops}
    query = Query.parse(target=str(counts.total(config)), gpu=device, recipe=recipe, price=price, **words)
    if all(value is None for value in words.values()):
        return None, ""
    if query.train_flops is not None:
        bought = tokens_in_flops(config, recipe, query.train_flops)
    elif query.train_days is not None and query.device is not None:
        seconds = query.train_days * SECONDS_PER_DAY
        bought = measured * seconds if measured else tokens_in_seconds(config, recipe, query.device, seconds)
    else:
        bought = query.tokens_at(counts.total(config))
    if not 1 <= bought <= MAX_COUNT:
        name, value = next((name, value) for name, value in words.items() if value is not None)
        raise QueryError(name, value, FEWEST if bought < 1 else f"buys more than {MAX_COUNT:.0e} tokens; give less")
    return int(bought), _chosen(query)


def _chosen(query: Query) -> str:
    """Why these tokens, in words."""
    if query.train_flops is not None:
        return f"what {query.train_flops:.3g} FLOPs buy"
    if query.train_days is not None:
        return f"what {query.train_days:g} days buy"
    given = query.tokens is not None or query.tokens_per_param is not None
    return "as given" if given else "what the ranking assumes"


def card_of_candidate(solution: Solution, rank: int, *, measured: float | None = None) -> Card:
    """The card of one candidate, at the tokens that its query ranked it with.

    Raises:
        QueryError: nothing satisfies the query, or it has no such candidate.
    """
    query = solution.query
    if solution.status is not Status.SOLVED:
        raise QueryError("target", query.target_params, f"{solution.message}; `diysolve solve` says what comes nearest")
    if rank > len(solution.candidates):
        raise QueryError("rank", rank, f"the solve has {len(solution.candidates)} candidates")
    candidate = solution.candidates[rank - 1]
    if not isinstance(candidate.config, DIYConfig) or candidate.memory is None:
        known = "an explanation needs its memory and time, which are not known; take a family that DIYConfig expresses"
        raise QueryError("family", solution.query.family, known)
    tokens = candidate.training.tokens if candidate.training else query.tokens_at(candidate.params["total"])
    return make_card(
        f"rank {rank}",
        candidate.config,
        candidate.memory.recipe,
        tokens=tokens,
        chosen=_chosen(query),
        budget_bytes=query.vram_bytes,
        device=query.device,
        measured=measured,
        price=query.price,
    )
