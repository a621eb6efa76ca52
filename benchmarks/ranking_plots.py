"""The pictures of the ranking's report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ranking_table import Floats, Table
from solver.ranking import law
from solver.ranking.law import Coefficients

SIZES = {"125M": 125e6, "500M": 500e6, "1.5B": 1.5e9}
VOCAB = 6400
DEPTHS = np.arange(2.0, 200.0)


def draw(table: Table, predict: Callable[[Table], Floats], folder: Path) -> None:
    """ranking-measured.png and ranking-depth.png."""
    import matplotlib

    matplotlib.use("svg")  # no display is needed
    from matplotlib import pyplot

    pyplot.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    for name, panel in (("ranking-measured", _measured), ("ranking-depth", _depth)):
        figure, axes = pyplot.subplots(1, 2, figsize=(9, 4), layout="constrained")
        panel(axes, table, predict)
        figure.savefig(folder / f"{name}.png", dpi=110)
        pyplot.close(figure)


def _measured(axes: Any, table: Table, predict: Callable[[Table], Floats]) -> None:
    """Differences inside each sweep: losses on the left, the average accuracy of MobileLLM on the right."""
    predicted, measured = _centred(predict(table), table.group), _centred(table.value, table.group)
    for source, colour in (("gemstones", "tab:blue"), ("morph", "tab:orange")):
        rows = np.char.startswith(table.sweep, source)
        axes[0].plot(predicted[rows], measured[rows], ".", color=colour, label=source, alpha=0.5)
    axes[0].axline((0, 0), slope=1, color="grey", linewidth=0.8)
    axes[0].set(xlabel="predicted, nats from the mean of the sweep", ylabel="measured", title="losses")
    axes[0].legend(frameon=False)
    rows = table.sweep == "mobilellm-125m"
    axes[1].plot(predicted[rows], table.value[rows], "o", color="tab:green")
    for x, y, layers in zip(predicted[rows], table.value[rows], table.num_layers[rows], strict=True):
        axes[1].annotate(f"  {layers:.0f}", (x, y))
    axes[1].set(
        xlabel="predicted, nats from the mean", ylabel="mean accuracy of 8 tasks", title="MobileLLM 125M, by layers"
    )


def _depth(axes: Any, table: Table, predict: Callable[[Table], Floats]) -> None:
    """Depth of the lowest loss against tokens per param, and how flat the top is at 125M."""
    ratios = np.logspace(1, 4, 40)
    for label, size in SIZES.items():
        drawn = np.array([best_depths(size, ratio * size, law.draws()) for ratio in ratios])
        axes[0].fill_between(ratios, *np.percentile(drawn, (5, 95), axis=1), alpha=0.15)
        axes[0].plot(ratios, [best_depths(size, ratio * size, law.fitted())[0] for ratio in ratios], label=label)
    axes[0].set(xscale="log", xlabel="tokens per param", ylabel="layers of the lowest loss")
    axes[0].set(title="best depth, with 5-95 % of the bootstrap")
    axes[0].legend(frameon=False)
    for ratio in (20, 200, 8000):
        loss = losses(125e6, ratio * 125e6, law.fitted())[0]
        axes[1].plot(DEPTHS, loss - loss.min(), label=f"{ratio}")
    axes[1].set(xscale="log", ylim=(0, 0.1), xlabel="layers", ylabel="nats above the best", title="125M params")
    axes[1].legend(frameon=False, loc="upper center", title="tokens per param")


def losses(size: float, tokens: float, coefficients: Coefficients) -> Floats:
    """Predicted loss at every depth, at a fixed size with MobileLLM's proportions; a row a draw."""
    square = 13.0 * DEPTHS  # weights of the layers per squared width: three query heads per kv head, MLP of 8/3
    hidden = (-VOCAB + np.sqrt(VOCAB**2 + 4 * square * size)) / (2 * square)
    width = law.effective_width(layers=DEPTHS, layer_params=size - VOCAB * hidden)
    found = law.predicted_loss(layers=DEPTHS, width=width, params=size, tokens=tokens, coefficients=coefficients)
    return np.atleast_2d(found)


def best_depths(size: float, tokens: float, coefficients: Coefficients) -> Floats:
    """The depth of the lowest loss, for each draw."""
    return DEPTHS[losses(size, tokens, coefficients).argmin(axis=1)]


def _centred(values: Floats, group: Any) -> Floats:
    centred: Floats = values - (np.bincount(group, values) / np.bincount(group))[group]
    return centred
