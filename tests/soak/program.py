"""The program under soak: services that come and go, who scrapes it, and what it takes of the machine."""

import http.client
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

from tests.daemon import ROOT, Daemon, Page, begun
from tests.ports import free_port

INSIDE = Path(__file__).parent / "inside"
TARGETS = 3
SCRAPERS = 4
PAUSE = 0.08
"""Seconds between two scrapes of each scraper: there are to be two a prompt, and no time is to go to more."""
UP = (4.0, 12.0)
DOWN = (0.2, 0.8)
"""Seconds, between which a service lives and then is not there."""

SETTINGS: Mapping[str, object] = {
    "health": {"every": "100ms", "timeout": "1s"},
    "server": {"every": "100ms", "enabled": True},
    "prompt": {
        "every": "15ms",
        "first_token_timeout": "500ms",
        "stall_timeout": "500ms",
        "timeout": "1s",
        "protocol": "openai-chat",
    },
    "host": {"every": "500ms"},
    "gpu": {"enabled": False},
    "log": {"level": "error"},
}


@dataclass(slots=True)
class Service:
    """A service in a process of its own, which is ended and begun anew."""

    port: int
    restarts: int = 0
    process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Another life of it."""
        self.restarts += 1
        command = [sys.executable, "-m", "tests.soak.service", str(self.port), f"{self.port} {self.restarts}"]
        self.process = subprocess.Popen(command, cwd=ROOT)

    def end(self) -> None:
        """As the kernel ends it where memory is short."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def live(self, over: Event, *, seed: int) -> None:
        """Come and go until it is over."""
        drawn = random.Random(seed)
        while not over.is_set():
            self.begin()
            over.wait(drawn.uniform(*UP))
            self.end()
            over.wait(drawn.uniform(*DOWN))


@dataclass(slots=True)
class Scraper:
    """Asks for the page again and again, on a connection that is made anew now and then."""

    host: str
    port: int
    scrapes: int = 0
    refused: int = 0

    def scrape(self, over: Event) -> None:
        """Scrape until it is over."""
        while not over.is_set():
            asking = http.client.HTTPConnection(self.host, self.port, timeout=30)
            for number in range(200):
                if over.is_set():
                    break
                self._ask(asking, "/" if number == 0 else "/nowhere" if number == 1 else "/metrics")
                over.wait(PAUSE)
            asking.close()

    def _ask(self, asking: http.client.HTTPConnection, path: str) -> None:
        try:
            asking.request("GET", path, headers={"Accept-Encoding": "gzip"})
            with asking.getresponse() as answer:
                answer.read()
        except (OSError, http.client.HTTPException):
            self.refused += 1
            asking.close()
        else:
            self.scrapes += path == "/metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the program has done by one moment, and what it holds then."""

    seconds: float
    prompts: float
    looks: float
    scrapes: int
    failures: float
    restarts: int
    rss_bytes: float
    descriptors: float
    threads: float
    tasks: float
    objects: float
    series: float
    children: float


@dataclass(slots=True)
class Run:
    """The program, its services and who scrapes it."""

    daemon: Daemon
    services: list[Service]
    scrapers: Sequence[Scraper]
    counts: Path
    began: float = field(default_factory=time.monotonic)

    def sample(self) -> Sample:
        """How it is now."""
        page = self.daemon.scrape()
        proc = Path("/proc") / str(self.daemon.process.pid)
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        tasks, objects = self._inside()
        return Sample(
            seconds=time.monotonic() - self.began,
            prompts=_sum(page, "model_probe_attempts_total"),
            looks=_sum(page, "model_sidecar_collection_attempts_total"),
            scrapes=sum(each.scrapes for each in self.scrapers),
            failures=_sum(page, "model_probe_failures_total"),
            restarts=sum(each.restarts for each in self.services),
            rss_bytes=float(status["VmRSS"].split()[0]) * 1024,
            descriptors=len(list((proc / "fd").iterdir())),
            threads=float(status["Threads"]),
            tasks=tasks,
            objects=objects,
            series=sum(not line.startswith("#") for line in page.text.splitlines()),
            children=len((proc / "task" / proc.name / "children").read_text().split()),
        )

    def _inside(self) -> tuple[float, float]:
        with suppress(OSError, ValueError):
            tasks, objects = self.counts.read_text().split()
            return float(tasks), float(objects)
        return 0.0, 0.0


def _sum(page: Page, name: str) -> float:
    return sum(each.value for each in page.samples(name))


@contextmanager
def running(folder: Path) -> Iterator[Run]:
    """The program among its services, scraped all the while; it must end well."""
    over, counts = Event(), folder / "counts"
    services = [Service(free_port()) for _ in range(TARGETS)]
    targets = [
        {"name": f"chat{number}", "url": f"http://127.0.0.1:{it.port}", "model": "tiny"}
        for number, it in enumerate(services)
    ]
    environment = {"PYTHONPATH": str(INSIDE), "SOAK_COUNTS": str(counts)}
    with ExitStack() as ending, begun(folder, {**SETTINGS, "targets": targets}, environment=environment) as daemon:
        host, port = daemon.url.removeprefix("http://").split(":")
        scrapers = [Scraper(host, int(port)) for _ in range(SCRAPERS)]
        lives = [Thread(target=it.live, args=(over,), kwargs={"seed": it.port}) for it in services]
        for thread in [*lives, *(Thread(target=each.scrape, args=(over,)) for each in scrapers)]:
            thread.start()
            ending.callback(thread.join)
        ending.callback(over.set)
        yield Run(daemon, services, scrapers, counts)
        assert daemon.alive, daemon.log[-4000:]
        over.set()
        assert daemon.stop(signal.SIGTERM) == 0, daemon.log[-4000:]
