"""What the exporter knows of itself."""

import asyncio
import math
import platform
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Annotated

from exporter.frozen import frozen
from exporter.reading import Counter, Gauge, Label, Reading

BEAT = 1.0
REMEMBERED = 15
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
    """Beats once a second on the loop it tells of, and keeps what it said last as a watch does."""

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
        self._lags: deque[float] = deque([0.0], maxlen=REMEMBERED)
        self._due = math.inf
        self._late = -math.inf
        self._following: asyncio.TimerHandle
        self.latest: tuple[Reading, ...] = (self._build,)

    async def run(self) -> None:
        """Beat for ever."""
        loop = asyncio.get_running_loop()
        # Not a task that sleeps, which costs twice as much; of an exporter that has little to do it is the most.
        self._beat(loop)
        try:
            await loop.create_future()
        finally:
            self._following.cancel()

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        self._lags.append(max(now - self._due, 0.0))
        if now - self._due > LATE:
            self._late = now
        self._due = now + BEAT
        self._following = loop.call_later(BEAT, self._beat, loop)
        self._say()

    def late(self, since: float) -> bool:
        """Whether the exporter was more than a second late since that moment of the monotonic clock."""
        return self._late >= since or time.monotonic() - self._due > LATE

    def _say(self) -> None:
        itself = Itself(
            targets=self._targets(),
            scheduler_lag_seconds=max(self._lags),
            series_dropped=self._dropped(),
            http_requests=dict(self._requests()),
        )
        self.latest = (self._build, itself)
