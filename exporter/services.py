"""All that goes on for the services: what is read of each, who judges it, and who comes and goes."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from types import ModuleType

from exporter import assessor, engines, objectives, placement
from exporter.assessor import Assessor, Surroundings, look_around_for_ever
from exporter.blocking import Blocking, BlockingWatch
from exporter.boards import Machine
from exporter.discovery import Discovery
from exporter.exposition import Catalog
from exporter.fleet import Fleet, Life
from exporter.lookup import Neighbours
from exporter.machine import LOCAL, LONGEST_POLL, MODULES, Now, kinds
from exporter.reading import Reading
from exporter.settings import Settings, Target
from exporter.site import Site, health_of, objectives_of, place_of, process_of, prompt_of, rules_of
from exporter.sources import health, process, prompt, server
from exporter.sources.itself import Pulse
from exporter.threads import Thread
from exporter.watch import Clock, Watch

LONGEST_HEALTH = 2 * max(engine.health_timeout for engine in engines.ENGINES.values())
GRACE = 30.0  # What a look may take beyond its own deadlines, before its watch ends it.


def _health_watch(site: Site, _now: Now) -> Watch | None:
    asked = site.target.health
    if not asked.enabled:
        return None
    timeout = (asked.timeout or LONGEST_HEALTH) + GRACE
    clock = Clock(every=lambda: asked.every, timeout=timeout, first_after=asked.every * site.share)
    return Watch(health_of(site).read, clock, source="health", target=site.target.name)


def _prompt_watch(site: Site, _now: Now) -> Watch | None:
    asked = site.target.prompt
    if asked.enabled is False:
        return None
    source = prompt_of(site)
    clock = Clock(
        every=source.interval,
        timeout=asked.timeout + GRACE,
        first_after=source.interval() * site.share,
        jitter=asked.jitter,
    )
    return Watch(source.read, clock, source="prompt", target=site.target.name)


def _server_watch(site: Site, _now: Now) -> Watch | None:
    asked = site.target.server
    if asked.enabled is False:
        return None
    clock = Clock(every=lambda: asked.every, timeout=server.PATIENCE + GRACE, first_after=asked.every * site.share)
    return Watch(site.server.read, clock, source="server", target=site.target.name)


def _process_watch(site: Site, now: Now) -> Watch | None:
    first_after = now().host.every * site.share
    clock = Clock(every=lambda: now().host.every, timeout=LONGEST_POLL, first_after=first_after)
    looking = Blocking(process_of(site).look, site.neighbours.thread, process.standing)
    return BlockingWatch(looking, clock, source="process", target=site.target.name, reasons=LOCAL)


SOURCES: Mapping[ModuleType, Callable[[Site, Now], Watch | None]] = {
    prompt: _prompt_watch,
    health: _health_watch,
    server: _server_watch,
    process: _process_watch,
}
"""What is read of each service."""

CATALOG = Catalog(tuple(kinds((assessor, *SOURCES, placement, objectives, *MODULES))))
"""Every reading that there is, in the order in which the page tells them."""


async def sites(settings: Settings) -> Sequence[Site]:
    """Every service that there is now, for one look at each."""
    neighbours = Neighbours()
    return [Site(target, neighbours) for target in await Discovery(lambda: settings).once()]


def watches_of(site: Site, now: Now) -> Iterator[Watch]:
    """A watch for everything that these settings have read of one service."""
    for watch_of_one in SOURCES.values():
        if watching := watch_of_one(site, now):
            yield watching


class Services:
    """The services by the settings in force: watched, judged, and taken up and left as they come and go."""

    def __init__(self, now: Now, gpus: Callable[[], Sequence[Reading]], pulse: Pulse) -> None:
        self._fleet = Fleet(self._life)
        self._now = now
        self._pulse = pulse
        self._discovery = Discovery(now)
        self._neighbours = Neighbours()
        self._machine = Machine(gpus)
        self._reading = Thread("figures")
        self._discovery.then = self._find

    def readings(self) -> Iterator[Reading]:
        """All that is known of them now, for any thread."""
        lives = tuple(self._fleet.lives.values())
        for life in lives:
            yield from life.assessor.latest
        yield from (life.wanted for life in lives)
        yield from chain.from_iterable(each.latest for life in lives for each in life.watches)

    def narrowed(self, told: Sequence[Reading]) -> tuple[Reading, ...]:
        """What is told, without that of GPUs on which no service runs."""
        here = {each.uuid for each in told if isinstance(each, placement.ServiceGpu)} | {None}
        return tuple(each for each in told if getattr(each, "uuid", None) in here)

    def targets(self) -> int:
        """How many there are."""
        return len(self._fleet.lives)

    def dropped(self) -> int:
        """Series of theirs that were left out."""
        return self._fleet.dropped

    def in_short(self) -> str:
        """How they stand, in one line."""
        return self._fleet.in_short()

    async def run(self) -> None:
        """Watch for ever."""
        async with asyncio.TaskGroup() as group:
            self._fleet.start(group.create_task)
            following = (self._discovery.follow_files(), self._discovery.follow_names())
            for life in (*following, look_around_for_ever(lambda: self._fleet.assessors), self._find()):
                group.create_task(life)

    async def adopt(self) -> None:
        """Go on by the settings that are in force now."""
        await self._discovery.adopt()
        await self._find()

    async def _find(self) -> None:
        await self._fleet.change(self._discovery.found())

    def _life(self, target: Target, share: float) -> Life:
        site = Site(target, self._neighbours, share=share)
        site.server.thread = self._reading
        own = tuple(watches_of(site, self._now))
        for watch in own:
            watch.read = self._pulse.during(watch.read)
        around = Surroundings(
            prompts=target.prompt.enabled is not False,
            place=place_of(site, self._machine),
            late=self._pulse.late,
        )
        judging = Assessor(own, rules_of(site), target=target.name, around=around)
        return Life(site=site, watches=own, assessor=judging, wanted=objectives_of(site))
