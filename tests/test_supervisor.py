"""What a service manager hears of the program, at a real socket that it waits at."""

import asyncio
import os
import re
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from threading import Event

import pytest

from exporter.listening import bind
from exporter.messages import Request, Response, plain
from exporter.supervisor import Supervisor
from exporter.web import Server
from tests.daemon import PATIENCE, begun, started
from tests.nvml.driver import Driver, require_compiler

EVERY = 0.3
"""Seconds within which the watchdog of these tests is to be fed, three times as often as it must be."""


class Manager:
    """Whoever started the program: a socket, and all that it has heard there."""

    def __init__(self, waiting: socket.socket, address: str) -> None:
        self.heard: list[str] = []
        self.environment = {"NOTIFY_SOCKET": address}
        self._waiting = waiting

    def listen(self, seconds: float) -> Sequence[str]:
        """What is said within so many seconds."""
        before, end = len(self.heard), time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._hear(left)
        return self.heard[before:]

    def until(self, *patterns: str) -> None:
        """Listen until lines like these were said, one after the other, and forget what was heard before."""
        end = time.monotonic() + PATIENCE
        for pattern in patterns:
            while not (said := [at for at, line in enumerate(self.heard) if re.match(pattern, line)]):
                assert time.monotonic() < end, f"{pattern} was never said, but {self.heard}"
                self._hear(end - time.monotonic())
            del self.heard[: said[0] + 1]

    def _hear(self, patience: float) -> None:
        self._waiting.settimeout(patience)
        try:
            self.heard += self._waiting.recv(4096).decode().splitlines()
        except TimeoutError:
            return


@contextmanager
def managing(address: str) -> Iterator[Manager]:
    """A service manager that waits for word."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as waiting:
        waiting.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        yield Manager(waiting, address)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with managing(str(tmp_path / "notify")) as waiting:
        yield waiting


def beside(*services: str) -> dict[str, object]:
    """Settings by which nothing but services is looked at, that are not there."""
    return {
        "targets": [{"name": name, "url": "http://127.0.0.1:9", "prompt": {"enabled": False}} for name in services],
        "health": {"every": "1s"},
        "gpu": {"enabled": False},
        "host": {"enabled": False},
    }


def fed(manager: Manager) -> bool:
    """Whether the watchdog is fed within its time."""
    return "WATCHDOG=1" in manager.listen(5 * EVERY)


def test_who_started_the_program_hears_when_its_page_is_served_and_when_it_ends(
    tmp_path: Path, manager: Manager
) -> None:
    with begun(tmp_path, beside("chat"), environment=manager.environment) as daemon:
        manager.until("READY=1", r"STATUS=watches 1 service: 1 \w+ \(chat\)")
        daemon.process.send_signal(signal.SIGTERM)
        manager.until("STOPPING=1")
        daemon.process.wait(PATIENCE)

        assert daemon.process.returncode == 0


def test_a_name_that_is_no_file_is_heard_of_too(tmp_path: Path) -> None:
    with (
        managing(f"@model-sidecar-{os.getpid()}") as manager,
        started(tmp_path, beside(), environment=manager.environment),
    ):
        manager.until("READY=1", "STATUS=no service is watched")


def test_settings_that_are_read_anew_are_heard_of_wrong_ones_too(tmp_path: Path, manager: Manager) -> None:
    with started(tmp_path, beside("chat"), environment=manager.environment) as daemon:
        manager.until("READY=1", "STATUS=watches 1 service")
        (tmp_path / "config.yml").write_text("targets: [{name: other, url: 'http://127.0.0.1:9'}]\ngpu: {enabled: off}")
        daemon.process.send_signal(signal.SIGHUP)
        manager.until("RELOADING=1", "MONOTONIC_USEC=", "READY=1", r"STATUS=watches 1 service: 1 \w+ \(other\)")
        (tmp_path / "config.yml").write_text("targts: []")
        daemon.process.send_signal(signal.SIGHUP)

        manager.until("RELOADING=1", "MONOTONIC_USEC=", "READY=1")


def watched_over(manager: Manager) -> dict[str, str]:
    """The environment of a program of which a manager wants to hear again and again."""
    return {**manager.environment, "WATCHDOG_USEC": str(int(EVERY * 1e6))}


def test_the_watchdog_is_fed_until_the_program_is_frozen_and_again_once_it_is_thawed(
    tmp_path: Path, manager: Manager
) -> None:
    with started(tmp_path, beside(), environment=watched_over(manager)) as daemon:
        manager.until("READY=1", "WATCHDOG=1")
        alive = fed(manager)
        daemon.process.send_signal(signal.SIGSTOP)
        manager.listen(EVERY)
        frozen = fed(manager)
        daemon.process.send_signal(signal.SIGCONT)
        thawed = fed(manager)

    assert (alive, frozen, thawed) == (True, False, True)


def test_a_driver_that_hangs_does_not_keep_the_watchdog_from_being_fed(tmp_path: Path, manager: Manager) -> None:
    require_compiler()
    driver = Driver(tmp_path)
    driver.script({"gpus": 1})
    settings = {**beside("chat"), "gpu": {"every": "200ms"}}
    environment = {**driver.environment, **watched_over(manager)}
    with begun(tmp_path, settings, environment=environment) as daemon:
        daemon.until(lambda page: page.value("gpu_up", gpu="0") == 1)
        driver.script({"hang.nvmlDeviceGetPerformanceState": 600_000})
        daemon.until(lambda _page: bool(driver.hanging()))

        manager.listen(EVERY)
        assert fed(manager)


def test_the_watchdog_of_another_process_is_not_fed(tmp_path: Path, manager: Manager) -> None:
    environment = {**watched_over(manager), "WATCHDOG_PID": "1"}
    with started(tmp_path, beside(), environment=environment):
        manager.until("READY=1")

        assert not fed(manager)


def test_a_program_that_begins_anew_is_ready_twice_and_never_stopping(tmp_path: Path, manager: Manager) -> None:
    require_compiler()
    driver = Driver(tmp_path)
    driver.install("580.105.08")
    environment = {**driver.environment, **watched_over(manager)}
    with started(
        tmp_path, {**beside(), "gpu": dict.fromkeys(("every", "medium", "slow"), "200ms")}, environment=environment
    ) as daemon:
        daemon.until(lambda page: page.value("gpu_up", gpu="0") == 1)
        manager.until("READY=1", "WATCHDOG=1")
        driver.script({"driver.version": "590.48.01", "driver.generation": 2})
        daemon.until(lambda page: page.value("model_sidecar_collection_up", source="gpu") == 0)
        driver.install("590.48.01")
        while "READY=1" not in manager.heard:
            assert daemon.alive
            manager.listen(EVERY)

        assert "STOPPING=1" not in manager.heard
        manager.until("READY=1", "WATCHDOG=1")


def test_a_loop_that_is_wedged_does_not_feed_the_watchdog(manager: Manager) -> None:
    async def life(supervisor: Supervisor) -> None:
        feeding = asyncio.create_task(supervisor.run(lambda: "well", partial(asyncio.sleep, 0)))
        await asyncio.sleep(EVERY)
        before = manager.listen(0.01)
        time.sleep(2 * EVERY)  # noqa: ASYNC251  which is what wedges it
        wedged = manager.listen(0.01)
        feeding.cancel()

        assert "WATCHDOG=1" in before
        assert not wedged

    with closing(Supervisor(watched_over(manager))) as supervisor:
        asyncio.run(life(supervisor))


def test_a_page_that_is_wedged_does_not_feed_the_watchdog(manager: Manager) -> None:
    wedged = Event()

    def wedging(_request: Request) -> Response:
        wedged.wait(PATIENCE)
        return plain(200, "at last")

    async def life(supervisor: Supervisor) -> None:
        sockets = bind(["127.0.0.1:0"])
        port = sockets[0].getsockname()[1]
        server = Server({"/": wedging}, sockets)
        server.start()
        feeding = asyncio.create_task(supervisor.run(lambda: "well", server.turned))
        await asyncio.sleep(EVERY)
        before = manager.listen(0.01)
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            await asyncio.sleep(EVERY)
            manager.listen(0.01)
            await asyncio.sleep(3 * EVERY)
            silent = manager.listen(0.01)
            wedged.set()
            await asyncio.sleep(EVERY)
        after = manager.listen(0.01)
        feeding.cancel()
        server.stop()

        assert "WATCHDOG=1" in before
        assert not silent
        assert "WATCHDOG=1" in after

    with closing(Supervisor(watched_over(manager))) as supervisor:
        asyncio.run(life(supervisor))


def test_a_manager_that_listens_no_more_holds_nobody_up(tmp_path: Path) -> None:
    with managing(str(tmp_path / "notify")) as deaf, closing(Supervisor(deaf.environment)) as supervisor:
        for number in range(10_000):  # more than any queue of the kernel's holds
            supervisor.status(str(number))
        heard = deaf.listen(0.1)

    assert heard[0] == "STATUS=0"
    assert len(heard) < 10_000


@pytest.mark.parametrize("address", ["/nowhere/notify", "vsock:2:9999", ""])
def test_where_nobody_listens_nothing_goes_wrong(address: str) -> None:
    with closing(Supervisor({"NOTIFY_SOCKET": address})) as supervisor:
        supervisor.ready()
        supervisor.stopping()

    supervisor.stopping()
