"""A server like gunicorn: a master holds the socket, its workers accept and do as they are told."""

import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

GUARD = 20.0


class ForkingServer:
    """The server as its tests see it: a process group, and a port."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process = process
        self.port = port

    def order(self, order: str) -> int:
        """Let some worker obey, and say which did."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=GUARD) as connection:
            connection.sendall(order.encode() + b"\n")
            return int(connection.makefile().read())

    def fork(self) -> None:
        """Let the master start one more worker."""
        self.process.send_signal(signal.SIGUSR1)

    def drain(self) -> None:
        """Let the master close its socket and live on."""
        self.process.send_signal(signal.SIGUSR2)
        until(self.refuses)

    def refuses(self) -> bool:
        """Whether nothing listens any more."""
        with socket.socket() as connection:
            connection.settimeout(GUARD)
            return connection.connect_ex(("127.0.0.1", self.port)) == errno.ECONNREFUSED

    def kill(self) -> None:
        """End the master and all workers at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        until(self.refuses)

    def kill_master(self) -> None:
        """End the master alone."""
        self.process.kill()
        self.process.wait()


def until(met: Callable[[], bool]) -> None:
    """Wait for what another process is about to do."""
    deadline = time.monotonic() + GUARD
    while not met():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


@contextmanager
def forking(
    *, workers: int = 0, address: str = "127.0.0.1", port: int = 0, command: Sequence[str] = (sys.executable,)
) -> Iterator[ForkingServer]:
    """A forking server that listens."""
    with subprocess.Popen(
        [*command, "-IS", str(Path(__file__)), address, str(port), str(workers)],
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield ForkingServer(process, int(process.stdout.readline()))
        finally:
            with_group(process.pid, signal.SIGKILL)


def with_group(group: int, number: signal.Signals) -> None:
    """Signal what is left of a process group."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def burn(kept: list[object]) -> None:
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass


def crowd(kept: list[object]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    kept.extend(os.dup(1) for _ in range(40))


def hold(kept: list[object]) -> None:
    kept.append(b"x" * (1 << 25))


def write(kept: list[object]) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * (1 << 20))
        file.flush()
        os.fsync(file.fileno())


def leave(kept: list[object]) -> None:
    kept.clear()


ORDERS = {"burn": burn, "crowd": crowd, "hold": hold, "write": write, "leave": leave}


def work(listening: socket.socket) -> NoReturn:
    kept: list[object] = []
    while True:
        connection, _ = listening.accept()
        with connection:
            order = connection.makefile().readline().strip()
            ORDERS[order](kept)
            connection.sendall(str(os.getpid()).encode())
        if order == "leave":
            os._exit(0)


def main(address: str, port: str, workers: str) -> NoReturn:
    listening = socket.create_server((address, int(port)))

    def fork(*_: int | FrameType | None) -> None:
        if os.fork() == 0:
            work(listening)

    signal.signal(signal.SIGUSR1, fork)
    signal.signal(signal.SIGUSR2, lambda *_: listening.close())
    signal.signal(signal.SIGCHLD, lambda *_: os.waitpid(-1, os.WNOHANG))
    for _ in range(int(workers)):
        fork()
    os.write(1, b"%d\n" % listening.getsockname()[1])
    while True:
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
