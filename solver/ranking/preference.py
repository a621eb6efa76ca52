"""What a preference for speed or memory is worth in nats: its exchange rates, and the terms that they make of a shape.

Time that a shape saves could be spent on training tokens, and memory that it saves on params; the law says what either
would buy. With `speed` shapes are so compared, to the first order, by their loss after equal time in place of equal
tokens; with `memory` by their loss at equal memory in place of equal size; `balanced` charges half of both.

    speed  = nats per ln(tokens) * ln(step time / time of the target's arithmetic alone)
    memory = nats per ln(params) * ln(peak / 16 bytes per target param)

The rates are the law's own slopes at the target and its tokens, one number for all shapes of a query. The divisors are
constants of a query too: they make the numbers readable and change no order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from solver.query import Prefer
from solver.ranking import law, speed
from solver.ranking.law import Number

SHARES: dict[Prefer, tuple[float, float]] = {
    "quality": (0.0, 0.0),
    "speed": (1.0, 0.0),
    "memory": (0.0, 1.0),
    "balanced": (0.5, 0.5),
}
"""How much of the rates of speed and memory each preference charges. The half is an assumption."""

REFERENCE_LAYERS = 32
"""Depth at which the law's slopes are taken (assumption: in the middle of the published shapes; twice the depth moves
the rate of speed by 6 %)."""

STATE_BYTES = 16
"""Bytes a param of weights, gradients and AdamW's two moments in float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preference:
    """The prices of one query. A rate of 0 makes no term."""

    speed_rate: float
    """Nats per unit of ln(step time)."""
    memory_rate: float
    """Nats per unit of ln(peak bytes)."""
    arithmetic_seconds: float
    """Step time that costs nothing."""
    state_bytes: float
    """Peak that costs nothing."""

    def terms(self, *, step_time: Number, peak_bytes: Number) -> dict[str, Number]:
        """The terms of shapes, in nats, by name; those without a rate are absent."""
        terms = {}
        if self.speed_rate:
            terms["speed"] = self.speed_rate * np.log(step_time / self.arithmetic_seconds)
        if self.memory_rate:
            terms["memory"] = self.memory_rate * np.log(peak_bytes / self.state_bytes)
        return terms


def preference(prefer: Prefer, *, params: int, tokens: int, step_tokens: int) -> Preference:
    """The prices at a size and its training tokens, for steps of `step_tokens`."""
    speed_share, memory_share = SHARES[prefer]
    return Preference(
        speed_rate=speed_share * float(law.nats_per_log_tokens(layers=REFERENCE_LAYERS, tokens=tokens)),
        memory_rate=memory_share * float(law.nats_per_log_params(layers=REFERENCE_LAYERS, params=params)),
        arithmetic_seconds=speed.arithmetic_seconds(params, step_tokens),
        state_bytes=float(STATE_BYTES * params),
    )
