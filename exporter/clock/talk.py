"""One request and its answer over a connection of their own, in the words of HTTP/1.1."""

from collections import deque
from collections.abc import AsyncIterator

import httpx
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from exporter.clock.stream import BITE, Stream

LONGEST_HEAD = 100 * 2**10


class Talk(httpx.AsyncByteStream):
    """One request over one connection; to go through it is to read the body of the answer.

    Not httpcore's pool, which takes twice the time and 2.5 MB, and which has nothing to do for a single request.
    """

    def __init__(self, stream: Stream) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._stream = stream
        self._parser = HttpResponseParser(self)
        # What clients have always let pass, and what leaves no doubt about where an answer ends.
        self._parser.set_dangerous_leniencies(
            lenient_chunked_length=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._body: deque[bytes] = deque()
        self._beside = 0
        self._ended = False
        self._broken: Exception | None = None

    async def ask(self, request: httpx.Request) -> None:
        """Send a request in one piece; raises httpx.WriteError where the connection takes no more."""
        asked = b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)
        lines = (asked, *(b"%b: %b" % header for header in request.headers.raw), b"", await request.aread())
        await self._stream.write(b"\r\n".join(lines))

    async def head(self) -> None:
        """Return once the answer has told its status and its headers."""
        while not self.status:
            await self._hear()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._body:
                yield self._body.popleft()
            if self._ended:
                return
            await self._hear()

    async def aclose(self) -> None:
        """Let go of the connection, since nobody else is to be answered over it."""
        del self._parser  # Each holds the other, which only a search for garbage would find.
        await self._stream.aclose()

    def on_message_begin(self) -> None:
        """After one that only informed, another is begun."""
        if not self.status:
            self.headers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of those before the body; what follows it tells nothing that is asked for."""
        if not self.status:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head has come, or one that only informs."""
        status = self._parser.get_status_code()
        if status >= httpx.codes.OK and not self.status:
            self.status = status

    def on_body(self, piece: bytes) -> None:
        """A piece of the answer, and not of what follows it."""
        if not self._ended:
            self._body.append(piece)
            self._beside = 0

    def on_message_complete(self) -> None:
        """All has come that was announced."""
        self._ended = bool(self.status)

    async def _hear(self) -> None:
        if self._broken is not None:
            raise self._broken
        said = await self._stream.read(BITE)
        if not said:
            self._end()
            return
        self._beside += len(said)
        try:
            self._parser.feed_data(said)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._broken = httpx.RemoteProtocolError(str(error))  # once what came before it was read
        if self._beside > LONGEST_HEAD:
            self._broken = httpx.RemoteProtocolError(f"more than {LONGEST_HEAD} bytes that are no answer")

    def _end(self) -> None:
        """The service has hung up, which ends an answer that announced no other end."""
        told = {name.lower(): value for name, value in self.headers}
        chunked = told.get(b"transfer-encoding", b"").lower().endswith(b"chunked")
        if not self.status or chunked or b"content-length" in told:
            raise httpx.ReadError("the service hung up before its answer was complete")
        self._ended = True
