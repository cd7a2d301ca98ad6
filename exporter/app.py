"""Where everything meets: which sources are read for which settings, and what is served of them."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from types import ModuleType

from exporter import __version__, assessor, engines, objectives, watch
from exporter.assessor import Assessor, Surroundings, look_around_for_ever
from exporter.exposition import Catalog
from exporter.lookup import Neighbours
from exporter.nvml import Door, Nvml
from exporter.reading import Reading, Reason
from exporter.routes import routes
from exporter.settings import Settings
from exporter.site import Site, health_of, objectives_of, process_of, prompt_of, rules_of
from exporter.sources import gpu, health, host, itself, process, prompt, server
from exporter.watch import COMMON, Clock, Watch
from exporter.web import Server

log = logging.getLogger(__name__)

LONGEST_POLL = 10.0
LONGEST_HEALTH = 2 * max(engine.health_timeout for engine in engines.ENGINES.values())
GRACE = 30.0  # What a look may take beyond its own deadlines, before its watch ends it.
LOCAL = (*COMMON, Reason.STUCK, Reason.NOT_PERMITTED, Reason.NOT_FOUND)


def _health_watch(site: Site, _settings: Settings) -> Watch | None:
    asked = site.target.health
    if not asked.enabled:
        return None
    timeout = (asked.timeout or LONGEST_HEALTH) + GRACE
    clock = Clock(every=lambda: asked.every, timeout=timeout, first_after=asked.every * site.share)
    return Watch(health_of(site).read, clock, source="health", target=site.target.name)


def _prompt_watch(site: Site, _settings: Settings) -> Watch | None:
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


def _server_watch(site: Site, _settings: Settings) -> Watch | None:
    asked = site.target.server
    if asked.enabled is False:
        return None
    clock = Clock(every=lambda: asked.every, timeout=server.PATIENCE + GRACE, first_after=asked.every * site.share)
    return Watch(site.server.read, clock, source="server", target=site.target.name)


def _process_watch(site: Site, settings: Settings) -> Watch | None:
    every = settings.host.every
    clock = Clock(every=lambda: every, timeout=LONGEST_POLL, first_after=every * site.share)
    return Watch(process_of(site).read, clock, source="process", target=site.target.name, reasons=LOCAL)


def _gpu_watch(settings: Settings, nvml: Door) -> Watch | None:
    if not settings.gpu.enabled:
        return None
    clock = Clock(every=lambda: settings.gpu.every, timeout=LONGEST_POLL)
    return Watch(gpu.Gpus(nvml).read, clock, source="gpu", reasons=gpu.REASONS)


def _host_watch(settings: Settings, _nvml: Door) -> Watch | None:
    if not settings.host.enabled:
        return None
    clock = Clock(every=lambda: settings.host.every, timeout=LONGEST_POLL)
    return Watch(host.Hosts(settings.host.paths).read, clock, source="host", reasons=LOCAL)


SOURCES: Mapping[ModuleType, Callable[[Settings, Door], Watch | None]] = {gpu: _gpu_watch, host: _host_watch}
"""What is read once, whatever is served here."""

SOURCES_OF_A_TARGET: Mapping[ModuleType, Callable[[Site, Settings], Watch | None]] = {
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
    tuple(chain.from_iterable(map(_kinds, (assessor, *SOURCES_OF_A_TARGET, objectives, *SOURCES, watch, itself))))
)
"""Every reading that the sources declare, in the order in which the page tells them."""


def sites(settings: Settings) -> Sequence[Site]:
    """Every target among the others, its turn spread over each round."""
    neighbours = Neighbours()
    return [
        Site(target, neighbours, share=number / len(settings.targets)) for number, target in enumerate(settings.targets)
    ]


def watches(settings: Settings, targets: Iterable[Site], nvml: Door | None = None) -> Iterator[Watch]:
    """A watch for everything that these settings have read."""
    for watch_of_all in SOURCES.values():
        if watching := watch_of_all(settings, nvml or Nvml(settings.gpu.library)):
            yield watching
    for site in targets:
        yield from watches_of(site, settings)


def watches_of(site: Site, settings: Settings) -> Iterator[Watch]:
    """A watch for everything that these settings have read of one service."""
    for watch_of_one in SOURCES_OF_A_TARGET.values():
        if watching := watch_of_one(site, settings):
            yield watching


def assessors(targets: Iterable[Site], watching: Iterable[Watch], late: Callable[[float], bool]) -> Iterator[Assessor]:
    """Who judges each service, by what its own watches and those of its GPUs say."""
    of_target: dict[str, list[Watch]] = {}
    for each in watching:
        of_target.setdefault(each.collection.target, []).append(each)
    for site in targets:
        around = Surroundings(
            prompts=site.target.prompt.enabled is not False,
            gpus=partial(_gpus_of, site, of_target.get("", ())),
            late=late,
        )
        own = of_target.get(site.target.name, [])
        yield Assessor(own, rules_of(site), target=site.target.name, around=around)


def _gpus_of(site: Site, of_all: Iterable[Watch]) -> Sequence[gpu.Gpu]:
    wanted = set(map(str, site.target.gpus or ()))
    if not wanted:
        return ()
    readings = chain(*(each.latest for each in of_all))
    return tuple(each for each in readings if isinstance(each, gpu.Gpu) and wanted & {each.gpu, each.uuid})


async def run(
    settings: Settings, sockets: Sequence[socket.socket], stop: asyncio.Event, nvml: Door | None = None
) -> None:
    """Watch and serve until told to stop; listening ends first. The GPUs' driver is the machine's, unless given."""
    targets = sites(settings)
    watching = tuple(watches(settings, targets, nvml))
    pulse = itself.Pulse(
        version=__version__,
        targets=len(targets),
        requests=lambda: serving.requests,
        dropped=lambda: {"server": sum(site.server.figures.dropped for site in targets)},
    )
    judging = tuple(assessors(targets, watching, pulse.late))
    wanted = tuple(map(objectives_of, targets))

    def snapshot() -> tuple[Reading, ...]:
        judged = (each.latest for each in judging)
        read = (each.latest for each in watching)
        return tuple(chain(*judged, wanted, *read, pulse.latest))

    serving = Server(routes(CATALOG, snapshot), sockets)
    serving.start()
    _greet(settings, sockets)
    try:
        async with asyncio.TaskGroup() as group:
            lives = [*(each.run() for each in watching), *(each.run() for each in judging), pulse.run()]
            running = [group.create_task(life) for life in (*lives, look_around_for_ever(judging))]
            await stop.wait()
            serving.stop()
            for task in running:
                task.cancel()
    finally:
        serving.stop()


def _greet(settings: Settings, sockets: Sequence[socket.socket]) -> None:
    for listening in sockets:
        address, port = listening.getsockname()[:2]
        local = "localhost" if address in {"::", "0.0.0.0"} else f"[{address}]" if ":" in address else address  # noqa: S104  compared, not bound
        log.info("model-sidecar %s listens; look at http://%s:%d/", __version__, local, port)
    for target in settings.targets:
        log.info("is watched at %s", target.url, extra={"target": target.name})
    if not settings.targets:
        log.warning("no target: the GPUs, the host and the exporter itself are all that is published")
