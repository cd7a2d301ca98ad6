"""A server that loads for as long as its tests like, and then listens at the port that its environment names."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from tests.services.forking import until, with_group

ROOT = Path(__file__).parent.parent.parent
ORDERS = {signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP}


class LoadingServer:
    """The server as its tests see it: a process, and a port that may refuse for now."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process = process
        self.port = port

    def listen(self) -> None:
        """Let it have loaded."""
        self.process.send_signal(signal.SIGUSR1)
        until(self.listens)

    def fork(self) -> int:
        """Let it start a child that does all that it does, and say which."""
        self.process.send_signal(signal.SIGUSR2)
        return self.said()

    def said(self) -> int:
        """The number that the server, or a child of it, has said next."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def rename(self) -> None:
        """Let it become another command, though the same process."""
        self.process.send_signal(signal.SIGHUP)
        assert self.said() == self.process.pid

    def listens(self) -> bool:
        """Whether it accepts connections."""
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) == 0

    def end(self) -> None:
        """End it, though not its children."""
        self.process.kill()
        self.process.wait()
        until(lambda: not self.listens())


@contextmanager
def loading(port: int, *words: str, user: int = os.getuid(), unit: Path | None = None) -> Iterator[LoadingServer]:
    """A server that loads; its words are there to tell it from others."""
    with subprocess.Popen(
        [sys.executable, "-SP", str(Path(__file__)), *words],
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={"PORT": str(port), "USER_ID": str(user), "PYTHONPATH": str(ROOT)},
    ) as process:
        server = LoadingServer(process, port)
        try:
            assert server.said()
            if unit is not None:
                (unit / "cgroup.procs").write_text(str(process.pid))
            yield server
        finally:
            with_group(process.pid, signal.SIGKILL)


def say() -> None:
    os.write(1, b"%d\n" % os.getpid())


def main(environment: Mapping[str, str]) -> NoReturn:
    os.setuid(int(environment["USER_ID"]))
    say()
    kept = []
    while True:
        order = signal.sigwait(ORDERS)
        if order == signal.SIGUSR1:
            kept.append(socket.create_server(("127.0.0.1", int(environment["PORT"])), backlog=3))
        elif order == signal.SIGUSR2 and os.fork() == 0:
            say()
        elif order == signal.SIGHUP:
            os.execv(sys.executable, ["renamed", "-SP", *sys.argv, "renamed"])


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, ORDERS)
    main(os.environ)
