"""Keeps the standing of one service: judged anew whenever a source of its says something."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Annotated, TypeVar

from exporter.frozen import frozen
from exporter.placement import Place
from exporter.reading import Gauge, Label, Note, Reading, Reason, counted
from exporter.sources.health import Health
from exporter.sources.process import Process
from exporter.sources.prompt import Answers, Service
from exporter.sources.server import Progress, Server
from exporter.spared import spared
from exporter.verdict import verdict
from exporter.verdict.standing import Evidence, Rules, Seen, Standing, State
from exporter.verdict.words import TRIES, said
from exporter.watch import Collection, Watch
from exporter.wire import Failure, Outcome

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Reading)

EVERY = 5.0
SHARED = 3
"""How many services fail alike at least where the cause is sought elsewhere."""

WAKING = frozenset({State.HUNG, State.FAILING, State.DEAD, State.GARBAGE})
WRONG = WAKING | {State.MISCONFIGURED}


@frozen
class Verdict(Reading):
    """How a service stands."""

    PREFIX = "model"
    target: Annotated[str, Label("The service's name in the configuration.")]
    up: Annotated[bool | None, Note("Whether nothing is to be done about it; not known while nothing is known.")]
    verdict: Annotated[str, Note("How the service stands.")]
    state: Annotated[Mapping[str, bool], Gauge("How the service stands; exactly one state is 1.", by="state")]
    state_since_timestamp_seconds: Annotated[float, Gauge("Since when the service stands so.")]
    state_evidence: Annotated[
        Mapping[str, bool], Gauge("What speaks for the state, or is to be known beside it.", by="evidence")
    ]
    because: Annotated[str, Note("What that means, and what speaks for it.")]
    advice: Annotated[str, Note("What to try next.")]

    @classmethod
    def of(cls, target: str, standing: Standing) -> "Verdict":
        """A standing as it is published."""
        return cls(
            target=target,
            up=None if standing.state is State.UNKNOWN else standing.state not in WRONG,
            verdict=standing.state,
            state={state: state is standing.state for state in State},
            state_since_timestamp_seconds=standing.since,
            state_evidence={each: each in standing.evidence for each in Evidence},
            because=said(standing),
            advice=TRIES[standing.state],
        )


@frozen
class Surroundings:
    """What is known beside one service's own sources."""

    prompts: bool = True
    """Whether prompts are sent, once it is recognised."""
    place: Place | None = None
    """On which GPUs it runs."""
    watched: float = 0.0
    """For how many seconds it is taken to have been watched already."""
    late: Callable[[float], bool] = lambda _since: False
    """Whether the exporter was late since that moment of the monotonic clock."""


class Assessor:
    """The standing of one service, judged by the latest readings of its sources whenever one of them says something."""

    def __init__(self, watches: Sequence[Watch], rules: Rules, *, target: str, around: Surroundings) -> None:
        self.target = target
        self.shared = False
        """Whether most services fail alike, as whoever looks at all of them says."""
        self._watches = watches
        self._rules = rules
        self._around = around
        self._ended: Outcome | None = None
        self._news = asyncio.Event()
        for watch in watches:
            watch.news = self._news
        self._collection = Collection(source="verdict", target=target)
        self.standing = _unknown(time.monotonic() - around.watched)
        self.latest: tuple[Reading, ...] = (Verdict.of(target, self.standing),)

    async def run(self) -> None:
        """Judge for ever, after each word of a source."""
        while True:
            await self._news.wait()
            self._news.clear()
            self.look()

    @property
    def failure(self) -> Failure | None:
        """Why the last attempt that counts failed; None where it did not."""
        run = self.standing.attempts.run
        return run[-1].failure if run else None

    def look(self) -> None:
        """Judge by what the sources say now; of what cannot be judged, nothing is said."""
        before = self.standing.state
        told = spared(self._judged, self._failed)
        if told is not None and told != self.latest:
            self.latest = told
        if self.standing.state is not before:
            level = logging.WARNING if self.standing.state in WAKING else logging.INFO
            who = {"target": self.target, "state": str(self.standing.state)}
            log.log(level, "%s", said(self.standing), extra=who)

    def _judged(self) -> tuple[Reading, ...]:
        self.standing = verdict(self._seen(), self.standing, self._rules)
        place = self._around.place
        told = (Verdict.of(self.target, self.standing), *(place.latest if place else ()))
        if self._collection.up is None:
            return told
        self._collection = replace(self._collection, up=True)
        return (*told, self._collection)

    def _failed(self, defect: Exception) -> None:
        if self._collection.up is not False:
            log.error("how it stands cannot be judged", extra={"target": self.target}, exc_info=defect)
        failures = counted(self._collection.failures, Reason.ERROR)
        self._collection = replace(self._collection, up=False, failures=failures)
        self.standing = _unknown(time.monotonic())
        self.latest = (self._collection,)

    def _seen(self) -> Seen:
        readings = tuple(chain(*(watch.latest for watch in self._watches)))
        service = _one(Service, readings)
        process = _one(Process, readings)
        seen = Seen(
            now=time.monotonic(),
            time=time.time(),
            prompted=(None if service is None else bool(service.protocol)) if self._around.prompts else False,
            answers=_one(Answers, readings),
            health=_one(Health, readings),
            server=tuple(each for each in readings if isinstance(each, Server)),
            progress=_one(Progress, readings),
            process=process,
            gpus=self._around.place.look(process) if self._around.place else (),
            shared=self.shared,
        )
        last = seen.last
        news, self._ended = last is not self._ended, last
        late = news and last is not None and self._around.late(last.began)
        return replace(seen, late=late) if late else seen


def _unknown(since: float) -> Standing:
    return Standing.at_first(Seen(now=since, time=time.time(), prompted=None))


def _one(kind: type[R], readings: Sequence[Reading]) -> R | None:
    return next((reading for reading in readings if isinstance(reading, kind)), None)


def look_around(assessors: Sequence[Assessor]) -> None:
    """Judge every service, each in the light of how the others fail, that was not judged in the same light just now."""
    failing = Counter(assessor.failure for assessor in assessors)
    just_now = time.monotonic() - EVERY / 2
    for assessor in assessors:
        alike = failing[assessor.failure] if assessor.failure is not None else 0
        shared = alike >= SHARED and 2 * alike > len(assessors)
        if assessor.shared is not shared or assessor.standing.seen.now < just_now:
            assessor.shared = shared
            assessor.look()


async def look_around_for_ever(assessors: Callable[[], Sequence[Assessor]]) -> None:
    """Judge every service that there is now and then, since time alone can turn a state."""
    while True:
        await asyncio.sleep(EVERY - time.monotonic() % EVERY)  # when the loop wakes anyway
        look_around(assessors())
