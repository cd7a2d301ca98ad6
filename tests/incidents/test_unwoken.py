"""The opposite cases: lives in which nothing is wrong that anybody is to be woken for."""

from dataclasses import dataclass, field, replace

import pytest

from exporter.assessor import WAKING
from exporter.verdict.standing import Rules, State
from exporter.wire import Failure
from tests.incidents.services import (
    HOUR,
    LLAMA,
    MINUTE,
    MUTE,
    SGLANG,
    TGI,
    TRITON,
    VLLM,
    WELL,
    busy,
    cut,
    failing,
    gone,
    hung,
    loading,
    now_and_then,
    seen,
    starting,
    still,
    then,
    until,
)
from tests.lives import Clocks, Life, Moment, lived


@dataclass(frozen=True, kw_only=True)
class Quiet:
    """A life that nobody is woken by, and the state that it passes through until it is well again."""

    name: str
    life: Life
    lasts: float = 30 * MINUTE
    """Seconds from its beginning, after which it is well."""
    meanwhile: State = State.OK
    rules: Rules = field(default_factory=Rules)
    clocks: Clocks = field(default_factory=Clocks)

    def __str__(self) -> str:
        return self.name


def passing(name: str, well: Moment, *chapters: tuple[float, Moment], meanwhile: State = State.OK) -> Quiet:
    """What passes by itself."""
    lasts = WELL + sum(seconds for seconds, _ in chapters)
    return Quiet(name=name, life=until(well, *chapters, well), lasts=lasts, meanwhile=meanwhile)


def from_the_start(name: str, *chapters: tuple[float, Moment], well: Moment) -> Quiet:
    """What the exporter finds when it starts."""
    lasts = sum(seconds for seconds, _ in chapters)
    return Quiet(name=name, life=then(*chapters, (HOUR, well)), lasts=lasts, meanwhile=State.LOADING)


def by_chance(name: str, share: float, well: Moment, failure: Failure, *, hours: float = 2.0) -> Quiet:
    """What fails now and then, for as long as it is watched."""
    ill = now_and_then(share, well, failing(well, failure))
    return Quiet(name=name, life=lambda now: well if now > hours * HOUR else ill(now), lasts=hours * HOUR)


LOAD = 19.5 * MINUTE
"""About as long as a service may load."""

BUSY = [
    # 1,280 requests at once: no connection is accepted in time, though health is answered now and then.
    passing("ray#54070", VLLM, (HOUR, busy(VLLM, Failure.TIMEOUT_CONNECT)), meanwhile=State.SATURATED),
    # The same, health late as well; what shows it is the queue of connections.
    passing(
        "ray#54070, health late",
        VLLM,
        (HOUR, replace(busy(VLLM, Failure.TIMEOUT_CONNECT), health=Failure.TIMEOUT_TOTAL, full=True)),
        meanwhile=State.SATURATED,
    ),
    # Four slow generations at 0.28 tokens a second, and a liveness check that misses three times.
    passing(
        "unsloth#8990",
        LLAMA,
        (826.0, replace(busy(LLAMA), generates=0.28, running=4.0, waiting=0.0, health=Failure.TIMEOUT_TOTAL)),
        meanwhile=State.SATURATED,
    ),
    # Health takes longer than 2 s, eight times a day; prompts are answered late, and in time.
    passing("gonka#1421, health late", VLLM, (HOUR, replace(VLLM, takes=20.0, health=Failure.TIMEOUT_TOTAL))),
    # An hour with as many sequences as it takes.
    passing("gonka#1421, full", VLLM, (HOUR, busy(VLLM)), meanwhile=State.SATURATED),
    # A probe that adds to the load is turned away.
    passing("litellm#5816", MUTE, (HOUR, failing(MUTE, Failure.RATE_LIMITED)), meanwhile=State.SATURATED),
    # Long prompts are read in pieces for longer than a health check of 20 s waits.
    passing(
        "sglang#22511",
        SGLANG,
        (170.0, replace(hung(SGLANG), prefills=9_000.0, health=Failure.STATUS_5XX)),
        meanwhile=State.SATURATED,
    ),
    passing("503 busy", TGI, (HOUR, failing(TGI, Failure.BUSY)), meanwhile=State.SATURATED),
    passing("a queue of 90 s with counters", TGI, (HOUR, busy(TGI)), meanwhile=State.SATURATED),
    passing("a queue of 90 s without counters", MUTE, (9 * MINUTE, busy(MUTE)), meanwhile=State.SATURATED),
    passing("a queue that only ends are counted of", TRITON, (HOUR, busy(TRITON)), meanwhile=State.SATURATED),
    passing(
        "a long answer without counters",
        MUTE,
        (HOUR, replace(failing(MUTE, Failure.TIMEOUT_TOTAL), quiet=0.3)),
        meanwhile=State.SATURATED,
    ),
    passing(
        "an application that counts its requests",
        Moment(serves=2.0),
        (HOUR, Moment(serves=1.0, fails=Failure.TIMEOUT_TOTAL)),
        meanwhile=State.SATURATED,
    ),
    passing(
        "an application that takes 2 minutes for each request",
        Moment(serves=2.0),
        (9 * MINUTE, Moment(serves=1 / 120, fails=Failure.TIMEOUT_TOTAL)),
        meanwhile=State.SATURATED,
    ),
    passing(
        "a prefill of 3 minutes",
        VLLM,
        (170.0, replace(hung(VLLM), prefills=15_000.0)),
        meanwhile=State.SATURATED,
    ),
    passing("slow, and in time", VLLM, (HOUR, replace(VLLM, takes=29.0))),
    passing("nobody asks it all night", VLLM, (2 * HOUR, still(VLLM))),
    Quiet(
        name="a crawl",
        life=until(replace(VLLM, speed=40.0), (HOUR, replace(VLLM, speed=1.5)), replace(VLLM, speed=40.0)),
        lasts=WELL + HOUR,
        meanwhile=State.SATURATED,
        rules=Rules(tokens_per_second=20.0),
    ),
    Quiet(
        name="busy from the start", life=then((HOUR, busy(VLLM)), (HOUR, VLLM)), lasts=HOUR, meanwhile=State.SATURATED
    ),
]

STARTING = [
    from_the_start("loading 20 minutes, and saying so", (LOAD, loading()), well=LLAMA),
    from_the_start("loading 20 minutes behind a closed port", (LOAD, starting(-5.0)), well=seen(VLLM)),
    from_the_start("loading 20 minutes unseen", (LOAD, gone()), well=VLLM),
    from_the_start("unpacking, then loading", (5 * MINUTE, gone()), (14 * MINUTE, loading()), well=LLAMA),
    passing(
        "a restart whose process is seen",
        seen(VLLM),
        (20.0, gone(up=False)),
        (15 * MINUTE, starting(WELL + 20.0)),
        meanwhile=State.LOADING,
    ),
    passing("a restart whose process is not seen", VLLM, (4.5 * MINUTE, gone()), meanwhile=State.LOADING),
    passing("a restart after a busy time", VLLM, (HOUR, busy(VLLM)), (4 * MINUTE, gone()), meanwhile=State.LOADING),
    passing("a restart that loads aloud", LLAMA, (MINUTE, gone()), (15 * MINUTE, loading()), meanwhile=State.LOADING),
    passing("a name that is missing for a moment", VLLM, (45.0, cut(Failure.RESOLVE))),
]

ASLEEP = [
    passing("scaled to zero", VLLM, (HOUR, Moment(spared="asleep")), meanwhile=State.ASLEEP),
    # A probe every 5 minutes kept the model on the GPU for ever.
    passing("knowledge-base-mcp-server#966", MUTE, (HOUR, replace(MUTE, spared="unloaded")), meanwhile=State.ASLEEP),
    passing(
        "woken by a user",
        LLAMA,
        (HOUR, Moment(spared="asleep")),
        (3 * MINUTE, Moment(spared="loading")),
        meanwhile=State.LOADING,
    ),
    # Its users wake it, and are served first.
    passing(
        "woken into a queue", MUTE, (HOUR, Moment(spared="unloaded")), (5 * MINUTE, busy(MUTE)), meanwhile=State.ASLEEP
    ),
    passing(
        "asked again in a queue",
        MUTE,
        (HOUR, Moment(spared="budget")),
        (5 * MINUTE, busy(MUTE)),
        meanwhile=State.UNKNOWN,
    ),
    from_the_start("loaded into a queue", (15 * MINUTE, gone()), (5 * MINUTE, busy(MUTE)), well=MUTE),
    # Prompts cost money, and the day's budget is spent.
    passing("litellm#7000", MUTE, (HOUR, replace(MUTE, spared="budget")), meanwhile=State.UNKNOWN),
]

BY_CHANCE = [
    by_chance("one hung worker of four", 0.25, VLLM, Failure.TIMEOUT_FIRST_TOKEN),
    by_chance("one worker of four that babbles", 0.25, LLAMA, Failure.REPETITIVE),
    by_chance("one broken worker of four", 0.25, SGLANG, Failure.STATUS_5XX),
    by_chance("5 % errors", 0.05, VLLM, Failure.STATUS_5XX),
    by_chance("5 % cut off", 0.05, MUTE, Failure.DISCONNECTED),
    by_chance("1 % wrong answers", 0.01, MUTE, Failure.UNEXPECTED),
]

OURS = [
    passing("the exporter's own network cut", VLLM, (4 * MINUTE, cut()), meanwhile=State.LOADING),
    passing(
        "the exporter paused by its own host",
        VLLM,
        (10 * MINUTE, replace(hung(VLLM), late=True)),
        meanwhile=State.UNKNOWN,
    ),
    passing("the exporter late now and then", MUTE, (MINUTE, replace(hung(MUTE), late=True))),
    passing(
        "a key that was taken away", TGI, (HOUR, failing(TGI, Failure.UNAUTHORIZED)), meanwhile=State.MISCONFIGURED
    ),
    # A GPU that says 100 % with no process on it.
    passing("lium-io#1140", replace(VLLM, watts=70.0, busy=1.0), (HOUR, replace(still(VLLM), watts=70.0, busy=1.0))),
    passing("lium-io#1142", replace(MUTE, watts=70.0, busy=1.0), (HOUR, replace(MUTE, watts=70.0, busy=1.0))),
]


@pytest.mark.parametrize("quiet", [*BUSY, *STARTING, *ASLEEP, *BY_CHANCE, *OURS], ids=str)
def test_nobody_is_woken_where_nothing_is_wrong(quiet: Quiet) -> None:
    told = lived(quiet.life, quiet.lasts + 5 * MINUTE, quiet.rules, quiet.clocks)

    assert not WAKING & set(told.states), told.changes
    assert quiet.meanwhile in told.states
    assert told.state is State.OK
