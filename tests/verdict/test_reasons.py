"""The table of reasons, row by row: which state each failure calls for."""

from dataclasses import replace

import pytest

from exporter.lookup import Lookup
from exporter.sources.process import Process
from exporter.sources.prompt import Answers
from exporter.verdict.reasons import CALLS, OF_HEALTH, by_now, called_for
from exporter.verdict.standing import Case, Miss, Rules, Seen, Standing, State
from exporter.verdict.witness import Meter, Witnesses
from exporter.wire import Failed, Failure, Outcome

NOW = 10_000.0
FIRST = Seen(now=0.0)
WELL = Standing(since=0.0, seen=FIRST, first=FIRST, answered=NOW - 30.0, good=NOW - 30.0)
"""One that was well until lately."""
NEW = Standing(since=0.0, seen=FIRST, first=replace(FIRST, now=NOW - 60.0))
"""One that was never heard."""
MOVES, STANDS = (
    Witnesses(generating=Meter(value=7.0, since=0.0, heard=NOW - 5.0, moved=NOW - ago)) for ago in (5.0, 300.0)
)
PREFILLS = replace(STANDS, prefilling=Meter(value=7.0, since=0.0, heard=NOW - 5.0, moved=NOW - 5.0))


def case(standing: Standing = WELL, *, quiet: float | None = None, process: Process | None = None) -> Case:
    """What is seen where the last prompt has failed, so many seconds after its last token."""
    last = Outcome(failed=Failed(Failure.TIMEOUT_TOTAL), began=NOW - 30.0, ended=NOW, quiet=quiet)
    answers = Answers(target="chat", interval_seconds=30.0, last=last)
    return Case(Seen(now=NOW, time=NOW, answers=answers, process=process), standing, Rules())


def running(*, up: bool | None, started: float | None = None) -> Process:
    """A process as it is seen, that started so many seconds ago."""
    return Process(
        target="chat",
        lookup={each: each is Lookup.FOUND for each in Lookup},
        up=up,
        start_timestamp_seconds=None if started is None else NOW - started,
    )


@pytest.mark.parametrize("calls", [CALLS, OF_HEALTH], ids=["prompts", "health"])
def test_every_failure_calls_for_something(calls: dict[Failure, object]) -> None:
    assert calls.keys() == set(Failure)


@pytest.mark.parametrize(
    ("failure", "state"),
    [
        (Failure.RATE_LIMITED, State.SATURATED),
        (Failure.BUSY, State.SATURATED),
        (Failure.LOADING, State.LOADING),
        (Failure.STATUS_5XX, State.FAILING),
        (Failure.STREAM_ERROR, State.FAILING),
        (Failure.DISCONNECTED, State.FAILING),
        (Failure.INVALID, State.FAILING),
        (Failure.TOO_LARGE, State.FAILING),
        (Failure.REDIRECTED, State.FAILING),
        (Failure.UNAUTHORIZED, State.MISCONFIGURED),
        (Failure.EMPTY, State.GARBAGE),
        (Failure.REPETITIVE, State.GARBAGE),
        (Failure.UNEXPECTED, State.GARBAGE),
        (Failure.OUT_OF_RANGE, State.GARBAGE),
    ],
)
@pytest.mark.parametrize("standing", [WELL, NEW], ids=["well before", "never heard"])
def test_most_failures_call_for_one_state_whatever_was_before(
    failure: Failure, state: State, standing: Standing
) -> None:
    assert called_for(failure, case(standing)) is state


@pytest.mark.parametrize("failure", [Failure.NOT_FOUND, Failure.STATUS_4XX, Failure.TLS])
@pytest.mark.parametrize(("standing", "state"), [(WELL, State.FAILING), (NEW, State.MISCONFIGURED)])
def test_what_used_to_be_accepted_is_failing_once_it_is_not(failure: Failure, standing: Standing, state: State) -> None:
    assert called_for(failure, case(standing)) is state


@pytest.mark.parametrize("failure", [Failure.REFUSED, Failure.UNREACHABLE])
@pytest.mark.parametrize(
    ("standing", "process", "state"),
    [
        pytest.param(NEW, None, State.LOADING, id="never heard, lately"),
        pytest.param(replace(NEW, first=FIRST), None, State.DEAD, id="never heard, for long"),
        pytest.param(replace(WELL, away=NOW - 299.0), None, State.LOADING, id="unseen, lately"),
        pytest.param(replace(WELL, away=NOW - 300.0), None, State.DEAD, id="unseen, for long"),
        pytest.param(replace(WELL, away=NOW - 299.0), running(up=None), State.LOADING, id="not to be seen, lately"),
        pytest.param(replace(WELL, away=NOW), running(up=False), State.DEAD, id="seen gone"),
        pytest.param(replace(WELL, away=NOW), running(up=True, started=9_000.0), State.LOADING, id="seen old, lately"),
        pytest.param(
            replace(WELL, away=NOW - 300.0), running(up=True, started=9_000.0), State.DEAD, id="seen old, for long"
        ),
        pytest.param(
            replace(WELL, away=NOW - 900.0), running(up=True, started=1_199.0), State.LOADING, id="seen young"
        ),
        pytest.param(replace(NEW, first=FIRST), running(up=True, started=60.0), State.LOADING, id="young, never heard"),
    ],
)
def test_one_that_nobody_answers_for_is_dead_unless_it_may_be_starting(
    failure: Failure, standing: Standing, process: Process | None, state: State
) -> None:
    assert called_for(failure, case(standing, process=process)) is state


@pytest.mark.parametrize(
    ("standing", "state"),
    [
        pytest.param(WELL, State.DEAD, id="nothing heard"),
        pytest.param(replace(WELL, heard=NOW - 60.0), State.SATURATED, id="health heard 2 intervals ago"),
        pytest.param(replace(WELL, heard=NOW - 61.0), State.DEAD, id="health heard before that"),
        pytest.param(replace(WELL, full=NOW - 60.0), State.SATURATED, id="queue full 2 intervals ago"),
        pytest.param(replace(WELL, full=NOW - 61.0), State.DEAD, id="queue full before that"),
    ],
)
def test_one_that_takes_no_connection_is_dead_unless_it_was_heard_lately(standing: Standing, state: State) -> None:
    assert called_for(Failure.TIMEOUT_CONNECT, case(standing)) is state


@pytest.mark.parametrize("failure", [Failure.TIMEOUT_FIRST_TOKEN, Failure.TIMEOUT_STALL, Failure.TIMEOUT_TOTAL])
@pytest.mark.parametrize(
    ("seen", "state"),
    [
        pytest.param(case(replace(WELL, witnesses=MOVES)), State.SATURATED, id="it generates"),
        pytest.param(case(replace(WELL, witnesses=STANDS)), State.HUNG, id="it stands"),
        pytest.param(case(replace(WELL, witnesses=STANDS), quiet=9.0), State.SATURATED, id="our own tokens came"),
        pytest.param(case(replace(WELL, witnesses=STANDS), quiet=10.0), State.HUNG, id="our own tokens stall"),
        pytest.param(case(replace(WELL, witnesses=PREFILLS)), State.SATURATED, id="it reads prompts"),
        pytest.param(case(WELL), None, id="nothing tells"),
    ],
)
def test_a_prompt_that_is_late_calls_for_what_the_witnesses_tell(
    failure: Failure, seen: Case, state: State | None
) -> None:
    assert called_for(failure, seen) is state


@pytest.mark.parametrize(
    ("good", "state"), [(NOW - 599.0, State.SATURATED), (NOW - 601.0, State.HUNG), (None, State.HUNG)]
)
def test_where_nothing_tells_time_makes_a_hang_of_a_queue(good: float | None, state: State) -> None:
    late = Miss(failure=Failure.TIMEOUT_FIRST_TOKEN, state=None)

    assert by_now(late, case(replace(WELL, good=good))) is state


@pytest.mark.parametrize(
    ("run", "state"),
    [
        ([Failure.RESOLVE] * 2, State.UNKNOWN),
        ([Failure.RESOLVE] * 3, State.DEAD),
        ([Failure.RESOLVE, Failure.REFUSED, Failure.RESOLVE, Failure.RESOLVE], State.UNKNOWN),
    ],
)
def test_a_name_may_be_unknown_twice_in_a_row(run: list[Failure], state: State) -> None:
    misses = [Miss(failure=each, state=called_for(each, case())) for each in run]
    standing = replace(WELL, attempts=replace(WELL.attempts, run=tuple(misses)))

    assert by_now(misses[-1], case(standing)) is state


@pytest.mark.parametrize(("since", "state"), [(NOW - 1_200.0, State.LOADING), (NOW - 1_201.0, State.FAILING)])
def test_loading_is_believed_for_as_long_as_a_start_is_allowed(since: float, state: State) -> None:
    assert called_for(Failure.LOADING, case(replace(WELL, loading=since))) is state


@pytest.mark.parametrize("failure", Failure)
def test_health_calls_for_the_same_unless_it_is_late_or_not_as_expected(failure: Failure) -> None:
    prompted = case(replace(WELL, witnesses=MOVES))
    unprompted = replace(prompted, seen=replace(prompted.seen, prompted=False))
    late = {Failure.TIMEOUT_FIRST_TOKEN, Failure.TIMEOUT_STALL, Failure.TIMEOUT_TOTAL, Failure.UNEXPECTED}

    state = called_for(failure, unprompted)

    assert state is (State.FAILING if failure in late else called_for(failure, prompted))
