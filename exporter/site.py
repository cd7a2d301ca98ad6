"""What the settings of one target mean: how it is reached, recognised, asked, checked and read."""

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path

import httpx

from exporter import __version__, engines
from exporter.ask import Limits
from exporter.boards import Machine
from exporter.checks.canary import Canary
from exporter.checks.images import Picture
from exporter.checks.judge import Checks
from exporter.checks.numbers import Range
from exporter.checks.pattern import Pattern
from exporter.chosen import ByCommand, ByPidFile, ByUnit, Chosen, Way
from exporter.client import Client
from exporter.clock import HERE, Transport
from exporter.credentials import Credentials, Key
from exporter.lookup import Entrance, Neighbours, Search
from exporter.objectives import Objectives
from exporter.pace import Pace
from exporter.placement import Place, Word
from exporter.protocols import PROTOCOLS
from exporter.questions import Question, Questions
from exporter.response import origin
from exporter.settings import Case, Target
from exporter.settings import Checks as CheckSettings
from exporter.settings import Process as ProcessSettings
from exporter.settings import Prompt as PromptSettings
from exporter.settings.addresses import socket_in
from exporter.sources import health, process, prompt, server
from exporter.trust import Trust, trust
from exporter.units import Unit
from exporter.verdict.standing import Rules
from exporter.wire import Prompt, Recognition

DEFAULT_HEALTH_PATH = "/health"
LONGEST_CONNECT = 10.0
LOOK_AGAIN = 60.0
PAIR = (
    "One, two, three, four, five, and so on, up to twenty.",
    "The giant panda eats bamboo for most of the day.",
)
"""What a reranker is given where nothing was set: for the usual question, the first is plainly the relevant one."""


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
        self.url = target.url if (local := socket_in(target.url)) is None else HERE
        self.headers = {name: value.get_secret_value() for name, value in target.headers.items()}
        self.client = Client(
            Transport(_trust(target), server_name=target.tls.server_name, at=self._addresses(), local=local),
            base_url=self.url,
            connect=min(LONGEST_CONNECT, target.prompt.first_token_timeout),
            headers=HEADERS,
            credentials=Credentials(httpx.URL(self.url), _key(target), self.headers.values()),
        )
        self.known = Known(
            partial(
                engines.recognised,
                self.client,
                self.headers,
                protocol=target.prompt.protocol,
                model=target.model,
                engine=target.engine,
            ),
            engine=target.engine,
        )
        self.server = server.ServerMetrics(
            self.client,
            _whereabouts(self),
            target=target.name,
            engine=lambda: self.known.engine if self.known.looked else "",
            publish=target.server.publish,
        )

    def _addresses(self) -> Mapping[str, str]:
        """Where its name leads, for one of several services of that name."""
        at = self.target.address
        return {} if at is None else {httpx.URL(self.url).raw_host.decode(): at}


def _whereabouts(site: Site) -> server.Whereabouts:
    asked = site.target.server
    return server.Whereabouts(
        service=site.url, headers=site.headers, url=asked.url, path=asked.path, enabled=asked.enabled is True
    )


class Known:
    """What a service was recognised as last, for all who ask it something."""

    def __init__(self, recognise: Callable[[], Awaitable[Recognition | None]], *, engine: str | None) -> None:
        self.engine = engine or "unknown"
        self.looked = False
        self._recognise = recognise
        self._turn = asyncio.Lock()
        self._again = 0.0

    async def look(self) -> Recognition | None:
        """What it is now; None where it does not say."""
        async with self._turn:
            return await self._look()

    async def first(self) -> None:
        """Return once somebody has looked; where that told nothing for certain, look again now and then."""
        async with self._turn:
            if time.monotonic() >= self._again:
                await self._look()

    async def _look(self) -> Recognition | None:
        found = await self._recognise()
        self.looked = True
        self.engine = found.engine if found else self.engine
        self._again = math.inf if found and found.certain else time.monotonic() + LOOK_AGAIN
        return found


def _key(target: Target) -> Key | None:
    loaded = target.api_key
    return None if loaded is None else Key(loaded.secret.get_secret_value(), file=loaded.file, target=target.name)


def _trust(target: Target) -> Trust | None:
    addresses = (target.url, target.health.url or "", target.server.url or "")
    if not any(address.startswith("https:") for address in addresses):
        return None
    return trust(target.tls.ca_file, insecure=target.tls.insecure_skip_verify)


def health_of(site: Site) -> health.HealthEndpoint:
    """The health source of one target."""
    wanted = site.target.health.expect
    expected = health.Expectation(
        status=wanted.status, text=wanted.text, json=wanted.fields, values=site.target.health.values
    )
    asked = cache(partial(_asked_for_health, site))

    async def asking() -> health.Asked:
        await site.known.first()
        return asked(site.known.engine)

    return health.HealthEndpoint(site.client, asking, target=site.target.name, expected=expected)


def _asked_for_health(site: Site, engine: str) -> health.Asked:
    asked, row = site.target.health, engines.ENGINES[engine]
    paths = (asked.path,) if asked.path else row.health if asked.url is None else ()
    urls = [httpx.URL(f"{asked.url or site.url}{path}") for path in paths or (DEFAULT_HEALTH_PATH,)]
    return health.Asked(
        # They are for the service alone, wherever its health may be told.
        requests=[
            httpx.Request("GET", url, headers=site.headers if origin(url) == origin(httpx.URL(site.url)) else {})
            for url in urls
        ],
        timeout=asked.timeout or row.health_timeout,
        fault=partial(engines.told_unwell, engine),
    )


def prompt_of(site: Site) -> prompt.Prompting:
    """The prompt source of one target."""
    asked = site.target.prompt
    asking = Questions(
        in_turn=tuple(questions(site)),
        limits=limits(site),
        pace=Pace(every=asked.every, max_share=asked.max_share),
        dialects=PROTOCOLS,
        tokens_a_day=asked.daily_token_budget,
        waiting_above=asked.skip_when_waiting_above,
    )
    lookout = prompt.Lookout(
        recognise=site.known.look,
        look=partial(engines.sight, site.client, site.headers),
        waiting=lambda: site.server.waiting,
    )
    return prompt.Prompting(site.client, asking, lookout, target=site.target.name)


def limits(site: Site) -> Limits:
    """How long one attempt at a target may take."""
    asked = site.target.prompt
    return Limits(first_token=asked.first_token_timeout, stall=asked.stall_timeout, total=asked.timeout)


def questions(site: Site) -> Iterator[Question]:
    """What one target is asked, in turn."""
    asked, checks = site.target.prompt, site.target.checks
    for case in asked.cases:
        yield Question(prompt=_prompt(site, case), checks=_checks(checks.but_for(case.checks), usual=False))
    if not asked.cases:
        # Whoever set a question is not asked another, and what the answer to it is to be only they know.
        usual = not {"text", "documents"} & asked.model_fields_set
        yield Question(prompt=_prompt(site, asked), checks=_checks(checks, usual=usual))


def _checks(asked: CheckSettings, *, usual: bool) -> Checks:
    return Checks(
        canary=asked.canary if usual else Canary.OFF,
        repetition=asked.repetition,
        contains=asked.contains,
        matches=asked.matches,
        number=asked.number,
        json=asked.fields,
        json_schema=asked.json_schema,
        finish=asked.finish,
        min_tokens=asked.min_tokens,
        flat=asked.flat,
        dimensions=asked.dimensions,
        norm=asked.norm,
        golden=asked.golden,
        min_similarity=asked.min_similarity,
        ranked=asked.ranked or ((0, 1) if usual else ()),
        scores=asked.scores or Range(),
        image=None
        if asked.image is None
        else Picture(width=asked.image.width, height=asked.image.height, blank=asked.image.blank),
    )


def _prompt(site: Site, case: PromptSettings | Case) -> Prompt:
    asked = site.target.prompt
    return Prompt(
        text=case.text or asked.text,
        max_tokens=asked.max_tokens,
        method=asked.method,
        path=asked.path,
        headers=site.headers,
        body=case.body if case.body is not None else asked.body,
        answer=case.answer or asked.answer,
        documents=asked.documents or PAIR,
    )


def process_of(site: Site) -> process.ServiceProcess:
    """The process source of one target."""
    return process.ServiceProcess(target=site.target.name, search=_search(site), neighbours=site.neighbours)


def _search(site: Site) -> Search | Chosen | None:
    url, asked = httpx.URL(site.url), site.target.process
    if asked is None:
        return None
    # Who listens at a Unix socket is not looked for.
    usual = None if socket_in(site.target.url) else url.port or {"http": 80, "https": 443}[url.scheme]
    port, host = asked.port or usual, site.target.address or url.host
    if way := _way(asked):
        return Chosen(way, Entrance(host, port, site.neighbours), site.neighbours)
    return None if port is None else Search(host, port, site.neighbours)


def _way(asked: ProcessSettings) -> Way | None:
    """How an operator has named the service's processes."""
    if asked.unit is not None:
        return ByUnit(Unit.named(asked.unit))
    if asked.pid_file is not None:
        return ByPidFile(Path(asked.pid_file))
    return None if asked.cmdline is None else ByCommand(asked.cmdline, Pattern.parse(asked.cmdline).found_in)


def place_of(site: Site, machine: Machine) -> Place:
    """Where one target runs, among the GPUs of this machine."""
    own = os.environ.get("NVIDIA_VISIBLE_DEVICES")
    return Place(machine, target=site.target.name, word=Word(wanted=site.target.gpus or (), own=own))


def objectives_of(site: Site) -> Objectives:
    """What is wanted of one target."""
    wanted = site.target.objectives
    return Objectives(
        target=site.target.name,
        first_token_seconds=wanted.first_token,
        duration_seconds=wanted.duration,
        tokens_per_second=wanted.tokens_per_second,
        success_ratio=wanted.success_ratio,
        gpu_memory_ratio=wanted.gpu_memory_ratio,
        cpu_ratio=wanted.cpu_ratio,
        memory_ratio=wanted.memory_ratio,
    )


def rules_of(site: Site) -> Rules:
    """By which rules one target is judged."""
    asked = site.target
    return Rules(
        misses=asked.verdict.misses,
        blind_after=asked.verdict.blind_after,
        prefill_grace=asked.verdict.prefill_grace,
        startup_allowance=asked.verdict.startup_allowance,
        restart_allowance=asked.verdict.restart_allowance,
        timeout=asked.prompt.timeout,
        stall=asked.prompt.stall_timeout,
        health_every=asked.health.every,
        look_every=asked.server.every,
        waiting_above=asked.prompt.skip_when_waiting_above,
        tokens_per_second=asked.objectives.tokens_per_second,
    )
