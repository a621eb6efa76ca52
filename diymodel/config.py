"""`DIYConfig`: the complete description of one model. Plain values; no torch."""

from __future__ import annotations

import difflib
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

MAX_DIMENSION = 1_000_000_000
"""Largest value of any integer field (assumption: far beyond every published model)."""


class ConfigError(ValueError):
    """A config that no model can be built from. The message names the field, its value and what is allowed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DIYConfig:
    """A compact decoder: pre-norm RMSNorm, RoPE, fused QKV, SwiGLU, tied embeddings.

    Every field that changes the parameter count is here, so a config alone says how large its model is.

    Fields given as None are resolved when the config is made and are ints ever after. To resize a config with
    `dataclasses.replace`, pass `head_dim=None` and `num_kv_heads=None` along, or they keep their old values.

    Raises:
        ConfigError: a value of the wrong type or out of range, heads that do not divide the width, kv heads
            that do not divide the heads, an odd head_dim (RoPE rotates pairs).
    """

    vocab_size: int = 6400
    hidden_size: int = 256
    num_layers: int = 2
    num_heads: int = 8
    intermediate_size: int = 512
    max_seq_len: int = 512
    """Longest sequence in tokens; the length of the RoPE tables."""
    dropout: float = 0.0
    """Probability for attention weights and for both residual branches, in [0, 1)."""
    eps: float = 1e-5
    """Added to the mean square inside RMSNorm."""
    rope_theta: float = 10_000.0
    """Base of the RoPE frequencies (Su et al. 2021, arXiv:2104.09864, section 3.2.2)."""
    num_kv_heads: int = cast(int, None)
    """Key and value heads; None means num_heads (multi-head attention)."""
    head_dim: int = cast(int, None)
    """Width of one head; None means hidden_size / num_heads."""
    tie_embeddings: bool = True
    qkv_bias: bool = False
    qk_norm: bool = False
    """RMSNorm over head_dim on queries and keys, one weight vector each, as in Qwen3."""
    final_norm: bool = True

    def __post_init__(self) -> None:
        if self.num_kv_heads is None:
            object.__setattr__(self, "num_kv_heads", self.num_heads)
        derived_head_dim = self.head_dim is None
        if derived_head_dim:
            object.__setattr__(self, "head_dim", _derived_head_dim(self.hidden_size, self.num_heads))
        for name in _INT_FIELDS:
            _check_int(name, getattr(self, name))
        for name in _BOOL_FIELDS:
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name}={_shown(getattr(self, name))}: must be true or false")
        for name in _FLOAT_FIELDS:
            object.__setattr__(self, name, _checked_float(name, getattr(self, name)))
        if self.num_heads % self.num_kv_heads:
            raise ConfigError(
                f"num_kv_heads={self.num_kv_heads}: must divide num_heads={self.num_heads}; "
                f"try one of {_divisors(self.num_heads)}"
            )
        if self.head_dim % 2:
            origin = " (= hidden_size / num_heads)" if derived_head_dim else ""
            raise ConfigError(
                f"head_dim={self.head_dim}{origin}: must be even, since RoPE rotates pairs; "
                "try another num_heads or an even head_dim"
            )

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values, in the order of the class."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DIYConfig:
        """Build from plain values; the inverse of `to_dict`. Missing fields take their defaults.

        Raises:
            ConfigError: an unknown field (the nearest known one is named) or a value that `DIYConfig` refuses.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known fields are {', '.join(known)}"
                raise ConfigError(f"{_shown(name)}: not a field of DIYConfig; {hint}")
        return cls(**values)


_INT_FIELDS = (
    "vocab_size",
    "hidden_size",
    "num_layers",
    "num_heads",
    "num_kv_heads",
    "head_dim",
    "intermediate_size",
    "max_seq_len",
)
_BOOL_FIELDS = ("tie_embeddings", "qkv_bias", "qk_norm", "final_norm")
_FLOAT_FIELDS = ("dropout", "eps", "rope_theta")


def _derived_head_dim(hidden_size: int, num_heads: int) -> int:
    _check_int("hidden_size", hidden_size)
    _check_int("num_heads", num_heads)
    if hidden_size % num_heads:
        nearest = min(_divisors(hidden_size), key=lambda divisor: abs(divisor - num_heads))
        raise ConfigError(
            f"num_heads={num_heads}: must divide hidden_size={hidden_size}, unless head_dim is given; "
            f"try num_heads={nearest}"
        )
    return hidden_size // num_heads


def _check_int(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name}={_shown(value)} ({type(value).__name__}): must be a whole number")
    if not 1 <= value <= MAX_DIMENSION:
        raise ConfigError(f"{name}={_shown(value)}: must be from 1 to {MAX_DIMENSION:,}")


def _checked_float(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name}={_shown(value)} ({type(value).__name__}): must be a number")
    if name == "dropout":
        if not 0 <= value < 1:
            raise ConfigError(f"dropout={_shown(value)}: must be at least 0 and less than 1")
    elif not 0 < value < math.inf or value > 1e300:
        raise ConfigError(f"{name}={_shown(value)}: must be a finite number greater than 0")
    return float(value)


def _shown(value: object, limit: int = 60) -> str:
    """The value as written, cut where it would flood the line."""
    if isinstance(value, int) and abs(value) >= 10**limit:  # Python refuses to print integers of thousands of digits
        return f"an integer of over {limit} digits"
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


def _divisors(number: int) -> list[int]:
    small = [i for i in range(1, math.isqrt(number) + 1) if number % i == 0]
    return sorted({*small, *(number // i for i in small)})
