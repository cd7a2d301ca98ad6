"""What is scraped and recorded, written to long-term storage and read back."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
import yaml

from tests.daemon import PATIENCE, ROOT, Daemon, begun, started
from tests.deploy.scraping import MISSING, Prometheus, programs, ready, scraping
from tests.ports import free_port

PROGRAM = next(iter(programs().values()), "")
if not PROGRAM:
    pytest.skip(MISSING, allow_module_level=True)

TELLING = [program for version, program in programs().items() if not version.startswith("2.42.0+ds")]
SHIPPED = ROOT / "deploy" / "storage"
RULES = ROOT / "deploy" / "prometheus"
RECORDING = RULES / "guide-chat.yml"
VICTORIA = shutil.which("victoria-metrics") or shutil.which("victoria-metrics-prod")
needs_victoria = pytest.mark.skipif(
    VICTORIA is None, reason="there is no victoria-metrics on PATH, to which what is scraped could be written"
)


def remote(name: str, address: str) -> list[dict[str, object]]:
    """The remote_write that is shipped, with another address in place of localhost's."""
    (write,) = yaml.safe_load((SHIPPED / f"{name}.yml").read_text())["remote_write"]
    place = urlsplit(write["url"])
    return [{**write, "url": place._replace(netloc=address).geturl()}]


@contextmanager
def victoria_metrics(folder: Path) -> Iterator[Prometheus]:
    """A VictoriaMetrics, which is queried as a Prometheus is."""
    assert VICTORIA is not None
    address = f"127.0.0.1:{free_port()}"
    command = [VICTORIA, f"-storageDataPath={folder}", f"-httpListenAddr={address}", "-search.latencyOffset=0s"]
    log = folder.with_suffix(".log")
    with log.open("wb") as written:
        process = subprocess.Popen(command, stdout=written, stderr=written)
    try:
        ready(process, f"http://{address}/health", log)
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)


class Request(NamedTuple):
    """What somebody sent."""

    path: str
    headers: Message


@contextmanager
def receiving() -> Iterator[tuple[str, Queue[Request]]]:
    """An address that takes all that is written to it, and what came."""
    received: Queue[Request] = Queue()

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(HTTPStatus.NO_CONTENT)
            self.end_headers()
            received.put(Request(self.path, self.headers))

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Taking) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", received
        finally:
            server.shutdown()
            thread.join()


def written(program: str, name: str, exporter: Daemon, folder: Path) -> Request:
    """The first that this Prometheus writes to a store, with what is shipped for that."""
    with receiving() as (address, received):
        write = remote(name, address)
        with scraping(program, folder / "prometheus", exporter.url, remote_write=write):
            return received.get(timeout=PATIENCE)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The exporter beside a simulated model with simulated GPUs."""
    with started(tmp_path_factory.mktemp("demo"), None, "demo") as daemon:
        yield daemon


@needs_victoria
def test_victoria_metrics_has_what_prometheus_has_and_loses_what_it_loses(tmp_path: Path) -> None:
    with begun(tmp_path, None, "demo") as demo, victoria_metrics(tmp_path / "stored") as store:
        write = remote("victoria-metrics", store.url.removeprefix("http://"))
        with scraping(PROGRAM, tmp_path / "prometheus", demo.url, rules=[RECORDING], remote_write=write) as prometheus:
            prometheus.until("model_tokens_per_second")
            here = prometheus.names()
            store.until('count(count by (__name__) ({__name__!=""}))', lambda _: here <= store.names())
            there = store.names()
            version = store.told("model_sidecar_build_info")

            demo.process.kill()
            demo.process.wait()
            gone = store.until("model_sidecar_build_info", lambda told: not told)
            down = store.until("up == 0")

    assert {"model_state", "gpu_power_watts", "model_requests_total", "gpu_memory_used_mb"} <= here
    assert not here - there
    assert [value for _, value in version] == [1]
    assert not gone
    assert down


@pytest.mark.parametrize(
    ("name", "path"), [("victoria-metrics", "/api/v1/write"), ("thanos", "/api/v1/receive"), ("mimir", "/api/v1/push")]
)
def test_what_is_written_arrives_where_each_store_takes_it(demo: Daemon, tmp_path: Path, name: str, path: str) -> None:
    first = written(PROGRAM, name, demo, tmp_path)

    assert first.path == path
    assert first.headers["Content-Encoding"] == "snappy"


@pytest.mark.skipif(
    not TELLING, reason="Debian's Prometheus 2.42 leaves remote_write's headers out, and there is no other"
)
def test_mimir_is_told_whose_it_is(demo: Daemon, tmp_path: Path) -> None:
    first = written(TELLING[0], "mimir", demo, tmp_path)

    assert first.headers["X-Scope-OrgID"] == "models"


@pytest.mark.parametrize("name", ["victoria-metrics", "thanos", "mimir"])
def test_what_is_shipped_for_a_store_goes_at_the_end_of_what_is_shipped_for_prometheus(
    name: str, tmp_path: Path
) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool, which comes with Prometheus, to judge the configuration")
    shutil.copytree(RULES, tmp_path / "prometheus")
    both = tmp_path / "prometheus" / "prometheus.yml"
    both.write_text(both.read_text() + (SHIPPED / f"{name}.yml").read_text())

    judged = subprocess.run([promtool, "check", "config", both], capture_output=True, text=True, check=False)

    assert judged.returncode == 0, judged.stdout + judged.stderr
