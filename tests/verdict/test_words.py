"""What is said to a person, of each state and of all that speaks for it."""

from dataclasses import replace

import pytest

from exporter.verdict.standing import Evidence, State
from exporter.verdict.words import MEANINGS, SAYINGS, TRIES, said
from exporter.wire import Failure
from tests.incidents.services import MUTE, VLLM, WELL, failing, hung, until
from tests.lives import Life, Moment, lived


def sentence(life: Life, seconds: float) -> str:
    """What is said of a service after so many seconds."""
    standing = lived(life, seconds).standing
    assert standing is not None
    return said(standing)


@pytest.mark.parametrize("table", [MEANINGS, TRIES], ids=["meanings", "tries"])
def test_each_state_has_words_of_its_own(table: dict[State, str]) -> None:
    assert table.keys() == set(State)
    assert all(table.values())


def test_no_two_states_are_worded_alike() -> None:
    assert len(set(MEANINGS.values())) == len(State)


def test_each_evidence_has_words_of_its_own() -> None:
    assert SAYINGS.keys() == set(Evidence)
    assert len(set(SAYINGS.values())) == len(Evidence)


@pytest.mark.parametrize("words", [*MEANINGS.values(), *TRIES.values(), *SAYINGS.values()])
def test_words_are_one_line_that_a_sentence_can_go_on_from(words: str) -> None:
    assert words == words.strip().rstrip(".")
    assert words.isprintable()


def test_green_but_hung_is_said_as_one_would_say_it() -> None:
    told = sentence(until(VLLM, replace(hung(VLLM), running=2.0)), WELL + 300.0)

    assert told.startswith(f"{MEANINGS[State.HUNG]}; timeout_first_token")
    assert SAYINGS[Evidence.HEALTH_GREEN] in told
    assert SAYINGS[Evidence.TOKENS_FROZEN] in told
    assert SAYINGS[Evidence.REQUESTS_HELD] in told
    assert SAYINGS[Evidence.TOKENS_ADVANCING] not in told


def test_a_service_that_is_well_has_no_failure_to_tell() -> None:
    told = sentence(lambda _now: VLLM, WELL)

    assert told.startswith(MEANINGS[State.OK])
    assert not any(failure in told for failure in Failure)


def test_one_failure_is_told_before_it_turns_the_state() -> None:
    told = sentence(until(MUTE, failing(MUTE, Failure.STATUS_5XX)), WELL + 31.0)

    assert told.startswith(MEANINGS[State.OK])
    assert Failure.STATUS_5XX in told


@pytest.mark.parametrize("seconds", [WELL + 150.0, WELL + 400.0])
def test_a_busy_service_that_may_hang_is_not_said_to_work(seconds: float) -> None:
    told = sentence(until(MUTE, hung(MUTE)), seconds)

    assert MEANINGS[State.SATURATED] not in told
    assert SAYINGS[Evidence.NO_WITNESS] in told


def test_a_service_that_was_not_asked_yet_has_no_failure_to_tell() -> None:
    told = sentence(lambda _now: Moment(takes=50.0), 10.0)

    assert told.startswith(MEANINGS[State.UNKNOWN])
