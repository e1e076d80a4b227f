"""Numbers for people: a golden table from 0.001 to 10 million, and properties that hold for every value."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rooftune import formatting

GOLDEN = [
    (0, "0", "0"),
    (0.001, "0.001", "0.001"),
    (0.0012345, "0.00123", "0.0012"),
    (0.0199996, "0.0200", "0.020"),
    (0.05, "0.05", "0.05"),
    (0.5, "0.5", "0.5"),
    (0.9996, "1.00", "1.0"),
    (1, "1", "1"),
    (2.44, "2.44", "2.4"),
    (9.996, "10.0", "10"),
    (39.75, "39.8", "40"),
    (99.96, "100", "100"),
    (100.2, "100", "100"),
    (127.4, "127", "127"),
    (999.6, "1,000", "1,000"),
    (1234.5, "1,234", "1,234"),
    (35_200, "35,200", "35,200"),
    (1_000_000, "1,000,000", "1,000,000"),
    (9_999_999.7, "10,000,000", "10,000,000"),
    (10_000_000, "10,000,000", "10,000,000"),
    (-2.44, "−2.44", "−2.4"),
    (-1234.5, "−1,234", "−1,234"),
    (100 * 0.07, "7", "7"),
    (None, "–", "–"),
    (math.nan, "–", "–"),
    (math.inf, "∞", "∞"),
]
ANY = st.floats(0.001, 1e7) | st.floats(-1e7, -0.001)


def read(text: str) -> float:
    return float(text.replace("−", "-").replace(",", ""))


@pytest.mark.parametrize(("value", "three", "two"), GOLDEN)
def test_number(value: float | None, three: str, two: str) -> None:
    assert formatting.number(value) == three
    assert formatting.number(value, 2) == two


@given(ANY | st.floats(1e-9, 1e15), st.integers(1, 6))
@example(127.3, 2)
@example(1e15, 3)
def test_a_number_has_no_exponent_and_reads_back_within_its_digits(value: float, digits: int) -> None:
    text = formatting.number(value, digits)
    assert not {"e", "E", "n"} & set(text)
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - digits + 1)
    assert abs(read(text) - value) <= 0.5001 * unit + 1e-11 * abs(value)


@given(ANY, ANY)
def test_larger_numbers_never_read_smaller(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert read(formatting.number(low)) <= read(formatting.number(high))


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0.55, "−45 %"),
        (1.021, "+2.1 %"),
        (1.0996, "+10 %"),
        (1.0, "0.0 %"),
        (0.9999, "0.0 %"),
        (2.05, "+105 %"),
        (1000.0, "+99,900 %"),
        (0.001, "−100 %"),
        (None, "–"),
    ],
)
def test_change(ratio: float | None, text: str) -> None:
    assert formatting.change(ratio) == text


@given(st.floats(0.001, 1e7))
def test_a_change_reads_back(ratio: float) -> None:
    text = formatting.change(ratio)
    assert "e" not in text
    within = 0.0501 if abs(ratio - 1) < 0.0995 else 0.501
    assert abs(read(text.removesuffix(" %")) - 100 * (ratio - 1)) <= within + 1e-9 * ratio


def test_change_range() -> None:
    assert formatting.change_range(0.55, 0.53, 0.57) == "−45 % (−47 to −43 %)"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.25, "0.25 requests/s"), (1, "1 request/s"), (5.13, "5.1 requests/s"), (20, "20 requests/s"),
     (127.3, "127 requests/s"), (1234.5, "1,234 requests/s"), (1e7, "10,000,000 requests/s")],
)  # fmt: skip
def test_rate(value: float, text: str) -> None:
    assert formatting.rate(value, "request") == text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (formatting.percent(0.253), "25 %"),
        (formatting.percent(0.07), "7 %"),
        (formatting.percent(0.0042), "0.42 %"),
        (formatting.percent(1.234), "123 %"),
        (formatting.percent(0.999, 3), "99.9 %"),
        (formatting.multiple(6.66), "6.7 times"),
        (formatting.multiple(12.2), "12 times"),
        (formatting.quantity(1, "trial"), "1 trial"),
        (formatting.quantity(0, "trial"), "0 trials"),
        (formatting.quantity(1.5, "sequence"), "1.5 sequences"),
        (formatting.milliseconds(0.0413), "41.3 ms"),
        (formatting.milliseconds(2.5), "2,500 ms"),
        (formatting.gigabytes(13.21e9), "13.2 GB"),
        (formatting.gibibytes(16 * 2**30), "16 GiB"),
        (formatting.gigabytes_per_s(320e9), "320 GB/s"),
        (formatting.gigabytes_per_s(2039e9), "2,039 GB/s"),
        (formatting.flops_per_s(65e12), "65 TFLOP/s"),
        (formatting.flops_per_s(1.979e15), "1.98 PFLOP/s"),
        (formatting.flops_per_s(150e9), "150 GFLOP/s"),
        (formatting.flops_per_s(5e8), "500,000,000 FLOP/s"),
    ],
)
def test_units(text: str, wanted: str) -> None:
    assert text == wanted
