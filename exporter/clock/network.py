"""Connections for httpx: names resolved apart from connecting, and stamps on what is read and written."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter

import aiohappyeyeballs
import httpx

from exporter.clock.stream import Direct, Relayed, Stream, connect_failure
from exporter.clock.talk import Talk
from exporter.reading import Unreadable
from exporter.threads import Thread
from exporter.wire import Step, Trace

HAPPY_EYEBALLS_DELAY = 0.25  # RFC 8305, section 5
AGAIN = 0.02  # Seconds between two attempts at a Unix socket whose backlog is full.

PORTS = {"http": 80, "https": 443}

HERE = "http://localhost"
"""How a service at a Unix socket is called in the addresses of what it has."""


class Network:
    """Connections on which every read is stamped when the loop receives it.

    `at` holds the addresses of names that are not to be resolved, and `local` is the Unix socket of what is HERE.
    """

    def __init__(self, at: Mapping[str, str], local: str | None = None) -> None:
        self._at = at
        self._local = local
        self._resolving: dict[str, Thread] = {}

    async def connected(self, url: httpx.URL, within: float | None) -> Direct | Relayed:
        """A connection to the first address that answers."""
        if self._local is not None and (url.scheme, url.host, url.port) == ("http", "localhost", None):
            return await _connected_here(self._local, within)
        host, resolved = url.raw_host.decode(), None
        try:
            async with asyncio.timeout(within):
                addresses = await self._addresses(self._at.get(host, host), url.port or PORTS[url.scheme])
                resolved = perf_counter()
                raced = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY)
                raced.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                stream = Direct(resolved, raced)
        except OSError as error:
            if resolved is None and isinstance(error, TimeoutError):
                raise httpx.ConnectError("the name was not resolved in time") from socket.gaierror(str(error))
            raise connect_failure(error) from error
        stream.connected = perf_counter()
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


async def _connected_here(path: str, within: float | None) -> Relayed:
    began = perf_counter()
    calling = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        async with asyncio.timeout(within):
            while not _taken(calling, path):  # noqa: ASYNC110  nothing tells when there is room
                await asyncio.sleep(AGAIN)
        arrived = perf_counter()
        loop = asyncio.get_running_loop()
        _, stream = await loop.create_unix_connection(lambda: Relayed(began), sock=calling)
    except BaseException as error:
        calling.close()
        if isinstance(error, OSError):
            raise connect_failure(error) from error
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


class Transport(httpx.AsyncBaseTransport):
    """A fresh connection for every request over this network, so that each one's phases can be told.

    `tls` is asked anew for each that is encrypted.
    """

    def __init__(
        self,
        tls: Callable[[], Awaitable[ssl.SSLContext]] | None = None,
        *,
        server_name: str | None = None,
        at: Mapping[str, str] | None = None,
        local: str | None = None,
    ) -> None:
        self._tls = tls or _untrusting
        self._server_name = server_name
        self._network = Network(at or {}, local)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The response, its body still on the network."""
        trace: Trace = request.extensions.get("trace", _untold)
        stream = await self._connected(request, trace)
        talk = Talk(stream)
        try:
            with suppress(httpx.WriteError):  # Whoever hangs up before all is written may have answered nevertheless.
                await talk.ask(request)
                trace(Step.WRITTEN, stream)
            await talk.head()
            trace(Step.HEADED, stream)
        except BaseException:
            await talk.aclose()
            raise
        return httpx.Response(talk.status, headers=talk.headers, stream=talk)

    async def _connected(self, request: httpx.Request, trace: Trace) -> Stream:
        url, within = request.url, request.extensions.get("timeout", {}).get("connect")
        tls = await self._tls() if url.scheme == "https" else None
        trace(Step.BEGUN, None)
        stream = await self._network.connected(url, within)
        trace(Step.CONNECTED, stream)
        if tls is None or isinstance(stream, Relayed):
            return stream
        secured = await stream.secured(tls, self._server_name or url.raw_host.decode(), within)
        trace(Step.SECURED, secured)
        return secured


def _untold(_step: Step, _over: object) -> None:
    pass


async def _untrusting() -> ssl.SSLContext:
    raise httpx.UnsupportedProtocol("nothing was said of the certificates to believe")
