"""Text to integers and back: params, tokens, bytes, tolerances. Exact: no number passes through a float.

Counts are decimal (K, M, B, T are powers of 1000). Bytes have two honest spellings (GB = 10^9, GiB = 2^30) and always
a unit. The exact forms read back to the same integer; the short forms read back to within their printed precision.
"""

from __future__ import annotations

import re

from solver.errors import UnitError

MAX_COUNT = 10**15
"""Largest number of params or tokens."""

COUNT_SUFFIXES = {"": 0, "K": 3, "M": 6, "B": 9, "T": 12}
BYTE_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
GIB = 2**30

_NUMBER = re.compile(r"([+-]?)([0-9][0-9_]*)?(?:\.([0-9][0-9_]*)?)?(?:[eE]([+-]?[0-9]{1,4}))?")
_PPB = 10**9


def parse_params(text: str, argument: str = "params") -> int:
    """A number of parameters: `500M`, `0.5B`, `5e8`, `500_000_000`. From 1 to 10^15.

    Raises:
        UnitError: anything else, or a number that does not come out whole.
    """
    allowed = "write a positive number, with K, M, B or T if you like: 500M, 0.5B, 5e8, 500_000_000"
    stripped = text.strip()
    if re.search(r"\d\s*[kmgt]i?b$", stripped, re.IGNORECASE):
        raise UnitError(argument, text, f"this is a size in bytes, and a count is wanted; {allowed}")
    suffix = stripped[-1:].upper()
    exponent = COUNT_SUFFIXES.get(suffix, 0)
    digits, scale = _decimal(stripped[:-1] if exponent else stripped, argument, text, allowed)
    scale += exponent
    if scale < 0 and digits % 10**-scale:
        raise UnitError(argument, text, f"must come out as a whole number; {allowed}")
    value = digits * 10**scale if scale >= 0 else digits // 10**-scale
    if not 1 <= value <= MAX_COUNT:
        raise UnitError(argument, text, f"must be from 1 to {MAX_COUNT:.0e} (1000T); {allowed}")
    return value


def parse_tokens(text: str, argument: str = "tokens") -> int:
    """A number of tokens, written like params. Raises UnitError."""
    return parse_params(text, argument)


def parse_flops(text: str, argument: str = "flops") -> int:
    """A number of training FLOPs: `1e20`, `6.5e19`. From 1 to 10^30.

    Raises:
        UnitError: anything else, or a number that does not come out whole.
    """
    allowed = "write a positive whole number such as 1e20"
    digits, scale = _decimal(text, argument, text, allowed)
    value = digits * 10**scale if scale >= 0 else digits // 10**-scale
    whole = scale >= 0 or digits % 10**-scale == 0
    if not whole or not 1 <= value <= 10**30:
        raise UnitError(argument, text, f"must be a whole number from 1 to 10^30; {allowed}")
    return value


def parse_bytes(text: str, argument: str = "bytes") -> int:
    """A positive number of bytes with its unit: MB, GB, TB (powers of 1000), MiB, GiB, TiB (of 1024); any case.

    A fraction of a byte is dropped.

    Raises:
        UnitError: no unit, an unknown unit, or a number that is not positive.
    """
    allowed = "write a positive number and a unit: 24GB (10^9 bytes) or 24GiB (2^30); MB, TB, MiB and TiB work too"
    match = re.fullmatch(r"(.*?)\s*([A-Za-z]*)", text.strip())
    number, unit = match.groups() if match else (text, "")
    if not unit and re.search(r"\d$", number):
        raise UnitError(argument, text, f"a unit is missing; {allowed}")
    if unit.upper() not in BYTE_UNITS:
        raise UnitError(argument, text, f"{unit!r} is not a unit that is known here; {allowed}" if unit else allowed)
    digits, scale = _decimal(number, argument, text, allowed)
    value = digits * BYTE_UNITS[unit.upper()] * 10 ** max(scale, 0) // 10 ** max(-scale, 0)
    if not 1 <= value <= 10**18:
        raise UnitError(argument, text, f"must be from 1 byte to 10^18; {allowed}")
    return value


def parse_tolerance(text: str, argument: str = "tolerance") -> float:
    """`1%` or `0.01`: a fraction of the target from 0 to less than 1.

    Raises:
        UnitError: anything else.
    """
    allowed = "write a percentage or a fraction: 1% or 0.01; from 0 to less than 100%"
    stripped = text.strip()
    percent = stripped.endswith("%")
    digits, scale = _decimal(stripped.removesuffix("%").strip(), argument, text, allowed)
    value = float(f"{digits}e{scale - 2 * percent}")
    if not 0 <= value < 1:
        raise UnitError(argument, text, allowed)
    return value


def band(target: int, tolerance: float) -> tuple[int, int]:
    """Smallest and largest count within the tolerance, in integers (the tolerance is read to 9 decimals)."""
    slack = target * round(tolerance * _PPB) // _PPB
    return target - slack, target + slack


def _decimal(number: str, argument: str, text: str, allowed: str) -> tuple[int, int]:
    """`digits * 10^scale`, exactly. Raises UnitError for what is not a number, or is negative."""
    match = _NUMBER.fullmatch(number.strip())
    if not match or (match[2] is None and match[3] is None):
        raise UnitError(argument, text, allowed)
    sign, whole, fraction, exponent = match.groups()
    whole, fraction = (whole or "").replace("_", ""), (fraction or "").replace("_", "")
    digits = int((whole + fraction)[:40] or "0")
    if sign == "-":
        raise UnitError(argument, text, f"must not be negative; {allowed}")
    if len(whole + fraction) > 40 or abs(int(exponent or 0)) > 99:
        raise UnitError(argument, text, f"far out of range; {allowed}")
    return digits, int(exponent or 0) - len(fraction)


def exact_count(value: int) -> str:
    """All digits, with the largest suffix that fits: 500M, 493.15328M. Reads back to the same integer."""
    for suffix, exponent in reversed(COUNT_SUFFIXES.items()):
        if value >= 10**exponent:
            whole, rest = divmod(value, 10**exponent)
            fraction = f"{rest:0{exponent}d}".rstrip("0") if rest else ""
            return f"{whole}{'.' if fraction else ''}{fraction}{suffix}"
    return str(value)


def exact_bytes(value: int) -> str:
    """The shortest exact spelling: 24GB, 24GiB, or megabytes with decimals. Reads back to the same integer."""
    for unit, size in (("TB", 10**12), ("TiB", 2**40), ("GB", 10**9), ("GiB", 2**30), ("MiB", 2**20)):
        if value and value % size == 0:
            return f"{value // size}{unit}"
    whole, rest = divmod(value, 10**6)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".") + "MB"


def short_count(value: int) -> str:
    """Four significant digits and a suffix: 493.2M, 1.235B, 950."""
    if value < 1000:
        return str(value)
    return _four_digits(value, [(10**exponent, suffix) for suffix, exponent in COUNT_SUFFIXES.items() if exponent])


def short_bytes(value: int) -> str:
    """Four significant digits in binary units: 22.35 GiB."""
    return _four_digits(value, [(2**20, " MiB"), (2**30, " GiB"), (2**40, " TiB")])


def _four_digits(value: int, units: list[tuple[int, str]]) -> str:
    for size, unit in units:
        for decimals in (3, 2, 1):
            text = f"{value / size:.{decimals}f}"
            if len(text) <= 5:
                return text + unit
        if round(value / size) < 1000:
            return f"{value / size:.0f}{unit}"
    return f"{value / units[-1][0]:.0f}{units[-1][1]}"
