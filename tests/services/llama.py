"""A real llama-server at one port, which may be frozen, killed and started again."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.daemon import PATIENCE
from tests.services import tiny_gguf

PROGRAM = os.environ.get("LLAMA_SERVER") or shutil.which("llama-server")
MISSING = "there is no llama-server of llama.cpp on PATH or in LLAMA_SERVER, to be watched for real"
MODEL = "tiny"


class LlamaServer(AbstractContextManager["LlamaServer"]):
    """One llama-server with a model that says nonsense without end."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._options = options
        self._model = tiny_gguf.write(folder / "tiny.gguf")
        self._log = folder / "llama-server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it, and wait until it is ready."""
        command = [str(PROGRAM), "--model", str(self._model), "--alias", MODEL, "--metrics", "--offline", "--no-ui"]
        where = ["--host", "127.0.0.1", "--port", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*command, *where, *self._options], stdout=log, stderr=log)
        end = time.monotonic() + PATIENCE
        while not self._is_ready():
            assert time.monotonic() < end, self._log.read_text()[-4000:]
            time.sleep(0.1)
        return self

    def signal(self, sign: signal.Signals) -> None:
        """Freeze it, let it go on, or kill it."""
        assert self._process is not None
        self._process.send_signal(sign)
        if sign is signal.SIGKILL:
            self._process.wait()

    def counts(self) -> Mapping[str, float]:
        """What it counts itself."""
        text = httpx.get(f"{self.url}/metrics", trust_env=False).text
        families = text_string_to_metric_families(text.replace("llamacpp:", "llamacpp_"))
        return {sample.name: sample.value for family in families for sample in family.samples}

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
