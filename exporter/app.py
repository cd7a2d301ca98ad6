"""Where everything meets: which sources are read for which settings, and what is served of them."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from types import ModuleType

from exporter import __version__, engines, watch
from exporter.exposition import Catalog, Exposition
from exporter.lookup import Neighbours
from exporter.page import page
from exporter.reading import Reading, Reason
from exporter.settings import Settings
from exporter.site import Site, health_of, process_of, prompt_of
from exporter.sources import gpu, health, host, itself, process, prompt, server
from exporter.watch import COMMON, Clock, Watch
from exporter.web import Request, Response, Route, Server, compressed, plain

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


def _gpu_watch(settings: Settings) -> Watch | None:
    if not settings.gpu.enabled:
        return None
    clock = Clock(every=lambda: settings.gpu.every, timeout=LONGEST_POLL)
    return Watch(gpu.Gpus(settings.gpu.library).read, clock, source="gpu", reasons=gpu.REASONS)


def _host_watch(settings: Settings) -> Watch | None:
    if not settings.host.enabled:
        return None
    clock = Clock(every=lambda: settings.host.every, timeout=LONGEST_POLL)
    return Watch(host.Hosts(settings.host.paths).read, clock, source="host", reasons=LOCAL)


SOURCES: Mapping[ModuleType, Callable[[Settings], Watch | None]] = {gpu: _gpu_watch, host: _host_watch}
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


CATALOG = Catalog(tuple(chain.from_iterable(map(_kinds, (*SOURCES_OF_A_TARGET, *SOURCES, watch, itself)))))
"""Every reading that the sources declare, in the order in which the page tells them."""


def sites(settings: Settings) -> Sequence[Site]:
    """Every target among the others, its turn spread over each round."""
    neighbours = Neighbours()
    return [
        Site(target, neighbours, share=number / len(settings.targets)) for number, target in enumerate(settings.targets)
    ]


def watches(settings: Settings, targets: Iterable[Site]) -> Iterator[Watch]:
    """A watch for everything that these settings have read."""
    for watch_of_all in SOURCES.values():
        if watching := watch_of_all(settings):
            yield watching
    for site in targets:
        for watch_of_one in SOURCES_OF_A_TARGET.values():
            if watching := watch_of_one(site, settings):
                yield watching


async def run(settings: Settings, sockets: Sequence[socket.socket], stop: asyncio.Event) -> None:
    """Watch and serve until told to stop; listening ends first."""
    targets = sites(settings)
    watching = tuple(watches(settings, targets))
    pulse = itself.Pulse(
        version=__version__,
        targets=len(targets),
        requests=lambda: serving.requests,
        dropped=lambda: {"server": sum(site.server.figures.dropped for site in targets)},
    )

    def snapshot() -> tuple[Reading, ...]:
        return tuple(chain(*(each.latest for each in watching), pulse.latest))

    serving = Server(_routes(snapshot), sockets)
    serving.start()
    _greet(settings, sockets)
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(each.run()) for each in watching]
            running.append(group.create_task(pulse.run()))
            await stop.wait()
            serving.stop()
            for task in running:
                task.cancel()
    finally:
        serving.stop()


def _routes(snapshot: Callable[[], tuple[Reading, ...]]) -> Mapping[str, Route]:
    exposition = Exposition(CATALOG, snapshot)

    def metrics(request: Request) -> Response:
        body, content_type = exposition.page(request.headers.get("accept", ""))
        return compressed(request, Response(headers={"content-type": content_type, "vary": "accept"}, body=body))

    def status(request: Request) -> Response:
        links = {"metrics": "/metrics", "healthy": "/-/healthy", "ready": "/-/ready"}
        body = page(snapshot(), now=time.time(), links=links)
        return compressed(request, Response(headers={"content-type": "text/html; charset=utf-8"}, body=body))

    return {
        "/metrics": metrics,
        "/": status,
        "/-/healthy": lambda _request: plain(200, "model-sidecar is healthy."),
        "/-/ready": lambda _request: plain(200, "model-sidecar is ready."),
    }


def _greet(settings: Settings, sockets: Sequence[socket.socket]) -> None:
    for listening in sockets:
        address, port = listening.getsockname()[:2]
        local = "localhost" if address in {"::", "0.0.0.0"} else f"[{address}]" if ":" in address else address  # noqa: S104  compared, not bound
        log.info("model-sidecar %s listens; look at http://%s:%d/", __version__, local, port)
    for target in settings.targets:
        log.info("is watched at %s", target.url, extra={"target": target.name})
    if not settings.targets:
        log.warning("no target: the GPUs, the host and the exporter itself are all that is published")
