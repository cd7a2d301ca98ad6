"""One connection, whose every read has the stamp of its arrival and whose every write that of its departure."""

import asyncio
import errno
import math
import socket
import ssl
import struct
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from enum import StrEnum
from time import perf_counter, time

import httpx

from exporter.reading import Reason, Unreadable

# What is wanting on this machine, and says nothing of the service.
SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
HIGH_WATER = 256 * 1024
BITE = 64 * 1024
# Of asm-generic/socket.h; Python names neither. A machine that knows it not refuses it, or stamps nothing.
SO_TIMESTAMPNS = SCM_TIMESTAMPNS = 35
TIMESPEC = struct.Struct("@ll")
ROOM_FOR_A_STAMP = socket.CMSG_SPACE(TIMESPEC.size)
AT_ONCE = 10e-6  # Seconds between two readings of clocks, between which nothing else came.
# How far a clock that is being corrected strays from one that is not, in seconds and in seconds a second: adjtimex(2)
# lets it stray by 500 parts of a million. What strays further was set.
STRAY, STRAYING = 0.0005, 0.0005

Told = Iterable[tuple[int, int, bytes]]
"""What the kernel says beside the bytes: level, type and content."""

Moment = tuple[float, float, float, Told]
"""When bytes were read by the clock of durations and by that of the day, when was written last, and what was told."""


class Method(StrEnum):
    """What stamps the arrival of bytes."""

    KERNEL = "kernel"
    USER = "user"


class Stream:
    """One connection; `stamp` is when the bytes that `read` gave last had arrived, by `method`."""

    def __init__(self, resolved: float) -> None:
        self.resolved = resolved
        self.connected = resolved
        self.stamp = resolved
        self.written = resolved
        self.method = Method.USER
        self._arrived: deque[tuple[Moment, bytes]] = deque()
        self._begun = b""
        """What is left of a piece of which some was taken, and which has the stamp that is told."""
        self._waiting = 0
        self._paused = False
        self._ended = False
        self._error: Exception | None = None
        self.rest = 0.0
        """Seconds between two times that what has arrived is taken up, each piece with the stamp of its own."""
        self._awaited: asyncio.Future[None] | None = None
        self._taken_up = -math.inf
        self._due: asyncio.TimerHandle | None = None

    async def read(self, max_bytes: int) -> bytes:
        """What arrived with one read of the socket; nothing at the end."""
        if not self._begun and not self._arrived and not self._ended:
            self._awaited = asyncio.get_running_loop().create_future()
            await self._awaited
        if self._begun or self._arrived:
            return self._taken(max_bytes)
        if self._error is not None:
            raise httpx.ReadError(str(self._error)) from self._error
        return b""

    def _arrive(self, data: bytes, moment: Moment) -> None:
        self._arrived.append((moment, data))
        self._waiting += len(data)
        if self._waiting > HIGH_WATER and not self._paused:
            self._paused = True
            self._pause()
        self._take_up()

    def _end(self, error: Exception | None = None) -> None:
        self._ended, self._error = True, error
        self._wake()

    def _take_up(self) -> None:
        if self._awaited is None:
            return
        loop = self._awaited.get_loop()
        rest = self._taken_up + self.rest - loop.time()
        if rest <= 0 or self._waiting > BITE:
            self._wake()
        elif self._due is None:
            self._due = loop.call_later(rest, self._wake)

    def _wake(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._awaited is not None and not self._awaited.done():
            self._taken_up = self._awaited.get_loop().time()
            self._awaited.set_result(None)
        self._awaited = None

    def _taken(self, max_bytes: int) -> bytes:
        if not self._begun:
            moment, self._begun = self._arrived.popleft()
            self.stamp, self.method = self._stamped(moment)
        data, self._begun = self._begun[:max_bytes], self._begun[max_bytes:]
        self._waiting -= len(data)
        if self._paused and self._waiting <= HIGH_WATER:
            self._paused = False
            self._resume()
        return data

    async def write(self, buffer: bytes) -> None:
        """Hand over bytes, waiting while the connection takes no more."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Let go of the connection at once: what it had not sent is of no use any more."""
        raise NotImplementedError

    @property
    def tls(self) -> ssl.SSLObject | None:
        """What encrypts it, where that is done."""
        return None

    def _stamped(self, moment: Moment) -> tuple[float, Method]:
        """When what was read then had arrived, and by whose stamp."""
        return moment[0], Method.USER

    def _pause(self) -> None:
        raise NotImplementedError

    def _resume(self) -> None:
        raise NotImplementedError


class Relayed(Stream, asyncio.Protocol):
    """A connection whose bytes a transport of the loop brings, as those of TLS and of a Unix socket.

    The loop stamps them, since a record of TLS has none of the packets' stamps and a Unix socket has none at all.
    """

    def __init__(self, resolved: float) -> None:
        super().__init__(resolved)
        self._transport: asyncio.Transport
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # asyncio types what every stream has as the narrower base

    def data_received(self, data: bytes) -> None:
        self._arrive(data, (perf_counter(), 0.0, self.written, ()))

    def eof_received(self) -> None:
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def write(self, buffer: bytes) -> None:
        if self._error is not None or self._transport.is_closing():
            raise httpx.WriteError(str(self._error or "the connection is closed")) from self._error
        # Stamped before the call, since the answer may be there before the machine lets us go on.
        self.written = perf_counter()
        self._transport.write(buffer)
        if not self._writable.is_set():
            await self._writable.wait()
            self.written = perf_counter()

    async def aclose(self) -> None:
        self._transport.abort()

    @property
    def tls(self) -> ssl.SSLObject | None:
        encrypting = self._transport.get_extra_info("ssl_object")
        return encrypting if isinstance(encrypting, ssl.SSLObject) else None

    def _pause(self) -> None:
        self._transport.pause_reading()

    def _resume(self) -> None:
        self._transport.resume_reading()


class Direct(Stream):
    """A connection that is read from its socket, where the kernel says when each packet came.

    A stamp is wanting where the machine gives none, as of the first packets after it was first asked for one, and
    where its clock was set meanwhile; then the time of the reading stands for it.
    """

    def __init__(self, resolved: float, connected: socket.socket) -> None:
        super().__init__(resolved)
        self._socket = connected
        self._loop = asyncio.get_running_loop()
        self._looked, wall = _both_clocks()
        self._offset = wall - self._looked
        with suppress(OSError):
            connected.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._resume()

    async def write(self, buffer: bytes) -> None:
        try:
            # Stamped before the call, since the answer may be there before the machine lets us go on.
            self.written = perf_counter()
            with suppress(BlockingIOError):
                buffer = buffer[self._socket.send(buffer) :]
            if buffer:
                await self._loop.sock_sendall(self._socket, buffer)
                self.written = perf_counter()
        except OSError as error:
            raise httpx.WriteError(str(error)) from error

    async def aclose(self) -> None:
        if self._socket.fileno() >= 0:
            self._pause()
            self._socket.close()

    async def secured(self, by: ssl.SSLContext, name: str, within: float | None) -> "Relayed":
        """The same connection, encrypted from here on."""
        self._pause()
        by.set_alpn_protocols(["http/1.1"])
        try:
            async with asyncio.timeout(within):
                _, secured = await self._loop.create_connection(
                    lambda: Relayed(self.resolved), sock=self._socket, ssl=by, server_hostname=name
                )
        except OSError as error:
            raise connect_failure(error) from error
        secured.connected = self.connected
        return secured

    def _read(self) -> None:
        try:
            data, told, _, _ = self._socket.recvmsg(BITE, ROOM_FOR_A_STAMP)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._pause()
            self._end(error)
            return
        if data:
            # What they say is worked out once the bytes are taken up, and not here, where other bytes wait.
            self._arrive(data, (*_both_clocks(), self.written, told))
        else:
            self._pause()
            self._end()

    def _stamped(self, moment: Moment) -> tuple[float, Method]:
        now, wall, written, told = moment
        latest = max(self.stamp, self.connected, written)
        was_set = abs(wall - now - self._offset) > STRAY + STRAYING * (now - self._looked)
        self._offset, self._looked = wall - now, now
        for level, kind, content in told:
            if (level, kind) == (socket.SOL_SOCKET, SCM_TIMESTAMPNS) and not was_set:
                seconds, nanoseconds = TIMESPEC.unpack_from(content)
                arrived = now - (wall - seconds - nanoseconds * 1e-9)
                # Between what came before it and now, or else the clock was set while the packet lay here, or was read
                # at another moment than the day's.
                if latest <= arrived <= now:
                    return arrived, Method.KERNEL
        return now, Method.USER

    def _pause(self) -> None:
        self._loop.remove_reader(self._socket)

    def _resume(self) -> None:
        if not self._ended:
            self._loop.add_reader(self._socket, self._read)


def _both_clocks() -> tuple[float, float]:
    """The clock of durations and that of the day at one moment: read again where something came between."""
    for _ in range(3):
        before, wall, after = perf_counter(), time(), perf_counter()
        if after - before < AT_ONCE:
            break
    return (before + after) / 2, wall


def connect_failure(error: Exception) -> Exception:
    """What httpx calls it that there is no connection, or that this machine has none left."""
    if isinstance(error, OSError) and error.errno in SHORTAGES:
        return Unreadable(Reason.ERROR, f"no connection can be made from here: {error.strerror}")
    if isinstance(error, TimeoutError):
        return httpx.ConnectTimeout("connecting took too long")
    return httpx.ConnectError(str(error))
