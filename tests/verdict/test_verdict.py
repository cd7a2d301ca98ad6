"""The verdict, sentence by sentence; what was in the public record stands in the table of incidents."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from exporter.sources.health import Health
from exporter.sources.prompt import Answers
from exporter.verdict import verdict
from exporter.verdict.standing import Evidence, Rules, Seen, Standing, State
from exporter.wire import Failed, Failure, Outcome
from tests.incidents.services import (
    LLAMA,
    MUTE,
    TRITON,
    VLLM,
    WELL,
    busy,
    failing,
    gone,
    hung,
    loading,
    seen,
    starting,
    still,
    then,
    until,
)
from tests.lives import EPOCH, Clocks, Life, Moment, Record, lived

EVERY = 30.0
STEADY = Clocks(jitter=0.0)
"""Prompts exactly 30 s apart, so that each can be named by its number."""
LOOK = 15.0
TOO_LATE = [Failure.TIMEOUT_FIRST_TOKEN, Failure.TIMEOUT_STALL, Failure.TIMEOUT_TOTAL]
ERRORS = [
    *(Failure.STATUS_5XX, Failure.STREAM_ERROR, Failure.DISCONNECTED),
    *(Failure.INVALID, Failure.TOO_LARGE, Failure.REDIRECTED),
]
NONSENSE = [Failure.EMPTY, Failure.REPETITIVE, Failure.UNEXPECTED, Failure.OUT_OF_RANGE]
REFUSALS = [Failure.NOT_FOUND, Failure.STATUS_4XX, Failure.TLS]


def steady(life: Life, seconds: float, rules: Rules | None = None) -> Record:
    return lived(life, seconds, rules, STEADY)


def in_turn(*ends: Failure | None, service: Moment = MUTE) -> Life:
    """A service whose prompts end so, one after the other; the last goes on for ever."""
    return lambda now: replace(service, fails=ends[min(int(now // EVERY), len(ends) - 1)])


def ending(*ends: Failure | None, service: Moment = MUTE, rules: Rules | None = None) -> Record:
    """What is said once that many prompts have ended."""
    return steady(in_turn(*ends, service=service), EVERY * len(ends) - 1.0, rules)


def turned(told: Record) -> Sequence[State]:
    """The states in turn, without what was not known at first."""
    return [state for state in told.states if state is not State.UNKNOWN]


# unknown


def test_nothing_is_known_before_the_first_attempt_has_ended() -> None:
    told = steady(lambda _now: replace(VLLM, takes=50.0), 49.0)

    assert told.states == [State.UNKNOWN]


def test_nothing_is_known_any_more_once_no_attempt_has_ended_for_3_intervals_and_the_time_that_one_may_take() -> None:
    told = steady(until(VLLM, replace(VLLM, spared="budget")), WELL + 300.0)

    last = WELL - EVERY + VLLM.takes
    unknown = told.first(State.UNKNOWN, after=WELL)
    assert unknown is not None
    assert 3 * EVERY + 60.0 < unknown - last <= 3 * EVERY + 60.0 + LOOK


def test_a_hang_is_told_again_at_the_first_failure_after_a_time_without_attempts() -> None:
    life = until(VLLM, (300.0, hung(VLLM)), (600.0, replace(hung(VLLM), spared="budget")), hung(VLLM))

    told = steady(life, WELL + 900.0 + EVERY + 1.0)

    assert turned(told) == [State.OK, State.HUNG, State.HUNG]


@pytest.mark.parametrize(("misses", "state"), [(2, State.UNKNOWN), (3, State.DEAD)])
def test_a_name_that_is_not_known_is_dead_at_the_third_miss(misses: int, state: State) -> None:
    told = ending(*[Failure.RESOLVE] * misses)

    assert told.state is state


# loading


@pytest.mark.parametrize("failure", [Failure.REFUSED, Failure.UNREACHABLE])
def test_one_that_was_never_seen_up_may_start_for_as_long_as_is_allowed(failure: Failure) -> None:
    told = steady(lambda _now: Moment(fails=failure, health=failure), 1300.0)

    dead = told.first(State.DEAD)
    assert told.states == [State.UNKNOWN, State.LOADING, State.DEAD]
    assert dead is not None
    assert 1200.0 <= dead <= 1200.0 + 2 * EVERY


def test_one_whose_process_is_young_may_refuse_for_as_long_as_is_allowed() -> None:
    told = steady(until(seen(VLLM), starting(WELL)), WELL + 1300.0)

    dead = told.first(State.DEAD)
    assert turned(told) == [State.OK, State.LOADING, State.DEAD]
    assert dead is not None
    assert 1200.0 <= dead - WELL <= 1200.0 + 2 * EVERY


def test_one_whose_old_process_runs_on_may_drain_and_is_dead_in_time() -> None:
    told = steady(until(seen(VLLM), seen(gone())), WELL + 400.0)

    dead = told.first(State.DEAD)
    assert turned(told) == [State.OK, State.LOADING, State.DEAD]
    assert dead is not None
    assert dead - WELL >= 300.0


def test_one_whose_process_is_gone_is_dead_at_the_second_refusal() -> None:
    told = steady(until(seen(VLLM), replace(gone(), up=False)), WELL + EVERY + 1.0)

    assert turned(told) == [State.OK, State.DEAD]


def test_one_whose_process_cannot_be_seen_may_refuse_for_as_long_as_a_restart_is_allowed() -> None:
    told = steady(until(VLLM, gone()), WELL + 400.0)

    dead = told.first(State.DEAD)
    assert turned(told) == [State.OK, State.LOADING, State.DEAD]
    assert dead is not None
    assert 300.0 <= dead - WELL <= 300.0 + 2 * EVERY


def test_a_restart_is_allowed_its_time_after_a_hang_as_well() -> None:
    told = steady(until(VLLM, (1200.0, hung(VLLM)), (270.0, gone()), VLLM), WELL + 1800.0)

    assert turned(told) == [State.OK, State.HUNG, State.LOADING, State.OK]


def test_an_engine_that_says_that_it_loads_is_believed_at_once_and_not_for_ever() -> None:
    told = steady(lambda _now: loading(), 1400.0)

    failing_since = told.first(State.FAILING)
    assert told.states == [State.UNKNOWN, State.LOADING, State.FAILING]
    assert failing_since is not None
    assert 1200.0 < failing_since <= 1200.0 + 3 * EVERY


def test_one_that_says_that_it_loads_and_is_not_asked_is_not_believed_for_ever_either() -> None:
    told = steady(lambda _now: Moment(spared="loading"), 1300.0)

    assert turned(told) == [State.LOADING, State.FAILING]


def test_one_that_was_dead_is_loading_once_it_says_so() -> None:
    told = steady(until(seen(VLLM), (300.0, gone(up=False)), loading()), WELL + 300.0 + 1.0)

    assert turned(told) == [State.OK, State.DEAD, State.LOADING]


# asleep


def test_one_that_hangs_once_it_wakes_is_told_no_later_than_one_that_was_awake() -> None:
    told = steady(until(MUTE, (3600.0, Moment(spared="asleep")), hung(MUTE)), WELL + 3600.0 + 630.0)

    assert turned(told) == [State.OK, State.ASLEEP, State.SATURATED, State.HUNG]


@pytest.mark.parametrize("reason", ["asleep", "unloaded", "paused"])
def test_one_that_sleeps_is_asleep_for_as_long_as_it_sleeps(reason: str) -> None:
    told = steady(until(VLLM, Moment(spared=reason)), WELL + 3600.0)

    assert turned(told) == [State.OK, State.ASLEEP]
    assert Evidence.ASLEEP in told.evidence


def test_one_that_wakes_is_well_once_it_has_answered_and_not_before() -> None:
    told = steady(until(VLLM, (300.0, Moment(spared="asleep")), replace(VLLM, takes=20.0)), WELL + 400.0)

    well = told.first(State.OK, after=WELL)
    assert well is not None
    assert well >= WELL + 320.0


def test_one_that_hung_before_it_slept_does_not_hang_because_it_wakes() -> None:
    told = steady(until(VLLM, (300.0, hung(VLLM)), (600.0, Moment(spared="asleep")), VLLM), WELL + 1000.0)

    assert turned(told) == [State.OK, State.HUNG, State.ASLEEP, State.OK]


# ok


def test_prompts_that_are_answered_are_ok() -> None:
    told = ending(None)

    assert told.states == [State.UNKNOWN, State.OK]


@pytest.mark.parametrize(("failure", "state"), [(None, State.OK), (Failure.STATUS_5XX, State.FAILING)])
def test_one_without_a_prompt_is_judged_by_its_health(failure: Failure | None, state: State) -> None:
    told = steady(lambda _now: Moment(prompted=False, health=failure), 60.0)

    assert told.state is state
    assert Evidence.NO_PROMPT in told.evidence


@pytest.mark.parametrize("failure", [Failure.TIMEOUT_TOTAL, Failure.UNEXPECTED])
def test_without_a_prompt_health_that_is_late_or_not_as_expected_is_failing(failure: Failure) -> None:
    told = steady(until(Moment(prompted=False), Moment(prompted=False, health=failure)), WELL + 60.0)

    assert told.state is State.FAILING


def test_green_health_does_not_help_one_that_does_not_answer_prompts() -> None:
    told = steady(until(VLLM, failing(VLLM, Failure.STATUS_5XX)), WELL + 120.0)

    assert told.state is State.FAILING
    assert Evidence.HEALTH_GREEN in told.evidence


def test_failed_health_does_not_harm_one_that_answers_prompts() -> None:
    told = steady(until(VLLM, replace(VLLM, health=Failure.STATUS_5XX)), WELL + 300.0)

    assert turned(told) == [State.OK]
    assert Evidence.HEALTH_GREEN not in told.evidence


def test_prompts_and_health_checks_are_not_counted_together() -> None:
    ill = Moment(prompted=False, health=Failure.STATUS_5XX)

    told = steady(then((300.0, ill), (20.0, replace(MUTE, health=Failure.STATUS_5XX)), (600.0, MUTE)), 400.0)

    assert told.states == [State.UNKNOWN, State.FAILING, State.UNKNOWN, State.OK]


def test_green_health_before_the_first_prompt_is_no_answer_to_one() -> None:
    told = steady(then((300.0, Moment(prompted=False)), (300.0, failing(MUTE, Failure.NOT_FOUND))), 500.0)

    assert turned(told) == [State.OK, State.MISCONFIGURED]


# saturated


@pytest.mark.parametrize("failure", [Failure.RATE_LIMITED, Failure.BUSY])
def test_one_that_says_that_it_is_busy_is_saturated(failure: Failure) -> None:
    told = ending(None, *[failure] * 3)

    assert told.state is State.SATURATED


@pytest.mark.parametrize("failure", TOO_LATE)
@pytest.mark.parametrize("service", [VLLM, TRITON, Moment(serves=1.0)], ids=["generates", "ends", "serves"])
def test_a_prompt_that_is_late_while_anything_shows_progress_met_a_queue(service: Moment, failure: Failure) -> None:
    told = steady(until(service, busy(service, failure)), WELL + 1800.0)

    assert turned(told) == [State.OK, State.SATURATED]
    assert Evidence.TOKENS_ADVANCING in told.evidence


def test_a_prompt_whose_own_tokens_still_came_met_a_slow_service() -> None:
    slow = replace(MUTE, fails=Failure.TIMEOUT_TOTAL, quiet=9.0)

    told = steady(until(MUTE, slow), WELL + 1800.0)

    assert turned(told) == [State.OK, State.SATURATED]


@pytest.mark.parametrize(
    ("service", "state"),
    [
        pytest.param(Moment(), State.SATURATED, id="health well"),
        pytest.param(Moment(health=Failure.STATUS_5XX), State.SATURATED, id="health answered ill"),
        pytest.param(Moment(health=Failure.TIMEOUT_TOTAL), State.DEAD, id="health late"),
        pytest.param(Moment(health=Failure.TIMEOUT_TOTAL, full=True), State.SATURATED, id="queue full"),
        pytest.param(Moment(health=Failure.TIMEOUT_CONNECT), State.DEAD, id="no connection"),
        pytest.param(Moment(checked=False), State.DEAD, id="no health"),
    ],
)
def test_one_that_takes_no_connection_is_busy_where_anything_of_it_was_heard(service: Moment, state: State) -> None:
    told = steady(
        until(replace(MUTE, checked=service.checked), failing(service, Failure.TIMEOUT_CONNECT)), WELL + 300.0
    )

    assert told.state is state


@pytest.mark.parametrize(("speed", "state"), [(2.0, State.OK), (1.9, State.SATURATED)])
def test_a_crawl_is_no_health(speed: float, state: State) -> None:
    told = ending(*[None] * 5, service=replace(VLLM, speed=speed), rules=Rules(tokens_per_second=20.0))

    assert told.state is state


# hung


def test_a_late_prompt_is_no_hang_without_a_witness_before_it_was_blind_for_as_long_as_is_allowed() -> None:
    told = steady(until(MUTE, hung(MUTE)), WELL + 700.0)

    hang = told.first(State.HUNG)
    assert turned(told) == [State.OK, State.SATURATED, State.HUNG]
    assert hang is not None
    assert 600.0 - EVERY < hang - WELL <= 600.0 + EVERY
    assert Evidence.NO_WITNESS in told.evidence


@pytest.mark.parametrize("service", [TRITON], ids=["ends"])
def test_a_count_of_what_has_ended_proves_nothing_while_it_stands(service: Moment) -> None:
    told = steady(until(service, hung(service)), WELL + 700.0)

    assert turned(told) == [State.OK, State.SATURATED, State.HUNG]


def test_the_best_witness_decides_alone() -> None:
    torn = replace(hung(VLLM), serves=5.0)

    told = steady(until(replace(VLLM, serves=5.0), torn), WELL + 150.0)

    assert told.state is State.HUNG


def test_one_that_reads_prompts_is_let_to_for_a_while_and_no_longer() -> None:
    told = steady(until(VLLM, replace(hung(VLLM), prefills=9_000.0)), WELL + 300.0)

    hang = told.first(State.HUNG)
    assert turned(told) == [State.OK, State.SATURATED, State.HUNG]
    assert hang is not None
    assert 180.0 < hang - WELL <= 180.0 + 2 * EVERY
    assert Evidence.PREFILL_ADVANCING in told.evidence


def test_a_witness_that_falls_silent_stands_still() -> None:
    silent = replace(hung(LLAMA), silent=True, health=Failure.TIMEOUT_TOTAL)

    told = steady(until(LLAMA, silent), WELL + 150.0)

    assert turned(told) == [State.OK, State.HUNG]
    assert Evidence.TOKENS_FROZEN in told.evidence


def test_one_that_was_never_heard_is_no_witness_because_it_is_silent() -> None:
    told = steady(until(MUTE, replace(hung(MUTE), silent=True)), WELL + 300.0)

    assert turned(told) == [State.OK, State.SATURATED]
    assert Evidence.NO_WITNESS in told.evidence


def test_figures_that_are_no_longer_to_be_had_are_no_witness() -> None:
    told = steady(until(VLLM, hung(MUTE)), WELL + 300.0)

    assert turned(told) == [State.OK, State.SATURATED]
    assert Evidence.NO_WITNESS in told.evidence


@pytest.mark.parametrize(
    "weak",
    [
        pytest.param(Moment(cores=8.0, up=True, watts=600.0, busy=1.0), id="all at work"),
        pytest.param(Moment(cores=0.0, up=True, watts=60.0, busy=0.0), id="all at rest"),
        pytest.param(Moment(running=9.0, waiting=9.0), id="full"),
    ],
)
@pytest.mark.parametrize("service", [VLLM, MUTE], ids=["witnessed", "blind"])
def test_weak_witnesses_neither_hasten_a_hang_nor_put_it_off(service: Moment, weak: Moment) -> None:
    life = until(service, hung(service))

    told = steady(
        lambda now: replace(
            life(now), cores=weak.cores, up=weak.up, watts=weak.watts, busy=weak.busy, running=weak.running
        ),
        WELL + 900.0,
    )

    assert told.changes == steady(life, WELL + 900.0).changes


# failing, garbage, misconfigured


@pytest.mark.parametrize("failure", ERRORS)
@pytest.mark.parametrize("before", [[], [None]], ids=["never well", "once well"])
def test_a_prompt_that_is_answered_with_an_error_is_failing(failure: Failure, before: list[None]) -> None:
    told = ending(*before, *[failure] * 3)

    assert told.state is State.FAILING


@pytest.mark.parametrize("failure", NONSENSE)
def test_an_answer_that_fails_its_checks_is_garbage(failure: Failure) -> None:
    told = ending(None, *[failure] * 3)

    assert told.state is State.GARBAGE


@pytest.mark.parametrize("failure", REFUSALS)
@pytest.mark.parametrize(("before", "state"), [([], State.MISCONFIGURED), ([None], State.FAILING)])
def test_a_prompt_that_is_not_accepted_is_ours_to_mend_unless_it_used_to_be(
    failure: Failure, before: list[None], state: State
) -> None:
    told = ending(*before, *[failure] * 3)

    assert told.state is state


@pytest.mark.parametrize("before", [[], [None]], ids=["never well", "once well"])
def test_a_key_that_is_not_accepted_is_always_ours_to_mend(before: list[None]) -> None:
    told = ending(*before, *[Failure.UNAUTHORIZED] * 3)

    assert told.state is State.MISCONFIGURED


# damping


@pytest.mark.parametrize(("failures", "state"), [(2, State.OK), (3, State.FAILING)])
def test_three_failures_in_a_row_turn_the_state(failures: int, state: State) -> None:
    told = ending(None, *[Failure.STATUS_5XX] * failures)

    assert told.state is state


def test_how_many_failures_turn_the_state_is_set() -> None:
    told = ending(None, *[Failure.STATUS_5XX] * 5, rules=Rules(misses=6))

    assert told.state is State.OK


@pytest.mark.parametrize(
    ("failures", "state"),
    [
        ([Failure.STATUS_5XX, Failure.REPETITIVE, Failure.STATUS_5XX], State.FAILING),
        ([Failure.REPETITIVE, Failure.STATUS_5XX, Failure.REPETITIVE], State.GARBAGE),
        ([Failure.RATE_LIMITED, Failure.STATUS_5XX, Failure.REPETITIVE], State.GARBAGE),
        ([Failure.REPETITIVE, Failure.RATE_LIMITED, Failure.STREAM_ERROR], State.FAILING),
    ],
)
def test_failures_of_several_kinds_turn_it_to_what_most_call_for_and_to_the_latest_on_a_tie(
    failures: list[Failure], state: State
) -> None:
    told = ending(None, *failures)

    assert told.state is state


def test_a_good_answer_ends_a_row() -> None:
    two = [Failure.STATUS_5XX] * 2

    told = ending(None, *two, None, *two, None, *two)

    assert turned(told) == [State.OK]


def test_two_refusals_are_enough() -> None:
    told = steady(until(seen(MUTE), gone(up=False)), WELL + EVERY + 1.0)

    assert told.state is State.DEAD


@pytest.mark.parametrize(
    ("watts", "running", "prompts"),
    [
        pytest.param(75.0, 3.0, 2, id="all three"),
        pytest.param(500.0, 3.0, 3, id="at work"),
        pytest.param(75.0, 0.0, 3, id="nothing held"),
        pytest.param(None, 3.0, 3, id="power not told"),
    ],
)
def test_two_late_prompts_are_enough_where_nothing_speaks_for_a_queue(
    watts: float | None, running: float, prompts: int
) -> None:
    at_rest, at_work = (replace(VLLM, watts=each) for each in (70.0, 500.0))
    ill = replace(hung(VLLM), watts=watts, running=running)
    # It stands for a while before it is asked, so that its count is known to stand.
    life = then((120.0, at_rest), (480.0, at_work), (30.0, replace(still(VLLM), watts=watts)), (EVERY * 9, ill))

    told = steady(life, 900.0)

    hang = told.first(State.HUNG)
    assert hang == WELL + EVERY + prompts * EVERY


@pytest.mark.parametrize(("answers", "state"), [(1, State.FAILING), (2, State.OK)])
def test_an_outage_ends_with_the_second_good_answer(answers: int, state: State) -> None:
    told = ending(None, *[Failure.STATUS_5XX] * 3, *[None] * answers)

    assert told.state is state


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(loading(), id="loading"),
        pytest.param(Moment(spared="asleep"), id="asleep"),
        pytest.param(Moment(spared="budget"), id="unknown"),
    ],
)
def test_one_good_answer_is_enough_where_nothing_was_wrong(before: Moment) -> None:
    told = steady(then((300.0, before), (300.0, VLLM)), 300.0 + VLLM.takes)

    assert told.state is State.OK


def test_a_state_is_said_since_it_turned() -> None:
    told = steady(until(MUTE, failing(MUTE, Failure.STATUS_5XX)), WELL + 300.0)

    assert told.standing is not None
    assert told.standing.since == EPOCH + WELL + 2 * EVERY + MUTE.takes


def test_trouble_that_comes_and_goes_is_evidence_and_no_state() -> None:
    told = ending(None, Failure.STATUS_5XX, None, Failure.STATUS_5XX, None)

    assert told.state is State.OK
    assert Evidence.INTERMITTENT in told.evidence


@pytest.mark.parametrize(
    "ends", [[None, Failure.STATUS_5XX, None], [None, Failure.STATUS_5XX, None, Failure.STATUS_5XX]]
)
def test_one_failure_is_not_intermittent_and_nor_is_a_run(ends: list[Failure | None]) -> None:
    told = ending(*ends)

    assert Evidence.INTERMITTENT not in told.evidence


# evidence


@pytest.mark.parametrize(
    ("life", "rules", "evidence"),
    [
        (until(seen(VLLM), gone(up=False)), Rules(), Evidence.PROCESS_GONE),
        (until(seen(VLLM), starting(WELL)), Rules(), Evidence.PROCESS_YOUNG),
        (until(VLLM, replace(VLLM, shared=True)), Rules(), Evidence.SHARED_CAUSE),
        (until(VLLM, replace(VLLM, waiting=9.0)), Rules(waiting_above=8.0), Evidence.QUEUE_FULL),
        (until(VLLM, replace(VLLM, full=True)), Rules(), Evidence.QUEUE_FULL),
        (until(VLLM, replace(VLLM, watts=300.0, busy=0.9)), Rules(), Evidence.UTILIZATION_HIGH),
        (until(seen(VLLM), seen(VLLM, cores=1.0)), Rules(), Evidence.CPU_ADVANCING),
        (until(VLLM, replace(VLLM, running=2.0)), Rules(), Evidence.REQUESTS_HELD),
    ],
)
def test_what_is_seen_is_evidence(life: Life, rules: Rules, evidence: Evidence) -> None:
    told = steady(life, WELL + 90.0, rules)

    assert evidence in told.evidence


@pytest.mark.parametrize(
    "evidence",
    [
        *(Evidence.TOKENS_FROZEN, Evidence.PROCESS_GONE, Evidence.QUEUE_FULL, Evidence.UTILIZATION_HIGH),
        *(Evidence.NO_WITNESS, Evidence.REQUESTS_HELD, Evidence.EXPORTER_LATE, Evidence.PROCESS_YOUNG),
    ],
)
def test_one_of_which_nothing_is_asked_shows_nothing(evidence: Evidence) -> None:
    idle = replace(seen(still(VLLM)), running=0.0, waiting=8.0 if evidence is Evidence.QUEUE_FULL else 0.0)

    told = steady(until(idle, replace(idle, watts=70.0, busy=0.89)), WELL + 300.0, Rules(waiting_above=8.0))

    assert told.state is State.OK
    assert evidence not in told.evidence


def test_a_process_that_was_never_up_is_not_gone() -> None:
    told = steady(lambda _now: gone(up=False), 300.0)

    assert told.state is State.LOADING
    assert Evidence.PROCESS_GONE not in told.evidence


# the exporter itself


def test_an_attempt_that_the_exporter_was_late_for_is_not_counted() -> None:
    told = steady(until(VLLM, replace(hung(VLLM), late=True)), WELL + 130.0)

    assert turned(told) == [State.OK]
    assert Evidence.EXPORTER_LATE in told.evidence


def test_a_pause_of_the_exporter_is_no_hang() -> None:
    def at(now: float, answers: Answers, *, late: bool = False) -> Seen:
        return Seen(now=now, time=EPOCH + now, answers=answers, late=late)

    known = Answers(target="chat", interval_seconds=EVERY)
    well = replace(known, last=Outcome(failed=None, began=0.0, ended=0.5))
    asked = replace(well, last=Outcome(failed=Failed(Failure.TIMEOUT_FIRST_TOKEN), began=30.0, ended=4000.0))
    standing = Standing.at_first(at(0.0, known))
    states = []

    for seen_now in (at(0.5, well), at(4000.0, asked, late=True), at(4001.0, asked)):
        standing = verdict(seen_now, standing, Rules())
        states.append(standing.state)

    assert states == [State.OK, State.UNKNOWN, State.UNKNOWN]


def test_health_is_not_heard_again_because_a_check_has_begun() -> None:
    def at(now: float, answers: Answers, health: Health) -> Seen:
        return Seen(now=now, time=EPOCH + now, answers=answers, health=health)

    answers = Answers(target="chat", interval_seconds=EVERY)
    green = Health(target="chat", up=True, last=Outcome(failed=None, began=0.0, ended=0.1))
    standing = verdict(at(0.1, answers, green), Standing.at_first(at(0.0, answers, Health(target="chat"))), Rules())

    standing = verdict(at(60.0, answers, green.begun()), standing, Rules())

    assert standing.heard == 0.1
