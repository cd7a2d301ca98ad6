"""Where everything meets: which sources are read for which settings, and what is served of them."""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from itertools import chain
from types import ModuleType

import httpx

from exporter import __version__, engines, watch
from exporter.ask import Limits
from exporter.clock import Transport
from exporter.exposition import Catalog, Exposition
from exporter.lookup import Neighbours
from exporter.page import page
from exporter.protocols import PROTOCOLS
from exporter.reading import Reading, Reason
from exporter.settings import Settings, Target, Tls
from exporter.sources import gpu, health, host, itself, process, prompt
from exporter.watch import COMMON, Clock, Watch
from exporter.web import Request, Response, Route, Server, compressed, plain
from exporter.wire import Prompt, Recognition

log = logging.getLogger(__name__)

DEFAULT_HEALTH_PATH = "/health"
LONGEST_CONNECT = 10.0
LONGEST_POLL = 10.0
LONGEST_HEALTH = 2 * max(engine.health_timeout for engine in engines.ENGINES.values())
GRACE = 30.0  # What a look may take beyond its own deadlines, before its watch ends it.
LOCAL = (*COMMON, Reason.STUCK, Reason.NOT_PERMITTED, Reason.NOT_FOUND)


HEADERS = {
    "User-Agent": f"model-sidecar/{__version__}",
    "Accept-Encoding": "identity",
    "Connection": "close",
}
"""What every request says: a proxy that compresses would hold a stream back."""


class Site:
    """One target among the others: its client, the headers that only it is sent, and its share of a round."""

    def __init__(self, target: Target, neighbours: Neighbours, *, share: float = 0.0) -> None:
        self.target = target
        self.neighbours = neighbours
        self.share = share
        self.headers = _headers(target)
        self.client = httpx.AsyncClient(
            transport=Transport(_tls(target), server_name=target.tls.server_name),
            base_url=target.url,
            headers=HEADERS,
            # No cookie is kept: a balancer's would tie every prompt to one replica.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            timeout=httpx.Timeout(None, connect=min(LONGEST_CONNECT, target.prompt.first_token_timeout)),
            trust_env=False,
        )
        self.known = Known(
            partial(
                engines.recognised,
                self.client,
                self.headers,
                protocol=target.prompt.protocol,
                model=target.model,
                engine=None if target.engine == "auto" else target.engine,
            ),
            engine=None if target.engine == "auto" else target.engine,
        )


class Known:
    """What a service was recognised as last, for all who ask it something."""

    def __init__(self, recognise: Callable[[], Awaitable[Recognition | None]], *, engine: str | None) -> None:
        self.engine = engine or "unknown"
        self._recognise = recognise
        self._turn = asyncio.Lock()
        self._looked = False

    async def look(self) -> Recognition | None:
        """What it is now; None where it does not say."""
        async with self._turn:
            return await self._look()

    async def first(self) -> None:
        """Return once somebody has looked."""
        async with self._turn:
            if not self._looked:
                await self._look()

    async def _look(self) -> Recognition | None:
        found = await self._recognise()
        self._looked = True
        self.engine = found.engine if found else self.engine
        return found


def _headers(target: Target) -> Mapping[str, str]:
    key = {} if target.api_key is None else {"Authorization": f"Bearer {target.api_key.get_secret_value()}"}
    return {**key, **{name: value.get_secret_value() for name, value in target.headers.items()}}


def _tls(target: Target) -> ssl.SSLContext | None:
    addresses = (target.url, target.health.url or "")
    return _context(target.tls) if any(address.startswith("https:") for address in addresses) else None


@cache
def _context(tls: Tls) -> ssl.SSLContext:
    # One for all targets with the same settings, since it costs 38 ms and the memory of every certificate.
    context = ssl.create_default_context(cafile=tls.ca_file)
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def health_of(site: Site) -> health.HealthEndpoint:
    """The health source of one target."""
    wanted = site.target.health.expect
    expected = health.Expectation(
        status=wanted.status, text=wanted.text, json=wanted.fields, values=site.target.health.values
    )
    return health.HealthEndpoint(
        site.client, partial(_asked_for_health, site), target=site.target.name, expected=expected
    )


async def _asked_for_health(site: Site) -> health.Asked:
    asked = site.target.health
    await site.known.first()
    engine = engines.ENGINES[site.known.engine]
    paths = (asked.path,) if asked.path else engine.health if asked.url is None else ()
    urls = [httpx.URL(f"{asked.url or site.target.url}{path}") for path in paths or (DEFAULT_HEALTH_PATH,)]
    return health.Asked(
        # A key is for the service alone, wherever its health may be told.
        requests=[
            httpx.Request(
                "GET", url, headers=site.headers if _origin(url) == _origin(httpx.URL(site.target.url)) else {}
            )
            for url in urls
        ],
        timeout=asked.timeout or engine.health_timeout,
        fault=partial(engines.told_unwell, site.known.engine),
    )


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}[url.scheme]


def prompt_of(site: Site) -> prompt.Prompting:
    """The prompt source of one target."""
    asked = site.target.prompt
    limits = Limits(first_token=asked.first_token_timeout, stall=asked.stall_timeout, total=asked.timeout)
    questions = prompt.Questions(
        prompts=tuple(_prompts(site)),
        limits=limits,
        pace=prompt.Pace(every=asked.every, max_share=asked.max_share),
        dialects=PROTOCOLS,
    )
    skip = partial(engines.skipped, site.client, site.headers)
    return prompt.Prompting(site.client, questions, site.known.look, skip, target=site.target.name)


def _prompts(site: Site) -> Iterator[Prompt]:
    asked = site.target.prompt
    for case in asked.cases or (asked,):
        yield Prompt(
            text=case.text or asked.text,
            max_tokens=asked.max_tokens,
            method=asked.method,
            path=asked.path,
            headers=site.headers,
            body=case.body if case.body is not None else asked.body,
            answer=case.answer or asked.answer,
        )


def process_of(site: Site) -> process.ServiceProcess:
    """The process source of one target."""
    _, name, port = _origin(httpx.URL(site.target.url))
    asked = site.target.process
    listening = None if asked is None else asked.port or port
    return process.ServiceProcess(target=site.target.name, host=name, port=listening, neighbours=site.neighbours)


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
    process: _process_watch,
}
"""What is read of each service."""


def _kinds(module: ModuleType) -> Iterator[type[Reading]]:
    for each in vars(module).values():
        if isinstance(each, type) and issubclass(each, Reading) and each.__module__ == module.__name__:
            yield each


CATALOG = Catalog(tuple(chain.from_iterable(map(_kinds, (*SOURCES_OF_A_TARGET, *SOURCES, watch, itself)))))
"""Every reading that the sources declare, in the order in which the page tells them."""


def watches(settings: Settings) -> Iterator[Watch]:
    """A watch for everything that these settings have read; the targets' turns are spread over each round."""
    for watch_of_all in SOURCES.values():
        if watching := watch_of_all(settings):
            yield watching
    neighbours = Neighbours()
    for number, target in enumerate(settings.targets):
        site = Site(target, neighbours, share=number / len(settings.targets))
        for watch_of_one in SOURCES_OF_A_TARGET.values():
            if watching := watch_of_one(site, settings):
                yield watching


async def run(settings: Settings, sockets: Sequence[socket.socket], stop: asyncio.Event) -> None:
    """Watch and serve until told to stop; listening ends first."""
    watching = tuple(watches(settings))
    pulse = itself.Pulse(version=__version__, targets=len(settings.targets), requests=lambda: server.requests)

    def snapshot() -> tuple[Reading, ...]:
        return tuple(chain(*(each.latest for each in watching), pulse.latest))

    server = Server(_routes(snapshot), sockets)
    server.start()
    _greet(settings, sockets)
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(each.run()) for each in watching]
            running.append(group.create_task(pulse.run()))
            await stop.wait()
            server.stop()
            for task in running:
                task.cancel()
    finally:
        server.stop()


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
