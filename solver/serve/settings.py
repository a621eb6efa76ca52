"""How a service is set up."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from solver.serve.bounds import Bounds


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything that `diysolve serve` can be told, besides where it listens."""

    bounds: Bounds = field(default_factory=Bounds)
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Processes that compute."""
    cache_bytes: int = 32 * 2**20
    """Replies that are kept to be given again."""
    token: str | None = field(default=None, repr=False)
    """What a client must send as its bearer token. None: everybody may ask."""
    origins: tuple[str, ...] = ()
    """Other origins whose pages may ask (CORS)."""
    allow_verify: bool = False
    """Whether clients may have models built, and steps run on this machine's device."""
    quiet: bool = False
    """No access log."""
