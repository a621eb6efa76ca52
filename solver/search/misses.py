"""The answer where nothing satisfies a query: what comes nearest, what each near miss breaks, what would help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diymodel.config import DIYConfig
from solver import counts, memory
from solver.lattice import Lattice
from solver.query import Query
from solver.search.known import Known
from solver.search.order import first_of_each_width_and_depth
from solver.search.passes import Found, largest_that_fits
from solver.solution import NearMiss, Solution, Stats, Status
from solver.units import band, short_bytes, short_count

if TYPE_CHECKING:
    from solver.interop.blueprints import Config

NEAREST = 3
"""Near misses of each kind that an infeasible answer names."""


def infeasible(grid: Lattice, query: Query, stats: Stats, found: Found, known: Known | None = None) -> Solution:
    """The answer to a sound query that no shape satisfies."""
    largest = known.largest(query, lambda: largest_that_fits(grid, query)) if known else largest_that_fits(grid, query)
    misses = [found.too_large, found.smallest, largest]
    if query.target_params and not stats.in_band:
        misses.insert(0, grid.nearest(query.target_params, 4 * NEAREST))
    rows = [shapes.config(row) for shapes in misses for row in first_of_each_width_and_depth(shapes)[:NEAREST]]
    nearest = tuple(_near_miss(config, query) for config in dict.fromkeys(rows))
    fits = int(counts.total(largest)[0]) if len(largest) else None
    return Solution(
        status=Status.INFEASIBLE,
        message=_message(query, stats, found, fits),
        query=query,
        stats=stats,
        nearest=nearest,
        largest_target_that_fits=fits,
    )


def _near_miss(config: Config, query: Query) -> NearMiss:
    params = counts.count(config)["total"]
    needed = None
    if isinstance(config, DIYConfig):
        needed = int(memory.device_bytes(memory.allocated_bytes(config, query.recipe), query.recipe))
    breaks = []
    if query.target_params:
        low, high = band(query.target_params, query.tolerance)
        if not low <= params <= high:
            error = 100 * (params - query.target_params) / query.target_params
            breaks.append(
                f"target: {short_count(params)} params, {error:+.3g} % (tolerance {100 * query.tolerance:g} %)"
            )
    if query.vram_bytes and needed is not None and needed > query.vram_bytes:
        over = short_bytes(needed - query.vram_bytes)
        breaks.append(f"vram: needs {short_bytes(needed)} on the device, {over} more than the budget")
    return NearMiss(config=config, params=params, device_bytes=needed, breaks=tuple(breaks))


def _message(query: Query, stats: Stats, found: Found, fits: int | None) -> str:
    if not stats.in_band:
        low, high = band(query.target_params or 0, query.tolerance)
        return f"none of the {stats.lattice:,} admissible shapes has {low:,} to {high:,} params"
    of_this_size = "shapes of this size" if query.target_params else "admissible shapes"
    needed = int(memory.device_bytes(memory.allocated_bytes(found.smallest, query.recipe), query.recipe)[0])
    text = (
        f"none of the {stats.in_band:,} {of_this_size} fits {short_bytes(query.vram_bytes or 0)}: "
        f"the least that one needs is {short_bytes(needed)}"
    )
    text += "" if fits else "; no admissible shape fits at all"
    return text + _what_would_fit(query, found)


def _what_would_fit(query: Query, found: Found) -> str:
    """The first change of the recipe that makes the best-ranked shape of this size fit, as the end of a sentence."""
    if not query.vram_bytes or not len(found.too_large):
        return ""
    config = found.too_large.config(0)
    assert isinstance(config, DIYConfig)  # a budget is refused for any other
    report = memory.report(config, query.recipe, query.vram_bytes)
    enough = [remedy.change for remedy in report.remedies if remedy.fits and remedy.change.startswith("--")]
    return f"; the best-ranked one would fit with {enough[0]}" if enough else ""
