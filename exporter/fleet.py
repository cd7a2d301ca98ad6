"""The services that are watched now: each begun when it comes, and ended when it goes, with all that was said of it."""

import asyncio
import gc
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from time import thread_time
from types import MappingProxyType

from exporter.assessor import WRONG, Assessor
from exporter.frozen import frozen
from exporter.objectives import Objectives
from exporter.settings import Target
from exporter.site import Site
from exporter.verdict.standing import State
from exporter.watch import Watch

log = logging.getLogger(__name__)

NAMED = 3
"""How many services that stand alike are told by their names at most."""

SLICE = 0.001
"""Seconds of work on services that come, after which whatever else is due has its turn."""

Start = Callable[[Coroutine[object, object, None]], asyncio.Task[None]]
"""What has something done from now on, and is told where it fails."""


@frozen
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
        self._turn = asyncio.Lock()
        self._left = False
        self._dropped = 0

    @property
    def assessors(self) -> Sequence[Assessor]:
        """Who judges each of them."""
        return [life.assessor for life in self.lives.values()]

    @property
    def dropped(self) -> int:
        """How many series of the services' own were left out, of those that have gone too."""
        return self._dropped + sum(life.site.server.figures.dropped for life in self.lives.values())

    def in_short(self) -> str:
        """How many stand how, in one line, those by their names about whom something is to be done."""
        if not self.lives:
            return "no service is watched"
        standing: defaultdict[State, list[str]] = defaultdict(list)
        for name, life in self.lives.items():
            standing[life.assessor.standing.state].append(name)
        told = (_told(state, names) for state, names in sorted(standing.items(), key=_wrong_first))
        return f"watches {_counted(len(self.lives))}: {', '.join(told)}"

    async def change(self, targets: Sequence[Target]) -> None:
        """Watch these services and no other, taken up a few at a time; one of the same settings goes on as it was."""
        async with self._turn:
            self._clear()
            before, names = self.lives, {target.name for target in targets}
            now = {each.name: before[each.name] for each in targets if _goes_on(before.get(each.name), each)}
            self._leave({name: life for name, life in before.items() if name not in now}, names)
            worked = thread_time()
            for number, target in enumerate(targets):
                if target.name not in now:
                    now[target.name] = life = self._begin(target, number / len(targets))
                    self._run(target.name, life)
                if thread_time() - worked > SLICE:
                    self.lives = MappingProxyType(dict(now))
                    await asyncio.sleep(0)
                    worked = thread_time()
            self.lives = MappingProxyType({target.name: now[target.name] for target in targets})
            # What stays is left out when garbage is searched for, which holds up everything: 0.1 s for 100 services.
            gc.freeze()

    def start(self, start: Start) -> None:
        """Watch, from now on, what there is to be watched."""
        self._start = start

    def _clear(self) -> None:
        """Let what is left of those that are gone be found."""
        gc.unfreeze()
        if self._left:
            gc.collect()
        self._left = False

    def _leave(self, gone: Mapping[str, Life], names: Collection[str]) -> None:
        self._dropped += sum(life.site.server.figures.dropped for life in gone.values())
        self.lives = MappingProxyType({name: life for name, life in self.lives.items() if name not in gone})
        self._left = bool(gone)
        for name, life in gone.items():
            self._end(name, life, again=name in names)

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


def _counted(services: int) -> str:
    return "1 service" if services == 1 else f"{services} services"


def _wrong_first(standing: tuple[State, Sequence[str]]) -> bool:
    state, _ = standing
    return state not in WRONG


def _told(state: State, names: Sequence[str]) -> str:
    shown = names[:NAMED] if state in WRONG or len(names) == 1 else ()
    rest = ["…"] * (0 < len(shown) < len(names))
    return f"{len(names)} {state}" + (f" ({', '.join([*shown, *rest])})" if shown else "")


def _goes_on(life: Life | None, target: Target) -> bool:
    return life is not None and life.site.target == target


async def _ended(life: Life, running: Sequence[asyncio.Task[None]]) -> None:
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    await life.site.client.aclose()
