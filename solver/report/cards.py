"""The pages of `explain` and `compare`, and what other pages say about a training run."""

from __future__ import annotations

from collections.abc import Sequence

from solver.card import SOURCES, Card
from solver.card.comparison import Line, Value
from solver.card.shape import CAUTION
from solver.compute.evidence import LIKE_A_PROFILE, OTHERWISE
from solver.compute.flops import COMPONENTS
from solver.compute.plan import Training
from solver.compute.tokens import OVER_TRAINED
from solver.ranking import law
from solver.report.answers import CompareAnswer, ExplainAnswer
from solver.report.layout import (
    NONE,
    UNSEEN,
    Column,
    Grid,
    Page,
    both_bytes,
    page,
    recipe_line,
)
from solver.report.listings import memory_page, shape_line
from solver.units import short_count

BAR = 30
"""Characters of a bar that stands for everything."""

HOST = "Starting the kernels takes the host longer than the card runs them: a larger micro-batch costs little time."
DOUBT = (
    "Where the software is written like the profile's, such an estimate is off by "
    f"{100 * LIKE_A_PROFILE.off:.0f} % in the middle of {LIKE_A_PROFILE.groups} groups of published runs "
    f"and by a factor of {LIKE_A_PROFILE.worst:.1f} at most; elsewhere by {100 * OTHERWISE.off:.0f} % "
    f"in the middle of {OTHERWISE.groups} groups and by {OTHERWISE.worst:.1f} at most "
    "(compiled code is faster, code written out slower). `diysolve verify` measures yours."
)
"""What a user of the command gets, by `solver.compute.evidence`."""

FITTED_ON = f"the law is {law.FITTED_ON}"

BYTES = ("peak bytes", "device bytes")
SHARES = "share"


@page.register(ExplainAnswer)
def _explain(answer: ExplainAnswer) -> Page:
    card = answer.card
    blocks: list[str | Grid] = [
        f"{card.source}: {shape_line(card.config)}\nRecipe: {recipe_line(card.recipe)}",
        _shares(card),
        _layer(card),
        _growth(card),
        f"Size class: {card.size_class.name}; {card.size_class.meaning}. {CAUTION}",
    ]
    if card.training:
        blocks += [_advice(card), _over_trained(), training_line(card.training, card)]
    blocks += [_work(card), *memory_page(card.memory, card.device)]
    if card.training and card.device:
        blocks.append(speed_line(card.training, card))
    if answer.sources:
        blocks.append(_sources())
    else:
        blocks.append("With --sources: every figure's formula and where it is from.")
    return blocks


def _shares(card: Card) -> Grid:
    columns = (
        Column("component", "word"),
        Column("params"),
        Column("share"),
        Column("bar", "word", optional=True),
        Column("how", "text"),
    )
    rows = [
        (share.component, f"{share.params:,}", percent(share.share), "#" * round(BAR * share.share), share.formula)
        for share in card.shares
    ]
    total = ("total", f"{card.params['total']:,}", "100.0 %", "", "")
    return Grid("Where the params are", columns, (*rows, total))


def _layer(card: Card) -> str:
    layer, h = card.layer, card.config.hidden_size
    return (
        f"One layer has {layer.params:,} params. The rule of thumb 16 h^2 says {layer.rule:,} "
        f"({100 * layer.off:+.2f} %): it is 4 h^2 of attention and 12 h^2 of MLP, and holds where kv heads = heads, "
        f"heads * head dim = hidden and intermediate = 4 hidden (here {card.config.intermediate_size / h:.2f})."
    )


def _growth(card: Card) -> Grid:
    columns = (
        Column("change", "text"),
        Column("adds params"),
        Column("adds"),
        Column("% per %"),
        Column("derivative", "text", optional=True),
    )
    rows = [
        (
            growth.change,
            f"{growth.params:,}",
            percent(growth.params / card.params["total"]),
            f"{growth.elasticity:.2f}",
            growth.formula,
        )
        for growth in card.growth
    ]
    return Grid("Which dimension matters how (% per %: percent more params for one percent more)", columns, tuple(rows))


def _advice(card: Card) -> Grid:
    columns = (Column("law", "word"), Column("tokens"), Column("a param"), Column("source", "text"))
    rows = [(a.law, short_count(a.tokens), f"{a.tokens_per_param:.1f}", a.source) for a in card.advice]
    return Grid("How many tokens this size deserves for its compute", columns, tuple(rows))


def _over_trained() -> str:
    published = ", ".join(f"{name} {tokens / params:,.0f}" for name, params, tokens, _ in OVER_TRAINED)
    return f"Models that are to be cheap in use are trained far beyond that; tokens a param: {published}."


def training_line(run: Training, card: Card) -> str:
    """Params, tokens and steps in balance."""
    more = {
        "under-trained": "more tokens, or a smaller model, would be better for the same compute",
        "compute-optimal": "about what this compute is best spent on",
        "over-trained": "a larger model would be better for the same compute, but this one is cheaper to use",
    }[run.regime]
    other = card.alternative
    more += (
        f" (the replication's best is {short_count(other.params)} params on {short_count(other.tokens)} tokens, "
        f"{other.gain:.3f} nats lower)"
    )
    loss = f"extrapolated, since {FITTED_ON}" if card.extrapolated else "good for differences and not for your data"
    return (
        f"Balance: {short_count(card.params['total'])} params and {short_count(run.tokens)} tokens ({card.chosen}) are "
        f"{run.tokens_per_param:.3g} tokens a param: {run.regime}; {more}. In steps of {run.batch_tokens:,} tokens "
        f"(micro-batches of {card.recipe.micro_batch}, {run.accumulation} accumulated"
        f"{f', on {run.gpus} cards' if run.gpus > 1 else ''}) that is {run.steps:,} steps and {run.flops:.3g} FLOPs. "
        f"Predicted loss: {card.predicted_loss:.4f} nats a token, {loss}."
    )


def _work(card: Card) -> Grid:
    work = card.work
    again = bool(work.recomputed["total"])
    passes = [("forward", work.forward), ("backward", work.backward), *([("recomputed", work.recomputed)] * again)]
    columns = (Column("FLOPs per token", "word"), *(Column(name) for name, _ in passes), Column("share"))
    rows = [
        (
            name,
            *(short_count(flops[name]) for _, flops in passes),
            percent(work.forward[name] / work.forward["total"]),
        )
        for name in (*COMPONENTS, "total")
    ]
    title = (
        f"What a token computes: {short_count(work.model)} FLOPs forward and backward, each over the whole square of "
        f"{card.recipe.seq_len:,} tokens; 6N says {short_count(work.six_n)}; with only the pairs of the causal mask it "
        f"is {short_count(work.causal)}"
    )
    return Grid(title, columns, tuple(rows))


def speed_line(run: Training, card: Card) -> str:
    """How fast, how long, how much."""
    assert card.device is not None
    if run.tokens_per_second is None or run.seconds is None:
        return f"Time: not estimated; {card.unknown_speed}."
    utilisation = f", MFU {percent(run.mfu)}" if run.mfu is not None else ""
    utilisation += f" and HFU {percent(run.hfu)}" if run.hfu is not None and run.hfu != run.mfu else ""
    cards = f"{run.gpus} x {card.device.title}" if run.gpus > 1 else card.device.title
    cost = "" if run.cost is None else f", at a cost of {run.cost:,.2f}"
    doubt = "" if run.speed == "measured" else f" {DOUBT}"
    if run.published_runs == 0:
        doubt = f" {UNSEEN.capitalize()}.{doubt}"
    if run.host_sets_the_pace:
        doubt = f" {HOST}{doubt}"
    return (
        f"Time on {cards}, {run.speed}: {run.tokens_per_second:,.0f} tokens/s{utilisation}; {days(run.seconds)} "
        f"for {short_count(run.tokens)} tokens{cost}.{doubt}"
    )


def days(seconds: float) -> str:
    """A duration in the unit that reads best."""
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} seconds"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _sources() -> Grid:
    columns = (Column("figure", "word"), Column("formula", "text"), Column("source", "text"))
    rows = tuple((name, source.formula, source.source) for name, source in SOURCES.items())
    return Grid("Where the figures come from", columns, rows)


# compare


@page.register(CompareAnswer)
def _compare(answer: CompareAnswer) -> Page:
    cards = answer.comparison.cards
    columns = (Column("*", "word"), Column("figure", "word"), *(Column(card.source) for card in cards))
    rows = [_line(line) for line in answer.comparison.lines]
    recipes = dict.fromkeys(recipe_line(card.recipe) for card in cards)
    notes = ["* marks what differs."]
    if doubtful := [card.source for card in cards if card.predicted_loss is not None and card.extrapolated]:
        notes.append(f"The predicted loss is extrapolated for {', '.join(doubtful)}: {FITTED_ON}.")
    return [
        "Recipe: " + "\nRecipe: ".join(recipes) + _speed_of_all(cards),
        Grid("", columns, tuple(rows)),
        "\n".join(notes),
    ]


def _speed_of_all(cards: Sequence[Card]) -> str:
    """Where the speeds are from, as one more line."""
    device, run = cards[0].device, cards[0].training
    if not device or not run:
        return ""
    speed = run.speed or f"not estimated; {cards[0].unknown_speed}"
    return f"\nTime on {device.title}: {speed}{f'; {UNSEEN}' if run.published_runs == 0 else ''}"


def _line(line: Line) -> tuple[str, ...]:
    return ("*" if line.differs else "", line.figure, *(_value(line.figure, value) for value in line.values))


def _value(figure: str, value: Value) -> str:
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if figure.endswith(SHARES):
        return percent(value)
    if figure in BYTES:
        return both_bytes(int(value))
    if figure in ("params", "params of a layer", "tokens", "FLOPs per token"):
        return f"{value:,}" if value < 10**9 else short_count(int(value))
    if figure == "training FLOPs":
        return f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}" if value >= 10**5 else str(value)
    return f"{value:,.4f}" if figure == "predicted loss" else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
