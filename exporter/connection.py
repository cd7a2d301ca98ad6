"""One connection of a client, which gets so much of the server and no more."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

log = logging.getLogger(__name__)

OTHER = "other"
BITE = 4096

Count = Callable[[str, int], None]
"""Counts an answer by its path and its status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What clients may take of the server."""

    request_seconds: float = 5.0
    answer_seconds: float = 10.0
    # Longer than the usual scrape intervals and equal to none, so that no scrape meets a connection just being closed.
    idle_seconds: int = 150
    header_bytes: int = 16384
    connections: int = 512
    unread_answers: int = 32


LIMITS = Limits()


class _Owed(Enum):
    """What a client must do before its time is up."""

    NOTHING = auto()
    REQUEST = auto()
    READING = auto()


class Connection(H11Protocol):
    """A connection of uvicorn's, whose client gets so much time and no more.

    uvicorn itself waits for ever for the rest of a request, and for a client to read its answer.
    """

    def __init__(self, config: uvicorn.Config, state: ServerState, limits: Limits, count: Count) -> None:
        super().__init__(config, state, {})
        self.since = self.loop.time()
        self._count = count
        self._limits = limits
        self._seconds = {_Owed.REQUEST: limits.request_seconds, _Owed.READING: limits.answer_seconds}
        self._owed = _Owed.NOTHING
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Makes room by dropping the connection that has been silent longest, so that a crowd keeps nobody out."""
        if len(self.connections) >= self._limits.connections:
            _drop_longest([each for each in self._others() if each.silent])
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # every answer not read at once is told to pause_writing
        self._reckon()

    def data_received(self, data: bytes) -> None:
        """Passes on small bites, since h11 measures only a header that is not complete after one."""
        for start in range(0, len(data), BITE):
            if not self.transport.is_closing():
                super().data_received(data[start : start + BITE])

    def handle_events(self) -> None:
        super().handle_events()
        self._reckon()

    def pause_writing(self) -> None:
        """Drops the connection that has been reading longest where too many answers lie unread."""
        super().pause_writing()
        unread = [each for each in self._others() if each.unread]
        if len(unread) >= self._limits.unread_answers:
            _drop_longest(unread)
        self._reckon()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._reckon()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._owe(_Owed.NOTHING)

    def send_400_response(self, msg: str) -> None:
        """Refuses what is not HTTP, be it a header or, where an answer is on its way already, a piece of a body."""
        log.debug("refused what is not HTTP", extra={"client": self.client})
        self._count(OTHER, 400)
        if self.conn.our_state is h11.SEND_RESPONSE and self._latest and self._latest.scope["method"] == "HEAD":
            self.transport.abort()  # An answer to HEAD has no body, and uvicorn's refusal has one.
            return
        super().send_400_response(msg)
        if self._latest is not None:
            self._latest.disconnected = True

    @property
    def silent(self) -> bool:
        """Whether no request is under way."""
        return self.conn.their_state is h11.IDLE and not self.unread and not self.transport.is_closing()

    @property
    def unread(self) -> bool:
        """Whether a part of an answer lies here still."""
        return self.transport.get_write_buffer_size() > 0

    @property
    def _latest(self) -> RequestResponseCycle | None:
        return self.cycle  # which uvicorn declares never to be None, and leaves at None until the first request

    def _others(self) -> "Iterator[Connection]":
        return (each for each in self.connections if isinstance(each, Connection) and each is not self)

    def _reckon(self) -> None:
        begun = self._latest is None or bool(self.conn.trailing_data[0])
        if self.unread:
            self._owe(_Owed.READING)
        elif self.conn.their_state is h11.SEND_BODY or (self.conn.their_state is h11.IDLE and begun):
            self._owe(_Owed.REQUEST)
        else:
            self._owe(_Owed.NOTHING)

    def _owe(self, owed: _Owed) -> None:
        """Starts the time for it, unless it runs already: a client that trickles gains nothing."""
        if owed is self._owed:
            return
        self._owed, self.since = owed, self.loop.time()
        if self._deadline:
            self._deadline.cancel()
        if owed in self._seconds:
            self._deadline = self.loop.call_later(self._seconds[owed], self.transport.abort)


def _drop_longest(connections: Sequence[Connection]) -> None:
    if connections:
        min(connections, key=lambda each: each.since).transport.abort()
