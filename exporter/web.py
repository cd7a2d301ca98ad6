"""Answers over HTTP from a thread and a loop of its own, so that they come when everything else is stuck."""

import asyncio
import errno
import gzip
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from functools import partial
from threading import Thread
from typing import Any, Protocol

import uvicorn
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope
from uvicorn.server import ServerState

from exporter.connection import LIMITS, OTHER, Connection, Limits
from exporter.listening import BACKLOG
from exporter.reading import Reading

log = logging.getLogger(__name__)

NOUGHT = re.compile(r"\s*q\s*=\s*0(\.0{0,3})?\s*")
# Of what may run out, asyncio tells each time that a connection could not be accepted for want of it.
SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client asks for; the names of its headers are in lower case."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a client is answered; length, date and connection are added on the way out."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes


Route = Callable[[Request], Response]


@dataclass(frozen=True, slots=True)
class Post:
    """What a POST has done, and nothing else; it may take its time, during which others are answered."""

    act: Callable[[], Coroutine[object, object, Response]]


Answer = Callable[[Request], Awaitable[Response]]


class Guard(Protocol):
    """Who is let in, and how."""

    latest: tuple[Reading, ...]

    @property
    def secures(self) -> bool:
        """Whether connections are TLS."""

    def secured(self, within: asyncio.Protocol, refused: Callable[[], None]) -> asyncio.Protocol:
        """A connection as its socket wants it; `refused` is told of a client that speaks no TLS."""

    async def answer(self, request: Request, answer: Answer) -> Response:
        """The answer, or why there is none."""


class Open:
    """Everybody is let in."""

    secures = False
    latest: tuple[Reading, ...] = ()

    def secured(self, within: asyncio.Protocol, _refused: Callable[[], None]) -> asyncio.Protocol:
        return within

    async def answer(self, request: Request, answer: Answer) -> Response:
        return await answer(request)


OPEN = Open()


def plain(status: int, text: str, **headers: str) -> Response:
    """One line of text."""
    return Response(
        status=status, headers={"content-type": "text/plain; charset=utf-8", **headers}, body=f"{text}\n".encode()
    )


def compressed(request: Request, response: Response) -> Response:
    """The response, gzipped where the client accepts that."""
    vary = ", ".join(filter(None, (response.headers.get("vary"), "accept-encoding")))
    headers = {**response.headers, "vary": vary}
    if not accepts_gzip(request):
        return replace(response, headers=headers)
    body = gzip.compress(response.body, compresslevel=1, mtime=0)
    return replace(response, headers={**headers, "content-encoding": "gzip"}, body=body)


def accepts_gzip(request: Request) -> bool:
    """Whether the client takes an answer that is gzipped."""
    offers = request.headers.get("accept-encoding", "").lower().split(",")
    parted = (offer.partition(";") for offer in offers)
    weights = {coding.strip(): weight for coding, _, weight in parted}
    weight = weights.get("gzip", weights.get("*"))
    return weight is not None and not NOUGHT.fullmatch(weight)


class Server:
    """Answers on listening sockets by a table of routes, which are brief and wait for nothing but in a Post.

    `requests` counts answers by path and status. It and `routes` are replaced, never changed, so that any thread may
    read the one and replace the other.
    """

    def __init__(
        self,
        routes: Mapping[str, Route | Post],
        sockets: Sequence[socket.socket],
        *,
        guard: Guard = OPEN,
        limits: Limits = LIMITS,
    ) -> None:
        self.requests: Mapping[tuple[str, str], int] = {(path, "200"): 0 for path in routes}
        self.routes = routes
        self._sockets = sockets
        self._guard = guard
        self._limits = limits
        self._state = ServerState()
        self._servers: list[asyncio.Server] = []
        self._acting: set[asyncio.Future[Response]] = set()
        self._silent_until = 0.0
        self._thread = Thread(target=self._run, name="web", daemon=True)

    def start(self) -> None:
        """Returns when connections are accepted."""
        self._loop = asyncio.SelectorEventLoop()
        self._loop.set_exception_handler(self._tell)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    async def turned(self) -> None:
        """Returns once the loop that answers has turned, for whoever awaits that on another."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop))

    def stop(self) -> None:
        """Listens no more and drops every connection, within a second whatever a route is doing."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._close(), self._loop)
            self._thread.join(0.5)
        for listening in self._sockets:
            listening.close()

    def _tell(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in SHORTAGES:
            loop.default_exception_handler(context)
        # The loop tells it a thousand times a second for as long as somebody waits to be let in.
        elif loop.time() >= self._silent_until:
            self._silent_until = loop.time() + 60
            log.error("takes no further connection: %s", error.strerror)

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    async def _listen(self) -> None:
        config = uvicorn.Config(
            self._answer,
            http=Connection,
            ws="none",
            interface="asgi3",
            lifespan="off",
            proxy_headers=False,
            log_config=None,
            log_level=logging.ERROR,
            access_log=False,
            timeout_keep_alive=self._limits.idle_seconds,
            h11_max_incomplete_event_size=self._limits.header_bytes,
        )
        config.load()
        for listening in self._sockets:
            server = await self._loop.create_server(partial(self._connection, config), sock=listening, backlog=BACKLOG)
            self._servers.append(server)

    def _connection(self, config: uvicorn.Config) -> asyncio.Protocol:
        connection = Connection(config, self._state, self._limits, self._count)
        return self._guard.secured(connection, partial(self._count, OTHER, 400))

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        # A connection just accepted is made a turn of the loop later, and lost one after it was aborted.
        while self._state.connections or self._state.tasks:
            for acting in self._acting:
                acting.cancel()
            for connection in self._state.connections:
                connection.transport.abort()
            await asyncio.sleep(0)
        self._loop.stop()

    async def _answer(self, scope: HTTPScope, _receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        request = _request(scope)
        status = 500  # what uvicorn answers, and logs, where a route raises
        try:
            response = await self._guard.answer(request, self._response)
            status = response.status
        finally:
            self._count(request.path, status)
        headers = [*response.headers.items(), *_framing(request, response)]
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": response.status, "headers": encoded, "trailers": False})
        await send({"type": "http.response.body", "body": response.body, "more_body": False})

    async def _response(self, request: Request) -> Response:
        route = self.routes.get(request.path)
        if route is None:
            return plain(404, "not found")
        allowed = ("POST",) if isinstance(route, Post) else ("GET", "HEAD")
        if request.method not in allowed:
            return plain(405, "method not allowed", allow=", ".join(allowed))
        if _has_body(request):
            return plain(413, "a body is not wanted")
        return await self._acted(route) if isinstance(route, Post) else route(request)

    async def _acted(self, post: Post) -> Response:
        acting = asyncio.ensure_future(post.act())
        self._acting.add(acting)
        acting.add_done_callback(self._acting.discard)
        await asyncio.wait([acting])
        return plain(503, "the server stops") if acting.cancelled() else acting.result()

    def _count(self, path: str, status: int) -> None:
        key = (path if path in self.routes else OTHER, str(status))
        self.requests = {**self.requests, key: self.requests.get(key, 0) + 1}


def _request(scope: HTTPScope) -> Request:
    headers: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1")
        headers[name] = ", ".join(filter(None, (headers.get(name), value.decode("latin-1"))))
    return Request(
        method=scope["method"], path=scope["path"], query=scope["query_string"].decode("latin-1"), headers=headers
    )


def _has_body(request: Request) -> bool:
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"


def _framing(request: Request, response: Response) -> Iterator[tuple[str, str]]:
    yield "content-length", str(len(response.body))
    yield "date", formatdate(usegmt=True)
    if _has_body(request):
        yield "connection", "close"  # a body is never read, so nothing can follow it
