"""Where everything meets: which sources are read for which settings, and what is served of them."""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from types import ModuleType

from exporter import __version__, assessor, engines, log, objectives, placement, reload, watch
from exporter.assessor import Assessor, Surroundings, look_around_for_ever
from exporter.boards import Machine
from exporter.discovery import Discovery
from exporter.exposition import Catalog
from exporter.fleet import Fleet, Life
from exporter.gpus import tiers
from exporter.lifecycle import posts
from exporter.lookup import Neighbours
from exporter.nvml import Door
from exporter.nvml.lease import Lease
from exporter.reading import Reading, Reason
from exporter.reload import Asked, Reload
from exporter.routes import routes
from exporter.settings import Settings, Target
from exporter.site import Site, health_of, objectives_of, place_of, process_of, prompt_of, rules_of
from exporter.sources import gpu, health, host, itself, process, prompt, server
from exporter.threads import Thread
from exporter.watch import COMMON, Clock, Watch
from exporter.web import OPEN, Guard, Server
from exporter.webconfig import guard

logger = logging.getLogger(__name__)

Now = Callable[[], Settings]
"""The settings in force, which may be others the next time."""

LONGEST_POLL = 10.0
LONGEST_HEALTH = 2 * max(engine.health_timeout for engine in engines.ENGINES.values())
GRACE = 30.0  # What a look may take beyond its own deadlines, before its watch ends it.
WHOLE_UUID = len("GPU-00000000-0000-0000-0000-000000000000")
LOCAL = (*COMMON, Reason.STUCK, Reason.NOT_PERMITTED, Reason.NOT_FOUND)


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
    return Watch(process_of(site).read, clock, source="process", target=site.target.name, reasons=LOCAL)


def _gpu_watch(now: Now, nvml: Door) -> Watch | None:
    if not now().gpu.enabled:
        return None
    gpus = gpu.Gpus(nvml, _options(now()))

    def read() -> AsyncGenerator[Sequence[Reading], None]:
        gpus.options = _options(now())
        return gpus.read()

    clock = Clock(every=lambda: now().gpu.every, timeout=LONGEST_POLL)
    return Watch(read, clock, source="gpu", reasons=gpu.REASONS)


def _options(settings: Settings) -> gpu.Options:
    wanted = settings.gpu
    return gpu.Options(
        medium=wanted.medium,
        slow=wanted.slow,
        devices=_asked(settings),
        by_pid=wanted.pid_labels,
        timed=wanted.call_metrics,
    )


def _asked(settings: Settings) -> frozenset[str] | None:
    """Which GPUs are asked; None for all, which the services' are found among where not each has named its own."""
    if settings.gpu.devices == "all":
        return None
    if settings.gpu.devices != "targets":
        return frozenset(map(str, settings.gpu.devices))
    if settings.targets_files:
        return None
    named = [name for target in settings.targets for name in target.gpus or (None,)]
    return frozenset(map(str, named)) if all(map(_names_one, named)) else None


def _names_one(name: int | str | None) -> bool:
    """Whether a GPU's name is as its driver tells it, rather than a part's, or the beginning of one."""
    return isinstance(name, int) or (name is not None and name.startswith("GPU-") and len(name) == WHOLE_UUID)


def _host_watch(now: Now, _nvml: Door) -> Watch | None:
    if not now().host.enabled:
        return None
    hosts = host.Hosts(now().host.paths)

    def read() -> AsyncGenerator[Sequence[Reading], None]:
        hosts.paths = now().host.paths
        return hosts.read()

    clock = Clock(every=lambda: now().host.every, timeout=LONGEST_POLL)
    return Watch(read, clock, source="host", reasons=LOCAL)


SOURCES: Mapping[ModuleType, Callable[[Now, Door], Watch | None]] = {gpu: _gpu_watch, host: _host_watch}
"""What is read once, whatever is served here."""

SOURCES_OF_A_TARGET: Mapping[ModuleType, Callable[[Site, Now], Watch | None]] = {
    prompt: _prompt_watch,
    health: _health_watch,
    server: _server_watch,
    process: _process_watch,
}
"""What is read of each service."""


def _kinds(module: ModuleType) -> Iterator[type[Reading]]:
    for each in vars(module).values():
        if isinstance(each, type) and issubclass(each, Reading) and each.__module__ == module.__name__:
            yield each


CATALOG = Catalog(
    tuple(
        chain.from_iterable(
            map(
                _kinds,
                (
                    *(assessor, *SOURCES_OF_A_TARGET, placement, objectives, gpu, *tiers.MODULES),
                    *(host, watch, itself, reload, guard),
                ),
            )
        )
    )
)
"""Every reading that the sources declare, in the order in which the page tells them."""


async def sites(settings: Settings) -> Sequence[Site]:
    """Every service that there is now, for one look at each."""
    neighbours = Neighbours()
    return [Site(target, neighbours) for target in await Discovery(lambda: settings).once()]


def watches(now: Now, nvml: Door) -> Iterator[Watch]:
    """A watch for everything that is read once, whatever is served here."""
    for watch_of_all in SOURCES.values():
        if watching := watch_of_all(now, nvml):
            yield watching


def watches_of(site: Site, now: Now) -> Iterator[Watch]:
    """A watch for everything that these settings have read of one service."""
    for watch_of_one in SOURCES_OF_A_TARGET.values():
        if watching := watch_of_one(site, now):
            yield watching


class _Sidecar:
    """All that goes on, by the settings in force: what is watched, and what is told of it."""

    def __init__(self, settings: Settings, asked: Asked, lease: Lease) -> None:
        self.reload = Reload(settings, asked)
        self.discovery = Discovery(self.now)
        self.once = tuple(watches(self.now, lease))
        self.fleet = Fleet(self._life)
        self.pulse = itself.Pulse(
            version=__version__,
            targets=lambda: len(self.fleet.lives),
            requests=lambda: self.served.requests if self.served else {},
            dropped=lambda: {"server": self.fleet.dropped},
        )
        self.served: Server | None = None
        self.letting_in: Guard = OPEN
        self._neighbours = Neighbours()
        self._machine = Machine(partial(_said_of_gpus, self.once))
        self._reading = Thread("figures")
        self.discovery.then = self._find
        self.reload.then = self._adopt

    def now(self) -> Settings:
        """The settings in force."""
        return self.reload.settings

    def snapshot(self) -> tuple[Reading, ...]:
        """All that is known now, for any thread."""
        lives = tuple(self.fleet.lives.values())
        judged = (life.assessor.latest for life in lives)
        wanted = (life.wanted for life in lives)
        read = (each.latest for each in chain(self.once, *(life.watches for life in lives)))
        told = tuple(chain(*judged, wanted, *read, self.pulse.latest, self.reload.latest, self.letting_in.latest))
        return _of_services(told) if self.now().gpu.devices == "targets" else told

    async def run(self) -> None:
        """Watch for ever."""
        async with asyncio.TaskGroup() as group:
            self.fleet.start(group.create_task)
            lives = (*(each.run() for each in self.once), self.pulse.run(), self.reload.run())
            following = (self.discovery.follow_files(), self.discovery.follow_names())
            for life in (*lives, *following, look_around_for_ever(lambda: self.fleet.assessors), self._find()):
                group.create_task(life)

    def _life(self, target: Target, share: float) -> Life:
        site = Site(target, self._neighbours, share=share)
        site.server.thread = self._reading
        own = tuple(watches_of(site, self.now))
        around = Surroundings(
            prompts=target.prompt.enabled is not False,
            place=place_of(site, self._machine),
            late=self.pulse.late,
        )
        judging = Assessor(own, rules_of(site), target=target.name, around=around)
        return Life(site=site, watches=own, assessor=judging, wanted=objectives_of(site))

    async def _find(self) -> None:
        await self.fleet.change(self.discovery.found())

    async def _adopt(self) -> None:
        log.configure(self.now().log.level, self.now().log.format)
        await self.discovery.look_at_files()
        await self._find()


def _said_of_gpus(of_all: Sequence[Watch]) -> Sequence[Reading]:
    return next((each.latest for each in of_all if each.collection.source == "gpu"), ())


async def run(
    settings: Settings, sockets: Sequence[socket.socket], asked: Asked, lease: Lease, letting_in: Guard = OPEN
) -> None:
    """Watch and serve until told to stop; listening ends first."""
    sidecar = _Sidecar(settings, asked, lease)
    of_gpus = next((each for each in sidecar.once if each.collection.source == "gpu"), None)
    able = posts(lease, of_gpus, sidecar.reload.once, enabled=settings.web.enable_lifecycle)
    serving = Server(routes(CATALOG, sidecar.snapshot, able), sockets, guard=letting_in)
    sidecar.served, sidecar.letting_in = serving, letting_in
    serving.start()
    asked.supervisor.ready()
    _greet(settings, sockets, "https" if letting_in.secures else "http")
    try:
        async with asyncio.TaskGroup() as group:
            living = group.create_task(sidecar.run())
            telling = group.create_task(asked.supervisor.run(sidecar.fleet.in_short, serving.turned))
            await asked.stop.wait()
            serving.stop()
            living.cancel()
            telling.cancel()
    finally:
        serving.stop()


def _of_services(told: Sequence[Reading]) -> tuple[Reading, ...]:
    """What is told, without that of GPUs on which no service runs."""
    here = {each.uuid for each in told if isinstance(each, placement.ServiceGpu)} | {None}
    return tuple(each for each in told if getattr(each, "uuid", None) in here)


def _greet(settings: Settings, sockets: Sequence[socket.socket], scheme: str) -> None:
    for listening in sockets:
        address, port = listening.getsockname()[:2]
        local = "localhost" if address in {"::", "0.0.0.0"} else f"[{address}]" if ":" in address else address  # noqa: S104  compared, not bound
        logger.info("model-sidecar %s listens; look at %s://%s:%d/", __version__, scheme, local, port)
    if not settings.targets and not settings.targets_files:
        logger.warning("no target: the GPUs, the host and the exporter itself are all that is published")
