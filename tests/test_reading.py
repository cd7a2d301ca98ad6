"""What a reading declares, and how observations are counted without changing what was counted before."""

import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass
from typing import Annotated, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.reading import (
    Counter,
    Distribution,
    Gauge,
    Label,
    Note,
    Reading,
    Reason,
    Unreadable,
    counted,
    declarations,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Oven(Reading):
    """One oven."""

    PREFIX = "oven"
    COLOURS: ClassVar[Mapping[str, int]] = {}
    room: Annotated[str, Label("Where it stands.")]
    heat_celsius: Annotated[float | None, Gauge("How hot it is.")] = None
    loaves: Annotated[int, Counter("Loaves baked.")] = 0
    owner: Annotated[str, Note("Whose it is.")] = ""


def test_a_field_declares_what_becomes_of_it_in_the_order_it_is_written() -> None:
    declared = declarations(Oven)

    assert list(declared.items()) == [
        ("room", Label("Where it stands.")),
        ("heat_celsius", Gauge("How hot it is.")),
        ("loaves", Counter("Loaves baked.")),
        ("owner", Note("Whose it is.")),
    ]


def test_a_field_that_declares_two_things_fails_when_its_reading_is_written() -> None:
    with pytest.raises(TypeError, match=r"Shed\.rooms declares 2 of"):

        class Shed(Reading):
            PREFIX = "shed"
            rooms: Annotated[int, Gauge("How many."), Counter("How many more.")]


def test_a_reading_cannot_be_changed() -> None:
    oven = Oven(room="kitchen")

    with pytest.raises(FrozenInstanceError):
        oven.loaves = 1  # type: ignore[misc]  # which is what must not work


def test_a_value_on_an_edge_is_counted_below_it_and_one_beyond_all_edges_last() -> None:
    spread = Distribution.over((1.0, 60.0))

    seen = spread.plus(1.0).plus(1.5).plus(60.0).plus(61.0)

    assert seen == Distribution((1.0, 60.0), (1, 2, 1), sum=123.5)


def test_nothing_observed_is_nothing_counted() -> None:
    spread = Distribution.over((1.0,)).plus(0.5)

    assert spread.plus(None) == spread


@given(values=st.lists(st.floats(min_value=0, max_value=1e6)))
def test_every_observation_is_counted_once_and_added_up(values: list[float]) -> None:
    spread = Distribution.over((0.5, 10.0, 1000.0))

    for value in values:
        spread = spread.plus(value)

    assert sum(spread.counts) == len(values)
    assert spread.counts[0] == sum(value <= 0.5 for value in values)
    assert spread.sum == pytest.approx(sum(values))


def test_counting_leaves_what_was_counted_before_as_it_was() -> None:
    before = {"refused": 1, "tls": 0}

    after = counted(counted(before, "refused"), "late", by=3)

    assert after == {"refused": 2, "tls": 0, "late": 3}
    assert before == {"refused": 1, "tls": 0}


def test_an_unreadable_source_says_why() -> None:
    error = Unreadable(Reason.NOT_FOUND, "there is no driver")

    assert error.reason is Reason.NOT_FOUND
    assert str(error) == "there is no driver"


def test_a_reading_survives_the_way_to_another_process() -> None:
    oven = Oven(room="kitchen", heat_celsius=180.0)

    assert pickle.loads(pickle.dumps(oven)) == oven
