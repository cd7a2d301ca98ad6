"""A connection's bytes through TLS, between the transport that has them and the protocol that speaks in them."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator

from OpenSSL import SSL

log = logging.getLogger(__name__)

BITE = 16384
STRIDE = 65536
FIRST = 5  # As many as it takes to tell a record of TLS from a request.
HANDSHAKE = 0x16
REQUESTS = (b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO")
PLAIN = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"


class Secured(asyncio.Protocol, asyncio.Transport):
    """To the transport a protocol, to the protocol within a transport.

    The protocol within has its connection from the first byte on, so that its limits hold for the handshake too;
    and nothing waits in between, so that it is told of every byte that its client does not read.
    """

    def __init__(self, context: SSL.Context, within: asyncio.Protocol, refused: Callable[[], None]) -> None:
        super().__init__()
        self._tls = SSL.Connection(context, None)
        self._tls.set_accept_state()
        self._within = within
        self._refused = refused
        self._first: bytes | None = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in asyncio
        self._beneath = transport
        # Otherwise what follows the handshake waits 40 ms for the client to acknowledge the handshake.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._within.connection_made(self)

    def data_received(self, data: bytes) -> None:
        if self._first is not None:
            data = self._first + data
            self._first = data if len(data) < FIRST else None
            if self._first is not None:
                return
            if data[0] != HANDSHAKE:
                self._refuse(data)
                return
        self._tls.bio_write(data)
        for plain in self._decrypted():
            self._within.data_received(plain)

    def eof_received(self) -> None:
        self._within.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._within.connection_lost(exc)

    def pause_writing(self) -> None:
        self._within.pause_writing()

    def resume_writing(self) -> None:
        self._within.resume_writing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        for start in range(0, len(view), STRIDE):
            if self.is_closing():
                return
            try:
                self._tls.sendall(bytes(view[start : start + STRIDE]))
            except SSL.Error:
                self.abort()
            self._flush()

    def close(self) -> None:
        if self.is_closing():
            return
        try:
            self._tls.shutdown()
        except SSL.Error:
            log.debug("closed before the handshake")
        self._flush()
        self._beneath.close()

    def abort(self) -> None:
        self._beneath.abort()

    def is_closing(self) -> bool:
        return self._beneath.is_closing()

    def get_extra_info(self, name: str, default: object = None) -> object:
        """As of the transport beneath, but that there is TLS."""
        return self._tls if name == "sslcontext" else self._beneath.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._beneath.pause_reading()

    def resume_reading(self) -> None:
        self._beneath.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._beneath.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._beneath.get_write_buffer_size()

    def _refuse(self, data: bytes) -> None:
        if data.startswith(REQUESTS):
            self._refused()
            self._beneath.write(PLAIN)
        self._beneath.close()

    def _decrypted(self) -> Iterator[bytes]:
        """What the client has said by now; the handshake goes on meanwhile."""
        while not self.is_closing():
            try:
                yield self._tls.recv(BITE)
            except SSL.WantReadError:
                self._flush()
                return
            except SSL.ZeroReturnError:
                self.close()
            except SSL.Error as error:
                log.debug("refused in TLS: %s", error, extra={"client": self.get_extra_info("peername")})
                self._flush()
                self._beneath.close()

    def _flush(self) -> None:
        """Sends what TLS has to say."""
        while not self.is_closing():
            try:
                self._beneath.write(self._tls.bio_read(STRIDE))
            except SSL.WantReadError:
                return
