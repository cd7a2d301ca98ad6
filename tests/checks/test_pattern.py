"""Regular expressions that no text can make slow."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.checks.pattern import Pattern


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("Paris", "The capital is Paris."),
        ("(?i)paris", "PARIS"),
        (r"^\s*\d{1,3}\s*$", " 42\n"),
        (r"\p{Han}{2}", "北京"),
        ("^.$", "é"),
        ("", ""),
    ],
)
def test_a_pattern_is_found_anywhere_in_a_text(pattern: str, text: str) -> None:
    assert Pattern.parse(pattern).found_in(text)


@pytest.mark.parametrize(("pattern", "text"), [("paris", "Paris"), (r"^\d+$", "forty-two"), (".", "")])
def test_a_pattern_that_does_not_match_is_not_found(pattern: str, text: str) -> None:
    assert not Pattern.parse(pattern).found_in(text)


@pytest.mark.parametrize("pattern", ["(", "[", "a**", "(?=a)", r"(a)\1", "a{1001}"])
def test_a_pattern_that_is_none_is_refused_in_words(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"not a regular expression by RE2: [a-z]"):
        Pattern.parse(pattern)


def test_a_pattern_that_is_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match="no text"):
        Pattern.parse("\ud800")


# Each takes a backtracking engine longer than the universe has lasted.
@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "^(a|a?)+$", "(.*a){20}$", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_the_worst_patterns_are_through_a_long_text_before_anyone_notices(pattern: str) -> None:
    assert not Pattern.parse(pattern).found_in("a" * 65535 + "!")


@settings(deadline=None)
@given(pattern=st.text("ab.*+?()[]|^$\\d{1,3}", max_size=12), text=st.text())
def test_a_pattern_that_was_accepted_is_an_error_in_no_text(pattern: str, text: str) -> None:
    try:
        accepted = Pattern.parse(pattern)
    except ValueError:
        return

    assert accepted.found_in(text) in {True, False}


def test_half_of_a_character_is_text_like_any_other() -> None:
    assert Pattern.parse("yes").found_in("\ud800 yes")
