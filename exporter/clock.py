"""The network under httpx: names resolved apart from connecting, and a stamp on every read and write.

All stamps are seconds of `time.perf_counter`.
"""

import asyncio
import errno
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any

import aiohappyeyeballs
import httpcore
import httpx

from exporter.reading import Reason, Unreadable
from exporter.threads import Thread

HIGH_WATER = 256 * 1024
HAPPY_EYEBALLS_DELAY = 0.25  # RFC 8305, section 5
# What is wanting on this machine, and says nothing of the service.
SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
AGAIN = 0.02  # Seconds between two attempts at a Unix socket whose backlog is full.

HERE = "http://localhost"
"""How a service at a Unix socket is called in the addresses of what it has."""


class Flight:
    """What one request lives through on the network; absent stamps were not reached."""

    def __init__(self) -> None:
        self.began = perf_counter()
        self.resolved: float | None = None
        self.connected: float | None = None
        self.secured: float | None = None
        self.written: float | None = None
        self.headed: float | None = None
        self.stream: Stream | None = None

    async def trace(self, event: str, told: Mapping[str, object]) -> None:
        """Take what httpcore tells of one event."""
        match event.partition(".")[2], told.get("return_value"):
            case "connect_tcp.started" | "connect_unix_socket.started", _:
                # After a redirect the stamps of the hop before are not this one's.
                self.began, self.stream = perf_counter(), None
                self.resolved = self.connected = self.secured = self.written = self.headed = None
            case "connect_tcp.complete" | "connect_unix_socket.complete", Stream() as stream:
                self.stream = stream
                # What is written already was on another connection, from which the answer counts.
                if self.written is None:
                    self.resolved, self.connected = stream.resolved, stream.connected
            case "start_tls.complete", _ if self.written is None:
                self.secured = perf_counter()
            case "send_request_body.complete", _:
                self.written = self.stream.written if self.stream is not None else perf_counter()
            case "receive_response_headers.complete", _:
                self.headed = self.arrived()

    def arrived(self) -> float:
        """When the bytes now being looked at were read."""
        return self.stream.stamp if self.stream is not None else perf_counter()

    def phases(self, ended: float) -> Mapping[str, float]:
        """Seconds spent in each phase that was reached, up to the last byte."""
        stamps = {
            "resolve": self.resolved,
            "connect": self.connected,
            "tls": self.secured,
            "send": self.written,
            "wait": self.headed,
            "stream": ended if self.headed is not None else None,
        }
        spent: dict[str, float] = {}
        before = self.began
        for phase, stamp in stamps.items():
            if stamp is not None:
                spent[phase] = max(stamp - before, 0.0)
                before = stamp
        return spent


class Stream(asyncio.Protocol, httpcore.AsyncNetworkStream):
    """One connection; `stamp` is when the bytes that `read` gave last had arrived."""

    def __init__(self, resolved: float) -> None:
        self.resolved = resolved
        self.connected = resolved
        self.stamp = resolved
        self.written = resolved
        self._transport: asyncio.Transport
        self._arrived: deque[tuple[float, bytes]] = deque()
        self._waiting = 0
        self._paused = False
        self._ended = False
        self._error: Exception | None = None
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # asyncio types what every stream has as the narrower base

    def data_received(self, data: bytes) -> None:
        self._arrived.append((perf_counter(), data))
        self._waiting += len(data)
        if self._waiting > HIGH_WATER and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._news.set()

    def eof_received(self) -> None:
        self._ended = True
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended, self._error = True, exc
        self._news.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  httpcore's
        """What arrived with one read of the socket; nothing at the end."""
        async with asyncio.timeout(timeout):
            while not self._arrived and not self._ended:
                self._news.clear()
                await self._news.wait()
        if self._arrived:
            return self._taken(max_bytes)
        if self._error is not None:
            raise httpcore.ReadError(str(self._error)) from self._error
        return b""

    def _taken(self, max_bytes: int) -> bytes:
        self.stamp, data = self._arrived.popleft()
        if len(data) > max_bytes:
            self._arrived.appendleft((self.stamp, data[max_bytes:]))
            data = data[:max_bytes]
        self._waiting -= len(data)
        if self._paused and self._waiting <= HIGH_WATER:
            self._paused = False
            self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  httpcore's
        """Hand over bytes, waiting while the connection takes no more."""
        async with asyncio.timeout(timeout):
            await self._writable.wait()
        if self._error is not None or self._transport.is_closing():
            raise httpcore.WriteError(str(self._error or "the connection is closed")) from self._error
        # Stamped before the call, since the answer may be there before the machine lets us go on.
        self.written = perf_counter()
        self._transport.write(buffer)

    async def aclose(self) -> None:
        """Let go of the connection at once: what it had not sent is of no use any more."""
        self._transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore's
    ) -> httpcore.AsyncNetworkStream:
        """The same stream, encrypted from here on."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                secured = await loop.start_tls(self._transport, self, ssl_context, server_hostname=server_hostname)
        except BaseException as error:
            self._transport.abort()
            if isinstance(error, OSError):
                raise _connect_failure(error) from error
            raise
        if secured is None:
            raise httpcore.ConnectError("the connection was lost during the TLS handshake")
        self._transport = secured
        return self

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401  httpcore's
        """What httpcore and the certificate's reader ask for by name."""
        if info == "is_readable":
            return bool(self._arrived) or self._ended
        return self._transport.get_extra_info(info)


class Network(httpcore.AsyncNetworkBackend):
    """Connections on which every read is stamped when the loop receives it.

    `at` holds the addresses of names that are not to be resolved, and `local` is the Unix socket of what is HERE.
    """

    def __init__(self, at: Mapping[str, str], local: str | None = None) -> None:
        self._at = at
        self._local = local
        self._resolving: dict[str, Thread] = {}

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore's
        local_address: str | None = None,  # noqa: ARG002  httpcore's; nothing here sets it
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002  httpcore's; nothing here sets it
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first address that answers."""
        if self._local is not None and f"http://{host}:{port}" == f"{HERE}:80":
            return await _connected_here(self._local, timeout)
        loop = asyncio.get_running_loop()
        resolved: float | None = None
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._addresses(self._at.get(host, host), port)
                resolved = perf_counter()
                raced = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY)
                raced.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                arrived = perf_counter()
                stamp = resolved
                _, stream = await loop.create_connection(lambda: Stream(stamp), sock=raced)
        except OSError as error:
            if resolved is None and isinstance(error, TimeoutError):
                raise httpcore.ConnectError("the name was not resolved in time") from socket.gaierror(str(error))
            raise _connect_failure(error) from error
        stream.connected = arrived
        return stream

    async def _addresses(self, host: str, port: int) -> Sequence[aiohappyeyeballs.AddrInfoType]:
        with suppress(socket.gaierror):  # An address needs no resolver, which would cost a thread.
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        # Not one of the loop's few threads, which names that hang would take from all others.
        thread = self._resolving.setdefault(host, Thread("names"))
        try:
            return await thread.call(partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))
        except Unreadable as error:
            raise socket.gaierror("an earlier question for this name has not been answered") from error

    async def sleep(self, seconds: float) -> None:
        """Wait, for httpcore's own retries, which are off."""
        await asyncio.sleep(seconds)


async def _connected_here(path: str, timeout: float | None) -> Stream:  # noqa: ASYNC109  httpcore's
    began = perf_counter()
    calling = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        async with asyncio.timeout(timeout):
            while not _taken(calling, path):  # noqa: ASYNC110  nothing tells when there is room
                await asyncio.sleep(AGAIN)
        arrived = perf_counter()
        loop = asyncio.get_running_loop()
        _, stream = await loop.create_unix_connection(lambda: Stream(began), sock=calling)
    except BaseException as error:
        calling.close()
        if isinstance(error, OSError):
            raise _connect_failure(error) from error
        raise
    stream.connected = arrived
    return stream


def _taken(calling: socket.socket, path: str) -> bool:
    """Whether a Unix socket took the call; where its backlog is full, the kernel lets nobody wait."""
    try:
        calling.connect(path)
    except BlockingIOError:
        return False
    except FileNotFoundError as error:  # It is there as long as somebody listens, or has listened.
        raise ConnectionRefusedError(error.errno, f"there is no socket {path}") from error
    return True


def _connect_failure(error: Exception) -> Exception:
    if isinstance(error, OSError) and error.errno in SHORTAGES:
        return Unreadable(Reason.ERROR, f"no connection can be made from here: {error.strerror}")
    if isinstance(error, TimeoutError):
        return httpcore.ConnectTimeout("connecting took too long")
    return httpcore.ConnectError(str(error))


class Transport(httpx.AsyncBaseTransport):
    """A fresh connection for every request over this network, so that each one's phases can be told."""

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        *,
        server_name: str | None = None,
        at: Mapping[str, str] | None = None,
        local: str | None = None,
    ) -> None:
        self._named = {} if server_name is None else {"sni_hostname": server_name}
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls, max_keepalive_connections=0, network_backend=Network(at or {}, local)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The response, its body still on the network."""
        url = request.url
        sent = httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions={**request.extensions, **self._named},
        )
        got = await self._pool.handle_async_request(sent)
        return httpx.Response(got.status, headers=got.headers, stream=_Body(got), extensions=got.extensions)

    async def aclose(self) -> None:
        """Close what is still open."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._response.aiter_stream():
            yield part

    async def aclose(self) -> None:
        await self._response.aclose()
