"""How a service is recognised from its URL alone, and what is known of every engine."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

import httpx

from exporter.engines.row import Condition, Engine, Look, Reply, Seen, Sign, Skip
from exporter.engines.signs import FRONT, LONGEST, REFUSED, UNAVAILABLE
from exporter.engines.table import ENGINES
from exporter.paths import Json
from exporter.response import beginning, parsed, sent
from exporter.wire import FAULTS, NOBODY, Failed, Failure, Recognition, Sight, failed, refusal

__all__ = ["ENGINES", "Condition", "Engine", "Look", "Skip", "recognised", "rows", "sight", "told_unwell"]

MOST = 5
PATIENCE = 10.0
EACH = 3.0  # One page that hangs leaves time for the others.
FRONT_PAGE = 4 * 2**10
NAMELESS = {"", "plain", "gradio", "tgi", "tei"}  # The first is that of a service which is not asked.


async def recognised(
    client: httpx.AsyncClient,
    headers: Mapping[str, str],
    *,
    protocol: str | None,
    model: str | None,
    engine: str | None = None,
) -> Recognition | None:
    """What a service is, by what was set for it and by what it answers; None where neither says anything.

    Sends at most five GETs, within ten seconds, and none that changes anything; no redirect is followed.
    """
    seen: dict[str, Reply] = {}
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while len(seen) < MOST and (path := _next(seen, engine)):
                reply = await _reply(client, headers, path)
                if reply is None:
                    break
                seen[path] = reply
    return _judged(seen, engine, protocol=protocol, model=model)


async def sight(client: httpx.AsyncClient, headers: Mapping[str, str], found: Recognition) -> Sight:
    """What is seen of a service that a prompt may wake, or make load or keep a model."""
    seen = Sight()
    for look in ENGINES[found.engine].looks:
        reply = await _reply(client, headers, look.path)
        if reply is None or not reply.status:
            break  # Whoever does not answer one look answers no other: the prompt will tell.
        seen = look.sight(reply, found)
        if seen.skip is not None:
            break
    return seen


def told_unwell(engine: str, status: int, body: bytes) -> Failure | None:
    """What a health answer of this engine fails by; None where it says that all is well."""
    condition = ENGINES[engine].condition(status, body)
    if condition is Condition.LOADING:
        return Failure.LOADING
    if not httpx.codes.is_success(status):
        return refusal(status, body)
    return Failure.UNEXPECTED if condition is Condition.UNHEALTHY else None


def _next(seen: Seen, engine: str | None) -> str | None:
    """The GET that tells most after these answers."""
    if engine is not None:
        return _unseen(seen, ENGINES[engine].details)
    if FRONT not in seen:
        return FRONT
    for row in ENGINES.values():
        if row.sign(seen):
            return _unseen(seen, row.details)
        if path := _unseen(seen, [sign.path for sign in row.signs if sign.asked(seen)]):
            return path
    return None


def _unseen(seen: Seen, paths: Iterable[str]) -> str | None:
    return next((path for path in paths if path not in seen), None)


async def _reply(client: httpx.AsyncClient, headers: Mapping[str, str], path: str) -> Reply | None:
    """The answer to one GET, as far as one came; None where there is nobody to answer."""
    try:
        async with asyncio.timeout(EACH):
            request = client.build_request("GET", path, headers=headers)
            async with sent(client, request) as response:
                body = await beginning(response, FRONT_PAGE if path == FRONT else LONGEST)
    except TimeoutError:
        return Reply()
    except FAULTS as error:
        return None if failed(error).failure in NOBODY else Reply()
    return Reply(
        status=response.status_code,
        headers={name.lower(): value for name, value in response.headers.items()},
        body=body,
        document=_document(body),
        came=time.time(),
    )


def _document(body: bytes) -> Json:
    if len(body) >= LONGEST:
        return None
    with suppress(Failed):
        return parsed(body)
    return None


def _judged(seen: Seen, engine: str | None, *, protocol: str | None, model: str | None) -> Recognition | None:
    name, sign = (engine, None) if engine else _signed(seen)
    if name is None:
        return _unrecognised(seen, protocol, model)
    row = ENGINES[name]
    spoken = protocol or row.protocol(seen, model)
    told = model or (row.model(seen) if row.model else "")
    return Recognition(
        engine=name,
        version=row.version(seen) if row.version else "",
        model=told,
        protocol=spoken,
        evidence=str(sign) if sign else "the configuration",
        certain=(bool(seen) or not row.details)
        and _answered(seen, sign)
        and (bool(told) or row.model is None or spoken in NAMELESS),
        path=row.path(seen, spoken),
        fields=row.unthinking if spoken in row.protocols[:1] else {},
    )


def _signed(seen: Seen) -> tuple[str | None, Sign | None]:
    for name, row in ENGINES.items():
        if sign := row.sign(seen):
            return name, sign
    return None, None


def _answered(seen: Seen, sign: Sign | None) -> bool:
    """Whether every answer came, and the one that decided did not ask for a key."""
    refused = sign is not None and seen[sign.path].status in REFUSED
    return not refused and all(reply.status not in UNAVAILABLE for reply in seen.values())


def _unrecognised(seen: Seen, protocol: str | None, model: str | None) -> Recognition | None:
    if protocol is not None:
        certain = bool(seen) and _answered(seen, None) and (bool(model) or protocol in NAMELESS)
        return Recognition(protocol=protocol, model=model or "", evidence="the configuration", certain=certain)
    for path, reply in seen.items():
        if reply.status in REFUSED:
            return Recognition(evidence=f"GET {path} wants a key", certain=False)
    return None


class Row(NamedTuple):
    """One engine, as the README tells of it."""

    engine: str
    recognised_by: str
    protocol: str
    evidence: str


def rows() -> Iterator[Row]:
    """The table of engines for a person to read."""
    for name, row in ENGINES.items():
        signs = ", or ".join(f"{sign.words} at `GET {sign.path}`" for sign in row.signs)
        spoken = ", ".join(row.protocols) or "none: its health alone"
        if row.named and row.protocols:
            spoken += " (once `model` is set)"
        yield Row(name, signs, spoken, "tried" if row.tried else "from the reference")
