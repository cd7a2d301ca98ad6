"""Scripted services: real sockets on loopback that say exactly the bytes a test writes down, when it says so."""

import asyncio
import math
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from itertools import chain, repeat
from threading import Thread
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Ending(Enum):
    """How a script may end, other than by closing the connection when it has no more steps."""

    RESET = "the connection is reset, so that the client's next read fails"


Step = bytes | float | Ending
"""Bytes to write, seconds to wait, or the end."""

FOREVER = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, as it came; names of headers in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float = field(default_factory=time.time)


Answer = Callable[[Request], Iterable[Step]]
"""What a service says to one request, step by step; the connection is closed after the last."""


def script(*steps: Step) -> Answer:
    """An answer that is the same whatever is asked."""
    return lambda _request: steps


def in_turn(*answers: Answer) -> Answer:
    """The first answer to the first request, the second to the second, and the last to all that follow."""
    following = chain(answers, repeat(answers[-1]))

    def answer(request: Request) -> Iterable[Step]:
        return next(following)(request)

    return answer


def head(status: int, *fields: str, version: str = "1.1") -> bytes:
    """The beginning of a response, up to the empty line."""
    return "\r\n".join([f"HTTP/{version} {status} {_phrase(status)}", *fields, "", ""]).encode()


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else "Whatever"


def reply(body: bytes | str = b"", status: int = 200, *fields: str) -> Answer:
    """A well-formed answer that is there at once."""
    content = body.encode() if isinstance(body, str) else body
    return script(head(status, f"Content-Length: {len(content)}", "Connection: close", *fields), content)


def stream(*steps: Step) -> Answer:
    """Server-sent bytes in chunks, one chunk for each piece of bytes, ended as HTTP/1.1 ends them."""
    return script(STREAM_HEAD, *chunks(*steps), b"0\r\n\r\n")


STREAM_HEAD = head(200, "Content-Type: text/event-stream", "Transfer-Encoding: chunked", "Connection: close")


def chunks(*steps: Step) -> Iterator[Step]:
    """These steps with every piece of bytes as one chunk of a chunked body, which has no end yet."""
    for step in steps:
        yield b"%x\r\n%b\r\n" % (len(step), step) if isinstance(step, bytes) else step


class Service:
    """One scripted service: where it is, what it answers, and what it was asked so far."""

    def __init__(self, answers: Mapping[str, Answer], *, url: str) -> None:
        self.url = url
        self.requests: list[Request] = []
        self.most_at_once: Counter[str] = Counter()
        self._answers = answers
        self._open: set[asyncio.StreamWriter] = set()
        self._now: Counter[str] = Counter()

    def asked(self, method: str, path: str | None = None) -> list[Request]:
        """The requests so far with this method, and this path where one is given."""
        return [it for it in self.requests if it.method == method and path in (None, it.path)]

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hear one request, answer it until the script or the client ends, and close."""
        self._open.add(writer)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                request = await _heard(reader)
                await self._answered(request, reader, writer)
        finally:
            self._open.remove(writer)
            writer.close()

    def hang_up(self) -> None:
        """End every exchange that is still under way."""
        for writer in self._open:
            writer.transport.abort()

    async def _answered(
        self, request: Request | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if request is None:
            await _play(
                reply("this is no HTTP request", 400), Request(method="", path="", headers={}, body=b""), writer
            )
            return
        self.requests.append(request)
        self._now[request.method] += 1
        self.most_at_once[request.method] = max(self.most_at_once[request.method], self._now[request.method])
        either = [asyncio.ensure_future(it) for it in (_play(self._to(request), request, writer), _left(reader))]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._now[request.method] -= 1  # At once: a client that has left may be back any moment.
            await _ended(either)

    def _to(self, request: Request) -> Answer:
        return self._answers.get(f"{request.method} {request.path}", reply('{"detail":"Not Found"}', 404))


async def _heard(reader: asyncio.StreamReader) -> Request | None:
    """A request, or None where what comes is no HTTP, such as the greeting of TLS."""
    first = await reader.readexactly(1)
    if not first.isupper():
        return None
    start, *fields = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip("\r\n").split("\r\n")
    method, path, _version = start.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in fields)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method=method, path=path, headers=headers, body=body)


async def _play(answer: Answer, request: Request, writer: asyncio.StreamWriter) -> None:
    for step in answer(request):
        match step:
            case bytes():
                writer.write(step)
                await writer.drain()
                await asyncio.sleep(0)  # Draining gives no turn to the others while the client keeps up.
            case Ending.RESET:
                # Closing with nothing allowed to linger is what makes the kernel send a reset.
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return
            case seconds:
                await asyncio.sleep(seconds)


async def _left(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


async def _ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


def _url(sock: socket.socket, scheme: str) -> str:
    match sock.getsockname():
        case str(path):
            return f"unix://{path}"
        case [str(host), port, *_]:
            return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    raise AssertionError(f"nothing is served at {sock}")


class Stage:
    """A thread and a loop of its own, on which services play until it is left."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="stage", daemon=True)
        self._services: list[Service] = []
        self._servers: list[asyncio.Server] = []
        self._held = ExitStack()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._await(self._cleared())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()
        self._held.close()

    def serve(
        self, answers: Mapping[str, Answer], *, tls: ssl.SSLContext | None = None, sock: socket.socket | None = None
    ) -> Service:
        """A service on a port of its own, or a socket; `answers` by method and path, as in `GET /health`, else 404."""
        sock = sock or socket.create_server(("127.0.0.1", 0), backlog=256)
        service = Service(answers, url=_url(sock, "https" if tls else "http"))
        start = asyncio.start_unix_server if sock.family is socket.AF_UNIX else asyncio.start_server
        self._services.append(service)
        self._servers.append(self._await(start(service.meet, sock=sock, ssl=tls)))
        return service

    def closed_port(self) -> int:
        """A port at which every connection is refused for as long as this stage stands."""
        sock = self._held.enter_context(closing(socket.socket()))
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])

    def crowded_port(self) -> int:
        """A port whose queue is full, so that the kernel lets a new connection wait for ever."""
        sock = self._held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = self._held.enter_context(closing(socket.socket()))
            waiting.setblocking(False)  # noqa: FBT003  socket's own signature
            waiting.connect_ex(sock.getsockname())
        return int(sock.getsockname()[1])

    def silent_port(self) -> int:
        """A port at which connections are made by the kernel and never heard by anyone."""
        sock = self._held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=256))
        return int(sock.getsockname()[1])

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _cleared(self) -> None:
        for server in self._servers:
            server.close()
        for service in self._services:
            service.hang_up()
        if playing := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(playing, timeout=5)
        await asyncio.sleep(0)  # Transports that were aborted close their sockets one turn later.
