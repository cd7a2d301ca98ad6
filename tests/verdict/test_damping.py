"""How many failures in a row are more than chance."""

import math
import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.verdict.damping import KEPT, MOST, RECENT, Attempts, commonest

MISSES = 3
EVERY = 30.0
"""Seconds between two prompts, which makes 2,880 a day."""


def after(ends: Iterable[bool], *, well: bool = True) -> Attempts[str]:
    """The attempts at a service, each of which ended well or did not, and none of which turned its state."""
    attempts: Attempts[str] = Attempts()
    for number, good in enumerate(ends):
        attempts = attempts.succeeded(well=well) if good else attempts.failed("ill", EVERY * number)
    return attempts


def habit(failures: int, of: int) -> Attempts[str]:
    """So many failures, each by itself as far as that goes, and a good answer last."""
    return Attempts(habit=tuple(number < failures for number in range(of)))


@pytest.mark.parametrize(("failures", "needed"), [(0, 3), (5, 3), (25, 5), (125, 10), (250, 10), (500, 10)])
def test_the_more_often_it_fails_the_more_failures_are_needed(failures: int, needed: int) -> None:
    assert habit(failures, 500).needed(MISSES, EVERY) == needed


def test_a_service_that_never_fails_needs_as_many_as_are_set() -> None:
    assert habit(0, 500).needed(5, EVERY) == 5
    assert habit(5, 500).needed(5, EVERY) == 5


def test_one_failure_of_a_few_attempts_is_no_habit_yet() -> None:
    assert habit(1, 3).needed(MISSES, EVERY) == habit(1, 20).needed(MISSES, EVERY) < MOST


def test_fewer_prompts_a_day_need_fewer_failures() -> None:
    assert habit(25, 500).needed(MISSES, 600.0) < habit(25, 500).needed(MISSES, EVERY)


@given(failures=st.integers(0, 500), misses=st.integers(1, 20), interval=st.floats(1.0, 86_400.0))
def test_needed_is_never_less_than_set_nor_more_than_the_most(failures: int, misses: int, interval: float) -> None:
    needed = habit(failures, 500).needed(misses, interval)

    assert misses <= needed <= max(misses, MOST)


@given(failures=st.integers(1, 499), interval=st.floats(5.0, 3_600.0))
def test_chance_turns_a_state_less_than_once_in_a_hundred_days(failures: int, interval: float) -> None:
    needed = habit(failures, 500).needed(MISSES, interval)

    by_chance = (failures / 500) ** needed * 86_400.0 / interval
    assert needed == MOST or by_chance <= 0.01 or math.isclose(by_chance, 0.01)


@given(fewer=st.integers(0, 499), interval=st.floats(5.0, 3_600.0))
def test_a_service_that_fails_more_often_never_needs_fewer(fewer: int, interval: float) -> None:
    rarer, oftener = (habit(failures, 500).needed(MISSES, interval) for failures in (fewer, fewer + 1))

    assert rarer <= oftener


def test_as_many_attempts_are_remembered_as_make_a_habit() -> None:
    attempts = after([False, *[True] * KEPT])

    assert len(attempts.habit) == KEPT
    assert not any(attempts.habit)


def test_the_run_at_hand_is_no_habit_before_it_has_ended() -> None:
    attempts = after([*[True] * 100, False, False])

    assert not any(attempts.habit)
    assert sum(attempts.succeeded(well=True).habit) == 2


def test_a_habit_is_known_soon_after_it_began() -> None:
    attempts = after([*[True] * KEPT, *[False, True, True, True] * 13])

    assert attempts.needed(MISSES, EVERY) >= MOST - 1


def test_an_outage_is_no_habit() -> None:
    outage = after([*[True] * 100, *[False] * 50])
    turned = Attempts(habit=outage.habit, recent=outage.recent, run=outage.run, turned=True)

    attempts = turned.succeeded(well=False).succeeded(well=False).succeeded(well=True)

    assert not any(attempts.habit)
    assert attempts.needed(MISSES, EVERY) == MISSES


def test_an_outage_in_which_a_prompt_is_answered_now_and_then_is_no_habit_either() -> None:
    attempts = after([False, True] * 50, well=False)

    assert attempts.habit == ()


def test_a_run_is_remembered_up_to_a_bound_and_where_it_began() -> None:
    attempts = after([False] * (KEPT + 5))

    assert len(attempts.run) == KEPT
    assert attempts.began == 0.0


def test_a_good_answer_ends_a_run() -> None:
    attempts = after([False, False, True])

    assert (attempts.run, attempts.began, attempts.good) == ((), None, 1)


def test_what_comes_after_a_sleep_is_not_in_a_row_with_what_was() -> None:
    attempts = after([True, False, True, True]).apart()

    assert (attempts.run, attempts.good) == ((), 0)
    assert any(attempts.habit)


@pytest.mark.parametrize(
    ("ends", "intermittent"),
    [
        ([False, True], False),
        ([False, True, False, True], True),
        ([False, True, False], False),
        ([False, False, *[True] * (RECENT - 2)], True),
        ([False, False, *[True] * (RECENT - 1)], False),
    ],
)
def test_two_of_the_last_twenty_are_intermittent_unless_the_last_is_among_them(
    ends: list[bool], *, intermittent: bool
) -> None:
    assert after(ends).intermittent is intermittent


@pytest.mark.parametrize(("kinds", "most"), [("aab", "a"), ("abb", "b"), ("abc", "c"), ("aabb", "b"), ("a", "a")])
def test_the_commonest_is_the_latest_of_those_on_a_tie(kinds: str, most: str) -> None:
    assert commonest(kinds) == most


@pytest.mark.parametrize("share", [0.01, 0.05])
def test_ten_days_of_a_service_that_fails_now_and_then_turn_nothing_by_chance(share: float) -> None:
    chance = random.Random(4)
    attempts: Attempts[str] = habit(int(500 * share), 500)

    turns = 0
    for _ in range(10 * 2_880):
        good = chance.random() >= share
        attempts = attempts.succeeded(well=True) if good else attempts.failed("ill", 0.0)
        turns += not good and len(attempts.run) == attempts.needed(MISSES, EVERY)

    assert turns == 0
