"""Answers over HTTP from a thread and a loop of its own, so that they come when everything else is stuck."""

import asyncio
import errno
import gzip
import logging
import re
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from threading import Thread
from typing import Any, Protocol

from exporter.connection import LIMITS, OTHER, Answer, Answered, Connection, Limits
from exporter.frozen import by_place
from exporter.listening import BACKLOG
from exporter.messages import Request, Response, plain
from exporter.reading import Reading

log = logging.getLogger(__name__)

NOUGHT = re.compile(r"\s*q\s*=\s*0(\.0{0,3})?\s*")
# Of what may run out, asyncio tells each time that a connection could not be accepted for want of it.
SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Route = Callable[[Request], Response]


@by_place
class Post:
    """What a POST has done, and nothing else; it may take its time, during which others are answered."""

    act: Callable[[], Coroutine[object, object, Response]]


class Guard(Protocol):
    """Who is let in, and how."""

    latest: tuple[Reading, ...]

    @property
    def secures(self) -> bool:
        """Whether connections are TLS."""

    def followed(self) -> AbstractContextManager[None]:
        """As long as it is entered, what changes of who is let in is taken up."""

    def secured(self, within: asyncio.Protocol, refused: Callable[[], None]) -> asyncio.Protocol:
        """A connection as its socket wants it; `refused` is told of a client that speaks no TLS."""

    def answer(self, request: Request, answer: Answer) -> Answered:
        """The answer, or why there is none."""


class Open:
    """Everybody is let in."""

    secures = False
    latest: tuple[Reading, ...] = ()

    def followed(self) -> AbstractContextManager[None]:
        return nullcontext()

    def secured(self, within: asyncio.Protocol, _refused: Callable[[], None]) -> asyncio.Protocol:
        return within

    def answer(self, request: Request, answer: Answer) -> Answered:
        return answer(request)


OPEN = Open()


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
        self._connections: set[Connection] = set()
        self._servers: list[asyncio.Server] = []
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
        turning: Future[None] = Future()

        def turn() -> None:
            if turning.set_running_or_notify_cancel():
                turning.set_result(None)

        # Not by a coroutine, which nobody would await where the loop has ended meanwhile.
        self._loop.call_soon_threadsafe(turn)
        await asyncio.wrap_future(turning)

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
        for listening in self._sockets:
            self._servers.append(await self._loop.create_server(self._connection, sock=listening, backlog=BACKLOG))

    def _connection(self) -> asyncio.Protocol:
        connection = Connection(self._answer, self._count, self._limits, self._connections)
        return self._guard.secured(connection, partial(self._count, OTHER, 400))

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        # A connection just accepted is made a turn of the loop later, and lost one after it was dropped.
        while self._connections:
            for connection in self._connections:
                connection.drop()
            await asyncio.sleep(0)
        self._loop.stop()

    def _answer(self, request: Request) -> Answered:
        return self._guard.answer(request, self._response)

    def _response(self, request: Request) -> Answered:
        route = self.routes.get(request.path)
        if route is None:
            return plain(404, "not found")
        allowed = ("POST",) if isinstance(route, Post) else ("GET", "HEAD")
        if request.method not in allowed:
            return plain(405, "method not allowed", allow=", ".join(allowed))
        if request.has_body:
            return plain(413, "a body is not wanted")
        return route.act() if isinstance(route, Post) else route(request)

    def _count(self, path: str, status: int) -> None:
        key = (path if path in self.routes else OTHER, str(status))
        self.requests = {**self.requests, key: self.requests.get(key, 0) + 1}
