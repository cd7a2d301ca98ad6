"""A response as it comes: where it may lead, how much of it is read, and its lines, events and JSON."""

import asyncio
import json
import random
import re
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from time import thread_time

import httpx

from exporter import cgroups
from exporter.paths import Json
from exporter.reading import Reason, Unreadable
from exporter.wire import Failed, Failure, Trace, refusal

BODY_LIMIT = 8 * 2**20
FRAME_LIMIT = 256 * 2**10
LINES_LIMIT = 2**16
CAREFREE = 256 * 2**10  # Bytes of a body after which it is seen to that there is memory for more.
SLICE = 2 * 2**10
TURN = 0.001  # Seconds of work on one body after which whatever else is due has its turn.
PATIENCE = 32  # Turns of the loop, at most, after which a body that waits for quiet looks again.
REDIRECTS = 3
REPEATING = frozenset({HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT})
"""Statuses with which any request goes on by its own method; with others all but these may become a GET."""
SAFE = frozenset({"GET", "HEAD"})
SECRETS = "secrets"
"""Under which name a response's extensions hold what of it is not to be repeated."""


@asynccontextmanager
async def opened(
    client: httpx.AsyncClient, request: httpx.Request, trace: Trace | None
) -> AsyncIterator[httpx.Response]:
    """The response to a request, its body unread; redirects are followed within the same origin only.

    The request goes on with its own method and headers, so that a key is never sent to another origin and a
    POST never becomes a GET; anything else raises Failed (redirected).
    """
    if trace is not None:
        request.extensions["trace"] = trace
    for _ in range(REDIRECTS + 1):
        async with sent(client, request) as response:
            if not response.has_redirect_location:
                yield response
                return
            request = _following(request, response)
    raise Failed(Failure.REDIRECTED, f"more than {REDIRECTS} redirects")


@asynccontextmanager
async def sent(client: httpx.AsyncClient, request: httpx.Request) -> AsyncIterator[httpx.Response]:
    """The response to one request, its body unread, wherever it may lead; raises one of FAULTS."""
    response = await client.send(request, stream=True, follow_redirects=False)
    try:
        yield response
    finally:
        await response.aclose()


def _following(request: httpx.Request, response: httpx.Response) -> httpx.Request:
    """The same request where a redirect leads; raises Failed where that is elsewhere, or another request."""
    try:
        place = request.url.join(response.headers["location"])
    except (httpx.InvalidURL, ValueError) as error:  # the latter where it is such as //[::1%]]
        raise Failed(Failure.INVALID, "a redirect to what is no address") from error
    if origin(place) != origin(request.url) or (request.method not in SAFE and response.status_code not in REPEATING):
        host = _unsaid(place.host.encode(), response).decode()
        raise Failed(Failure.REDIRECTED, f"status {response.status_code} leads to {host}")
    return httpx.Request(
        request.method, place, headers=request.headers, stream=request.stream, extensions=request.extensions
    )


def origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """What two addresses have in common where a key for the one may be sent to the other."""
    return url.scheme, url.host, url.port


async def answered(response: httpx.Response) -> None:
    """Return where the status promises an answer to a prompt; raises Failed where it does not."""
    await accepted(response)
    if response.status_code == HTTPStatus.NO_CONTENT:
        raise Failed(Failure.EMPTY, "status 204")


async def accepted(response: httpx.Response) -> None:
    """Return where the status is one of success; raises Failed where it is not."""
    if not response.is_success:
        body = await beginning(response)
        raise Failed(refusal(response.status_code, body), f"status {response.status_code}")


async def beginning(response: httpx.Response, size: int = 4096) -> bytes:
    """At least the first bytes of a body, where it has as many."""
    body = b""
    async with aclosing(reads(response)) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) >= size:
                break
    return _unsaid(body, response)


async def whole(response: httpx.Response) -> bytes:
    """A whole body."""
    body = BytesIO()  # Which gives its bytes without a copy.
    async with aclosing(reads(response)) as chunks:
        async for chunk in chunks:
            body.write(chunk)
    return _unsaid(body.getvalue(), response)


def _unsaid(said: bytes, response: httpx.Response) -> bytes:
    """What was said without the secrets that were sent, since names and labels are taken from it."""
    for secret in response.extensions.get(SECRETS, ()):
        for spelt in (secret.encode(), secret.lower().encode()):  # The name of a host is in lower case.
            said = said.replace(spelt, b"***")
    return said


async def reads(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """A body as it comes, decoded where it is compressed although that was not asked for.

    Raises Failed (too_large) beyond 8 MiB, counted after decoding, so that a bomb of gzip ends there. However little
    work a body is to send and however much to read, the loop has its turn every millisecond.
    """
    inflater = _inflater(response.headers.get("content-encoding", "").strip().lower() or "identity")
    room, worked = BODY_LIMIT, 0.0
    async for raw in response.aiter_raw():
        began = thread_time()
        for chunk in _slices(raw, inflater):
            held = BODY_LIMIT - room
            room -= len(chunk)
            if room < 0:
                raise Failed(Failure.TOO_LARGE, f"a body beyond {BODY_LIMIT} bytes")
            if held // CAREFREE < (BODY_LIMIT - room) // CAREFREE:
                _spare(BODY_LIMIT - room)
            yield chunk
            if worked + thread_time() - began > TURN:
                await _quiet()
                began, worked = thread_time(), 0.0
        worked += thread_time() - began


def _spare(held: int) -> None:
    """Return where there is memory for what a body comes to; raises Unreadable where there is none."""
    left = cgroups.room()
    # Twice, since it is held once more while it is looked through.
    if left is not None and left < 2 * held:
        raise Unreadable(Reason.ERROR, f"no memory is left here for an answer of more than {held} bytes")


async def _quiet() -> None:
    """Return once nobody else has long work to do on the loop, after at least one turn of it.

    Of thirty endless bodies that are read side by side, a millisecond each, every token of any other service would be
    stamped thirty milliseconds late.
    """
    while True:
        began = thread_time()
        await asyncio.sleep(0)
        crowded = thread_time() - began
        if crowded < TURN:
            return
        await asyncio.sleep(crowded * random.uniform(1, PATIENCE))  # noqa: S311  so that not all look at once


def _inflater(coding: str) -> "zlib._Decompress | None":
    if coding == "identity":
        return None
    if coding not in {"gzip", "deflate"}:
        raise Failed(Failure.INVALID, "a content-encoding that was not asked for")
    return zlib.decompressobj(zlib.MAX_WBITS | 32)


def _slices(raw: bytes, inflater: "zlib._Decompress | None") -> Iterator[bytes]:
    if inflater is None:
        yield from (raw[start : start + SLICE] for start in range(0, len(raw), SLICE))
        return
    try:
        slice_ = inflater.decompress(raw, SLICE)
        while slice_:
            yield slice_
            slice_ = inflater.decompress(inflater.unconsumed_tail, SLICE)
    except zlib.error as error:
        raise Failed(Failure.INVALID, "a body that is not compressed as it says") from error


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event."""

    data: str
    name: str = "message"


# A lone carriage return ends a line too, unless the line feed that belongs to it may be still to come.
LINE_END = re.compile(rb"\r\n|\n|\r(?=[^\n])")


async def lines(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """A body line by line, without line ends.

    Raises Failed (too_large) at a line beyond 256 KiB, and beyond 65,536 lines.
    """
    rest, scanned, room = b"", 0, LINES_LIMIT
    async with aclosing(reads(response)) as chunks:
        async for chunk in chunks:
            rest += chunk
            start = 0
            for end in LINE_END.finditer(rest, scanned):
                yield rest[start : end.start()]
                start = end.end()
                room -= 1
            rest = rest[start:]
            scanned = max(len(rest) - 1, 0)
            if len(rest) > FRAME_LIMIT or room < 0:
                raise Failed(Failure.TOO_LARGE, f"a line beyond {FRAME_LIMIT} bytes, or more than {LINES_LIMIT} lines")
    if rest:
        yield rest.removesuffix(b"\r")


async def events(response: httpx.Response) -> AsyncGenerator[Event, None]:
    """A body as server-sent events; an event that the body's end cuts short is told all the same.

    Raises Failed: too_large where an event is beyond 256 KiB, invalid where its text is not UTF-8.
    """
    data, name, said = bytearray(), b"", False
    async with aclosing(lines(response)) as all_lines:
        async for line in all_lines:
            key, _, value = line.removeprefix(b"\xef\xbb\xbf").partition(b":")
            if not line:
                if said:
                    yield _event(data, name)
                data, name, said = bytearray(), b"", False
            elif key == b"data":
                data += b"\n" * said + value.removeprefix(b" ")
                said = True
            elif line.startswith(b"{"):
                yield _event(bytearray(line), b"")  # Ollama ends a stream that fails so, which is no event at all.
            elif key == b"event":
                name = value.removeprefix(b" ")
            if len(data) > FRAME_LIMIT:
                raise Failed(Failure.TOO_LARGE, f"an event beyond {FRAME_LIMIT} bytes")
    if said:
        yield _event(data, name)


def _event(data: bytearray, name: bytes) -> Event:
    try:
        return Event(data.decode(), name.decode() or "message")
    except UnicodeDecodeError as error:
        raise Failed(Failure.INVALID, "an event that is not UTF-8") from error


def parsed(text: bytes | str) -> Json:
    """A JSON document; raises Failed (invalid) where it is none."""
    try:
        document: Json = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failed(Failure.INVALID, f"not JSON: {type(error).__name__}") from error
    return document
