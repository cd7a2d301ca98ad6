"""Connections for httpx: names resolved apart from connecting, and stamps on what is read and written."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter

import aiohappyeyeballs
import httpcore
import httpx

from exporter.clock.stream import Direct, Relayed, connect_failure
from exporter.reading import Unreadable
from exporter.threads import Thread

HAPPY_EYEBALLS_DELAY = 0.25  # RFC 8305, section 5
AGAIN = 0.02  # Seconds between two attempts at a Unix socket whose backlog is full.

HERE = "http://localhost"
"""How a service at a Unix socket is called in the addresses of what it has."""


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
        resolved: float | None = None
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._addresses(self._at.get(host, host), port)
                resolved = perf_counter()
                raced = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY)
                raced.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                stream = Direct(resolved, raced)
        except OSError as error:
            if resolved is None and isinstance(error, TimeoutError):
                raise httpcore.ConnectError("the name was not resolved in time") from socket.gaierror(str(error))
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

    async def sleep(self, seconds: float) -> None:
        """Wait, for httpcore's own retries, which are off."""
        await asyncio.sleep(seconds)


async def _connected_here(path: str, timeout: float | None) -> Relayed:  # noqa: ASYNC109  httpcore's
    began = perf_counter()
    calling = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        async with asyncio.timeout(timeout):
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
        self._named = {} if server_name is None else {"sni_hostname": server_name}
        self._tls = tls
        self._network = Network(at or {}, local)
        self._context: ssl.SSLContext | None = None
        self._pool = self._pooled(None)

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
        pool = await self._pool_now(encrypted=url.scheme == "https")
        got = await pool.handle_async_request(sent)
        return httpx.Response(got.status, headers=got.headers, stream=_Body(got), extensions=got.extensions)

    async def _pool_now(self, *, encrypted: bool) -> httpcore.AsyncConnectionPool:
        if encrypted and self._tls is not None and (context := await self._tls()) is not self._context:
            # What is under way keeps the pool in which it began.
            self._context, self._pool = context, self._pooled(context)
        return self._pool

    def _pooled(self, tls: ssl.SSLContext | None) -> httpcore.AsyncConnectionPool:
        return httpcore.AsyncConnectionPool(ssl_context=tls, max_keepalive_connections=0, network_backend=self._network)

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
