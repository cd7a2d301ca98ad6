"""One connection of a client, which gets so much of the server and no more."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from enum import Enum, auto
from functools import partial

from exporter.frozen import frozen
from exporter.messages import Request, Requests, Response, encoded, plain
from exporter.spared import spared

log = logging.getLogger(__name__)

OTHER = "other"
FAILED = plain(500, "Internal Server Error")

Answered = Response | Coroutine[object, object, Response]
"""What a request is answered, at once or after a while in which others are."""
Answer = Callable[[Request], Answered]
Count = Callable[[str, int], None]
"""Counts an answer by its path and its status."""


@frozen
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
    ANOTHER = auto()


class Connection(asyncio.Protocol):
    """Answers requests in turn, each in one write once the answer before is read; is one of the crowd until its end."""

    def __init__(self, answer: Answer, count: Count, limits: Limits, crowd: "set[Connection]") -> None:
        self._loop = asyncio.get_running_loop()
        self.since = self._loop.time()
        self._answer = answer
        self._count = count
        self._limits = limits
        self._seconds = {
            _Owed.REQUEST: limits.request_seconds,
            _Owed.READING: limits.answer_seconds,
            _Owed.ANOTHER: limits.idle_seconds,
        }
        self._crowd = crowd
        self._requests = Requests(limits.header_bytes)
        self._untaken = bytearray()
        self._answering: asyncio.Task[Response] | None = None
        self._owed = _Owed.NOTHING
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in asyncio
        """Makes room by dropping the connection that has been silent longest, so that a crowd keeps nobody out."""
        if len(self._crowd) >= self._limits.connections:
            _drop_longest([each for each in self._crowd if each.silent])
        self._crowd.add(self)
        self._transport = transport
        transport.set_write_buffer_limits(high=0)  # every answer not read at once is told to pause_writing
        self._reckon()

    def data_received(self, data: bytes) -> None:
        self._untaken += data
        self._go_on()

    def pause_writing(self) -> None:
        """Drops the connection that has been reading longest where too many answers lie unread."""
        unread = [each for each in self._crowd if each.unread and each is not self]
        if len(unread) >= self._limits.unread_answers:
            _drop_longest(unread)
        self._reckon()

    def resume_writing(self) -> None:
        self._go_on()

    def connection_lost(self, _error: Exception | None) -> None:
        self._owe(_Owed.NOTHING)
        if self._answering is None:
            self._crowd.discard(self)

    def drop(self) -> None:
        """Hangs up at once, whatever is under way."""
        self._transport.abort()
        if self._answering is not None:
            self._answering.cancel()

    @property
    def silent(self) -> bool:
        """Whether no request is under way."""
        return self._answering is None and not self.unread and not self._transport.is_closing()

    @property
    def unread(self) -> bool:
        """Whether a part of an answer lies here still."""
        return self._transport.get_write_buffer_size() > 0

    def _go_on(self) -> None:
        """Takes up the next request where its turn has come; until then no more is read than what is here already."""
        if self.silent:
            self._take_up()
        if self._untaken:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
        self._reckon()

    def _take_up(self) -> None:
        while self._untaken and not self._requests.asked:
            self._requests.take(self._untaken)
        if not self._requests.asked:
            return
        request = self._requests.asked.popleft()
        if request is None:
            log.debug("refused what is not HTTP", extra={"client": self._transport.get_extra_info("peername")})
            self._say(plain(400, "Invalid HTTP request received."), path=OTHER)
            return
        # Not all of them as tasks: to make one and to hear that it is done takes as long as the answer to most.
        answer = spared(partial(self._answer, request), partial(_tell, request)) or FAILED
        if isinstance(answer, Response):
            self._say(answer, path=request.path, method=request.method)
            if self._untaken or self._requests.asked:
                # After all others, of whom none is to wait for a thousand answers to one.
                self._loop.call_soon(self._go_on)
        else:
            self._answering = self._loop.create_task(answer)
            self._answering.add_done_callback(partial(self._answered, request))

    def _answered(self, request: Request, answering: asyncio.Task[Response]) -> None:
        self._answering = None
        self._say(_outcome(request, answering), path=request.path, method=request.method)
        self._go_on()

    def _say(self, response: Response, *, path: str, method: str = "GET") -> None:
        self._count(path, response.status)
        if self._transport.is_closing():
            self._crowd.discard(self)
            return
        last = self._requests.last and not self._requests.asked
        self._transport.write(encoded(response, to=method, last=last))
        if last:
            self._transport.close()

    def _reckon(self) -> None:
        if self.unread:
            self._owe(_Owed.READING)
        elif self.silent:
            self._owe(_Owed.REQUEST if self._requests.begun else _Owed.ANOTHER)
        else:
            self._owe(_Owed.NOTHING)

    def _owe(self, owed: _Owed) -> None:
        """Starts the time for it, unless it runs already: a client that trickles gains nothing."""
        if owed is self._owed:
            return
        self._owed, self.since = owed, self._loop.time()
        if self._deadline:
            self._deadline.cancel()
        if owed is not _Owed.NOTHING:
            end = self._transport.close if owed is _Owed.ANOTHER else self._transport.abort
            self._deadline = self._loop.call_later(self._seconds[owed], end)


def _outcome(request: Request, answering: asyncio.Task[Response]) -> Response:
    if answering.cancelled():
        return plain(503, "the server stops")
    error = answering.exception()
    if error is None:
        return answering.result()
    _tell(request, error)
    return FAILED


def _tell(request: Request, error: BaseException) -> None:
    log.error("no answer at %s", request.path, exc_info=error)


def _drop_longest(connections: Sequence[Connection]) -> None:
    if connections:
        min(connections, key=lambda each: each.since).drop()
