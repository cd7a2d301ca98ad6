"""Looks at a service's own metrics, and what is published after them."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from exporter.exposition import Catalog, Exposition
from exporter.figures import Proof, Publish
from exporter.reading import Reading
from exporter.sources.server import Progress, Server, ServerMetrics, Whereabouts
from tests.services.client import client
from tests.services.scripted import Answer, Service, Stage, in_turn, reply

CATALOG = Catalog((Server,))
TEXT = "Content-Type: text/plain; version=0.0.4"
JSON = "Content-Type: application/json"
WHATEVER = Whereabouts(service="http://service")

Told = Mapping[str, float]

UP = {"metrics_up": 1.0}
DOWN = {"metrics_up": 0.0}
ASKED = {"enabled": True}


def told(readings: Sequence[Reading]) -> Told:
    """What is published, by name without what all have in common."""
    published = [reading for reading in readings if isinstance(reading, Server)]
    body, _ = Exposition(CATALOG, lambda: published).page("text/plain")
    lines = [line for line in body.decode().splitlines() if line.startswith("model_server_")]
    short = [line.removeprefix("model_server_").replace('target="chat"', "").replace(",}", "}") for line in lines]
    pairs = [line.replace("{}", "").rsplit(" ", 1) for line in short]
    assert len({name for name, _ in pairs}) == len(pairs), "a series is told twice"
    return {name.replace("{,", "{"): float(value) for name, value in pairs}


def page(text: str) -> Answer:
    """A page of metrics."""
    return reply(text, 200, TEXT)


def in_json(document: object) -> Answer:
    """A JSON document."""
    return reply(json.dumps(document), 200, JSON)


def looked(
    service: Service,
    engine: str,
    where: Mapping[str, Any] | None = None,
    *,
    times: int = 1,
    publish: Publish = "gauges",
) -> Sequence[Told]:
    """What is published after each of several looks at a service."""
    return [told(said[-1]) for said in looks(service, engine, where, times=times, publish=publish)]


def looks(
    service: Service,
    engine: str,
    where: Mapping[str, Any] | None = None,
    *,
    times: int = 1,
    publish: Publish = "gauges",
) -> Sequence[Sequence[Sequence[Reading]]]:
    """All that is said during each of several looks at a service."""

    async def looking() -> Sequence[Sequence[Sequence[Reading]]]:
        async with asyncio.timeout(30), client(service.url) as asking:
            whereabouts = Whereabouts(service=service.url, **(where or {}))
            source = ServerMetrics(asking, whereabouts, target="chat", engine=lambda: engine, publish=publish)
            return [[said async for said in source.read()] for _ in range(times)]

    return asyncio.run(looking())


def progress(readings: Sequence[Reading]) -> Progress | None:
    """What is said of progress, if anything is."""
    said = [reading for reading in readings if isinstance(reading, Progress)]
    assert len(said) < 2, "progress is told twice"
    return said[0] if said else None


def proven(
    service: Service, engine: str, where: Mapping[str, Any] | None = None, *, times: int
) -> Sequence[Mapping[str, float]]:
    """The proofs that are told at each of several looks, by their names."""
    seen = [progress(said[-1]) for said in looks(service, engine, where, times=times, publish="none")]
    return [{proof: value for proof in Proof if (value := getattr(each, proof, None)) is not None} for each in seen]


def once(stage: Stage, engine: str, text: str, path: str = "/metrics", publish: Publish = "gauges") -> Told:
    """What is published after one look at a service with this page."""
    [seen] = looked(stage.serve({f"GET {path}": page(text)}), engine, publish=publish)
    return seen


def over_time(stage: Stage, engine: str, *texts: str, publish: Publish = "gauges") -> Sequence[Told]:
    """What is published after each look at a service whose page is another each time."""
    service = stage.serve({"GET /metrics": in_turn(*map(page, texts))})
    return looked(service, engine, times=len(texts), publish=publish)


def at_once(
    body: bytes, *, engine: str = "vllm", kind: str = "text/plain", publish: Publish = "all"
) -> Sequence[Reading]:
    """The readings of one look, for when many are looked at and none is worth a network."""

    def answered(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Type": kind}, stream=httpx.ByteStream(body))

    async def looking() -> Sequence[Reading]:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answered)) as asking:
            source = ServerMetrics(asking, WHATEVER, target="chat", engine=lambda: engine, publish=publish)
            return [each async for said in source.read() for each in said]

    return asyncio.run(looking())
