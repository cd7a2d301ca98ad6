"""What the exporter knows of itself."""

import asyncio
import math
import platform
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated

from exporter.frozen import frozen
from exporter.reading import Counter, Gauge, Label, Reading

Read = Callable[[], AsyncGenerator[Sequence[Reading], None]]

BEAT, REST = 1.0, 5.0
REMEMBERED = 15.0
LATE = 1.0  # A timer that went off so late may have ended an attempt that was well.


@frozen
class Build(Reading):
    """Which exporter this is."""

    PREFIX = "model_sidecar_build"
    version: Annotated[str, Label("The exporter's version.")]
    python: Annotated[str, Label("The interpreter's version.")]
    info: Annotated[int, Gauge("Always 1; the labels say which exporter this is.")] = 1


@frozen
class Itself(Reading):
    """How the exporter itself is doing."""

    PREFIX = "model_sidecar"
    targets: Annotated[int, Gauge("Services in the configuration.")]
    scheduler_lag_seconds: Annotated[
        float,
        Gauge("Latest that a timer of the exporter went off within 15 s; times told meanwhile are late by as much."),
    ]
    series_dropped: Annotated[
        Mapping[str, int], Counter("Series left out, since a service told more than are kept of it.", by="source")
    ]
    http_requests: Annotated[
        Mapping[tuple[str, str], int], Counter("Requests to the exporter's own pages.", by=("path", "code"))
    ]


class Pulse:
    """Beats on the loop it tells of: every second while anything is timed there, and seldom while nothing is.

    It beats at whole seconds, until which others that have time rest as well, so that the loop wakes once for all.
    """

    def __init__(
        self,
        *,
        version: str,
        targets: Callable[[], int],
        requests: Callable[[], Mapping[tuple[str, str], int]],
        dropped: Callable[[], Mapping[str, int]],
    ) -> None:
        self._build = Build(version=version, python=platform.python_version())
        self._targets = targets
        self._requests = requests
        self._dropped = dropped
        self._lags: Sequence[tuple[float, float]] = ()
        self._timed = 0
        self._due = math.inf
        self._late = -math.inf
        self._following: asyncio.TimerHandle | None = None
        self._said: tuple[int, tuple[Reading, ...]] = (0, (self._build,))

    @property
    def latest(self) -> tuple[Reading, ...]:
        """What there is to be said, for any thread; made anew once a second, where somebody asks for it."""
        now = int(time.monotonic())
        made, said = self._said
        if self._lags and made != now:
            self._said = made, said = now, (self._build, self._itself())
        return said

    async def run(self) -> None:
        """Beat for ever."""
        # Not a task that sleeps, which costs twice as much; of an exporter that has little to do it is the most.
        self._beat()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._cancel()

    def during(self, read: Read) -> Read:
        """The same source, while which is read it beats every second."""

        async def timed() -> AsyncGenerator[Sequence[Reading], None]:
            self._timed += 1
            if self._due - time.monotonic() > BEAT and self._following:
                self._schedule(BEAT)
            try:
                async with aclosing(read()) as saying:
                    async for readings in saying:
                        yield readings
            finally:
                self._timed -= 1

        return timed

    def late(self, since: float) -> bool:
        """Whether the exporter was more than a second late since that moment of the monotonic clock."""
        return self._late >= since or time.monotonic() - self._due > LATE

    def _beat(self) -> None:
        now = time.monotonic()
        lag = max(now - self._due, 0.0)
        self._lags = [*(each for each in self._lags if each[0] > now - REMEMBERED), (now, lag)]
        if lag > LATE:
            self._late = now
        self._schedule(BEAT if self._timed else REST)

    def _schedule(self, every: float) -> None:
        self._cancel()
        now = time.monotonic()
        self._due = (math.floor((now + BEAT / 2) / every) + 1) * every
        self._following = asyncio.get_running_loop().call_later(self._due - now, self._beat)

    def _cancel(self) -> None:
        if self._following:
            self._following.cancel()
        self._following = None

    def _itself(self) -> Itself:
        return Itself(
            targets=self._targets(),
            scheduler_lag_seconds=max(lag for _, lag in self._lags),
            series_dropped=self._dropped(),
            http_requests=dict(self._requests()),
        )
