"""What the ranking is worth on sources that its fit has not seen, before and after the latest fit.

Before is the form of the law and the assumed term of the MLP at commit 8b4ed15, fitted on Gemstones, Morph and
MobileLLM; after is the engine's. Every figure of a source comes from a fit without it. Not blind in this: the forms
were chosen in sight of all sources of the table, and the law is pulled towards the published fit of Gemstones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from benchmarks.fit_ranking import fit, fitted_rows, intervals_left_out, without
from benchmarks.ranking_forms import BEFORE, ENGINE, Form
from benchmarks.ranking_pairs import CLOSE, COVERED, DIFFER_NATS, DIFFER_POINTS, SCORED, Intervals, ordered, pairs_of
from benchmarks.ranking_pairs import by_source as predicted_by_source
from benchmarks.ranking_table import Floats, Table
from solver.ranking import law

OLD = ("gemstones", "morph", "mobilellm")

SOURCES = {
    "gemstones": "McLeish et al. 2025, Gemstones",
    "morph": "Bian et al. 2025, Morph",
    "mobilellm": "Liu et al. 2024, MobileLLM",
    "petty": "Petty et al. 2023",
    "deepmind": "Clark et al. 2022, DeepMind's dense models",
    "gadre": "Gadre et al. 2024, grid at 20 tokens a param",
    "steplaw": "Li et al. 2025, StepLaw",
}


def old_rows(table: Table) -> Table:
    """What was fitted before."""
    return table.take((table.use != "share") & np.isin(table.source, OLD))


@dataclass(frozen=True, kw_only=True, slots=True)
class Unseen:
    """Predictions of all rows, each by fits without its source."""

    before: Floats
    after: Floats


def unseen(table: Table) -> Unseen:
    """Both of them."""

    return Unseen(before=left_out(BEFORE, old_rows(table), table), after=left_out(ENGINE, table, table))


def left_out(form: Form, rows: Table, table: Table) -> Floats:
    """Predictions of all rows of a table, each by a fit to `rows` without its source."""
    fits = without(form, rows)
    return predicted_by_source(table, lambda source: fits(source).predict)


def pairs_page(table: Table, found: Unseen) -> list[str]:
    """The first figure: of the pairs that differ by more than noise, how many are ordered as measured."""
    pairs = pairs_of(table)
    before, after = (pairs.right(values) for values in (found.before, found.after))
    cells = {"all pairs": pairs.differ, "of nearly equal size": pairs.differ & pairs.near}
    lines = [
        "| source, left out | pairs | before | after | of nearly equal size | before | after |",
        "|--|--|--|--|--|--|--|",
    ]
    per = [(ordered(pairs, before, which), ordered(pairs, after, which)) for which in cells.values()]
    for source, title in SOURCES.items():
        row = [cell for old, new in per for cell in _row(old[source], new[source])]
        lines.append(f"| {title} | {' | '.join(row)} |")
    totals = [cell for old, new in per for cell in _row(_sum(old), _sum(new))]
    lines.append(f"| **all pairs** | {' | '.join(totals)} |")
    means = [cell for old, new in per for cell in ("", _mean(old), _mean(new))]
    lines.append(f"| mean of the sources | {' | '.join(means)} |")
    return lines


def _row(old: tuple[int, int], new: tuple[int, int]) -> tuple[str, str, str]:
    (right, number), (now, _) = old, new
    return (f"{number}", f"{right / number:.1%}", f"{now / number:.1%}") if number else ("0", "-", "-")


def _sum(found: dict[str, tuple[int, int]]) -> tuple[int, int]:
    return sum(right for right, _ in found.values()), sum(number for _, number in found.values())


def _mean(found: dict[str, tuple[int, int]]) -> str:
    return f"{np.mean([right / number for right, number in found.values() if number]):.1%}"


def tokens_page(table: Table) -> list[str]:
    """What more tokens buy, predicted over measured: Gadre's from 20 to 320 a param, StepLaw's from first to last."""
    fits = {
        "before": fit(BEFORE, fitted_rows(old_rows(table))),
        "after, without Gadre": fit(ENGINE, fitted_rows(table.take(table.source != "gadre"))),
        "after": fit(ENGINE, fitted_rows(table)),
    }
    lines = ["| models | tokens a param | measured gain, nats | " + " | ".join(fits) + " |"]
    lines.append("|--|--|--|" + "--|" * len(fits))
    runs, steps = table.take(table.use == "tokens"), table.take(table.source == "steplaw")
    for title, rows, most in (("Gadre", runs, 320.5), ("StepLaw", steps, np.inf)):
        for params in np.unique(rows.params):
            size = rows.take((rows.params == params) & (rows.tokens <= most * params))
            gain, ratios = _gain(size, size.value), [f"{_gain(size, one.predict(size)):.2f}" for one in fits.values()]
            shown = [f"{float(ratio) / gain:.2f}" for ratio in ratios]
            per = size.tokens / params
            cells = [f"{title} {params / 1e6:.0f}M", f"{per.min():.0f} to {per.max():.0f}", f"{gain:.3f}", *shown]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _gain(rows: Table, values: Floats) -> float:
    """Mean over the sweeps of what the most tokens gain over the fewest."""
    gains = []
    for sweep in np.unique(rows.sweep):
        inside = np.flatnonzero(rows.sweep == sweep)
        order = inside[np.argsort(rows.tokens[inside])]
        gains.append(values[order[0]] - values[order[-1]])
    return float(np.mean(gains))


def depth_page(table: Table, found: Unseen) -> list[str]:
    """How steep either side of the best depth is: predicted over measured, by source."""
    seen = Unseen(
        before=fit(BEFORE, fitted_rows(old_rows(table))).predict(table),
        after=fit(ENGINE, fitted_rows(table)).predict(table),
    )
    lines = ["| source | side of the best | models | before, left out | after, left out | before | after |"]
    lines.append("|--|--|--|--|--|--|--|")
    for source in ("gemstones", "morph"):
        for side, rows in _sides(table, source).items():
            values = (table.value, found.before, found.after, seen.before, seen.after)
            measured, *predicted = (float(sum(v[row] - v[best] for row, best in rows)) for v in values)
            cells = [side, f"{len(rows)}", *(f"{one / measured:.2f}" for one in predicted)]
            lines.append(f"| {SOURCES[source]} | {' | '.join(cells)} |")
    return lines


def _sides(table: Table, source: str) -> dict[str, list[tuple[int, int]]]:
    """The rows of sweeps of losses that are deeper and shallower than the best of their sweep, each with the best."""
    sides: dict[str, list[tuple[int, int]]] = {"deeper": [], "shallower": []}
    rows = np.isin(table.use, ("fit", "check")) & (table.source == source) & ~table.higher_is_better
    for sweep in np.unique(table.sweep[rows]):
        inside = np.flatnonzero(table.sweep == sweep)
        best = int(inside[table.value[inside].argmin()])
        for row in inside[table.num_layers[inside] != table.num_layers[best]]:
            side = "deeper" if table.num_layers[row] > table.num_layers[best] else "shallower"
            sides[side].append((int(row), best))
    return sides


MLP_PAIRS = (
    ("deepmind-80m-130b", (8, 8192), (10, 2560)),
    ("deepmind-150m-130b", (10, 10240), (12, 3584)),
)
"""Sweep, then layers and intermediate size of the wide MLP and of the deeper model of about its size."""


def share_page(table: Table, found: Unseen) -> list[str]:
    """DeepMind's pairs: an MLP four times as wide against more depth and width."""
    inside = fit(ENGINE, fitted_rows(table)).predict(table)
    lines = ["| wide MLP | usual MLP | measured | before | after, without DeepMind | after |", "|--|--|--|--|--|--|"]
    for sweep, *shapes in MLP_PAIRS:
        wide, usual = (_find(table, sweep, *shape) for shape in shapes)
        gaps = [f"{v[wide] - v[usual]:+.3f}" for v in (table.value, found.before, found.after, inside)]
        lines.append(f"| {_words(table, wide)} | {_words(table, usual)} | {' | '.join(gaps)} |")
    return lines


def _find(table: Table, sweep: str, layers: int, intermediate: int) -> int:
    rows = (table.sweep == sweep) & (table.num_layers == layers) & (table.intermediate_size == intermediate)
    return int(np.flatnonzero(rows)[0])


def _words(table: Table, row: int) -> str:
    sides = (table.num_layers[row], table.hidden_size[row], table.intermediate_size[row])
    return "{:.0f} x {:.0f}, MLP {:.0f}".format(*sides) + f", {table.params[row] / 1e6:.0f}M"


def ties_page(table: Table) -> list[str]:
    """What is called a tie and what is not, in the pairs of sources that the fit has not seen."""
    found, width = intervals_left_out(fit(ENGINE, fitted_rows(table)), table), law.scatter()
    lines = [
        "| source, left out | pairs of losses | ties | not ties that are ordered rightly | ties: median difference, "
        f"nine in ten below | intervals that hold, predicted within {CLOSE} | before: 0.0053 |",
        "|--|--|--|--|--|--|--|",
    ]
    for source in (one for one in SOURCES if one in found.pairs.source):
        lines.append(f"| {SOURCES[source]} | {' | '.join(_tie_cells(found, source, width))} |")
    return lines


def _tie_cells(found: Intervals, source: str, width: float) -> list[str]:
    own = found.pairs.source == source
    tied = found.ties(width)
    right = np.sign(found.low + found.high) == np.sign(found.pairs.measured)
    apart, ties = own & ~tied, np.abs(found.pairs.measured[own & tied])
    close = own & found.close
    return [
        f"{own.sum()}",
        f"{(own & tied).sum()}",
        f"{right[apart].sum()} of {apart.sum()}",
        f"{np.median(ties):.3f}, {np.quantile(ties, COVERED):.3f}" if len(ties) else "-",
        *(f"{found.inside(one)[close].mean():.0%} of {close.sum()}" if close.any() else "-" for one in (width, 0.0053)),
    ]


def admission_page(table: Table) -> list[str]:
    """What each new source does to the others: pairs ordered rightly, each by a fit without its source."""
    shown = ("gemstones", "morph", "mobilellm", "petty", "deepmind", "gadre")
    lines = ["| fitted on | " + " | ".join(shown) + " | all |", "|--|" + "--|" * (len(shown) + 1)]
    pairs = pairs_of(table)
    for title, with_runs, with_grid, shares in STAGES:
        rows = admitted(table, with_runs=with_runs, with_grid=with_grid, shares=shares)
        right = pairs.right(left_out(ENGINE, rows, table))
        found = {source: ordered(pairs, right, pairs.differ)[source] for source in shown}
        cells = [f"{right} of {number}" for right, number in (*found.values(), _sum(found))]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


STAGES = (
    ("Gemstones, Morph, MobileLLM", False, False, ()),
    ("and Gadre's runs, for tokens", True, False, ()),
    ("and Clark, for the MLP", True, False, ("deepmind",)),
    ("and Petty, for the MLP: the engine", True, False, ("deepmind", "petty")),
    ("and Gadre's grid: not admitted", True, True, ("deepmind", "petty")),
)
"""Title, whether with Gadre's runs and with his grid of shapes, and the sources of the share of the MLP."""


def admitted(table: Table, *, with_runs: bool, with_grid: bool, shares: tuple[str, ...]) -> Table:
    """The rows of a fit on more or fewer sources."""
    use = table.use.astype("U8")
    if with_grid:
        use[table.ladder == "gadre-grid"] = "fit"
    keep = (use == "fit") | (with_runs & (use == "tokens")) | ((use == "share") & np.isin(table.source, shares))
    return replace(table, use=use).take(keep)


HEAD = f"""## Sources left out

Pairs of models of one sweep that differ by more than noise ({DIFFER_NATS} nats, {DIFFER_POINTS} points of accuracy),
and how many of them are ordered as measured, by a fit that has seen nothing of their source. Before is the law and the
assumed term of the MLP at commit 8b4ed15. Nearly equal: sizes and tokens within a quarter. Not blind in this: the forms
were chosen in sight of all of these sources, and both fits are pulled towards the published one of Gemstones.
"""

TOKENS_HEAD = """### What more tokens buy

Gain predicted over gain measured. Gadre's runs are fitted, for this alone; StepLaw's, at the best learning rate and
batch of each, are not (their vocabulary of 65,536 is an assumption and does not matter here; sizes count it, and
without it they are at most 429M).
"""

DEPTH_HEAD = """### Either side of the best depth

What being deeper or shallower than the best of its sweep costs, predicted over measured, summed over the sweeps of
losses: by a fit without the source, and by the fit to all. Morph's are the sweeps of short training, and the only ones
that say how steep the deep side is there: without them neither fit knows.
"""

SHARE_HEAD = """### An MLP four times as wide against depth

Nats by which the wide MLP is worse (DeepMind's plain MLPs, 130B tokens).
"""

ADMISSION_HEAD = """### What was admitted

Pairs ordered rightly, each by a fit without its source: a source's own column says how the others order it, the other
columns what it does to them. Of Gadre's models the runs at several budgets are admitted, which mend the price of tokens
and move the order by a pair or two, but not the grid of shapes at one learning rate: it undoes what Morph's shapes say.
Clark's and Petty's models are admitted to the share of the MLP and not to the law (tried: in it they cost Gemstones and
MobileLLM, left out, some pairs); Petty's MLPs above 4 times hidden to neither. StepLaw's models and the rest of
Clark's have no part in the fit. Not in the table for want of figures: Fahim 2026 (arXiv:2601.20994; tokens, heads and
vocabulary not published) and Sharma 2025 (scores in two unrelated tiers).
"""


def ties_head() -> str:
    return f"""### Ties

The bootstrap interval of a difference, widened by {law.scatter():.4f} nats at either end, is to hold {COVERED:.0%} of
what was measured, where sources weigh alike and the law predicts a difference within {CLOSE}. A tie is a pair whose
interval contains 0: it says that the order is unknown, and not that the two are as good.
"""


def unseen_page(table: Table) -> list[list[str]]:
    """The sections, the first figure first."""
    scored = table.take(np.isin(table.use, SCORED))
    found = unseen(table)
    shown = Unseen(before=found.before[np.isin(table.use, SCORED)], after=found.after[np.isin(table.use, SCORED)])
    return [
        [HEAD, *pairs_page(scored, shown)],
        [TOKENS_HEAD, *tokens_page(table)],
        [DEPTH_HEAD, *depth_page(table, found)],
        [SHARE_HEAD, *share_page(table, found)],
        [ties_head(), *ties_page(table)],
        [ADMISSION_HEAD, *admission_page(table)],
    ]
