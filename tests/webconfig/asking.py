"""A client of a web server, and what it is told."""

import http.client
import ssl
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from exporter.connection import Limits
from exporter.listening import bind
from exporter.messages import Response, plain
from exporter.web import Server
from exporter.webconfig.guard import Guard

LONG = bytes(3_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An answer; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def basic(name: str, password: bytes) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(name.encode() + b':' + password).decode()}"}


def trusting(ca: Path, certificate: Path | None = None) -> ssl.SSLContext:
    """A client's TLS, which shows a certificate where it has one."""
    made = ssl.create_default_context(cafile=str(ca))
    if certificate is not None:
        made.load_cert_chain(certificate)
    return made


def ask(
    port: int, path: str = "/metrics", *, tls: ssl.SSLContext | None = None, headers: Mapping[str, str] | None = None
) -> Told:
    """An answer to a GET; raises OSError where there is none."""
    connection = (
        http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        if tls is None
        else http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=tls)
    )
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Told(status=response.status, headers=found, body=response.read())
    finally:
        connection.close()


@contextmanager
def serving(guard: Guard, **limits: float) -> Iterator[tuple[Server, int]]:
    """A server behind a guard, and its port."""
    routes = {"/metrics": lambda _: plain(200, "up 1"), "/long": lambda _: Response(body=LONG)}
    sockets = bind(["127.0.0.1:0"])
    server = Server(routes, sockets, guard=guard, limits=Limits(**limits))  # type: ignore[arg-type]  # as the test has it
    server.start()
    try:
        yield server, sockets[0].getsockname()[1]
    finally:
        server.stop()


def written(folder: Path, text: str) -> Path:
    file = folder / "web.yml"
    file.write_text(text)
    return file
