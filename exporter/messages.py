"""Requests as the bytes of a client come, and responses as they go."""

from collections import deque
from collections.abc import Container, Mapping
from dataclasses import field
from http import HTTPStatus
from time import gmtime, strftime
from urllib.parse import unquote

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from exporter.frozen import frozen

BITE = 4096
DATE = "%a, %d %b %Y %H:%M:%S GMT"
"""As RFC 9110 has it, in the locale of C, which nobody here leaves; email.utils would take a hundredth of the start."""
HOSTS: Mapping[str, Container[int]] = {"1.0": (0, 1), "1.1": (1,)}
"""How many headers may tell the host, by the version of HTTP; no other version is spoken."""


@frozen
class Request:
    """What a client asks for; the names of its headers are in lower case."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_body(self) -> bool:
        """Whether it says more than its header."""
        return "transfer-encoding" in self.headers or self.headers.get("content-length", "0") != "0"


@frozen
class Response:
    """What a client is answered; length, date and connection are added on the way out."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes


def plain(status: int, text: str, **headers: str) -> Response:
    """One line of text."""
    return Response(
        status=status, headers={"content-type": "text/plain; charset=utf-8", **headers}, body=f"{text}\n".encode()
    )


def encoded(response: Response, *, to: str = "GET", last: bool) -> bytes:
    """The answer to a method, as the last of its connection or not."""
    headers = {**response.headers, "content-length": str(len(response.body)), "date": strftime(DATE, gmtime())}
    if last:
        headers["connection"] = "close"
    status = f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"
    lines = [status, *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    head = "\r\n".join(lines).encode("latin-1", "replace")
    return head if to == "HEAD" else head + response.body


class Requests:
    """Those of one connection, in the order they are asked, with None for what is not HTTP.

    Nothing is told of what follows the last: a body is never read, nor what comes after it.
    """

    def __init__(self, header_bytes: int) -> None:
        self.asked: deque[Request | None] = deque()
        self.begun = True  # A connection is there to ask for something.
        self.last = False
        self._parser = HttpRequestParser(self)
        self._header_bytes = header_bytes
        self._size = 0

    def take(self, data: bytearray) -> None:
        """Takes a few bytes off its beginning, and never more than there may still be of a header."""
        bite = bytes(data[: min(BITE, self._header_bytes - self._size)])
        del data[: len(bite)]
        self._size += len(bite)
        try:
            self._parser.feed_data(bite)
        except (HttpParserError, HttpParserUpgrade):
            self._end()
        if self._size == self._header_bytes:
            self._end()

    def on_message_begin(self) -> None:
        self.begun = True
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Raises HttpParserError where it is not the HTTP that is spoken here."""
        if self.last:
            return
        version = self._parser.get_http_version()
        names = [name.lower() for name, _ in self._fields]
        if names.count(b"host") not in HOSTS.get(version, ()):
            raise HttpParserError("not a header of HTTP/1")
        request = self._request()
        kept = version == "1.1" and self._parser.should_keep_alive() and not self._parser.should_upgrade()
        self.last = request.has_body or not kept
        self.asked.append(request)
        self.begun, self._size = False, 0

    def _request(self) -> Request:
        path, _, query = self._target.decode("ascii").partition("?")
        method = self._parser.get_method().decode("ascii")
        headers: dict[str, str] = {}
        for raw, value in self._fields:
            name = raw.decode("ascii").lower()
            headers[name] = ", ".join(filter(None, (headers.get(name), value.decode("latin-1").strip(" \t"))))
        return Request(method=method, path=unquote(path), query=query, headers=headers)

    def _end(self) -> None:
        if not self.last:
            self.asked.append(None)
            self.last = True
