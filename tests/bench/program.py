"""A program under measurement: what it takes of the machine, and how its page is asked for."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 60.0
GZIP = b"GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: %s\r\nAccept-Encoding: gzip\r\n\r\n"
PLAIN = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"
PROMETHEUS = b"application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
MIB = 2**20


class Refused(Exception):  # noqa: N818  it reads as what it says
    """A program was started and gave no page."""


@dataclass(frozen=True, slots=True)
class Program:
    """A process that serves a page at a port of this machine."""

    name: str
    pid: int
    port: int

    def cpu(self) -> float:
        """Seconds of CPU that it has taken so far, of all its threads and to the nanosecond."""
        return time.clock_gettime(
            ((~self.pid) << 3) | 2
        )  # CLOCK_PROCESS_CPUTIME_ID of another, as the kernel counts it

    def rss(self) -> float:
        """MiB that lie in memory."""
        return self._status("VmRSS") / 1024

    def threads(self) -> float:
        """How many threads it has."""
        return self._status("Threads")

    def _status(self, field: str) -> float:
        lines = (Path("/proc") / str(self.pid) / "status").read_text().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(f"{field}:")))


class Scraper:
    """Asks for a page as Prometheus does, on one connection that stays, and takes little CPU of its own."""

    def __init__(self, port: int, path: str = "/metrics", *, plain: bool = False) -> None:
        asked = path.encode()
        self._request = PLAIN % asked if plain else GZIP % (asked, PROMETHEUS)
        self._port = port
        self._socket: socket.socket | None = None

    def __call__(self) -> bytes:
        """The body of one answer."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(self._request)
        return self._answer(self._socket)

    def close(self) -> None:
        """Let go of the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _answer(self, connection: socket.socket) -> bytes:
        with connection.makefile("rb", buffering=2**18) as reading:
            status = reading.readline()
            if b" 200 " not in status:
                raise Refused(status.decode(errors="replace").strip() or "the connection was closed")
            fields = dict(line.lower().split(b":", 1) for line in iter(reading.readline, b"\r\n"))
            if b"chunked" in fields.get(b"transfer-encoding", b""):
                body = b"".join(_chunks(reading.readline, reading.read))
            else:
                length = fields.get(b"content-length")
                body = reading.read() if length is None else reading.read(int(length))
        if b"close" in fields.get(b"connection", b"") or status.startswith(b"HTTP/1.0"):
            self.close()
        return body


def _chunks(line: Callable[[], bytes], read: Callable[[int], bytes]) -> Iterator[bytes]:
    while size := int(line(), 16):
        yield read(size)
        line()
    line()


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    port: int,
    *,
    environment: Mapping[str, str] | None = None,
    says: bytes = b"",
) -> Iterator[tuple[Program, float]]:
    """A program that serves a page which says that, and after how many seconds it did.

    Raises Refused where it ends before, or takes longer than a minute.
    """
    # Byte code that may not be written would be compiled at every start.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**inherited, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _serves(port, says):
            if process.poll() is not None:
                raise Refused(f"{name} ended with {process.returncode}: {' '.join(command)}")
            if time.perf_counter() - began > PATIENCE:
                raise Refused(f"{name} gave no page: {' '.join(command)}")
            time.sleep(0.001)
        yield Program(name, process.pid, port), time.perf_counter() - began
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait()


def _serves(port: int, says: bytes) -> bool:
    with suppress(OSError, Refused), closing(Scraper(port, plain=True)) as scrape:
        return says in scrape()
    return False
