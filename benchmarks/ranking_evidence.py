"""How well the ranking agrees with published sweeps, beside the rules that it replaces; with a report and pictures.

    python benchmarks/ranking_evidence.py [--out DIR]

Per sweep, Spearman's correlation between an order and the measured one, and the regret: what the model that the order
puts first loses against the best of the sweep. Ours is the whole score of the engine, terms included: in the sample;
with the law fitted without that sweep; without its whole ladder (one size class of one source, at all budgets and
metrics); and without its source. Then what the noise of single runs lets each sweep say.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import ranking_table
from benchmarks.fit_ranking import RESULTS, fit, fitted_rows, leave_out
from benchmarks.ranking_forms import ENGINE
from benchmarks.ranking_noise import (
    COOLED,
    HOT,
    RARE,
    SEED_NOISE,
    Judgement,
    Noise,
    judgements,
    measure_noise,
    reading_noise,
)
from benchmarks.ranking_plots import draw
from benchmarks.ranking_table import LEAST, NATS, POINTS, Agreement, Floats, Table, agreements
from benchmarks.ranking_unseen import unseen_page
from solver import ranking
from solver.ranking import terms

THROUGHPUT = Path(__file__).parent / "evidence" / "throughput.csv"

SPEARMAN = 0.9
"""The goal for the mean correlation on sweeps outside the fit; that of one sweep is in `ranking_table`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """One way to order the rows of the table."""

    name: str
    predicted: Floats
    """Lower is better."""


def engine_order(table: Table) -> Floats:
    """The score of the engine, each row at its own count and tokens."""
    by_term = ranking.evaluate(_whole(table), tokens=table.tokens)
    total: Floats = sum(by_term.values(), np.zeros(len(table)))
    return total


def _whole(table: Table) -> SimpleNamespace:
    """The table as shapes of whole numbers."""
    names = ("num_layers", "hidden_size", "num_heads", "num_kv_heads", "head_dim", "intermediate_size", "vocab_size")
    whole = {name: getattr(table, name).astype(np.int64) for name in names}
    return SimpleNamespace(**whole, family=table.family)


def gemstones_order(table: Table) -> Floats:
    """The law as published: cooldown fit of McLeish et al. 2025, at the width of the model."""
    return (
        np.exp(1.637565) * table.hidden_size**-0.301467
        + np.exp(-0.025491) * table.num_layers**-0.365546
        + np.exp(7.865338) * table.params**-0.505501
        + np.exp(9.983822) * table.tokens**-0.467018
    )


def thumb_order(table: Table) -> Floats:
    """Distance from L* = 13.7 (P / 100M)^0.21 (T / 20P)^0.20, a regression over the optima of twelve sweeps."""
    best = 13.7 * (table.params / 1e8) ** 0.21 * (table.tokens / table.params / 20) ** 0.20
    return np.abs(np.log(table.num_layers / best))


def aspect_order(table: Table) -> Floats:
    """Distance from a width of 64 per layer."""
    return np.abs(np.log(table.hidden_size / table.num_layers / 64))


def orders(table: Table) -> list[Order]:
    return [
        Order(name="Gemstones law", predicted=gemstones_order(table)),
        Order(name="rule of thumb", predicted=thumb_order(table)),
        Order(name="aspect 64", predicted=aspect_order(table)),
    ]


def sweeps_page(table: Table, found: list[Order]) -> list[str]:
    """The table of sweeps: a row a sweep, Spearman and regret of every order."""
    by_order = {order.name: agreements(table, order.predicted) for order in found}
    first = next(iter(by_order.values()))
    lines = [
        "| sweep | models | " + " | ".join(f"{order.name}" for order in found) + " |",
        "|--|--|" + "--|" * len(found),
    ]
    for at, one in enumerate(first):
        cells = [_cell(by_order[order.name][at]) for order in found]
        lines.append(f"| {one.sweep} | {one.models} | " + " | ".join(cells) + " |")
    return lines


def _cell(one: Agreement) -> str:
    return f"{one.spearman:.2f}, {one.regret:.1f} pt" if one.in_points else f"{one.spearman:.2f}, {one.regret:.4f}"


def summary_page(title: str, table: Table, found: list[Order]) -> list[str]:
    """Means of every order over the sweeps of a table."""
    columns = (
        "sweeps",
        "mean Spearman",
        "least",
        f"below {LEAST}",
        "mean of 4+ models",
        "worst regret, nats",
        "points",
    )
    lines = [f"| {title} | " + " | ".join(columns) + " |", "|--|" + "--|" * len(columns)]
    for order in found:
        all_of = agreements(table, order.predicted)
        spearman = np.array([one.spearman for one in all_of])
        many = np.array([one.models > 3 for one in all_of])
        nats = max((one.regret for one in all_of if not one.in_points), default=0.0)
        points = max((one.regret for one in all_of if one.in_points and not one.single_task), default=0.0)
        cells = [f"{len(all_of)}", f"{spearman.mean():.3f}", f"{spearman.min():.2f}", f"{(spearman < LEAST).sum()}"]
        cells += [f"{spearman[many].mean():.3f}", f"{nats:.4f}", f"{points:.1f}"]
        lines.append(f"| {order.name} | " + " | ".join(cells) + " |")
    return lines


def ties_page(tables: dict[str, Table]) -> list[str]:
    """How often the best of a sweep is among those that the engine calls ties, and how many those are."""
    lines = ["| sweeps of losses | sweeps | best is a tie | models that tie | worst loss among the ties, nats |"]
    lines.append("|--|--|--|--|--|")
    for name, table in tables.items():
        losses = table.take(~table.higher_is_better)
        found = [_ties(losses.take(losses.sweep == one.sweep)) for one in agreements(losses, losses.value)]
        hits, share, worst = (np.array(column) for column in zip(*found, strict=True))
        lines.append(f"| {name} | {len(found)} | {hits.mean():.0%} | {share.mean():.0%} | {worst.max():.4f} |")
    return lines


def _ties(rows: Table) -> tuple[bool, float, float]:
    """Of one sweep: whether the best ties, the share of the models that do, and what the worst of them loses."""
    tied = np.array([score.tie for score in ranking.scores(_whole(rows), tokens=rows.tokens)])
    return bool(tied[rows.value.argmin()]), float(tied.mean()), float((rows.value[tied] - rows.value.min()).max())


def tying_page(table: Table, points_per_nat: float) -> list[str]:
    """What tying costs by the roadmap of MobileLLM, beside what the law makes of the params it saves."""
    lines = ["| size | measured, points | law, points |", "|--|--|--|"]
    for sweep in ("mobilellm-roadmap-125m", "mobilellm-roadmap-350m"):
        rows = table.take(table.sweep == sweep)
        tied = np.flatnonzero((rows.tie_embeddings == 1) & (rows.num_kv_heads == rows.num_heads))[0]
        untied = np.flatnonzero((rows.tie_embeddings == 0) & (rows.num_layers == rows.num_layers[tied]))[0]
        loss = ranking.evaluate(_whole(rows), tokens=rows.tokens)["predicted_loss"]
        measured, law = rows.value[tied] - rows.value[untied], points_per_nat * (loss[tied] - loss[untied])
        lines.append(f"| {sweep.removeprefix('mobilellm-roadmap-')} | {measured:+.1f} | {law:+.1f} |")
    return lines


def points_per_nat(table: Table) -> float:
    """Slope of MobileLLM's average accuracy against the predicted loss, over its depth sweep."""
    rows = table.take(table.sweep == "mobilellm-125m")
    return float(np.polyfit(engine_order(rows), rows.value, 1)[0])


def speed_page() -> list[str]:
    """Spearman of the step-time estimate, and of plain FLOPs, against published throughputs."""
    with THROUGHPUT.open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = ["| group | shapes | estimate | FLOPs alone |", "|--|--|--|--|"]
    for group in dict.fromkeys(row["group"] for row in rows):
        of_group = [row for row in rows if row["group"] == group]
        estimate, flops, measured = step_times(of_group)
        lines.append(
            f"| {group} | {len(of_group)} | {spearmanr(estimate, measured).statistic:.3f} "
            f"| {spearmanr(flops, measured).statistic:.3f} |"
        )
    return lines


def step_times(rows: list[dict[str, str]]) -> tuple[Floats, Floats, Floats]:
    """Estimated step times, FLOPs per token and measured seconds per token of one group of the throughput table."""
    names = ("num_layers", "hidden_size", "num_heads", "num_kv_heads", "head_dim", "intermediate_size", "vocab_size")
    shape = SimpleNamespace(**{name: np.array([int(row[name]) for row in rows]) for name in names})
    shape.tie_embeddings, shape.qkv_bias, shape.qk_norm, shape.final_norm = True, False, False, True
    seq_len, micro_batch = int(rows[0]["seq_len"]), int(rows[0]["micro_batch"])
    heads = (shape.num_heads + shape.num_kv_heads) * shape.head_dim
    weights = shape.num_layers * shape.hidden_size * (2 * heads + 3 * shape.intermediate_size)
    attention = 4 * seq_len * shape.num_layers * shape.num_heads * shape.head_dim
    flops = 2 * (weights + shape.vocab_size * shape.hidden_size) + attention
    measured = 1 / np.array([float(row["tokens_per_second"]) for row in rows])
    return ranking.relative_step_time(shape, seq_len, micro_batch), flops, measured


CAUSES = {
    "morph-80m-20n": "8 layers lead 13 by this much where the law has them nearly equal; at twice the tokens 13 lead 8 "
    "by 0.0125. None of the forms that were tried puts 8 first. This sweep is part of Morph's noise; by the others "
    "alone, 0.0023, chance would do this in 9 % of cases",
    "mobilellm-heads-125m": "the only sweep of heads: without it their prices are unknown, and more params come first",
    "gemstones-100m-hot50b": "without the 100M runs of Gemstones the fit holds nothing as thin as 71 and 80 layers of "
    "256, and it puts 80 layers first before they have learned enough: at 350B tokens they do lead",
    "gemstones-100m-halflr50b": "80 layers of 256 are put first, 13 of 512 lead; at twice the tokens it is the reverse",
    "gemstones-1b-cool22b": "a run that went wrong: 36 layers of 1280 read 2.8673, between 2.9562 at half and 2.6891 "
    "at twice the tokens, where the models beside it fall evenly",
}
"""Why a sweep misses, where the noise of two neighbours is not all there is to say."""


def noise_page(table: Table, noise: Noise) -> list[str]:
    """The noise of a run, by what is read, and where the figure comes from."""
    hot, cooled = reading_noise(table, HOT), reading_noise(table, COOLED)
    return [
        "| runs | standard deviation | from |",
        "|--|--|--|",
        f"| repeated runs, 124M | {SEED_NOISE} nats | ten runs, github.com/KellerJordan/modded-nanogpt pull 323 |",
        f"| Gemstones after cooldown | {noise.cooled:.4f} nats | repeated runs, and {cooled:.4f} of a reading about a "
        "smooth curve in the tokens |",
        f"| Gemstones otherwise | {noise.hot:.4f} nats | repeated runs, and {hot:.4f} of a reading, likewise |",
        f"| Morph | {noise.morph:.4f} nats | what is left about a smooth curve in depth, the law subtracted |",
        f"| accuracies | {noise.points} points | what neighbours in table 11 of MobileLLM scatter by |",
    ]


def verdicts_page(found: dict[str, list[Judgement]]) -> list[str]:
    """How many sweeps pass, fail, or cannot tell, and the correlation that the true order would reach."""
    verdicts = ("passes", "cannot tell (a pass)", "cannot tell (a miss)", "fails", "reported")
    lines = [
        "| ours | sweeps | "
        + " | ".join(verdicts)
        + " | mean Spearman | of the true order | ours where it does not fail |"
    ]
    lines.append("|--|--|" + "--|" * (len(verdicts) + 3))
    for name, judged in found.items():
        counted = [sum(one.verdict == verdict for one in judged) for verdict in verdicts]
        ours = [one.ours.spearman for one in judged]
        held = [one.ours.spearman for one in judged if one.verdict != "fails"]
        means = [f"{np.mean(values):.3f}" for values in (ours, [one.spearman for one in judged], held)]
        lines.append(f"| {name} | {len(judged)} | " + " | ".join(map(str, counted)) + " | " + " | ".join(means) + " |")
    return lines


def ceiling(found: dict[str, list[Judgement]]) -> str:
    """What the true order could reach on all sweeps outside the fit, each judged once; single tasks have no goal."""
    _, *others = found
    misses = np.array([one.misses for name in others for one in found[name] if not one.ours.single_task])
    return (
        f"On the {len(misses)} sweeps with a goal of the last two lines the true order itself would miss it "
        f"{misses.sum():.1f} times in the mean, and meet it in every one with a probability of "
        f"{np.prod(1 - misses):.1%} (as if they shared no runs)."
    )


def misses_page(found: dict[str, list[Judgement]]) -> list[str]:
    """Every sweep that misses the goal, by how much, and why."""
    lines = ["| ours | sweep | models | Spearman, regret | noise | by chance | verdict | cause |"]
    lines.append("|--|--|--|--|--|--|--|--|")
    for name, judged in found.items():
        for one in judged:
            if one.ours.misses:
                cause = CAUSES.get(one.ours.sweep, "two of the models differ by less than two runs of one may")
                cells = [name, one.ours.sweep, f"{one.ours.models}", _cell(one.ours), _noise(one)]
                lines.append(f"| {' | '.join(cells)} | {one.chance:.0%} | {one.verdict} | {cause} |")
    return lines


def judgements_page(judged: list[Judgement]) -> list[str]:
    """A row a sweep: what the true order would score, and the verdict on ours."""
    lines = [
        "| sweep | models | noise | spread | true order | it misses | ours | verdict |",
        "|--|--|--|--|--|--|--|--|",
    ]
    for one in judged:
        digits, unit = (1, " pt") if one.ours.in_points else (4, "")
        true = f"{one.spearman:.2f}, {one.regret:.{digits}f}{unit}"
        cells = [f"{one.ours.models}", _noise(one), f"{one.spread:.{digits}f}", true, f"{one.misses:.0%}"]
        lines.append(f"| {one.ours.sweep} | {' | '.join(cells)} | {_cell(one.ours)} | {one.verdict} |")
    return lines


def _noise(one: Judgement) -> str:
    return f"{one.noise:.1f} pt" if one.ours.in_points else f"{one.noise:.4f}"


TITLE = """# What published sweeps say of the ranking

Written by `python benchmarks/ranking_evidence.py`. First what the ranking is worth on sources that its fit has not
seen, then sweep by sweep.
"""

HEAD = f"""## Sweep by sweep

The figures and their sources are in
`benchmarks/evidence/ranking.csv`, the forms that were tried in `ranking-forms.md`. A cell is Spearman's correlation
with the measured order, and what the first pick loses against the best of the sweep (nats; pt are points of accuracy).
Ours is the order of the engine; beside it the same law fitted without that sweep, without its ladder (one size class of
one source, at all budgets and metrics; other budgets of the same runs tell much of a sweep), and without its source.

Goal outside the fit: mean Spearman {SPEARMAN}, none below {LEAST}, regret at most {NATS} nats, or {POINTS} points of an
average over tasks.

![measured against predicted](ranking-measured.png)

![depth of the best shape against tokens per param](ranking-depth.png)
"""

NOISE = f"""## What the noise of single runs lets a sweep say

Each model was trained once. The true order is that of the values without what is not smooth; it is scored against
draws with the noise below. "It misses": how often the true order itself would miss the goal; below {RARE:.0%} an order
that meets it passes, otherwise the sweep cannot tell. A miss fails where noise alone would bring it about in less than
{RARE:.0%} of cases, and cannot tell otherwise. Three models within the noise of each other confirm and refute nothing,
and their correlation can only be 1, 0.5, -0.5 or -1. Single tasks are reported and have no goal.

With fewer than five models the measured values themselves are taken for true, which flatters the true order. Sweeps of
one ladder share their runs, so that there are fewer of them than it seems. The mean on sweeps that were never fitted is
short of the goal of {SPEARMAN}: 31 sweeps, of which 14 have three models.
"""

DESIGNS = """## Other residual designs: reported, no goal

Wang 2026 (arXiv:2609.32534, mostly read off a plot): 400M at 8B tokens with hyper-connections (hc, mhc) or attention
over residuals. They change what depth costs: with two of them the deepest model is the best, and our order, made for
plain residuals, must not be used there.
"""

TYING = """## Tying

Liu et al. 2024, table 10: the same shape with the embedding shared. The law sees fewer params and nothing else; what
it leaves unexplained has no common sign, so tying has no term of its own.
"""

TIES = """## Ties

A tie is a shape whose difference to the first may be zero: its bootstrap interval, widened as said above. These are
sweeps that the law has seen, or other budgets of them; those of sources that it has not seen are above.
"""

SPEED = """## Step time

Spearman between estimated and measured time per token (`benchmarks/evidence/throughput.csv`). Gemstones does not say
its micro-batch: 8 is assumed. At 4, where the estimated step of thin shapes waits for the host, it would score 0.963,
at 2 0.915, from 8 to 64 at least 0.996.
"""


def report(table: Table) -> str:
    """The whole page."""
    fitting, checking = table.take(table.use == "fit"), table.take(table.use == "check")
    designs = np.char.startswith(table.sweep, "depthbench")
    elsewhere = designs | np.isin(table.source, ("gadre",)) | np.char.startswith(table.sweep, "mobilellm-roadmap")
    noisy = table.take((table.use == "report") & ~elsewhere)
    on_fit = [*our_orders(table), *orders(fitting)]
    pages = {"Sweeps that were never fitted": checking, "Single tasks and noisy averages: reported, no goal": noisy}
    on = {title: sweeps_page(rows, [engine(rows), *orders(rows)]) for title, rows in pages.items()}
    noise = measure_noise(table, engine_order(table))
    judged = {order.name: judgements(fitting, on_fit[0].predicted, order.predicted, noise) for order in on_fit[1:3]}
    judged["never fitted"] = judgements(checking, engine_order(checking), engine_order(checking), noise)
    sections = [
        [TITLE],
        *unseen_page(table),
        [HEAD, "## In short", "", *summary_page("sweeps of the fit", fitting, on_fit)],
        summary_page("never fitted", checking, [engine(checking), *orders(checking)]),
        [NOISE, *noise_page(table, noise)],
        verdicts_page(judged),
        [ceiling(judged), "", "Every miss outside the fit:", "", *misses_page(judged)],
        ["## Sweeps of the fit", "", *sweeps_page(fitting, on_fit)],
        *([f"## {title}", "", *lines] for title, lines in on.items()),
        [DESIGNS, *sweeps_page(table.take(designs), [engine(table.take(designs)), *orders(table.take(designs))])],
        *(
            [f"## What each sweep can tell: {name}", "", *judgements_page(found)]
            for name, found in judged.items()
            if name != on_fit[1].name
        ),
        [TIES, *ties_page({"of the fit": fitting, "never fitted": checking})],
        [TYING, *tying_page(table, points_per_nat(table))],
        [SPEED, *speed_page()],
    ]
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def engine(table: Table) -> Order:
    return Order(name="ours", predicted=engine_order(table))


def our_orders(table: Table) -> list[Order]:
    """The engine's order of the sweeps of the fit, and the orders of the same law fitted on less."""
    rows = fitted_rows(table)
    best, shown = fit(ENGINE, rows), rows.use == "fit"
    aligned = terms.alignment(_whole(rows))
    less = {"without the sweep": rows.sweep, "without its ladder": rows.ladder, "without its source": rows.source}
    found = [Order(name="ours", predicted=engine_order(rows)[shown])]
    for name, of in less.items():
        groups = np.where(shown, of, "")
        found.append(Order(name=f"ours, {name}", predicted=(leave_out(best, rows, groups) + aligned)[shown]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    table = ranking_table.read()
    page = report(table)
    (options.out / "ranking-evidence.md").write_text(page)
    draw(table.take(table.use == "fit"), engine_order, options.out)
    print(page)


if __name__ == "__main__":
    main()
