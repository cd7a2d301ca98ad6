"""A real llama-server and all that it lives through: up, frozen, going on, killed, started again."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.daemon import PATIENCE, Daemon, Page, started
from tests.services.llama import MISSING, MODEL, PROGRAM, LlamaServer

if PROGRAM is None:
    pytest.skip(MISSING, allow_module_level=True)

NAME = "llama"
CONFIG = {
    "prompt": {"every": "1s", "jitter": 0, "first_token_timeout": "2s", "stall_timeout": "2s", "timeout": "4s"},
    "health": {"every": "1s", "timeout": "1s"},
    "gpu": {"enabled": False},
    "host": {"enabled": False, "every": "1s"},
}


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


def said_enough(page: Page) -> bool:
    """Whether it was asked several times, and the last time was not heard all at once, as it speaks within 4 ms."""
    several = (page.value("model_probe_output_tokens_total") or 0) > 32
    return several and page.value("model_probe_last_first_token_seconds", target=NAME) is not None


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
        up = daemon.until(lambda page: is_up(page) and said_enough(page))
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
