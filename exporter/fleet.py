"""The services that are watched now: each begun when it comes, and ended when it goes, with all that was said of it."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from exporter.assessor import Assessor
from exporter.objectives import Objectives
from exporter.settings import Target
from exporter.site import Site
from exporter.watch import Watch

log = logging.getLogger(__name__)

Start = Callable[[Coroutine[object, object, None]], asyncio.Task[None]]
"""What has something done from now on, and is told where it fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One service as it is watched and judged, from when it came until it goes."""

    site: Site
    watches: Sequence[Watch]
    assessor: Assessor
    wanted: Objectives

    @property
    def tasks(self) -> Iterator[Coroutine[object, object, None]]:
        """All that goes on while it lasts."""
        yield from (each.run() for each in self.watches)
        yield self.assessor.run()


class Fleet:
    """The lives of all services by their names.

    `lives` is replaced, never changed, so that any thread may read it.
    """

    def __init__(self, begin: Callable[[Target, float], Life]) -> None:
        self.lives: Mapping[str, Life] = MappingProxyType({})
        self._begin = begin
        self._start: Start | None = None
        self._running: dict[str, Sequence[asyncio.Task[None]]] = {}
        self._dropped = 0

    @property
    def assessors(self) -> Sequence[Assessor]:
        """Who judges each of them."""
        return [life.assessor for life in self.lives.values()]

    @property
    def dropped(self) -> int:
        """How many series of the services' own were left out, of those that have gone too."""
        return self._dropped + sum(life.site.server.figures.dropped for life in self.lives.values())

    def change(self, targets: Sequence[Target]) -> None:
        """Watch these services and no other; one that was watched with the same settings goes on as it was."""
        before, now = self.lives, dict[str, Life]()
        for number, target in enumerate(targets):
            life = before.get(target.name)
            kept = life is not None and life.site.target == target
            now[target.name] = life if life and kept else self._begin(target, number / len(targets))
        gone = {name: life for name, life in before.items() if now.get(name) is not life}
        self._dropped += sum(life.site.server.figures.dropped for life in gone.values())
        self.lives = MappingProxyType(now)
        for name, life in gone.items():
            self._end(name, life, again=name in now)
        for name, life in now.items():
            if before.get(name) is not life:
                self._run(name, life)

    def start(self, start: Start) -> None:
        """Watch them from now on, and those that come later."""
        self._start = start
        for name, life in self.lives.items():
            self._run(name, life)

    def _run(self, name: str, life: Life) -> None:
        if self._start is not None:
            at = life.site.target.address
            where = {} if at is None else {"address": at}
            log.info("is watched at %s", life.site.target.url, extra={"target": name, **where})
            self._running[name] = [self._start(task) for task in life.tasks]

    def _end(self, name: str, life: Life, *, again: bool) -> None:
        if self._start is not None:
            log.info("is watched anew" if again else "is watched no more", extra={"target": name})
            self._start(_ended(life, self._running.pop(name)))


async def _ended(life: Life, running: Sequence[asyncio.Task[None]]) -> None:
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    await life.site.client.aclose()
