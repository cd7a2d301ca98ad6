"""What a page costs: a sample of it beside prometheus_client's encoder, and a scrape beside node_exporter."""

import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.parser import text_string_to_metric_families

from exporter.exposition import Exposition
from exporter.listening import bind
from exporter.routes import routes
from exporter.services import CATALOG
from exporter.web import Server
from tests.bench.peers import node_exporter
from tests.bench.program import Program, Scraper, running
from tests.bench.readings import OPENMETRICS, PLAIN, looks, samples_of, told
from tests.bench.sidecar import environment
from tests.ports import free_port

SAMPLES = 720
FORMATS = {"text": PLAIN, "OpenMetrics": OPENMETRICS}


class _Families(CollectorRegistry):
    def __init__(self, families: list[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def a_sample(rounds: int) -> Mapping[str, tuple[float, float]]:
    """Seconds of CPU for a sample by its format: ours, and prometheus_client's of the same families."""
    with tempfile.TemporaryDirectory() as folder:
        readings = told(Path(folder) / "gpus", 2000)
    moving = looks(readings)
    look = [next(moving)]
    exposition = Exposition(CATALOG, lambda: look[0])
    families = list(text_string_to_metric_families(exposition.page(PLAIN)[0].decode()))
    cost = {}
    for name, accept in FORMATS.items():
        encode, _ = choose_encoder(accept)
        samples = samples_of(exposition.page(accept)[0])
        ours, theirs = [], []
        for _ in range(rounds):
            look[0] = next(moving)
            ours.append(_cpu(lambda: exposition.page(accept)))  # noqa: B023  called at once
            theirs.append(_cpu(lambda: encode(_Families(families))))  # noqa: B023  called at once
        cost[name] = statistics.median(ours) / samples, statistics.median(theirs) / samples
    return cost


def a_scrape(rounds: int, each: int = 60) -> tuple[float, float, float]:
    """Seconds of CPU for a gzipped scrape: ours rendered afresh, ours unchanged, and node_exporter's."""
    node = node_exporter()
    port = free_port()
    with running(node.name, node.on(port), port) as (beside, _), serving("fresh") as ours, serving("kept") as kept:
        taken: dict[str, list[float]] = {}
        for _ in range(rounds):
            for name, program in {"ours": ours, "kept": kept, "node": beside}.items():
                taken.setdefault(name, []).append(scraped(program, each))
    ours_, kept_, node_ = (statistics.median(taken[name]) for name in ("ours", "kept", "node"))
    return ours_, kept_, node_


@contextmanager
def serving(how: str, samples: int = SAMPLES) -> Iterator[Program]:
    """Our own server of so many samples in a process of its own, others at each scrape or the same: fresh, or kept."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.page", how, str(port), str(samples)]
    with running("page", command, port, environment=environment(None)) as (program, _):
        yield program


def scraped(program: Program, times: int) -> float:
    """Seconds of CPU for a gzipped scrape."""
    with closing(Scraper(program.port)) as scrape:
        scrape()
        before = program.cpu()
        for _ in range(times):
            scrape()
        return (program.cpu() - before) / times


def _cpu(act: Callable[[], object]) -> float:
    began = time.thread_time()
    act()
    return time.thread_time() - began


def _serve(how: str, port: int, samples: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        readings = told(Path(folder) / "gpus", samples)
    gc.freeze()  # As the program does.
    moving = looks(readings)
    look = partial(next, moving) if how == "fresh" else lambda: readings
    Server(routes(CATALOG, look, {}), bind([f"127.0.0.1:{port}"])).start()
    while True:
        time.sleep(60)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
