"""How the real program begins and ends: what keeps it from starting, and that nothing keeps it from ending."""

import asyncio
import errno
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

import httpx
import pytest
import yaml

from exporter import app
from exporter.listening import bind
from exporter.nvml import Nvml
from exporter.nvml.lease import Lease
from exporter.reload import Asked
from exporter.settings import load
from tests.daemon import PATIENCE, Page, begun, ended
from tests.nvml.driver import Driver, require_compiler
from tests.services.openai import CHAT, ROLE, WORDS, models
from tests.services.scripted import FOREVER, STREAM_HEAD, Request, Service, Stage, Step, reply, stream

SIGNALS = [signal.SIGTERM, signal.SIGINT]
TWO_SECONDS = 5.0  # A machine that is busy may add some.

FILE = """\
targets:
- url: {url}
  prompt: {{max_tokens: 3}}
  {line}
log: {{level: warning}}
"""
LINKS = {
    "MODEL_SIDECAR_SERVICE_HOST": "10.0.0.7",
    "MODEL_SIDECAR_SERVICE_PORT": "10068",
    "MODEL_SIDECAR_SERVICE_PORT_HTTP": "10068",
    "MODEL_SIDECAR_PORT": "tcp://10.0.0.7:10068",
    "MODEL_SIDECAR_PORT_10068_TCP": "tcp://10.0.0.7:10068",
    "MODEL_SIDECAR_PORT_10068_TCP_ADDR": "10.0.0.7",
    "MODEL_SIDECAR_PORT_10068_TCP_PORT": "10068",
    "MODEL_SIDECAR_PORT_10068_TCP_PROTO": "tcp",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """What is typed, and the words that the answer must hold; {url}, {file} and such stand for what is there."""

    name: str
    typed: str
    environment: Mapping[str, str] = field(default_factory=dict)
    words: Sequence[str] = ()

    def __str__(self) -> str:
        return self.name


REFUSED = [
    Run(
        name="port taken",
        typed="{url} --web.listen-address=127.0.0.1:{taken}",
        words=["127.0.0.1:{taken}", "the port is taken"],
    ),
    Run(name="no such file", typed="--config.file={missing}", words=["{missing}", "No such file"]),
    Run(name="misspelt key", typed="--config.file={misspelt}", words=["{misspelt}:4", "promt", "prompt?"]),
    Run(
        name="misspelt variable",
        typed="{url}",
        environment={"MODEL_SIDECAR_PROMPT__EVRY": "5s"},
        words=["MODEL_SIDECAR_PROMPT__EVRY", "MODEL_SIDECAR_PROMPT__EVERY?"],
    ),
    Run(
        name="misspelt flag",
        typed="--web.listen-addres=:1 {url}",
        words=["--web.listen-addres,", "--web.listen-address?"],
    ),
    Run(name="misspelt command", typed="dmeo", words=["dmeo", "demo?"]),
    Run(name="misspelt command with its url", typed="chekc {url}", words=["chekc", "check?"]),
    Run(name="url named like a command", typed="http://config --log.level=loud", words=["--log.level", "loud"]),
]
ACCEPTED = [
    Run(name="links of kubernetes", typed="config check {url}", environment=LINKS, words=["valid", "{url}"]),
    Run(
        name="flags before variables before the file",
        typed="config print --config.file={good} --log.level=error",
        environment={"MODEL_SIDECAR_LOG__LEVEL": "debug", "MODEL_SIDECAR_PROMPT__EVERY": "90s"},
    ),
    Run(name="command after a flag", typed="--log.level=error check"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """How each of the runs ended, and the one service that any of them could have reached."""

    places: Mapping[str, object]
    service: Service
    of: Mapping[Run, CompletedProcess[str]]


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    """All runs, made side by side since each takes the interpreter's start."""
    folder = tmp_path_factory.mktemp("runs")
    with Stage() as stage, socket.create_server(("127.0.0.1", 0)) as taken, ThreadPoolExecutor(4) as pool:
        service = stage.serve({"GET /health": reply("ok"), "GET /v1/models": models("tiny")})
        places = {
            "url": service.url,
            "taken": taken.getsockname()[1],
            "missing": folder / "missing.yml",
            "misspelt": folder / "misspelt.yml",
            "good": folder / "good.yml",
        }
        (folder / "misspelt.yml").write_text(FILE.format(url=service.url, line="promt: {}"))
        (folder / "good.yml").write_text(FILE.format(url=service.url, line="name: chat"))

        def end(run: Run) -> CompletedProcess[str]:
            return ended(*run.typed.format(**places).split(), environment=run.environment)

        runs = [*REFUSED, *ACCEPTED]
        yield Ends(places=places, service=service, of=dict(zip(runs, pool.map(end, runs), strict=True)))


@pytest.mark.parametrize("run", REFUSED, ids=str)
def test_what_is_typed_wrong_ends_the_start_with_one_line_that_names_it(run: Run, ends: Ends) -> None:
    end = ends.of[run]

    assert end.returncode == 2
    assert end.stdout == ""
    (line,) = end.stderr.splitlines()
    assert [word for word in run.words if word.format(**ends.places) not in line] == [], line


def test_nothing_is_started_that_was_typed_wrong(ends: Ends) -> None:
    assert ends.service.requests == []


def test_a_command_that_there_is_is_not_called_unknown(ends: Ends) -> None:
    end = ends.of[ACCEPTED[2]]

    assert "unknown command" not in end.stderr


def test_variables_that_kubernetes_sets_for_a_service_of_that_name_are_ignored(ends: Ends) -> None:
    end = ends.of[ACCEPTED[0]]

    assert (end.returncode, end.stderr) == (0, "")
    assert f"local:{ends.service.url.rpartition(':')[2]}  {ends.service.url}" in end.stdout


def test_flags_stand_before_variables_and_variables_before_the_file(ends: Ends) -> None:
    end = ends.of[ACCEPTED[1]]

    settings = yaml.safe_load(end.stdout)

    assert (end.returncode, end.stderr) == (0, "")
    assert settings["log"]["level"] == "error"
    (target,) = settings["targets"]
    assert target["name"] == "chat"
    assert target["prompt"]["every"] == "90s"
    assert target["prompt"]["max_tokens"] == 3


def until(met: Callable[[], bool]) -> None:
    """Wait for what the program is about to do."""
    deadline = time.monotonic() + PATIENCE
    while not met():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.02)


@pytest.mark.parametrize("sign", SIGNALS, ids=lambda sign: sign.name)
def test_a_signal_ends_it_in_time_while_a_driver_hangs_and_a_stream_is_open(
    sign: signal.Signals, stage: Stage, tmp_path: Path
) -> None:
    require_compiler()
    driver = Driver(tmp_path)
    driver.script({"hang.nvmlDeviceGetCount_v2": 3_600_000})
    endless = stream(ROLE, *WORDS, FOREVER)
    service = stage.serve({"GET /health": reply("ok"), "GET /v1/models": models("tiny"), f"POST {CHAT}": endless})
    config = {
        "targets": [{"url": service.url}],
        "prompt": {"first_token_timeout": "1h", "stall_timeout": "1h", "timeout": "1h"},
    }

    with begun(tmp_path, config, environment=driver.environment) as daemon, socket.socket() as client:
        until(lambda: bool(service.asked("POST")) and (tmp_path / "calls").exists())
        client.connect(("127.0.0.1", httpx.URL(daemon.url).port or 0))
        client.sendall(b"GET /metrics HTTP/1.1\r\n")
        daemon.process.send_signal(sign)
        status = daemon.process.wait(timeout=TWO_SECONDS)

    assert status == 0
    assert "Traceback" not in daemon.log


def test_while_a_driver_hangs_from_the_start_all_else_is_watched(stage: Stage, tmp_path: Path) -> None:
    require_compiler()
    driver = Driver(tmp_path)
    driver.script({"hang.nvmlDeviceGetCount_v2": 3_600_000})
    service = stage.serve({"GET /health": reply("ok"), "GET /v1/models": models("tiny")})

    with begun(tmp_path, {"targets": [{"url": service.url}]}, environment=driver.environment) as daemon:
        until(lambda: bool(daemon.scrape().samples("model_health_up")))
        until(lambda: bool(daemon.scrape().samples("host_load")))
        page = daemon.scrape()

    assert page.value("model_sidecar_collection_up", source="host") == 1
    assert not page.samples("gpu_up")


@contextmanager
def unread() -> Iterator[int]:
    """A pipe that is full and that nobody reads, so that whoever writes one more byte waits for ever."""
    end, start = os.pipe()
    os.set_blocking(start, False)
    for size in (4096, 1):
        try:
            while True:
                os.write(start, b"x" * size)
        except BlockingIOError:
            continue
    os.set_blocking(start, True)
    try:
        yield start
    finally:
        os.close(end)
        os.close(start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """What the program answered while its loop was stuck, and how it ended after a signal; None where it did not."""

    page: Page
    ready: int
    shown: int
    status: int | None


@pytest.fixture(scope="module")
def stuck(tmp_path_factory: pytest.TempPathFactory) -> Stuck:
    """The program, whose loop is stuck in writing its first line to a log that nobody reads."""
    with unread() as log, begun(tmp_path_factory.mktemp("stuck"), log_to=log) as daemon:
        page, ready, shown = daemon.scrape(), daemon.get("/-/ready"), daemon.get("/")
        daemon.process.send_signal(signal.SIGTERM)
        with suppress(TimeoutExpired):
            daemon.process.wait(timeout=TWO_SECONDS)
        return Stuck(page=page, ready=ready.status_code, shown=shown.status_code, status=daemon.process.returncode)


def test_it_answers_while_its_loop_is_stuck(stuck: Stuck) -> None:
    assert stuck.page.value("model_sidecar_collection_attempts_total", source="host") == 0
    assert (stuck.ready, stuck.shown) == (200, 200)


def test_a_signal_ends_it_in_time_while_its_loop_is_stuck(stuck: Stuck) -> None:
    assert stuck.status == 0


def test_a_scrape_is_answered_while_a_task_holds_the_loop() -> None:
    settings = load({"gpu": {"enabled": False}, "host": {"enabled": False}}, file=None, environ={})
    sockets = bind(["127.0.0.1:0"])
    url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/metrics"
    answered = threading.Event()

    def scrape() -> None:
        if httpx.get(url, timeout=PATIENCE, trust_env=False).status_code == 200:
            answered.set()

    async def life() -> bool:
        asked = Asked()
        running = asyncio.create_task(app.run(settings, sockets, asked, Lease(Nvml())))
        await asyncio.sleep(0.01)
        threading.Thread(target=scrape, daemon=True).start()
        meanwhile = answered.wait(PATIENCE)  # holds the loop
        asked.stop.set()
        await running
        return meanwhile

    assert asyncio.run(life())


def test_it_listens_no_more_before_it_lets_go_of_what_is_under_way(stage: Stage) -> None:
    sockets = bind(["127.0.0.1:0"])
    place = sockets[0].getsockname()
    refused: list[bool] = []
    left = threading.Event()

    def answer(_request: Request) -> Iterator[Step]:
        try:
            yield STREAM_HEAD
            yield FOREVER
        finally:
            with socket.socket() as client:
                refused.append(client.connect_ex(place) == errno.ECONNREFUSED)
            left.set()

    service = stage.serve({f"POST {CHAT}": answer})
    target = {"url": service.url, "model": "tiny", "prompt": {"protocol": "openai-chat"}}
    settings = load({"targets": [target], "gpu": {"enabled": False}, "host": {"enabled": False}}, file=None, environ={})

    async def life() -> None:
        asked = Asked()
        running = asyncio.create_task(app.run(settings, sockets, asked, Lease(Nvml())))
        await asyncio.to_thread(until, lambda: bool(service.asked("POST")))
        asked.stop.set()
        await running

    asyncio.run(life())

    assert left.wait(PATIENCE)
    assert refused == [True]


def test_it_ends_without_a_word_of_what_was_under_way(tmp_path: Path) -> None:
    with begun(tmp_path, None, "demo") as daemon:
        until(lambda: "is watched at" in daemon.log)
        model = daemon.log.partition("is watched at http://127.0.0.1:")[2].partition('"')[0]
        with socket.create_connection(("127.0.0.1", int(model))):
            until(lambda: daemon.scrape().value("model_probe_attempts_total", target="demo") == 1)
            daemon.stop()

    assert "Traceback" not in daemon.log


def reserved(pid: int) -> list[int]:
    """Bytes of each stretch of addresses that a process keeps to itself, and has not put to use."""
    maps = (line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines())
    stretches = (place.split("-") for place, access, *_, inode in maps if access.startswith("---p") and inode == "0")
    return [int(end, 16) - int(begin, 16) for begin, end in stretches]


def test_all_its_threads_share_one_heap(tmp_path: Path) -> None:
    with begun(tmp_path, {"targets": [], "host": {"every": "100ms"}}) as daemon:
        page = daemon.until(lambda page: page.value("host_cpus") is not None)
        kept = reserved(daemon.process.pid)

    # A heap of a thread's own, as glibc makes them, has 64 MiB of addresses, of which it puts few to use.
    assert page.value("host_cpus")
    assert max(kept, default=0) < 32 * 2**20
