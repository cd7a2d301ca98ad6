"""A table of services that misbehave, all watched by one running program, and what its page says afterwards."""

import gzip
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain, cycle, repeat
from pathlib import Path

from tests.daemon import Daemon, Page, started
from tests.services.scripted import Answer, Ending, Request, Service, Stage, Step, head, reply, script

CERTIFICATE = Path(__file__).parent / "services" / "self-signed.pem"
MIB = 2**20
METRICS = {"prompt": "model_probe", "health": "model_health"}

Place = Callable[[Stage], Service | str]
"""Puts a service on the stage, or names a place where none is."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """One service, how it is watched, and the one reason that must come of it; None where its answer is good."""

    name: str
    reason: str | None
    place: Place
    watched_by: str = "prompt"
    watching: Mapping[str, object] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    heavy: bool = False

    def __str__(self) -> str:
        return self.name

    def having(self, **settings: object) -> "Row":
        """The same row with more settings of its target."""
        return replace(self, settings={**self.settings, **settings})


def heavy(*rows: Row) -> list[Row]:
    """The same rows, asked once while the tests run, since their answers give seconds of work."""
    return [replace(row, heavy=True) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """What the page says once every service has had its chance."""

    daemon: Daemon
    page: Page
    services: Mapping[str, Service]

    def up(self, row: Row) -> float | None:
        """Whether its last answer was good."""
        return self.page.value(f"{METRICS[row.watched_by]}_up", target=row.name)

    def failures(self, row: Row) -> Mapping[str, float]:
        """How often it failed, by the reasons that came up at all."""
        return self.page.by("reason", f"{METRICS[row.watched_by]}_failures_total", target=row.name)

    def told(self, row: Row) -> str:
        """All that is known of it, for a person."""
        log = [line for line in self.daemon.log.splitlines() if row.name in line]
        page = [line for line in self.page.about(row.name) if not line.endswith(" 0.0")]
        return "\n".join(["", *page[:20], *log])


LATE = 0.5  # Seconds by which a starved machine may hold up the program, which then tells wrong deadlines.


@contextmanager
def endured(rows: Sequence[Row], folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Aftermath]:
    """The program, once it has been answered by every service of the table; it must live through them all.

    Where the machine had no time for it, by its own word, it is given two more chances.
    """
    for last in (False, False, True):
        with Stage() as stage:
            # The turns of all targets are spread over each round in their order, and the round of these is long.
            places = {row: row.place(stage) for row in sorted(rows, key=lambda row: not row.heavy)}
            services = {row.name: place for row, place in places.items() if isinstance(place, Service)}
            with started(folder, _config(places), environment=environment) as daemon:
                page = daemon.until(lambda page: all(_settled(row, page) for row in rows))
                if last or (page.value("model_sidecar_scheduler_lag_seconds") or 0) < LATE:
                    yield Aftermath(daemon=daemon, page=page, services=services)
                    return


def _settled(row: Row, page: Page) -> bool:
    return f'{METRICS[row.watched_by]}_up{{target="{row.name}"}}' in page.text


def _config(places: Mapping[Row, Service | str]) -> Mapping[str, object]:
    return {
        "targets": [_target(row, place) for row, place in places.items()],
        # Patient throughout: only a row about a deadline makes that deadline short.
        "health": {"every": "2s", "timeout": "30s"},
        "prompt": {
            "every": "2s",
            "jitter": 0,
            "first_token_timeout": "30s",
            "stall_timeout": "30s",
            "timeout": "40s",
        },
        "gpu": {"enabled": False},
        "host": {"enabled": False},
    }


def _target(row: Row, place: Service | str) -> Mapping[str, object]:
    url = place.url if isinstance(place, Service) else place
    watching = {**row.watching, "every": "30s"} if row.heavy else row.watching
    return {"name": row.name, "url": url, "process": "off", **row.settings, row.watched_by: dict(watching)}


def at(answers: Mapping[str, Answer]) -> Place:
    """A service that answers so."""
    return lambda stage: stage.serve(answers)


def refusing(stage: Stage) -> str:
    """No one listens there."""
    return f"http://127.0.0.1:{stage.closed_port()}"


def crowded(stage: Stage) -> str:
    """More connections wait there than its queue holds."""
    return f"http://127.0.0.1:{stage.crowded_port()}"


def nameless(_stage: Stage) -> str:
    """A name that no resolver may ever know (RFC 6761)."""
    return "http://nonexistent.invalid:8000"


def unroutable(_stage: Stage) -> str:
    """A multicast address, to which the kernel itself lets no one connect."""
    return "http://224.0.0.1:8000"


def plain_behind_https(stage: Stage) -> str:
    """A service that knows no TLS, asked for it."""
    return stage.serve({}).url.replace("http:", "https:")


def self_signed(answers: Mapping[str, Answer]) -> Place:
    """A service whose certificate no one has signed but itself."""

    def place(stage: Stage) -> Service:
        own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        own.load_cert_chain(CERTIFICATE)
        return stage.serve(answers, tls=own)

    return place


def endless(*steps: Step) -> Answer:
    """An answer of which the last step is said for ever."""
    return lambda _request: chain(steps[:-1], repeat(steps[-1]))


def dripping(start: bytes, drop: bytes, pause: float = 0.05) -> Answer:
    """An answer that goes on for ever, a drop at a time."""
    return lambda _request: chain([start], cycle((drop, pause)))


def redirecting(place: str, status: int = 307) -> Answer:
    """An answer that sends the client elsewhere; `{here}` is the service's own name and port."""

    def answer(request: Request) -> Iterable[Step]:
        here = request.headers["host"]
        location = place.format(here=here, port=here.rpartition(":")[2])
        return reply("", status, f"Location: {location}")(request)

    return answer


def gzip_bomb(filling: bytes, kind: str) -> Answer:
    """An answer of 32 MiB that comes as a few kilobytes, though nobody asked for gzip."""

    def answer(request: Request) -> Iterable[Step]:
        fields = (f"Content-Type: {kind}", "Content-Encoding: gzip")
        return reply(_compressed(filling, 32 * MIB), 200, *fields)(request)

    return answer


@cache
def _compressed(filling: bytes, size: int) -> bytes:
    return gzip.compress(filling * size, compresslevel=1)


# The same service under another name is another origin, so that it can tell whether it was asked there.
ELSEWHERE = "http://localhost:{port}/stolen"

CLOSED = script()
GARBAGE = script(b"SSH-2.0-OpenSSH_9.9\r\n\x00\x01\x02 this is another protocol\r\n\r\n", 0.2)
TORN_HEAD = script(b"HTTP/1.1 200 OK\r\nContent-Ty")
CUT = script(head(200, "Content-Type: application/json", "Content-Length: 1000"), b'{"cut": "sho')
RESET = script(head(200, "Content-Type: application/json", "Content-Length: 1000"), b"{", 0.1, Ending.RESET)
TWO_LENGTHS = script(head(200, "Content-Length: 1", "Content-Length: 2"), b"{}")
BAD_CHUNK = script(head(200, "Content-Type: text/event-stream", "Transfer-Encoding: chunked"), b"zz\r\n{}\r\n", 0.2)
BAD_FIELD = script(b"HTTP/1.1 200 OK\r\nno field at all " + b"x" * 50_000 + b"\r\n\r\n", 0.2)
ENDLESS_HEAD = endless(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 4000 + b"\r\n")
ENDLESS_BODY = endless(head(200, "Content-Type: application/json"), b" " * 65536)
NO_GZIP = reply("this was never compressed", 200, "Content-Encoding: gzip")
ROUND_AND_ROUND = redirecting("/health")
DEEP = "[" * 100_000
HUGE_NUMBER = "9" * 5_000
