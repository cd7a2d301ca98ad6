"""Where everything meets: which sources are read for which settings, and what is served of them."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from types import ModuleType

from exporter import __version__, assessor, engines, objectives, placement, watch
from exporter.assessor import Assessor, Surroundings, look_around_for_ever
from exporter.boards import Machine
from exporter.exposition import Catalog
from exporter.gpus import tiers
from exporter.lifecycle import posts
from exporter.lookup import Neighbours
from exporter.nvml import Door, Nvml
from exporter.nvml.lease import Lease
from exporter.reading import Reading, Reason
from exporter.routes import routes
from exporter.settings import Settings
from exporter.site import Site, health_of, objectives_of, place_of, process_of, prompt_of, rules_of
from exporter.sources import gpu, health, host, itself, process, prompt, server
from exporter.watch import COMMON, Clock, Watch
from exporter.web import Server

log = logging.getLogger(__name__)

LONGEST_POLL = 10.0
LONGEST_HEALTH = 2 * max(engine.health_timeout for engine in engines.ENGINES.values())
GRACE = 30.0  # What a look may take beyond its own deadlines, before its watch ends it.
WHOLE_UUID = len("GPU-00000000-0000-0000-0000-000000000000")
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
    wanted = settings.gpu
    if not wanted.enabled:
        return None
    options = gpu.Options(
        medium=wanted.medium,
        slow=wanted.slow,
        devices=_asked(settings),
        by_pid=wanted.pid_labels,
        timed=wanted.call_metrics,
    )
    clock = Clock(every=lambda: wanted.every, timeout=LONGEST_POLL)
    return Watch(gpu.Gpus(nvml, options).read, clock, source="gpu", reasons=gpu.REASONS)


def _asked(settings: Settings) -> frozenset[str] | None:
    """Which GPUs are asked; None for all, which the services' are found among where not each has named its own."""
    if settings.gpu.devices == "all":
        return None
    if settings.gpu.devices != "targets":
        return frozenset(map(str, settings.gpu.devices))
    named = [name for target in settings.targets for name in target.gpus or (None,)]
    return frozenset(map(str, named)) if all(map(_names_one, named)) else None


def _names_one(name: int | str | None) -> bool:
    """Whether a GPU's name is as its driver tells it, rather than a part's, or the beginning of one."""
    return isinstance(name, int) or (name is not None and name.startswith("GPU-") and len(name) == WHOLE_UUID)


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
    tuple(
        chain.from_iterable(
            map(
                _kinds,
                (assessor, *SOURCES_OF_A_TARGET, placement, objectives, gpu, *tiers.MODULES, host, watch, itself),
            )
        )
    )
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
    machine = Machine(partial(_said_of_gpus, of_target.get("", ())))
    for site in targets:
        around = Surroundings(
            prompts=site.target.prompt.enabled is not False,
            place=place_of(site, machine),
            late=late,
        )
        own = of_target.get(site.target.name, [])
        yield Assessor(own, rules_of(site), target=site.target.name, around=around)


def _said_of_gpus(of_all: Iterable[Watch]) -> Sequence[Reading]:
    return next((each.latest for each in of_all if each.collection.source == "gpu"), ())


async def run(settings: Settings, sockets: Sequence[socket.socket], stop: asyncio.Event, lease: Lease) -> None:
    """Watch and serve until told to stop; listening ends first."""
    targets = sites(settings)
    watching = tuple(watches(settings, targets, lease))
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
        told = tuple(chain(*judged, wanted, *read, pulse.latest))
        return _of_services(told) if settings.gpu.devices == "targets" else told

    of_gpus = next((each for each in watching if each.collection.source == "gpu"), None)
    able = posts(lease, of_gpus, enabled=settings.web.enable_lifecycle)
    serving = Server(routes(CATALOG, snapshot, able), sockets)
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


def _of_services(told: Sequence[Reading]) -> tuple[Reading, ...]:
    """What is told, without that of GPUs on which no service runs."""
    here = {each.uuid for each in told if isinstance(each, placement.ServiceGpu)} | {None}
    return tuple(each for each in told if getattr(each, "uuid", None) in here)


def _greet(settings: Settings, sockets: Sequence[socket.socket]) -> None:
    for listening in sockets:
        address, port = listening.getsockname()[:2]
        local = "localhost" if address in {"::", "0.0.0.0"} else f"[{address}]" if ":" in address else address  # noqa: S104  compared, not bound
        log.info("model-sidecar %s listens; look at http://%s:%d/", __version__, local, port)
    for target in settings.targets:
        log.info("is watched at %s", target.url, extra={"target": target.name})
    if not settings.targets:
        log.warning("no target: the GPUs, the host and the exporter itself are all that is published")
