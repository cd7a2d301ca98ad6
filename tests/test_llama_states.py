"""Every state that a real llama-server can be brought into, as the real program tells it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.daemon import Daemon, Page, started
from tests.services.green import proxy
from tests.services.llama import MISSING, MODEL, PROGRAM, LlamaServer

if PROGRAM is None:
    pytest.skip(MISSING, allow_module_level=True)

NAME = "llama"
QUICKLY = {
    "prompt": {"every": "500ms", "jitter": 0, "first_token_timeout": "2s", "stall_timeout": "2s", "timeout": "4s"},
    "health": {"every": "1s", "timeout": "1s"},
    "server": {"every": "1s"},
    "gpu": {"enabled": False},
    "host": {"enabled": False, "every": "500ms"},
}
EXCLAMATION_MARK = 33
USERS = 24


def state(page: Page) -> str:
    """The one state that the service stands in; none before it is watched."""
    (only,) = page.by("state", "model_state", target=NAME) or ("",)
    return only


def evidence(page: Page) -> set[str]:
    return set(page.by("evidence", "model_state_evidence", target=NAME))


def until(daemon: Daemon, wanted: str) -> Page:
    """The first page on which the service stands so."""
    page = daemon.until(lambda page: state(page) == wanted)
    assert state(page) == wanted, daemon.log[-4000:]
    return page


@contextmanager
def watched(folder: Path, url: str, **settings: object) -> Iterator[Daemon]:
    with started(folder, {"targets": [{"name": NAME, "url": url, **settings}], **QUICKLY}) as daemon:
        yield daemon


@contextmanager
def crowd(url: str) -> Iterator[None]:
    """Users who keep more requests waiting than one slot can answer in time."""
    gone = threading.Event()
    question = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 400, "cache_prompt": False}

    def use() -> None:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            while not gone.is_set():
                with suppress(httpx.HTTPError):
                    client.post("/v1/chat/completions", json=question)

    users = [threading.Thread(target=use, daemon=True) for _ in range(USERS)]
    for user in users:
        user.start()
    try:
        yield
    finally:
        gone.set()


def test_busy_it_is_saturated_and_never_hung(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(LlamaServer(tmp_path, "-np", "1", "-t", "1")).start()
        daemon = stack.enter_context(watched(tmp_path, server.url))
        until(daemon, "ok")
        with crowd(server.url):
            busy = until(daemon, "saturated")
            while_busy = [daemon.until(lambda _: False, patience=1.0) for _ in range(10)]
        well = until(daemon, "ok")

    assert "tokens_advancing" in evidence(busy)
    assert {state(page) for page in while_busy} <= {"saturated", "ok"}
    assert state(well) == "ok"


def test_frozen_behind_a_proxy_that_answers_for_it_its_health_is_green_and_it_is_hung(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(LlamaServer(tmp_path)).start()
        daemon = stack.enter_context(watched(tmp_path, stack.enter_context(proxy(server.port))))
        # Only a witness that was heard can be seen to stand still.
        daemon.until(lambda page: state(page) == "ok" and "no_witness" not in evidence(page))
        server.signal(signal.SIGSTOP)
        hung = until(daemon, "hung")
        server.signal(signal.SIGCONT)
        well = until(daemon, "ok")

    assert hung.value("model_health_up", target=NAME) == 1
    assert {"health_green", "tokens_frozen"} <= evidence(hung)
    assert state(well) == "ok"


def test_killed_it_is_dead_and_started_again_it_is_well(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(LlamaServer(tmp_path)).start()
        daemon = stack.enter_context(watched(tmp_path, server.url))
        until(daemon, "ok")
        server.signal(signal.SIGKILL)
        dead = until(daemon, "dead")
        server.start()
        until(daemon, "ok")

    assert "process_gone" in evidence(dead)


def test_asleep_it_is_not_woken(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(LlamaServer(tmp_path, "--sleep-idle-seconds", "2")).start()
        # Reading its slots begins its idle time anew, as every prompt does.
        seldom = {"prompt": {"every": "6s", "jitter": 0}, "server": {"every": "6s"}}
        daemon = stack.enter_context(watched(tmp_path, server.url, **seldom))
        asleep = until(daemon, "asleep")
        later = daemon.until(
            lambda page: (page.value("model_probe_skipped_total", target=NAME, reason="asleep") or 0) > 2
        )
        sleeps = httpx.get(f"{server.url}/props", trust_env=False).json()["is_sleeping"]

    assert "asleep" in evidence(asleep)
    assert state(later) == "asleep"
    assert sleeps is True


def test_with_a_wrong_key_it_is_misconfigured(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(LlamaServer(tmp_path, "--api-key", "sk-right")).start()
        wrong = {"headers": {"Authorization": "Bearer sk-wrong"}, "model": MODEL}
        daemon = stack.enter_context(watched(tmp_path, server.url, **wrong))
        refused = until(daemon, "misconfigured")

    assert refused.by("reason", "model_probe_failures_total", target=NAME).keys() == {"unauthorized"}


def test_a_model_that_says_one_token_for_ever_is_garbage(tmp_path: Path) -> None:
    with ExitStack() as stack:
        bias = ("--logit-bias", f"{EXCLAMATION_MARK}+100")
        server = stack.enter_context(LlamaServer(tmp_path, *bias)).start()
        daemon = stack.enter_context(watched(tmp_path, server.url))
        garbage = until(daemon, "garbage")

    assert garbage.by("reason", "model_probe_failures_total", target=NAME).keys() == {"repetitive"}
    assert "health_green" in evidence(garbage)


def test_while_it_loads_a_model_it_is_loading(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(LlamaServer(tmp_path))
        daemon = stack.enter_context(watched(tmp_path, server.url))
        loading = until(daemon, "loading")
        server.start()
        until(daemon, "ok")

    assert loading.value("model_probe_up", target=NAME) in {None, 0}
