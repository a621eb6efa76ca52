"""Text and integers: exact both ways, and a sentence for everything else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solver.errors import UnitError
from solver.units import (
    BYTE_UNITS,
    COUNT_SUFFIXES,
    band,
    exact_bytes,
    exact_count,
    parse_bytes,
    parse_flops,
    parse_params,
    parse_tolerance,
    short_bytes,
    short_count,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500M", 500_000_000),
        ("500m", 500_000_000),
        ("0.5B", 500_000_000),
        (".5b", 500_000_000),
        ("5e8", 500_000_000),
        ("500_000_000", 500_000_000),
        ("5e2M", 500_000_000),
        ("1.001M", 1_001_000),
        ("  7B ", 7_000_000_000),
        ("1", 1),
        ("1000T", 10**15),
    ],
)
def test_params(text: str, value: int) -> None:
    assert parse_params(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "abc",
        "-5M",
        "0",
        "1.5",
        "1e400",
        "nan",
        "inf",
        "500MB",
        "",
        " ",
        "M",
        "1e",
        "1e16",
        "1.0000001M",
        "0x10",
        "5 M M",
        "1e-1",
        "\u0665M",
        "1" * 5000,
        "1e99999999999",
        "1,000",
        "+-1",
        "_1",
    ],
)
def test_params_that_are_refused(text: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_params(text, "target")
    sentence = str(caught.value)
    assert sentence.startswith("target=")
    assert "500M" in sentence, "says what is allowed"
    assert len(sentence) < 300


def test_a_size_in_bytes_is_told_from_a_count() -> None:
    with pytest.raises(UnitError, match="size in bytes"):
        parse_params("500MB")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("24GB", 24 * 10**9),
        ("24gb", 24 * 10**9),
        ("24GiB", 24 * 2**30),
        ("24 GIB", 24 * 2**30),
        ("1.5MiB", 3 * 2**19),
        ("0.1TB", 10**11),
        ("1e3MB", 10**9),
        ("0.0000011MB", 1),
    ],
)
def test_bytes(text: str, value: int) -> None:
    assert parse_bytes(text) == value


@pytest.mark.parametrize("text", ["24", "24XB", "-1GB", "0GB", "GB", "", "24G", "24KB", "nanGB", "1e400GB", "24GB GB"])
def test_bytes_that_are_refused(text: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_bytes(text, "vram")
    assert str(caught.value).startswith("vram=")
    assert "24GB" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"), [("1%", 0.01), ("0.01", 0.01), ("0", 0.0), ("0.5 %", 0.005), ("1e-3", 0.001)]
)
def test_tolerance(text: str, value: float) -> None:
    assert parse_tolerance(text) == value


@pytest.mark.parametrize("text", ["100%", "1", "-1%", "x", "", "%", "nan"])
def test_tolerance_that_is_refused(text: str) -> None:
    with pytest.raises(UnitError, match="tolerance="):
        parse_tolerance(text)


def test_band_is_exact_at_its_edges() -> None:
    assert band(500_000_000, 0.01) == (495_000_000, 505_000_000)
    assert band(10**15, 0.01) == (99 * 10**13, 101 * 10**13)
    assert band(7, 0.0) == (7, 7)


@given(st.integers(1, 10**15))
def test_exact_count_reads_back(value: int) -> None:
    assert parse_params(exact_count(value)) == value


@given(st.integers(1, 10**17))
def test_exact_bytes_read_back(value: int) -> None:
    assert parse_bytes(exact_bytes(value)) == value


@given(st.integers(1, 10**15 - 10**12))
def test_short_count_reads_back_within_its_precision(value: int) -> None:
    text = short_count(value)
    number, suffix = re.fullmatch(r"([0-9.]+)([KMBT]?)", text).groups()  # type: ignore[union-attr]
    assert float(number) < 1000
    decimals = len(number.partition(".")[2])
    step = 10 ** COUNT_SUFFIXES[suffix] / 10**decimals
    assert abs(float(number) * 10 ** COUNT_SUFFIXES[suffix] - value) <= step * 0.5000001
    assert value < 1000 or step <= value / 999


@given(st.integers(2**20, 2**49))
def test_short_bytes_read_back_within_their_precision(value: int) -> None:
    number, unit = short_bytes(value).split(" ")
    decimals = len(number.partition(".")[2])
    size = BYTE_UNITS[unit.upper()]
    assert float(number) < 1000
    assert abs(float(number) * size - value) <= 0.5000001 * size / 10**decimals


@pytest.mark.parametrize(("text", "value"), [("1e20", 10**20), ("6.5e19", 65 * 10**18), ("7", 7), ("1_000", 1000)])
def test_flops_are_read_exactly(text: str, value: int) -> None:
    assert parse_flops(text) == value


@pytest.mark.parametrize("text", ["0", "-1e20", "1.5", "1e31", "abc", "", "1e20F", "nan"])
def test_what_is_no_number_of_flops(text: str) -> None:
    with pytest.raises(UnitError, match="flops="):
        parse_flops(text)
