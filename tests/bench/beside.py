"""The program beside the three that it replaces, in one run: a minute of polls and scrapes, and how each begins."""

import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.peers import Peer, blackbox_exporter, node_exporter, nvitop_exporter
from tests.bench.program import Program, Scraper, running
from tests.bench.readings import samples_of
from tests.bench.service import speaking
from tests.bench.sidecar import driver, environment, watched, watching
from tests.ports import free_port

OURS = "model-sidecar"
SCRAPE = 5.0
GPU_OF_OURS, GPU_OF_NVITOP = b"gpu_utilization_ratio{", b"gpu_utilization_Percentage{"


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """What a program took while it was scraped every five seconds."""

    cpu: float
    """Seconds of CPU a minute."""
    rss: float
    """MiB at its end."""
    samples: int


def versions() -> Mapping[str, str]:
    """Which peers these are."""
    peers = node_exporter(), blackbox_exporter(""), nvitop_exporter(Path(), 5)
    return {peer.name: peer.version for peer in peers}


def a_minute(seconds: float, *, polls: float) -> Mapping[str, Minute]:
    """What each took, looking at the GPUs so often, by name."""
    with _all(polls) as programs:
        scrapers = {each: Scraper(each.port, path) for each, path in programs.items()}
        bodies = {each: Scraper(each.port, path, plain=True)() for each, path in programs.items()}
        time.sleep(2)
        before = {each: each.cpu() for each in programs}
        began = time.monotonic()
        for scrape in range(int(seconds / SCRAPE)):
            for ask in scrapers.values():
                ask()
            time.sleep(max(began + (scrape + 1) * SCRAPE - time.monotonic(), 0))
        minutes = (time.monotonic() - began) / 60
        return {
            each.name: Minute(
                cpu=(each.cpu() - before[each]) / minutes, rss=each.rss(), samples=samples_of(bodies[each])
            )
            for each in programs
        }


def first_gpu(rounds: int) -> Mapping[str, float]:
    """Seconds from its start until a page shows a GPU, of ours and of nvitop-exporter."""
    taken: dict[str, list[float]] = {OURS: [], "nvitop-exporter": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        gpus = driver(folder / "driver")
        nvitop = nvitop_exporter(gpus.library, 1)
        # The first of each is not counted: it may still write byte code.
        for _ in range(rounds + 1):
            with watched(folder, watching([]), driver=gpus, says=GPU_OF_OURS) as (_, seconds):
                taken[OURS].append(seconds)
            port = free_port()
            around = {**environment(gpus), **nvitop.environment}
            with running(nvitop.name, nvitop.on(port), port, environment=around, says=GPU_OF_NVITOP) as (_, seconds):
                taken[nvitop.name].append(seconds)
    return {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}


@contextmanager
def _all(polls: float) -> Iterator[Mapping[Program, str]]:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        gpus = driver(folder / "driver")
        url = stack.enter_context(speaking())
        peers: Sequence[Peer] = (
            node_exporter(),
            blackbox_exporter(f"{url}/health"),
            nvitop_exporter(gpus.library, polls),
        )
        programs: dict[Program, str] = {}
        ours, _ = stack.enter_context(watched(folder, watching([url], polls=polls), driver=gpus, says=GPU_OF_OURS))
        programs[ours] = "/metrics"
        for peer in peers:
            port = free_port()
            around = {**environment(gpus), **peer.environment}
            program, _ = stack.enter_context(running(peer.name, peer.on(port), port, environment=around))
            programs[program] = peer.path
        yield programs
