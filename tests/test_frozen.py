"""A class of values: what is given stays, what is the same compares so, and nothing else can be made of it."""

import copy
import pickle
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, asdict, field, replace

import pytest

from exporter.frozen import by_place, frozen


@frozen
class Loaf:
    """A loaf of bread."""

    flour: str
    grams: int = 500
    seeds: Mapping[str, int] = field(default_factory=dict)
    recipe: str = field(default="", repr=False)
    shelf: int = field(default=0, compare=False)


@frozen
class Cake:
    """Has the same fields as a loaf, and is none."""

    flour: str
    grams: int = 500
    seeds: Mapping[str, int] = field(default_factory=dict)
    recipe: str = field(default="", repr=False)
    shelf: int = field(default=0, compare=False)


@by_place
class Slice:
    """A slice of one loaf."""

    loaf: str
    grams: int = 40


@frozen
class Nothing:
    """Has no field."""


def test_a_value_holds_what_was_given_and_the_usual_for_all_else() -> None:
    loaf = Loaf(flour="rye", grams=750)

    assert asdict(loaf) == {"flour": "rye", "grams": 750, "seeds": {}, "recipe": "", "shelf": 0}


def test_what_is_made_afresh_belongs_to_one_value_alone() -> None:
    assert Loaf(flour="rye").seeds is not Loaf(flour="rye").seeds


def test_a_value_without_what_it_needs_is_not_made() -> None:
    with pytest.raises(TypeError, match="of its 5 fields only these are told: grams, recipe, shelf, seeds"):
        Loaf()  # type: ignore[call-arg]  # which is what must not work


def test_a_value_with_more_than_its_fields_is_not_made() -> None:
    with pytest.raises(AttributeError, match="salt"):
        Loaf(flour="rye", salt=1)  # type: ignore[call-arg]  # which is what must not work


def test_a_name_that_is_misspelt_does_not_stand_for_the_right_one() -> None:
    with pytest.raises(AttributeError, match="gramms"):
        Loaf(flour="rye", gramms=1, seeds={}, recipe="", shelf=1)  # type: ignore[call-arg]  # which must not work


def test_a_value_is_made_by_keyword_alone() -> None:
    with pytest.raises(TypeError, match="of 1 values that are given by place only 0 have one"):
        Loaf("rye")  # type: ignore[call-arg]  # which is what must not work


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(Slice("rye", 60), id="by place"),
        pytest.param(Slice("rye", grams=60), id="by both"),
        pytest.param(Slice(grams=60, loaf="rye"), id="by keyword"),
    ],
)
def test_a_value_whose_fields_have_places_is_made_by_those_too(made: Slice) -> None:
    assert asdict(made) == {"loaf": "rye", "grams": 60}


def test_a_value_whose_fields_have_places_takes_the_usual_for_those_left_out() -> None:
    assert Slice("rye").grams == 40


def test_a_value_with_more_than_its_places_is_not_made() -> None:
    with pytest.raises(TypeError, match="of 3 values that are given by place only 2 have one"):
        Slice("rye", 60, "butter")  # type: ignore[call-arg]  # which is what must not work


def test_a_value_cannot_be_changed() -> None:
    loaf = Loaf(flour="rye")

    with pytest.raises(FrozenInstanceError, match="grams"):
        loaf.grams = 1  # type: ignore[misc]  # which is what must not work
    with pytest.raises(FrozenInstanceError, match="grams"):
        del loaf.grams
    with pytest.raises(FrozenInstanceError, match="salt"):
        loaf.salt = 1  # type: ignore[attr-defined]  # which is what must not work

    assert loaf == Loaf(flour="rye")


def test_a_value_takes_no_more_room_than_its_fields() -> None:
    assert not hasattr(Loaf(flour="rye"), "__dict__")


@pytest.mark.parametrize(
    ("other", "same"),
    [
        pytest.param(Loaf(flour="rye"), True, id="holds the same"),
        pytest.param(Loaf(flour="rye", shelf=3), True, id="differs in what is not compared"),
        pytest.param(Loaf(flour="rye", grams=501), False, id="differs"),
        pytest.param(Cake(flour="rye"), False, id="is of another kind"),
        pytest.param(Nothing(), False, id="has no such field"),
        pytest.param("rye", False, id="is no value"),
    ],
)
def test_a_value_is_the_same_as_another_of_its_kind_that_holds_the_same(other: object, *, same: bool) -> None:
    assert (Loaf(flour="rye") == other) is same


def test_values_that_are_the_same_have_one_place_in_a_set() -> None:
    seeds = frozenset({"sesame"})
    values = {Nothing(), Nothing(), *(Loaf(flour="rye", shelf=shelf, seeds=seeds) for shelf in (1, 2))}  # type: ignore[arg-type]  # which can be hashed

    assert len(values) == 2


def test_a_value_that_holds_what_can_change_has_no_place_in_a_set() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Loaf(flour="rye"))


def test_a_value_is_told_but_for_what_is_kept_to_itself() -> None:
    assert repr(Loaf(flour="rye", recipe="secret")) == "Loaf(flour='rye', grams=500, seeds={}, shelf=0)"


def test_a_value_with_a_difference_is_another_value() -> None:
    loaf = Loaf(flour="rye")

    heavier = replace(loaf, grams=1000)

    assert (heavier, loaf) == (Loaf(flour="rye", grams=1000), Loaf(flour="rye"))


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(copy.copy, id="copied"),
        pytest.param(copy.deepcopy, id="copied with all that it holds"),
        pytest.param(lambda value: pickle.loads(pickle.dumps(value)), id="sent to another process"),
    ],
)
def test_a_value_can_be_sent_elsewhere(again: Callable[[Loaf], Loaf]) -> None:
    loaf = Loaf(flour="rye", seeds={"sesame": 3}, shelf=2)

    arrived = again(loaf)

    assert (arrived, arrived.shelf) == (loaf, 2)
