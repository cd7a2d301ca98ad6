"""A real llama-server and all that it lives through: up, frozen, going on, killed, started again."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.daemon import PATIENCE, Daemon, Page, started
from tests.services import tiny_gguf

PROGRAM = os.environ.get("LLAMA_SERVER") or shutil.which("llama-server")
if PROGRAM is None:
    reason = "there is no llama-server of llama.cpp on PATH or in LLAMA_SERVER, to be watched for real"
    pytest.skip(reason, allow_module_level=True)

NAME, MODEL = "llama", "tiny"
CONFIG = {
    "prompt": {"every": "1s", "jitter": 0, "first_token_timeout": "2s", "stall_timeout": "2s", "timeout": "4s"},
    "health": {"every": "1s", "timeout": "1s"},
    "gpu": {"enabled": False},
    "host": {"enabled": False, "every": "1s"},
}


class LlamaServer(AbstractContextManager["LlamaServer"]):
    """One llama-server at one port, which may be started again."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._model = tiny_gguf.write(folder / "tiny.gguf")
        self._log = folder / "llama-server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it, and wait until it is ready."""
        command = [str(PROGRAM), "--model", str(self._model), "--alias", MODEL, "--metrics", "--offline", "--no-ui"]
        where = ["--host", "127.0.0.1", "--port", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*command, *where], stdout=log, stderr=log)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """The page at every station, and the output tokens as both sides counted them while all was well."""

    up: Page
    counted: tuple[float | None, float]
    frozen: Page
    going_on: Page
    killed: Page
    started_again: Page
    log: str


def count(page: Page, what: str, reason: str) -> float:
    """How often a health check or a prompt has failed for a reason."""
    return page.value(f"model_{what}_failures_total", target=NAME, reason=reason) or 0


def is_up(page: Page) -> bool:
    """Whether health, prompt and process are all well."""
    return all(page.value(f"model_{what}_up", target=NAME) == 1 for what in ("health", "probe", "process"))


def agreed(daemon: Daemon, server: LlamaServer) -> tuple[float | None, float]:
    """Output tokens as we counted them and as it did, once no prompt is under way; what they are when time is up."""
    end = time.monotonic() + PATIENCE
    while True:
        ours = daemon.scrape().value("model_probe_output_tokens_total", target=NAME)
        theirs = server.counts()["llamacpp_tokens_predicted_total"]
        if ours == theirs or time.monotonic() > end:
            return ours, theirs


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One program that watches one server through everything."""
    with ExitStack() as stack:
        server = stack.enter_context(LlamaServer(tmp_path_factory.mktemp("llama"))).start()
        config = {"targets": [{"name": NAME, "url": server.url}], **CONFIG}
        daemon = stack.enter_context(started(tmp_path_factory.mktemp("sidecar"), config))
        up = daemon.until(lambda page: is_up(page) and (page.value("model_probe_output_tokens_total") or 0) > 32)
        counted = agreed(daemon, server)
        server.signal(signal.SIGSTOP)
        frozen = daemon.until(
            lambda page: bool(count(page, "probe", "timeout_first_token") and count(page, "health", "timeout_total"))
        )
        server.signal(signal.SIGCONT)
        going_on = daemon.until(is_up)
        server.signal(signal.SIGKILL)
        killed = daemon.until(
            lambda page: (
                all(count(page, what, "refused") for what in ("probe", "health"))
                and page.value("model_process_up", target=NAME) == 0
            )
        )
        server.start()
        started_again = daemon.until(is_up)
        yield Life(
            up=up,
            counted=counted,
            frozen=frozen,
            going_on=going_on,
            killed=killed,
            started_again=started_again,
            log=daemon.log,
        )


def test_it_is_recognised_and_answers(life: Life) -> None:
    (told,) = life.up.samples("model_info", target=NAME)

    assert is_up(life.up)
    assert (told.labels["model"], told.labels["protocol"]) == (MODEL, "openai-chat")
    assert life.up.value("model_probe_tokens_estimated", target=NAME) == 0
    assert life.up.value("model_probe_last_first_token_seconds", target=NAME)
    assert life.up.value("model_process_resident_memory_bytes", target=NAME)


def test_both_sides_count_the_same_tokens(life: Life) -> None:
    ours, theirs = life.counted

    assert ours == theirs
    assert theirs > 32


def test_frozen_its_process_is_there_and_nothing_answers(life: Life) -> None:
    assert life.frozen.value("model_process_up", target=NAME) == 1
    assert life.frozen.value("model_probe_up", target=NAME) == 0
    assert life.frozen.value("model_health_up", target=NAME) == 0
    assert count(life.frozen, "health", "timeout_total") > 0
    assert count(life.frozen, "probe", "refused") == 0


def test_it_recovers_when_it_goes_on(life: Life) -> None:
    assert is_up(life.going_on)
    assert life.going_on.value("model_process_restarts_total", target=NAME) == 0


def test_killed_it_refuses_and_its_process_is_gone(life: Life) -> None:
    assert life.killed.value("model_process_up", target=NAME) == 0
    assert life.killed.value("model_process_resident_memory_bytes", target=NAME) is None
    assert life.killed.value("model_probe_up", target=NAME) == 0
    assert count(life.killed, "probe", "refused") > 0
    assert count(life.killed, "health", "refused") > 0


def test_started_again_it_is_up_and_its_restart_is_counted(life: Life) -> None:
    assert is_up(life.started_again)
    assert life.started_again.value("model_process_restarts_total", target=NAME) == 1


def test_what_was_counted_never_falls(life: Life) -> None:
    for name in ("model_probe_output_tokens_total", "model_probe_attempts_total", "model_process_cpu_seconds_total"):
        stations = (life.up, life.frozen, life.going_on, life.started_again)
        sums = [sum(sample.value for sample in page.samples(name, target=NAME)) for page in stations]
        assert sums == sorted(sums), name


def test_the_log_tells_every_change_once(life: Life) -> None:
    assert life.log.count("prompt is answered") == 3
    assert life.log.count("prompt fails") == 2
