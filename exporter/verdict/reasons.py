"""Which state each failure of an attempt calls for."""

from collections.abc import Callable, Mapping
from itertools import takewhile

from exporter.verdict.standing import Case, Miss, State
from exporter.wire import Failure

LOOKUPS = 3
"""How often in a row a name may not be known."""

Call = Callable[[Case], State | None]
"""The state that a failure calls for; None where only time will tell."""


def always(state: State | None) -> Call:
    """A failure that calls for the same state whatever else is seen."""
    return lambda _case: state


def gone(case: Case) -> State:
    """Nobody listens: dead where its process is gone, and in time where that starts, drains or cannot be seen."""
    standing, process = case.standing, case.seen.process
    if standing.answered is None:
        waited, allowed = case.seen.now - standing.first.now, case.rules.startup_allowance
    elif process is not None and process.up is False:
        return State.DEAD
    else:
        waited, allowed = case.away, case.rules.restart_allowance
    return State.LOADING if waited < allowed or case.young else State.DEAD


def unconnected(case: Case) -> State:
    """Nobody accepts: busy, where it answered lately or its queue of connections was full."""
    alive = case.recently(case.standing.heard) or case.recently(case.standing.full)
    return State.SATURATED if alive else State.DEAD


def late(case: Case) -> State | None:
    """Time ran out: a queue where anything shows progress, and a hang where the best witness stands still."""
    quiet = None if case.seen.last is None else case.seen.last.quiet
    if case.progress or (quiet is not None and quiet < case.rules.stall):
        return State.SATURATED
    if case.blind:
        return None
    return State.SATURATED if case.prefilling and case.starving < case.rules.prefill_grace else State.HUNG


def loading(case: Case) -> State:
    """It says that it is loading, which is believed for a while."""
    since = case.standing.loading
    over = since is not None and case.seen.now - since > case.rules.startup_allowance
    return State.FAILING if over else State.LOADING


def unaccepted(case: Case) -> State:
    """It refuses what it is asked: ours to mend, unless it used to accept it."""
    return State.MISCONFIGURED if case.standing.good is None else State.FAILING


CALLS: Mapping[Failure, Call] = {
    Failure.REFUSED: gone,
    Failure.UNREACHABLE: gone,
    Failure.RESOLVE: always(None),
    Failure.TIMEOUT_CONNECT: unconnected,
    Failure.RATE_LIMITED: always(State.SATURATED),
    Failure.BUSY: always(State.SATURATED),
    Failure.TIMEOUT_FIRST_TOKEN: late,
    Failure.TIMEOUT_STALL: late,
    Failure.TIMEOUT_TOTAL: late,
    Failure.LOADING: loading,
    Failure.STATUS_5XX: always(State.FAILING),
    Failure.STREAM_ERROR: always(State.FAILING),
    Failure.DISCONNECTED: always(State.FAILING),
    Failure.INVALID: always(State.FAILING),
    Failure.TOO_LARGE: always(State.FAILING),
    Failure.REDIRECTED: always(State.FAILING),
    Failure.UNAUTHORIZED: always(State.MISCONFIGURED),
    Failure.NOT_FOUND: unaccepted,
    Failure.STATUS_4XX: unaccepted,
    Failure.TLS: unaccepted,
    Failure.EMPTY: always(State.GARBAGE),
    Failure.REPETITIVE: always(State.GARBAGE),
    Failure.UNEXPECTED: always(State.GARBAGE),
    Failure.OUT_OF_RANGE: always(State.GARBAGE),
}
"""Of a prompt."""

OF_HEALTH: Mapping[Failure, Call] = {
    **CALLS,
    **dict.fromkeys(
        (Failure.TIMEOUT_FIRST_TOKEN, Failure.TIMEOUT_STALL, Failure.TIMEOUT_TOTAL, Failure.UNEXPECTED),
        always(State.FAILING),
    ),
}
"""Of a health check, where there is no prompt."""


def called_for(failure: Failure, case: Case) -> State | None:
    """The state that a failure calls for in this case; None where only time will tell."""
    return (CALLS if case.seen.prompted else OF_HEALTH)[failure](case)


def by_now(miss: Miss, case: Case) -> State:
    """The state that an earlier failure calls for by now."""
    if miss.state is not None:
        return miss.state
    if miss.failure is Failure.RESOLVE:
        unresolved = len(list(takewhile(_unresolved, reversed(case.standing.attempts.run))))
        return State.DEAD if unresolved >= LOOKUPS else State.UNKNOWN
    return State.HUNG if case.lifeless > case.rules.blind_after else State.SATURATED


def _unresolved(miss: Miss) -> bool:
    return miss.failure is Failure.RESOLVE
