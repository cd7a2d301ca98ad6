"""What two hundred clients that are stuck cost the one that is not."""

import socket
import statistics
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from tests.bench.program import Program, Scraper
from tests.bench.service import speaking
from tests.bench.sidecar import watched, watching

HALF = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n"
WHOLE = HALF + b"\r\n"
EACH = 100
SETTLE = 5.0  # Until the first prompts have made what is made once.


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """A scrape among them over one alone, and what was added meanwhile."""

    scrape: float
    threads: float
    rss: float


def two_hundred(scrapes: int) -> Stuck:
    """A hundred that have said half of what they want, and a hundred that do not read what they are told."""
    with ExitStack() as stack:
        folder, url = stack.enter_context(tempfile.TemporaryDirectory()), stack.enter_context(speaking())
        program, _ = stack.enter_context(watched(Path(folder), watching([url])))
        time.sleep(SETTLE)
        alone, threads, rss = _scrape(program, scrapes), program.threads(), program.rss()
        for said in (HALF, WHOLE):
            for _ in range(EACH):
                stack.enter_context(closing(_stuck(program.port, said)))
        time.sleep(1)
        among = _scrape(program, scrapes)
        return Stuck(scrape=among / alone, threads=program.threads() - threads, rss=program.rss() - rss)


def _scrape(program: Program, times: int) -> float:
    taken = []
    for _ in range(times):
        with closing(Scraper(program.port)) as scrape:
            began = time.perf_counter()
            scrape()
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _stuck(port: int, said: bytes) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.sendall(said)
    return client
