"""What the exporter tells of its own process: as prometheus_client would, and where that cannot be told."""

import re
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from exporter.exposition import Catalog, Exposition
from tests.test_exposition import OPENMETRICS, PLAIN

FIGURE = re.compile(r"^([^#].*) \S+$", re.MULTILINE)
SIDE_BY_SIDE = """
from tests.test_exposition import PLAIN
from tests.test_exposition_own import ours, theirs

ours(PLAIN), theirs(PLAIN)  # All is loaded by then, and each file that is kept is open.
print(ours(PLAIN), theirs(PLAIN), sep="\\0")
"""
STARVED = """
import resource
from exporter.exposition import Catalog, Exposition

exposition = Exposition(Catalog(()), lambda: ())
exposition.page("application/openmetrics-text")  # All is loaded by then.
resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
print(exposition.page("text/plain")[0].decode())
"""


def ours(accept: str) -> str:
    body, _ = Exposition(Catalog(()), lambda: ()).page(accept)
    return body.decode()


def theirs(accept: str) -> str:
    encode, _ = choose_encoder(accept)
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return encode(registry).decode()


def figures(page: str) -> dict[str, float]:
    """The samples without labels."""
    families = text_string_to_metric_families(page)
    return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}


@pytest.fixture(scope="module")
def side_by_side() -> tuple[dict[str, float], dict[str, float]]:
    """Our figures and prometheus_client's of one process, in which nothing else closes a file in between."""
    told = subprocess.run([sys.executable, "-c", SIDE_BY_SIDE], check=True, capture_output=True, text=True, timeout=60)
    now, then = told.stdout.split("\0")
    return figures(now), figures(then)


@pytest.mark.parametrize("accept", [PLAIN, OPENMETRICS])
def test_the_process_has_the_metrics_that_prometheus_client_gives_it(accept: str) -> None:
    assert FIGURE.sub(r"\1", ours(accept)) == FIGURE.sub(r"\1", theirs(accept))


@pytest.mark.parametrize(
    ("sample", "apart"),
    [
        ("process_virtual_memory_bytes", 0.1),
        ("process_resident_memory_bytes", 0.1),
        ("process_start_time_seconds", 0),
        ("process_cpu_seconds_total", 0.5),
        ("process_open_fds", 0),
        ("process_max_fds", 0),
    ],
)
def test_the_process_is_told_the_figures_that_prometheus_client_tells(
    sample: str, apart: float, side_by_side: tuple[dict[str, float], dict[str, float]]
) -> None:
    now, then = side_by_side

    assert now[sample] == pytest.approx(then[sample], rel=apart, abs=0)


def test_a_process_that_can_open_no_file_any_more_tells_the_rest() -> None:
    told = subprocess.run([sys.executable, "-c", STARVED], check=True, capture_output=True, text=True, timeout=60)

    assert "python_info" in told.stdout
    assert "process_" not in told.stdout
