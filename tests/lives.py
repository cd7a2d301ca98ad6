"""A service's life on a clock of its own: what its sources would say, event by event, and the verdict on it."""

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from exporter.gpus.activity import Gpu
from exporter.lookup import Lookup
from exporter.sources.health import Health
from exporter.sources.process import Process
from exporter.sources.prompt import Answers
from exporter.sources.server import Progress, Server
from exporter.verdict import verdict
from exporter.verdict.standing import Evidence, Rules, Seen, Standing, State
from exporter.wire import Failed, Failure, Outcome

EPOCH = 1_800_000_000.0
LASTS = {
    Failure.TIMEOUT_CONNECT: 10.0,
    Failure.TIMEOUT_FIRST_TOKEN: 30.0,
    Failure.TIMEOUT_STALL: 12.0,
    Failure.TIMEOUT_TOTAL: 60.0,
}
"""Seconds that an attempt takes which fails so, by the usual settings."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """How a service is at one moment; rates are per second, and None is what it does not tell."""

    fails: Failure | None = None
    """How a prompt ends that begins now."""
    takes: float = 0.5
    """Seconds that it takes, unless time runs out."""
    quiet: float | None = None
    """Seconds between its last token and its end."""
    speed: float | None = None
    """Its output tokens per second."""
    spared: str | None = None
    """Why it is not sent."""
    health: Failure | None = None
    checked: bool = True
    """Whether there is a health endpoint."""
    prompted: bool = True
    """Whether prompts are sent at all."""
    generates: float | None = None
    ends: float | None = None
    prefills: float | None = None
    serves: float | None = None
    """Requests of others that an instrumented service ends."""
    running: float = 0.0
    waiting: float = 0.0
    silent: bool = False
    up: bool | None = None
    """Whether its process runs; None where that cannot be seen."""
    started: float = -86_400.0
    """When its process did."""
    cores: float = 0.0
    full: bool = False
    """Whether its queue of connections is."""
    watts: float | None = None
    limit: float | None = 700.0
    """The most that its GPU may draw; None where that is not told."""
    busy: float | None = None
    """What its GPU says of its utilisation."""
    shared: bool = False
    late: bool = False


Life = Callable[[float], Moment]
"""How a service is, by the seconds since the exporter began to watch it."""


@dataclass(frozen=True, kw_only=True)
class Clocks:
    """Seconds between two events of each kind."""

    prompt: float = 30.0
    jitter: float = 0.1
    health: float = 15.0
    look: float = 15.0
    process: float = 15.0


@dataclass
class Record:
    """What was said of a service, change by change."""

    changes: list[tuple[float, State]] = field(default_factory=list)
    standing: Standing | None = None
    attempts: int = 0
    failures: int = 0

    @property
    def state(self) -> State:
        """How it stands at the end."""
        return self.changes[-1][1]

    @property
    def evidence(self) -> frozenset[Evidence]:
        """What speaks for it."""
        assert self.standing is not None
        return self.standing.evidence

    @property
    def states(self) -> list[State]:
        """Every state in turn."""
        return [state for _, state in self.changes]

    def first(self, state: State, after: float = 0.0) -> float | None:
        """When it was first said to stand so."""
        return next((at for at, each in self.changes if each is state and at >= after), None)


def lived(
    life: Life, until: float, rules: Rules | None = None, clocks: Clocks | None = None, *, seed: int = 0
) -> Record:
    """What is said of a service that is watched for so many seconds."""
    told = Record(changes=[(0.0, State.UNKNOWN)])
    service = Service(life, clocks or Clocks())
    for now, standing in story(service, rules or Rules(), random.Random(seed)):
        if now > until:
            break
        if standing.state is not told.state:
            told.changes.append((now, standing.state))
        told.standing, told.attempts, told.failures = standing, service.attempts, service.failures
    return told


def story(service: "Service", rules: Rules, chance: random.Random) -> Iterator[tuple[float, Standing]]:
    """Each standing in turn, without end."""
    events = [(0.0, order, kind) for order, kind in enumerate(("process", "look", "health", "begin"))]
    standing = Standing.at_first(service.seen(0.0))
    order = len(events)
    while True:
        now, _, kind = heapq.heappop(events)
        for at, next_kind in service.happen(kind, now, chance):
            order += 1
            heapq.heappush(events, (at, order, next_kind))
        standing = verdict(service.seen(now), standing, rules)
        yield now, standing


class Service:
    """What a service's sources say, event by event."""

    def __init__(self, life: Life, clocks: Clocks) -> None:
        self._life = life
        self._clocks = clocks
        self._answers: Answers | None = None
        self._health: Health | None = None
        self._server: tuple[Server, ...] = ()
        self._progress: Progress | None = None
        self._process: Process | None = None
        self._gpus: tuple[Gpu, ...] = ()
        self._pending: tuple[float, Moment] | None = None
        self._counts = dict.fromkeys(("generates", "ends", "prefills", "serves", "cores"), 0.0)
        self._counted = 0.0
        self.attempts = 0
        self.failures = 0

    def seen(self, now: float) -> Seen:
        moment = self._life(now)
        return Seen(
            now=now,
            time=EPOCH + now,
            prompted=moment.prompted,
            answers=self._answers,
            health=self._health,
            server=self._server,
            progress=self._progress,
            process=self._process,
            gpus=self._gpus,
            shared=moment.shared,
            late=moment.late,
        )

    def happen(self, kind: str, now: float, chance: random.Random) -> Iterator[tuple[float, str]]:
        """One event, and those that follow from it."""
        moment = self._life(now)
        self._count(moment, now)
        match kind:
            case "begin":
                yield from self._begin(moment, now, chance)
            case "end":
                self._end(now)
            case "health":
                yield now + self._clocks.health, "health"
                self._ask_health(moment, now)
            case "look":
                yield now + self._clocks.look, "look"
                self._look(moment)
            case "process":
                yield now + self._clocks.process, "process"
                self._see(moment)

    def _count(self, moment: Moment, now: float) -> None:
        for name in self._counts:
            self._counts[name] += (getattr(moment, name) or 0.0) * (now - self._counted)
        self._counted = now

    def _begin(self, moment: Moment, now: float, chance: random.Random) -> Iterator[tuple[float, str]]:
        due = now + self._clocks.prompt * chance.uniform(1 - self._clocks.jitter, 1 + self._clocks.jitter)
        if not moment.prompted:
            yield due, "begin"
            return
        known = self._answers or Answers(target="chat", interval_seconds=self._clocks.prompt)
        if moment.spared is not None:
            self._answers = replace(known, spared=moment.spared)
            yield due, "begin"
            return
        self.attempts += 1
        self._answers = replace(known, attempts=self.attempts, asking=True, spared=None)
        self._pending = (now, moment)
        ends = now + (LASTS.get(moment.fails, moment.takes) if moment.fails else moment.takes)
        yield ends, "end"
        yield max(due, ends), "begin"

    def _end(self, now: float) -> None:
        assert self._answers is not None
        assert self._pending is not None
        began, moment = self._pending
        self.failures += moment.fails is not None
        last = Outcome(
            failed=Failed(moment.fails) if moment.fails else None,
            began=began,
            ended=now,
            quiet=moment.quiet,
            tokens_per_second=moment.speed,
        )
        self._answers = replace(self._answers, asking=False, last=last, up=moment.fails is None)

    def _ask_health(self, moment: Moment, now: float) -> None:
        if moment.checked:
            last = Outcome(failed=Failed(moment.health) if moment.health else None, began=now, ended=now)
            self._health = replace(self._health or Health(target="chat"), up=moment.health is None, last=last)

    def _look(self, moment: Moment) -> None:
        tells = any(rate is not None for rate in (moment.generates, moment.ends, moment.prefills, moment.serves))
        told = Progress(
            target="chat",
            generating=None if moment.generates is None else self._counts["generates"],
            ended=None if moment.ends is None else self._counts["ends"],
            prefilling=None if moment.prefills is None else self._counts["prefills"],
            answered=None if moment.serves is None else int(self._counts["serves"]) + self.attempts,
        )
        held = Server(target="chat", requests_running=moment.running, requests_waiting=moment.waiting)
        self._server = (held,) if tells and not moment.silent else ()
        self._progress = Progress(target="chat", silent=True) if moment.silent else told if tells else None

    def _see(self, moment: Moment) -> None:
        lookup = Lookup.NOT_LOCAL if moment.up is None else Lookup.FOUND if moment.up else Lookup.NOT_FOUND
        self._process = Process(
            target="chat",
            lookup={result: result is lookup for result in Lookup},
            up=moment.up,
            start_timestamp_seconds=EPOCH + moment.started if moment.up else None,
            cpu_seconds={"user": self._counts["cores"], "system": 0.0} if moment.up else None,
            accept_queue_full=moment.full,
        )
        self._gpus = () if moment.watts is None else (gpu(moment.watts, moment.busy, moment.limit),)


def gpu(watts: float, busy: float | None, limit: float | None = 700.0) -> Gpu:
    """A GPU that draws so much of what it may, and says to be so busy."""
    return Gpu(
        gpu="0",
        uuid="GPU-0",
        utilization_ratio=busy,
        memory_utilization_ratio=None,
        memory_total_bytes=None,
        memory_used_bytes=None,
        memory_free_bytes=None,
        memory_reserved_bytes=None,
        power_watts=watts,
        power_limit_watts={} if limit is None else {"enforced": limit},
        energy_joules=None,
        temperature_celsius=None,
        clock_hertz={},
        performance_state=None,
    )
