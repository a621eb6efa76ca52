"""Predicted against measured memory, as a picture. Needs matplotlib (dev group)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.memory_comparisons import GIB, GROUPS, Comparison

TICKS = (1, 2, 5, 10, 20, 50)
"""GiB that the picture's axes name."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999", "#882255")
"""Okabe and Ito's palette, which the colour-blind can tell apart, and two more. Markers differ too."""
MARKERS = "osD^vP*Xh"


def picture(comparisons: list[Comparison], path: Path) -> None:
    """Predicted against measured, and below it the errors, of the allocated rows."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.4), layout="constrained")
    groups = [group for group in GROUPS if any(item.group == group for item in comparisons)]
    for group, colour, marker in zip(groups, COLOURS, MARKERS, strict=False):
        members = [item for item in comparisons if item.group == group]
        measured = [item.measured.bytes / GIB for item in members]
        style = {"marker": marker, "s": 34, "linewidths": 1.0}
        left.scatter(measured, [item.allocated / GIB for item in members], color=colour, label=GROUPS[group], **style)
        right.scatter(measured, [item.error for item in members], facecolors="none", edgecolors=colour, **style)
        right.scatter(measured, [item.error_allocated for item in members], color=colour, **style)
    _finish_left(left, comparisons)
    _finish_right(right)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _finish_left(axes: Any, comparisons: list[Comparison]) -> None:
    ends = [function(item.measured.bytes for item in comparisons) / GIB for function in (min, max)]
    line = [ends[0] / 1.3, ends[1] * 1.3]
    axes.plot(line, line, color="#666666", linewidth=0.8, zorder=0)
    axes.fill_between(line, [0.98 * x for x in line], [1.02 * x for x in line], color="#BBBBBB", zorder=-1)
    axes.set(xscale="log", yscale="log", xlim=line, ylim=line, xlabel="measured peak, GiB", ylabel="allocated, GiB")
    axes.set_title("Predicted against measured (band: 2 %)")
    _plain_ticks(axes.xaxis)
    _plain_ticks(axes.yaxis)
    axes.legend(fontsize=8, frameon=False, loc="upper left")


def _finish_right(axes: Any) -> None:
    for bound, shade in ((2, "#E6E6E6"), (1, "#CCCCCC")):
        axes.axhspan(-bound, bound, color=shade, zorder=-1, linewidth=0)
    axes.axhline(0, color="#666666", linewidth=0.8, zorder=0)
    axes.set(xscale="log", xlabel="measured peak, GiB", ylabel="error of the prediction, %")
    axes.set_title("Error: tensors alone (open), allocated (filled)")
    _plain_ticks(axes.xaxis)


def _plain_ticks(axis: Any) -> None:
    """Round numbers of GiB in place of powers of ten."""
    axis.set_ticks(TICKS, labels=[str(tick) for tick in TICKS])
    axis.set_ticks([], minor=True)
