"""Trying for long finds what is there to be found, and counts what it tried."""

from pathlib import Path

from tests.fuzz.__main__ import properties, tried

PROPERTY = """
from hypothesis import given, strategies as st

@given(st.integers())
def test_of_hypothesis(number: int) -> None:
    assert number < {most}

def test_of_another_kind() -> None:
    pass
"""


def test_only_properties_are_tried(tmp_path: Path) -> None:
    file = tmp_path / "test_planted.py"
    file.write_text(PROPERTY.format(most=1000))

    assert [name.rpartition("::")[2] for name in properties([str(file)])] == ["test_of_hypothesis"]


def test_a_property_that_does_not_hold_is_found(tmp_path: Path) -> None:
    file = tmp_path / "test_planted.py"
    file.write_text(PROPERTY.format(most=1000))

    trial = tried(f"{file}::test_of_hypothesis", seconds=0.1)

    assert "number=1000" in trial.found.replace("\n", "").replace(" ", "")
    assert trial.examples > 0


def test_a_property_that_holds_is_tried_as_long_as_there_is_time(tmp_path: Path) -> None:
    file = tmp_path / "test_planted.py"
    file.write_text(PROPERTY.format(most="float('inf')"))

    trial = tried(f"{file}::test_of_hypothesis", seconds=1.0)

    assert not trial.found
    assert trial.examples >= 100
