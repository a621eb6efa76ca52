"""Pictures of answers: predicted loss against memory, depth against width, loss against depth. Drawn by matplotlib.

An SVG takes its colours from CSS variables, so that it is as readable on a dark page as on a light one; a PNG is light.
Series differ in marker as well as in colour.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from solver.search.outline import Outline
from solver.units import GIB

INK, QUIET, PAPER = "#1b1b1d", "#8a8a90", "#fefefe"

SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07d00", "#5a5fc0")
"""After Okabe and Ito (2008), told apart by colour-blind eyes too; the yellow is darkened for white paper."""

DARK = ("#56b4e9", "#f28e4b", "#2fc79a", "#e6a3c8", "#f0c24b", "#a3a7f5")

MARKERS = ("o", "s", "^", "D", "v", "P")

STYLE = (
    ":root{"
    + f"--ink:{INK};--quiet:{QUIET};--paper:{PAPER};"
    + "".join(f"--s{i}:{color};" for i, color in enumerate(SERIES))
    + "}@media (prefers-color-scheme:dark){:root{--ink:#ececee;--quiet:#8f8f98;--paper:#17171a;"
    + "".join(f"--s{i}:{color};" for i, color in enumerate(DARK))
    + "}}"
)
"""The variables of the pictures; a page that shows them inline has these too."""


SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "diysolve",  # ids are the same in every run
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
"""What matplotlib is told while it draws."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One candidate in a picture."""

    layers: int
    hidden: int
    loss: float
    device_bytes: int | None
    """None where memory is not known."""
    first: bool
    """True for the first of its answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Candidates that belong together, and the band that they come from."""

    label: str
    points: tuple[Point, ...]
    outlines: tuple[Outline, ...] = ()
    """Of the band; one for each token budget, which moves the losses only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """A picture, not drawn yet."""

    name: str
    """Of its file, without a suffix."""
    title: str
    caption: str
    draw: Callable[[Any, Sequence[Series]], None]


def _loss_memory(axes: Any, series: Sequence[Series]) -> None:
    for index, one in enumerate(series):
        color, marker = _look(index)
        rest, first = map(_by_memory, _split(one))
        axes.plot([gib for gib, _ in rest], [loss for _, loss in rest], marker, color=color, ms=4, alpha=0.45)
        axes.plot([gib for gib, _ in first], [loss for _, loss in first], marker, color=color, ms=8, label=one.label)
    front = _front(_by_memory([point for one in series for point in one.points]))
    axes.plot(
        [gib for gib, _ in front], [loss for _, loss in front], drawstyle="steps-post", color=QUIET, lw=1, zorder=0,
        label="Pareto front",
    )  # fmt: skip
    axes.set(xlabel="device memory, GiB", ylabel="predicted loss, nats a token")
    axes.ticklabel_format(useOffset=False, style="plain")


def _depth_width(axes: Any, series: Sequence[Series]) -> None:
    for index, one in enumerate(series):
        color, marker = _look(index)
        for band in one.outlines[:1]:
            axes.fill_between(band.layers, band.narrowest, band.widest, color=color, alpha=0.22, lw=0)
        rest, first = _split(one)
        axes.plot([p.layers for p in rest], [p.hidden for p in rest], marker, color=color, ms=4, alpha=0.6)
        axes.plot([p.layers for p in first], [p.hidden for p in first], marker, color=color, ms=8, label=one.label)
    axes.set(xlabel="layers", ylabel="hidden size", xscale="log", yscale="log")
    _plain_ticks(axes.xaxis)
    _plain_ticks(axes.yaxis)


def _loss_depth(axes: Any, series: Sequence[Series]) -> None:
    for index, one in enumerate(series):
        color, marker = _look(index)
        for band in one.outlines:
            axes.plot(band.layers, band.losses, color=color, lw=1.2, alpha=0.7)
        _, first = _split(one)
        axes.plot([p.layers for p in first], [p.loss for p in first], marker, color=color, ms=8, label=one.label)
    axes.set(xlabel="layers", ylabel="predicted loss, nats a token")
    axes.ticklabel_format(useOffset=False, style="plain")
    axes.set_xscale("log")
    _plain_ticks(axes.xaxis)


PLOTS = (
    Plot(
        name="loss-memory",
        title="Predicted loss against memory",
        caption="Each candidate by what the card must hold and by its predicted loss, lower is better; the first of "
        "each query is large. Below and left of the grey line there is none. More training tokens lower every loss.",
        draw=_loss_memory,
    ),
    Plot(
        name="depth-width",
        title="Depth against width",
        caption="The shaded band holds every admissible shape of the size; the candidates lie in it, the first of each "
        "query is large.",
        draw=_depth_width,
    ),
    Plot(
        name="loss-depth",
        title="Predicted loss against depth",
        caption="A line is the lowest predicted loss of the size at each number of layers, whatever the memory, for "
        "one token budget; the marks are the winners.",
        draw=_loss_depth,
    ),
)


def drawable(series: Sequence[Series]) -> tuple[Plot, ...]:
    """The pictures that these can be drawn in: where no memory is known, none by memory."""
    is_known = any(point.device_bytes is not None for one in series for point in one.points)
    return tuple(plot for plot in PLOTS if is_known or plot.draw is not _loss_memory)


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """Pictures side by side, drawn."""

    png: bytes
    inline_svg: str
    """To stand in a page that has STYLE."""

    @property
    def svg(self) -> str:
        """A file of its own."""
        start = self.inline_svg.index(">") + 1
        style = f"<style>{STYLE}svg{{background:var(--paper);font-family:sans-serif}}</style>"
        return f'<?xml version="1.0" encoding="utf-8"?>\n{self.inline_svg[:start]}{style}{self.inline_svg[start:]}'


def draw(plots: Sequence[Plot], series: Sequence[Series]) -> Drawing:
    """The pictures side by side. The same input gives the same bytes."""
    import matplotlib

    png, svg = io.BytesIO(), io.StringIO()
    with matplotlib.rc_context(SETTINGS):
        figure = _figure(plots, series)
        figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return Drawing(png=png.getvalue(), inline_svg=_for_a_page(svg.getvalue(), plots))


def _for_a_page(text: str, plots: Sequence[Plot]) -> str:
    """matplotlib's SVG with CSS variables for colours, of any size, and with a title for who cannot see it.

    Ids that nothing refers to are left out, and the others made unlike those of other pictures on the page.
    """
    title, prefix = ", ".join(plot.title for plot in plots), "-".join(plot.name for plot in plots)
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)
    text = re.sub(r'(id="|#)([a-z][0-9a-f]{9,})', rf"\1{prefix}-\2", text)
    names = {INK: "ink", QUIET: "quiet", PAPER: "paper", **{color: f"s{i}" for i, color in enumerate(SERIES)}}
    for color, name in names.items():
        text = text.replace(color, f"var(--{name},{color})")
    for side in ("width", "height"):
        text = re.sub(rf'(<svg[^>]*?) {side}="[^"]*"', r"\1", text, count=1)
    return text.replace("<svg", '<svg role="img"', 1).replace(">", f"><title>{title}</title>", 1)


def _figure(plots: Sequence[Plot], series: Sequence[Series]) -> Any:
    from matplotlib.figure import Figure

    number = len(plots)
    figure = Figure(figsize=(6.2 * number, 4.4), facecolor=PAPER)
    figure.subplots_adjust(left=0.15 / number, right=1 - 0.03 / number, bottom=0.13, top=0.91, wspace=0.24)
    for axes, plot in zip(figure.subplots(1, number, squeeze=False)[0], plots, strict=True):
        axes.set_facecolor("none")
        plot.draw(axes, series)
        axes.grid(alpha=0.18, color=QUIET)
        axes.set_title(plot.title, loc="left", fontsize=11)
        if series:
            axes.legend(fontsize=9)
    return figure


def _look(index: int) -> tuple[str, str]:
    return SERIES[index % len(SERIES)], MARKERS[index % len(MARKERS)]


def _split(series: Series) -> tuple[list[Point], list[Point]]:
    """The other points, and the first ones."""
    return [p for p in series.points if not p.first], [p for p in series.points if p.first]


def _by_memory(points: Sequence[Point]) -> list[tuple[float, float]]:
    """(GiB, loss) of the points whose memory is known."""
    return [(point.device_bytes / GIB, point.loss) for point in points if point.device_bytes is not None]


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other has less memory and less loss than, by memory."""
    front: list[tuple[float, float]] = []
    for memory, loss in sorted(points):
        if not front or loss < front[-1][1]:
            front.append((memory, loss))
    return front


def _plain_ticks(axis: Any) -> None:
    """Whole numbers on a logarithmic axis, and not too many of them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
