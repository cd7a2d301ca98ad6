"""Numbers as people and models write them."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.checks.numbers import Range, numbers


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("42", 42),
        ("The answer is 42.", 42),
        ("**42**", 42),
        ("= 42, of course", 42),
        ("\\boxed{42}", 42),
        ("42!", 42),
        ("-5", -5),
        ("\u22125 °C", -5),
        ("3.14", 3.14),
        ("3,14 Euro", 3.14),
        ("1,234", 1234),
        ("1.234", 1234),
        ("1.234", 1.234),
        ("1 234 567", 1234567),
        ("1\u202f234\u202f567", 1234567),
        ("1'234'567", 1234567),
        ("1,234,567.89", 1234567.89),
        ("1.234.567,89", 1234567.89),
        ("$1,299.00", 1299),
        ("1.2e-05", 1.2e-5),
        ("6.02E23", 6.02e23),
        ("1,2,3", 3),
        ("1,234", 1.234),
        ("12 30", 30),
        ("答案是142。", 142),
        ("الجواب ١٤٢", 142),
        ("\uff11\uff14\uff12", 142),
        ("57 + 85 = 142", 142),
        ("10-4", 4),
    ],
)
def test_a_number_is_found_however_it_is_written(text: str, number: float) -> None:
    assert number in numbers(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1142", 142),
        ("1420", 142),
        ("3.142", 142),
        ("142.5", 142),
        ("1,420", 142),
        ("14 2", 142),
        ("-142", 142),
        ("10.0.0.142", 142),
        ("one hundred", 100),
        ("x\u00b2", 2),
        ("1,043", 43),
    ],
)
def test_part_of_a_number_is_not_that_number(text: str, number: float) -> None:
    assert number not in numbers(text)


@given(st.integers(-(10**15), 10**15))
def test_every_whole_number_is_found_with_commas_and_without(number: int) -> None:
    assert number in numbers(f"It is {number}.")
    assert number in numbers(f"It is {number:,}.")


@given(st.text() | st.text("0123456789.,' eE+-\u2212", max_size=200))
def test_any_text_holds_numbers_or_none(text: str) -> None:
    assert all(isinstance(number, float) for number in numbers(text))


@pytest.mark.parametrize("text", ["9" * 65536, "9," * 32768, "1,234" * 13107, "9 " * 32768], ids=len)
def test_no_length_of_digits_is_too_much(text: str) -> None:
    assert all(isinstance(number, float) for number in numbers(text))


@pytest.mark.parametrize(
    ("within", "held", "not_held"),
    [
        (Range(min=1, max=2), (1, 1.5, 2), (0.99, 2.01, nan, inf)),
        (Range(min=1), (1, 10**400, inf), (0, nan, -inf)),
        (Range(max=1), (1, -inf), (2, nan)),
        (Range(), (0, inf, -inf), (nan,)),
    ],
)
def test_a_range_holds_its_ends_and_what_lies_between(
    within: Range, held: tuple[float, ...], not_held: tuple[float, ...]
) -> None:
    assert all(map(within.holds, held))
    assert not any(map(within.holds, not_held))
