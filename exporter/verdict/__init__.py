"""What is known of one service, turned into the one state that an operator can trust.

Green health proves nothing, and neither does an open stream: the outcome of the prompts is the verdict, and what else
can be heard says whether a prompt that ran out of time met a queue or a hang.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from exporter.reading import Reading
from exporter.verdict.damping import Attempts, commonest
from exporter.verdict.reasons import by_now, called_for
from exporter.verdict.standing import Case, Evidence, Miss, Rules, Seen, Standing, State
from exporter.wire import NOBODY, Failure, Outcome

CRAWL = 0.1
"""The share of the objective's speed under which an answer is no sign of health."""
QUICKLY = 2
"""How many failures in a row are enough where nothing else can be meant, and how many good answers end an outage."""
LATE = 3
"""Intervals without an attempt that ended, after which nothing is known."""

SLEEPING = frozenset({"asleep", "unloaded", "paused"})
"""Why a service is left at rest; one that nobody has used since it last answered is, lest it never be unloaded."""
ASKED = frozenset({None, "in_flight", "queue_full"})
"""Why a service that is to be asked is not asked just now."""
EXCUSES = frozenset({Failure.LOADING, Failure.REFUSED, Failure.UNREACHABLE, Failure.RESOLVE})
"""Failures of one that need not generate yet."""
UNANSWERED = NOBODY | {Failure.TIMEOUT_FIRST_TOKEN, Failure.TIMEOUT_STALL, Failure.TIMEOUT_TOTAL}
"""How a health check ends to which nothing was answered."""
HARMLESS = frozenset({State.UNKNOWN, State.LOADING, State.ASLEEP})
"""States that are left at the first good answer."""
PAST = HARMLESS | {State.DEAD}
"""States that are left once the service says that it is loading."""
PLAINLY_HUNG = frozenset({Evidence.TOKENS_FROZEN, Evidence.REQUESTS_HELD, Evidence.POWER_IDLE})


def verdict(seen: Seen, before: Standing, rules: Rules) -> Standing:
    """How a service stands by what is seen now, and by how it stood before."""
    case = Case(seen, _heard(seen, before), rules)
    case = replace(case, standing=_counted(case))
    evidence = frozenset(each for each, holds in _evidence(case) if holds)
    state = _state(case, evidence)
    attempts, turned = case.standing.attempts, state is not before.state
    return replace(
        case.standing,
        state=state,
        since=seen.time if turned else before.since,
        evidence=evidence,
        seen=seen,
        attempts=replace(attempts, turned=bool(attempts.run) and (turned or attempts.turned)),
    )


def _heard(seen: Seen, before: Standing) -> Standing:
    """The standing once each new reading was heard."""
    known, witnesses, now = before.seen, before.witnesses, seen.now
    if seen.progress is not known.progress or seen.server != known.server:
        answers = seen.answers
        ours, asking = (0, False) if answers is None else (answers.attempts, answers.asking)
        witnesses = witnesses.looked(seen.progress, seen.server, ours=ours, asking=asking, at=now)
    if seen.process is not None and seen.process is not known.process:
        witnesses = witnesses.ran(seen.process, now)
    if _differ(seen.gpus, known.gpus):
        witnesses = witnesses.drew(seen.gpus, now)
    checked = _checked(seen, known)
    green = checked is not None and checked.failed is None
    full = seen.process is not None and seen.process.accept_queue_full is True
    return replace(
        before,
        witnesses=witnesses,
        heard=now if checked is not None and _answered(checked) else before.heard,
        answered=now if green else before.answered,
        full=now if full else before.full,
    )


def _differ(these: Sequence[Reading], those: Sequence[Reading]) -> bool:
    return len(these) != len(those) or any(this is not that for this, that in zip(these, those, strict=True))


def _checked(seen: Seen, known: Seen) -> Outcome | None:
    """How the health check ended that has ended since."""
    last = None if seen.health is None else seen.health.last
    return None if known.health is not None and last is known.health.last else last


def _answered(outcome: Outcome) -> bool:
    return outcome.failed is None or outcome.failed.failure not in UNANSWERED


def _counted(case: Case) -> Standing:
    """The standing once the attempt that has ended, where one has, is counted."""
    seen, before = case.seen, case.standing
    standing = before if seen.prompted is before.seen.prompted else _afresh(before, seen.now)
    outcome = seen.last
    if outcome is None or outcome is before.seen.last:
        return _spared(seen, standing)
    if seen.late:
        return replace(standing, discarded=True, excused=seen.now)
    standing = _ended(outcome, standing, seen.now)
    failure = None if outcome.failed is None else outcome.failed.failure
    if failure is None and not _crawls(outcome, case.rules):
        well = before.state in {State.OK, State.UNKNOWN}
        return replace(standing, good=seen.now, attempts=standing.attempts.succeeded(well=well))
    state = State.SATURATED if failure is None else called_for(failure, replace(case, standing=standing))
    miss = Miss(failure=failure, state=state)
    return replace(standing, attempts=standing.attempts.failed(miss, outcome.began))


def _afresh(standing: Standing, now: float) -> Standing:
    """The standing where prompts follow on health checks, or these on prompts: they are not counted together."""
    return replace(standing, attempts=Attempts(), finished=None, good=None, excused=now)


def _spared(seen: Seen, standing: Standing) -> Standing:
    """The standing where no attempt has ended; a service that says why it is not asked has been heard."""
    if seen.answers is None or seen.answers.spared in ASKED:
        return standing
    standing = replace(standing, excused=seen.now)
    if _sleeps(seen):
        return replace(standing, finished=seen.now, loading=None, away=None, attempts=standing.attempts.apart())
    if _says_loading(seen):
        since = seen.now if standing.loading is None else standing.loading
        return replace(standing, finished=seen.now, loading=since, away=None, attempts=standing.attempts.apart())
    return standing


def _ended(outcome: Outcome, standing: Standing, now: float) -> Standing:
    failure = None if outcome.failed is None else outcome.failed.failure
    since = outcome.began if standing.loading is None else standing.loading
    away = outcome.began if standing.away is None else standing.away
    return replace(
        standing,
        finished=now,
        discarded=False,
        answered=standing.answered if failure in NOBODY else now,
        loading=since if failure is Failure.LOADING else None,
        away=away if failure in NOBODY else None,
        excused=now if failure in EXCUSES else standing.excused,
    )


def _crawls(outcome: Outcome, rules: Rules) -> bool:
    speed, wanted = outcome.tokens_per_second, rules.tokens_per_second
    return speed is not None and wanted is not None and speed < CRAWL * wanted


def _says_loading(seen: Seen) -> bool:
    return seen.answers is not None and seen.answers.spared == "loading"


def _sleeps(seen: Seen) -> bool:
    return seen.answers is not None and seen.answers.spared in SLEEPING


def _state(case: Case, evidence: frozenset[Evidence]) -> State:
    seen, standing = case.seen, case.standing
    if _sleeps(seen):
        return State.ASLEEP
    if _says_loading(seen):
        return called_for(Failure.LOADING, case) or State.LOADING
    if _nothing_ended(case):
        return State.UNKNOWN
    attempts = standing.attempts
    calls = [by_now(miss, case) for miss in attempts.run]
    if calls:
        return _turned(case, calls, evidence)
    enough = 1 if standing.state in HARMLESS else QUICKLY
    return State.OK if attempts.good >= enough else standing.state


def _turned(case: Case, calls: Sequence[State], evidence: frozenset[Evidence]) -> State:
    """The state after failures in a row that call for these."""
    standing, latest = case.standing, calls[-1]
    if latest is State.LOADING and standing.state in PAST:
        return latest
    plain = (_refused(case), evidence >= PLAINLY_HUNG and latest is State.HUNG)
    if any(plain) and calls[-QUICKLY:] == [latest] * QUICKLY:
        return latest
    needed = standing.attempts.needed(case.rules.misses, case.interval)
    return commonest(calls[-needed:]) if len(calls) >= needed else standing.state


def _refused(case: Case) -> bool:
    last = case.standing.attempts.run[-1]
    return last.state is State.DEAD and last.failure in {Failure.REFUSED, Failure.UNREACHABLE}


def _nothing_ended(case: Case) -> bool:
    finished = case.standing.finished
    if finished is None:
        return True
    return case.seen.now - finished > LATE * case.interval + case.rules.timeout


def _evidence(case: Case) -> Iterator[tuple[Evidence, bool]]:
    seen, standing, witnesses, rules = case.seen, case.standing, case.standing.witnesses, case.rules
    process, gone = seen.process, False
    if process is not None:
        gone = process.up is False and standing.answered is not None
    asked = bool(standing.attempts.run) or witnesses.held
    crowded = rules.waiting_above is not None and witnesses.waiting > rules.waiting_above
    yield Evidence.HEALTH_GREEN, seen.health is not None and seen.health.up is True
    yield Evidence.TOKENS_ADVANCING, case.progress
    # Where nothing is asked for, nothing is to be generated.
    yield Evidence.TOKENS_FROZEN, asked and not case.progress and not case.blind
    yield Evidence.PREFILL_ADVANCING, case.prefilling
    yield Evidence.REQUESTS_HELD, witnesses.held
    yield Evidence.CPU_ADVANCING, witnesses.working
    yield Evidence.POWER_IDLE, witnesses.power is not None and witnesses.power.idle
    yield Evidence.UTILIZATION_HIGH, witnesses.busy_long(seen.now)
    yield Evidence.PROCESS_GONE, gone
    yield Evidence.PROCESS_YOUNG, case.young
    yield Evidence.NO_WITNESS, case.blind
    yield Evidence.NO_PROMPT, seen.prompted is False
    yield Evidence.INTERMITTENT, standing.attempts.intermittent
    yield Evidence.SHARED_CAUSE, seen.shared
    yield Evidence.ASLEEP, _sleeps(seen)
    yield Evidence.QUEUE_FULL, crowded or (process is not None and process.accept_queue_full is True)
    yield Evidence.EXPORTER_LATE, standing.discarded
