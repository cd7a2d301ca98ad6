"""A model server that may be frozen: a real llama-server, or the demo's scripted model where there is none."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from exporter.commands.demo import model
from tests.daemon import ROOT
from tests.services import llama


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One that answers at a port of loopback."""

    name: str
    port: int
    send: Callable[[signal.Signals], None]

    def freeze(self) -> None:
        """Let it stand still, in the middle of whatever it does."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.send(signal.SIGCONT)


@contextmanager
def answering(folder: Path) -> Iterator[Model]:
    """The most real one that this machine has, ready."""
    if llama.PROGRAM is None:
        with _scripted() as scripted:
            yield scripted
    else:
        with llama.LlamaServer(folder) as server:
            server.start()
            yield Model(name="a real llama-server", port=server.port, send=server.signal)


@contextmanager
def _scripted() -> Iterator[Model]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    typed = [sys.executable, "-m", model.__name__, str(port)]
    with subprocess.Popen(typed, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), "the scripted model ended before it listened"
            yield Model(name="the demo's scripted model", port=port, send=process.send_signal)
        finally:
            process.kill()
