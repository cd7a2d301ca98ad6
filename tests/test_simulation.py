"""Days and outages of simulated services, and a busy hour of a real one: whom nobody must be woken for, and how soon.

In the simulation waits, and the prompts that run out of time by them, follow from a line of requests before a
service's slots. Two things are alarms by definition and are kept out of it. Where nothing tells that a service works,
one that starves every prompt for longer than `blind_after` is hung, so that the bursts of such a service end before.
And where every prompt was answered before, the first three failures in a row are an outage, even if they are the first
three of a worker that will answer three of four with an error: that is told in one of sixteen such lives.
"""

import random
from collections.abc import Callable

import pytest

from exporter.assessor import WAKING
from exporter.verdict.standing import State
from exporter.wire import Failure
from tests.lives import LASTS
from tests.simulation.days import (
    INTERVAL,
    PATIENCE,
    RULES,
    Day,
    busy,
    busy_unheard,
    long_prompts,
    now_and_then_an_error,
    one_bad_worker,
    restarts,
    slower_by_the_hour,
)
from tests.simulation.outages import OUTAGES, Outage, broken
from tests.simulation.recorded import FILE, Ears, Recording, standings

SEEDS = range(5)
LIVES = range(3)
LONG = 90.0
RECOVERY = PATIENCE + 3 * INTERVAL
"""A prompt that began in the outage, and two that are answered."""
MOST = 10
"""How many failures in a row are more than chance, however often it fails."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", [busy, busy_unheard, long_prompts], ids=lambda kind: kind.__name__)
def test_waits_that_starve_prompts_wake_nobody(kind: Callable[[random.Random], Day], seed: int) -> None:
    day = kind(random.Random(seed))

    record = day.lived(seed)

    assert day.waits() > LONG
    assert record.failures > 50
    assert set(record.states) == {State.UNKNOWN, State.OK, State.SATURATED}


@pytest.mark.parametrize("seed", SEEDS)
def test_what_nothing_tells_of_starves_for_less_than_it_takes_to_be_called_hung(seed: int) -> None:
    assert busy_unheard(random.Random(seed)).starves() < RULES.blind_after - 2 * INTERVAL - PATIENCE


@pytest.mark.parametrize("seed", SEEDS)
def test_one_bad_worker_of_four_is_evidence_and_wakes_nobody(seed: int) -> None:
    record = one_bad_worker(random.Random(seed)).lived(seed)

    assert record.failures > record.attempts / 5
    assert record.states == [State.UNKNOWN, State.OK]
    assert record.standing is not None
    assert sum(record.standing.attempts.recent) > 1


@pytest.mark.parametrize("seed", SEEDS)
def test_an_error_now_and_then_and_short_cuts_of_the_network_wake_nobody(seed: int) -> None:
    record = now_and_then_an_error(random.Random(seed)).lived(seed)

    assert record.failures > record.attempts / 25
    assert WAKING.isdisjoint(record.states)


@pytest.mark.parametrize("seed", SEEDS)
def test_restarts_are_told_as_loading_and_wake_nobody(seed: int) -> None:
    record = restarts(random.Random(seed)).lived(seed)

    assert record.states.count(State.LOADING) == 6
    assert WAKING.isdisjoint(record.states)


def test_one_that_gets_slower_from_hour_to_hour_is_called_busy_and_wakes_nobody() -> None:
    record = slower_by_the_hour(random.Random(0)).lived(0)

    assert set(record.states) == {State.UNKNOWN, State.OK, State.SATURATED}
    assert record.failures > record.attempts / 4


@pytest.mark.parametrize("outage", OUTAGES, ids=str)
def test_an_outage_is_told_in_time_and_not_before(outage: Outage) -> None:
    lives = [broken(outage, seed) for seed in LIVES]

    told = [life.after(outage.state) for life in lives]

    assert [at for at in told if at is None or at > outage.within] == []


@pytest.mark.parametrize("outage", OUTAGES, ids=str)
def test_the_end_of_an_outage_is_told_after_two_answers(outage: Outage) -> None:
    life = broken(outage, seed=0)

    assert life.mended is not None
    assert life.mended <= RECOVERY


@pytest.fixture(scope="module")
def recording() -> Recording:
    """What a real llama-server did for an hour under random load."""
    return Recording.of(FILE)


def test_the_recording_holds_an_hour_of_waits_and_of_answers(recording: Recording) -> None:
    late = [prompt for prompt in recording.prompts if prompt["failed"] == Failure.TIMEOUT_FIRST_TOKEN]
    answered = [prompt for prompt in recording.prompts if prompt["failed"] is None]

    assert recording.seconds > 3600
    assert len(late) > 50
    assert len(answered) > 15
    assert len(late) + len(answered) == len(recording.prompts)
    assert max(recording.failed_in_a_row(prompt["t"]) for prompt in recording.prompts) > MOST
    assert max(event["waiting"] for event in recording.events if "waiting" in event) > MOST


@pytest.mark.parametrize("first", range(3))
def test_a_busy_hour_of_a_real_server_wakes_nobody_where_its_slots_are_seen(recording: Recording, first: int) -> None:
    told = list(standings(recording, Ears(first=first)))

    assert {standing.state for standing in told} == {State.UNKNOWN, State.OK, State.SATURATED}


def test_a_real_server_is_called_busy_while_its_prompts_run_out_of_time(recording: Recording) -> None:
    told = list(standings(recording, Ears()))

    starved = [standing for standing in told if recording.failed_in_a_row(standing.seen.now) >= MOST]

    assert {standing.state for standing in starved} == {State.SATURATED}


def test_a_real_server_that_nothing_tells_of_is_hung_only_once_it_was_blind_for_too_long(recording: Recording) -> None:
    told = list(standings(recording, Ears(slots=False)))

    early = [each for each in told if each.seen.now - recording.answered(each.seen.now) <= RULES.blind_after]

    assert State.SATURATED in {standing.state for standing in early}
    assert WAKING.isdisjoint(standing.state for standing in early if standing.attempts.run)


def test_a_real_server_that_freezes_amid_its_busy_hour_is_told(recording: Recording) -> None:
    freezes = recording.seconds / 2

    told = list(standings(recording, Ears(freezes=freezes)))

    hung = next(standing.seen.now for standing in told if standing.state is State.HUNG)
    assert freezes < hung < freezes + MOST * INTERVAL + LASTS[Failure.TIMEOUT_FIRST_TOKEN]
