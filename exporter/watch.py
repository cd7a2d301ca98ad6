"""A watch gives a source its clock, keeps its latest readings, and says what became of a failure."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import field, replace
from threading import RLock
from typing import Annotated, Self

from exporter.frozen import frozen
from exporter.reading import Counter, Gauge, Label, Reading, Reason, Unreadable, counted
from exporter.spared import spared

log = logging.getLogger(__name__)

Read = Callable[[], AsyncGenerator[Sequence[Reading], None]]
"""All that a source is: one look, during which it says its readings as often as they change."""

COMMON = (Reason.TIMEOUT, Reason.ERROR)
SOMETIME = 60.0
"""Seconds between two looks where a defect keeps us from knowing how many they are to be."""


@frozen
class Collection(Reading):
    """How looking itself goes, for one source."""

    PREFIX = "model_sidecar_collection"
    source: Annotated[str, Label("What is read: gpu, host, health, prompt, server or process; or verdict.")]
    target: Annotated[str, Label("The service's name; absent for gpu and host.")] = ""
    up: Annotated[bool | None, Gauge("Whether the last look succeeded; absent before the first has ended.")] = None
    duration_seconds: Annotated[float | None, Gauge("How long the last look took; absent before the first.")] = None
    last_success_timestamp_seconds: Annotated[
        float | None, Gauge("When the last look that succeeded ended; stands still while a look hangs.")
    ] = None
    attempts: Annotated[int, Counter("Looks begun.")] = 0
    failures: Annotated[Mapping[str, int], Counter("Looks that could not be made.", by="reason")] = field(
        default_factory=dict
    )

    def begun(self) -> Self:
        """This collection and one more look."""
        return replace(self, attempts=self.attempts + 1)

    def succeeded(self, seconds: float, at: float) -> Self:
        """This collection after a look that succeeded."""
        return replace(self, up=True, duration_seconds=seconds, last_success_timestamp_seconds=at)

    def failed(self, reason: Reason, seconds: float) -> Self:
        """This collection after a look that could not be made."""
        return replace(self, up=False, duration_seconds=seconds, failures=counted(self.failures, reason))


@frozen
class Clock:
    """When a source is read: seconds between looks, which may change, and how long one look may take."""

    every: Callable[[], float]
    timeout: float
    first_after: float = 0.0
    jitter: float = 0.0


class Watch:
    """Reads one source on its clock and keeps what it said last."""

    def __init__(
        self, read: Read, clock: Clock, *, source: str, target: str = "", reasons: Sequence[Reason] = COMMON
    ) -> None:
        self.read = read
        self.clock = clock
        self.latest: tuple[Reading, ...] = ()
        self.news = asyncio.Event()
        """Set once something was said that was not known."""
        self.collection = Collection(source=source, target=target, failures=dict.fromkeys(reasons, 0))
        self._who = {"source": source, "target": target}
        self._said: Sequence[Reading] = ()
        self._lock = RLock()  # For those who do not look on the loop alone.
        self._trouble: Reason | None = None
        self._in_time = True
        self._keep()

    async def run(self) -> None:
        """Look for ever; a look that takes longer than the interval is followed by the next at once."""
        due = time.monotonic() + self.clock.first_after
        while True:
            await asyncio.sleep(due - time.monotonic())
            await self.once()
            due = max(due + self.interval(), time.monotonic())

    async def once(self) -> None:
        """One look; whatever goes wrong empties the readings and is counted."""
        began = time.perf_counter()
        self._begin()
        try:
            async with asyncio.timeout(self.clock.timeout), aclosing(self.read()) as saying:
                async for readings in saying:
                    self._say(readings)
        except Exception as error:  # noqa: BLE001  the one place where a source's failure ends
            self._fail(error, time.perf_counter() - began)
        else:
            self._succeed(time.perf_counter() - began)

    def interval(self) -> float:
        """Seconds to the next look; a minute or so where a defect keeps us from knowing."""
        every = spared(self.clock.every, self._lost)
        return (SOMETIME if every is None else every) * random.uniform(1 - self.clock.jitter, 1 + self.clock.jitter)  # noqa: S311

    def _lost(self, defect: Exception) -> None:
        if self._in_time:
            log.error("when to look next cannot be told", extra=self._who, exc_info=defect)
        self._in_time = False
        with self._lock:
            self.collection = replace(self.collection, failures=counted(self.collection.failures, Reason.ERROR))
            self._keep()

    def _begin(self) -> None:
        with self._lock:
            self.collection = self.collection.begun()
            self._keep()

    def _say(self, readings: Sequence[Reading]) -> None:
        with self._lock:
            new, self._said = self._new(readings), readings
            self._keep()
        if new:
            self._wake()

    def _new(self, readings: Sequence[Reading]) -> bool:
        return readings is not self._said

    def _succeed(self, seconds: float) -> None:
        with self._lock:
            before, self.collection = self.collection.up, self.collection.succeeded(seconds, time.time())
            self._keep()
        if before is not True:
            self._wake()
        self._tell(None)

    def _fail(self, error: Exception, seconds: float) -> None:
        with self._lock:
            before, self.collection = self.collection.up, self.collection.failed(reason_of(error), seconds)
            new, self._said = self._new(()), ()
            self._keep()
        if new or before is not False:
            self._wake()
        self._tell(reason_of(error), error)

    def _wake(self) -> None:
        self.news.set()

    def _keep(self) -> None:
        self.latest = (*self._said, self.collection)

    def _tell(self, trouble: Reason | None, error: Exception | None = None) -> None:
        if trouble is self._trouble:
            return
        if trouble is None:
            log.info("can be read again", extra=self._who)
        else:
            log.warning("cannot be read (%s): %s", trouble, error, extra=self._who)
        if trouble is Reason.ERROR:
            log.debug("the failure in full", exc_info=error, extra=self._who)
        self._trouble = trouble


def reason_of(error: Exception) -> Reason:
    """The reason, from the closed set, for which a source could not look."""
    match error:
        case Unreadable(reason=reason):
            return reason
        case TimeoutError():
            return Reason.TIMEOUT
        case PermissionError():
            return Reason.NOT_PERMITTED
        case _:
            return Reason.ERROR
