"""Which constraint keeps a better shape out of the answer, found without a second search of the whole.

The budget is judged by the shapes that the search saw and refused. A dimension that was given, or an end of the
default lattice, is judged by the values around the winner's own: if one of them is better, it binds. A tolerance is
judged by twice of it, where few shapes lie within, so that the search is cheap. The vocabulary is not judged: tokens of
another one are other tokens. What is found binding is proved so; `solver.explain` asks each constraint fully, and may
find one that this overlooks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from solver.lattice import HIDDEN, INTERMEDIATE_STEP, LAYERS, Lattice, Shapes
from solver.query import LIMITS, OPTIONS, Axis, Query
from solver.search.known import Known
from solver.search.order import totals
from solver.search.passes import Found, fits, winner
from solver.solution import Binding

if TYPE_CHECKING:
    from solver.interop.blueprints import Config

BINDS = 1e-4
"""Nats below which it does not matter what a constraint keeps out: the last decimal that the tables show."""

FEW = 1000
"""Shapes in the band above which twice the tolerance is not tried. In random queries, most of them with a dimension
given or short of memory, it gained BINDS in 15 % of those with more fitting shapes than that, in 40 % of the others."""

STEPS = {"num_layers": LAYERS.step or 1, "hidden_size": HIDDEN.step or 1, "intermediate_size": INTERMEDIATE_STEP}

AROUND = (3 / 4, 4 / 3)
"""How far around the winner's own value a dimension is tried."""

NOTHING = Binding(constraint="none", change="", gain=0.0)


def binding(grid: Lattice, query: Query, found: Found, known: Known | None = None) -> Binding:
    """The constraint whose loosening gains most; NOTHING where none gains."""
    score, config = float(totals(found.best.take([0]), query)[0]), found.best.config(0)
    gains = [NOTHING]
    gains += [
        Binding(constraint=constraint, change=change, gain=score - total)
        for constraint, change, total in _loosened(grid, query, found, config, known)
        if score - total > BINDS
    ]
    return max(gains, key=lambda bound: bound.gain)


def _loosened(
    grid: Lattice, query: Query, found: Found, config: Config, known: Known | None
) -> Iterator[tuple[str, str, float]]:
    """(constraint, change, total of the best shape that it would admit)."""
    if query.target_params is None:
        for name, larger in _larger(grid, config, found.best):
            if not fits(larger, query).all():
                yield "memory", f"{OPTIONS[name]} {getattr(larger, name)[0]}", float(totals(larger, query)[0])
    elif len(found.too_large):
        yield "memory", "no budget", float(totals(found.too_large, query)[0])
    if query.target_params is not None and found.in_band <= FEW:
        wider = twice_the_tolerance(query)
        if best := winner(wider, known):
            yield "tolerance", f"tolerance {100 * wider.tolerance:g} %", best[1]
    for name, word in OPTIONS.items():
        given = query.axis(name) is not None
        if name == "vocab_size" or not (given or _is_at_the_end(name, config, query)):
            continue
        if best := winner(_around(query, name, config), known):
            yield word if given else "lattice", f"{word} {getattr(best[0], name)}", best[1]


def twice_the_tolerance(query: Query) -> Query:
    """The query with twice its tolerance, and at least a tenth of a percent."""
    return replace(query, tolerance=min(max(2 * query.tolerance, 0.001), 0.999))


def _larger(grid: Lattice, config: Config, rows: Shapes) -> Iterator[tuple[str, Shapes]]:
    """The first row with one more admissible layer, or a wider MLP."""
    first = rows.take([0])
    deeper = grid.layers[grid.layers > config.num_layers][:1]
    if len(deeper):
        yield "num_layers", replace(first, num_layers=deeper)
    yield "intermediate_size", replace(first, intermediate_size=first.intermediate_size + INTERMEDIATE_STEP)


def _around(query: Query, name: str, config: Config) -> Query:
    """The query with one dimension at the values around the config's, and only the widths around its own."""
    width = query.hidden_size or _near("hidden_size", config, HIDDEN.stop)
    axis = _near(name, config, LIMITS[name]) if name in STEPS else None  # heads and head dims are few: all of them
    return replace(query, **{"hidden_size": width, name: axis})  # type: ignore[arg-type]


def _near(name: str, config: Config, most: int) -> Axis:
    """The grid's values within AROUND of the config's, at least one beyond it, and its own; none above `most`."""
    value, step = getattr(config, name), STEPS[name]
    lowest, highest = (round(factor * value / step) * step for factor in AROUND)
    values = range(max(lowest, step), max(highest, value + step) + 1, step)
    return tuple(sorted({value, *(near for near in values if near <= most)}))


def _is_at_the_end(name: str, config: Config, query: Query) -> bool:
    """True at an end of the default lattice beyond which there are shapes."""
    if name == "intermediate_size":
        if query.blueprint and query.blueprint.intermediate_per_hidden:
            return False  # kept, and no end of a lattice
        f, step = config.intermediate_size, INTERMEDIATE_STEP
        return f - step < 2 * config.hidden_size or 2 * (f + step) > 9 * config.hidden_size
    ends = {"num_layers": LAYERS.stop, "hidden_size": HIDDEN.stop}
    return getattr(config, name) == ends.get(name)
