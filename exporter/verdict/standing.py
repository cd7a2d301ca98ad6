"""How a service stands: its state, what speaks for it, and all that a judgement of it rests on."""

from collections.abc import Sequence
from dataclasses import field
from enum import StrEnum
from typing import Self

from exporter.frozen import by_place, frozen
from exporter.gpus.activity import Gpu
from exporter.sources.health import Health
from exporter.sources.process import Process
from exporter.sources.prompt import Answers
from exporter.sources.server import Progress, Server
from exporter.verdict.damping import Attempts
from exporter.verdict.witness import Witnesses, advancing
from exporter.wire import Failure, Outcome

PATIENCE = 10.0
"""Seconds that a look at a service's own figures may take until they are taken for silent."""


class State(StrEnum):
    """How a service is."""

    UNKNOWN = "unknown"
    LOADING = "loading"
    ASLEEP = "asleep"
    OK = "ok"
    SATURATED = "saturated"
    HUNG = "hung"
    FAILING = "failing"
    DEAD = "dead"
    GARBAGE = "garbage"
    MISCONFIGURED = "misconfigured"


class Evidence(StrEnum):
    """What speaks for a state, or should be known beside it."""

    HEALTH_GREEN = "health_green"
    TOKENS_ADVANCING = "tokens_advancing"
    TOKENS_FROZEN = "tokens_frozen"
    PREFILL_ADVANCING = "prefill_advancing"
    REQUESTS_HELD = "requests_held"
    CPU_ADVANCING = "cpu_advancing"
    POWER_IDLE = "power_idle"
    UTILIZATION_HIGH = "utilization_high"
    PROCESS_GONE = "process_gone"
    PROCESS_YOUNG = "process_young"
    NO_WITNESS = "no_witness"
    NO_PROMPT = "no_prompt"
    INTERMITTENT = "intermittent"
    SHARED_CAUSE = "shared_cause"
    ASLEEP = "asleep"
    QUEUE_FULL = "queue_full"
    EXPORTER_LATE = "exporter_late"


@frozen
class Rules:
    """How long what is let pass; seconds where nothing else is said."""

    misses: int = 3
    """Failures in a row that turn a state, of a service that never fails by chance."""
    blind_after: float = 600.0
    prefill_grace: float = 180.0
    startup_allowance: float = 1200.0
    restart_allowance: float = 300.0
    timeout: float = 60.0
    stall: float = 10.0
    health_every: float = 15.0
    look_every: float = 15.0
    waiting_above: float | None = None
    """How many requests may wait."""
    tokens_per_second: float | None = None
    """The objective, where there is one."""

    @property
    def window(self) -> float:
        """How long a figure must stand still to be called frozen."""
        return max(2 * self.look_every, self.stall)

    @property
    def patience(self) -> float:
        """How long a figure counts as heard."""
        return 2 * self.look_every + PATIENCE


@frozen
class Seen:
    """What the sources of one service said last, at one moment of the loop's clock; a new reading is a new object."""

    now: float
    time: float = 0.0
    """The same moment as a Unix time."""
    prompted: bool | None = True
    """Whether it is asked more than for its health; None while that is not known."""
    answers: Answers | None = None
    health: Health | None = None
    server: Sequence[Server] = ()
    progress: Progress | None = None
    process: Process | None = None
    gpus: Sequence[Gpu] = ()
    shared: bool = False
    """Whether most of the exporter's services fail for the same reason."""
    late: bool = False
    """Whether the exporter itself was late while the last attempt was made."""

    @property
    def last(self) -> Outcome | None:
        """How the last attempt ended, by which the service is judged."""
        told = self.answers if self.prompted else self.health
        return None if told is None or self.prompted is None else told.last


@frozen
class Miss:
    """An attempt that failed, and the state that it calls for; None where only time will tell."""

    failure: Failure | None
    state: State | None


@frozen
class Standing:
    """How a service stands, and what must be remembered to say how it stands next."""

    state: State = State.UNKNOWN
    since: float
    """When the state last changed, as a Unix time."""
    evidence: frozenset[Evidence] = frozenset()
    seen: Seen
    first: Seen
    attempts: Attempts[Miss] = field(default_factory=Attempts)
    witnesses: Witnesses = field(default_factory=Witnesses)
    finished: float | None = None
    """When an attempt last ended that counts."""
    answered: float | None = None
    """When anything at the service last answered."""
    good: float | None = None
    """When it last answered well."""
    heard: float | None = None
    """When its health endpoint last answered, well or not."""
    full: float | None = None
    """When its accept queue was last full."""
    excused: float | None = None
    """When it last had a reason to generate nothing: it slept, loaded, was not there or was not asked."""
    away: float | None = None
    """Since when nobody takes its prompts."""
    loading: float | None = None
    """Since when it says that it is loading."""
    discarded: bool = False
    """Whether the last attempt was not counted, since the exporter itself was late."""

    @classmethod
    def at_first(cls, seen: Seen) -> Self:
        """The standing of a service of which nothing is known yet."""
        return cls(since=seen.time, seen=seen, first=seen)


@by_place
class Case:
    """All that a judgement rests on: what is seen, how the service stood, and by which rules it is judged."""

    seen: Seen
    standing: Standing
    rules: Rules

    @property
    def interval(self) -> float:
        """Seconds between two attempts."""
        answers = self.seen.answers
        return answers.interval_seconds if self.seen.prompted and answers else self.rules.health_every

    @property
    def progress(self) -> bool:
        """Whether anything else shows that the service generates."""
        return self.standing.witnesses.progress(self.seen.now, self.rules.window, self.rules.patience)

    @property
    def blind(self) -> bool:
        """Whether nothing can be heard that would show it."""
        return self.standing.witnesses.strong(self.seen.now, self.rules.patience) is None

    @property
    def prefilling(self) -> bool:
        """Whether prompts are read."""
        return advancing(self.standing.witnesses.prefilling, self.seen.now - self.rules.window)

    @property
    def young(self) -> bool:
        """Whether the service's process started so lately that it may be loading its model."""
        started = None if self.seen.process is None else self.seen.process.start_timestamp_seconds
        return started is not None and self.seen.time - started < self.rules.startup_allowance

    @property
    def failing(self) -> float:
        """For how many seconds attempts have failed."""
        began = self.standing.attempts.began
        return 0.0 if began is None else self.seen.now - began

    @property
    def away(self) -> float:
        """For how many seconds nobody has taken a prompt."""
        return 0.0 if self.standing.away is None else self.seen.now - self.standing.away

    @property
    def lifeless(self) -> float:
        """For how many seconds there was no sign of life, of one that should have given some."""
        standing = self.standing
        signs = (standing.good, standing.witnesses.moved, standing.excused, standing.first.now)
        return self.seen.now - max(sign for sign in signs if sign is not None)

    @property
    def starving(self) -> float:
        """For how many seconds attempts have failed without any sign of life."""
        return min(self.failing, self.lifeless)

    def recently(self, when: float | None) -> bool:
        """Whether that was within the last two intervals."""
        return when is not None and self.seen.now - when <= 2 * self.interval
