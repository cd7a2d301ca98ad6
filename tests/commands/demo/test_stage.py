"""`model-sidecar demo`: each scenario as a person starts it and sees it, and a model that ends with it."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path

import httpx
import psutil
import pytest

from exporter import app
from exporter.commands.demo import stage
from exporter.commands.demo.engine import Manner
from exporter.commands.demo.gpu import MODELS, SimulatedDriver
from exporter.commands.demo.scenarios import SCENARIOS, TOUR
from exporter.listening import bind
from exporter.nvml.lease import Lease
from exporter.reload import Asked
from exporter.settings import load
from tests.daemon import PATIENCE, Daemon, Page, begun, ended, started

QUICK = {
    "prompt": {"every": 1, "first_token_timeout": 2, "stall_timeout": 2, "timeout": 6},
    **{name: {"every": 1} for name in ("health", "server", "gpu", "host")},
}


def value(page: Page, name: str, **labels: str) -> float:
    """A value, or less than any where there is none."""
    found = page.value(name, **labels)
    return -1.0 if found is None else found


def asked(page: Page) -> bool:
    """Whether a prompt has been answered, or failed, or been left out on purpose."""
    return page.value("model_probe_up") is not None or bool(page.by("reason", "model_probe_skipped_total"))


def lost(page: Page) -> bool:
    return page.value("gpu_up", gpu="1") == 0


# What else must be seen before a page is looked at.
SETTLED: Mapping[str, Callable[[Page], bool]] = {
    "healthy": lambda page: value(page, "model_probe_last_first_token_seconds") > 0,
    "busy": lambda page: value(page, "model_server_generation_tokens_total") > 0,
    "dead": lambda page: (
        "refused" in page.by("reason", "model_probe_failures_total")
        and page.value("model_process_up") == 0
        and page.value("gpu_memory_used_bytes", gpu="0") == 0
    ),
    "green-but-hung": lambda page: value(page, "gpu_power_watts", gpu="0") < 200,
    "gpu-hot": lambda page: value(page, "gpu_temperature_celsius", gpu="0") > 85,
    "gpu-lost": lost,
    "xid": lambda page: lost(page) and page.value("gpu_xid_errors_total", gpu="1", xid="79") == 1,
    "memory-leak": lambda page: value(page, "model_process_resident_memory_bytes") > 32 * 2**20,
}


@pytest.fixture(scope="module")
def pages() -> Mapping[str, Page]:
    """What each scenario comes to, all shown at once and at a quicker pace than a person could follow."""

    async def every() -> Mapping[str, Page]:
        return dict(zip(SCENARIOS, await asyncio.gather(*map(shown, SCENARIOS)), strict=True))

    return asyncio.run(every())


async def shown(name: str) -> Page:
    """The page of one scenario, once it is settled."""
    driver, asked, (listening,) = SimulatedDriver(), Asked(), bind(["127.0.0.1:0"])
    with stage.reserved() as port:
        flags = {**stage.SETTINGS, **QUICK, "targets": [stage.target(port, "demo")]}
        async with stage.played(name, port, driver):
            settings = load(flags, file=None, environ={})
            running = asyncio.create_task(app.run(settings, [listening], asked, Lease(driver)))
            page = await settled(f"http://127.0.0.1:{listening.getsockname()[1]}/metrics", name)
            asked.stop.set()
            await running
    return page


async def settled(url: str, scenario: str) -> Page:
    """The first page on which all of a scenario is seen, or the last one when patience has run out."""
    seen = SETTLED.get(scenario, asked)

    def holds(page: Page) -> bool:
        return list(page.by("state", "model_state")) == [SCENARIOS[scenario].state] and seen(page)

    end = time.monotonic() + PATIENCE
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
        while not holds(page := Page((await client.get(url)).text)) and time.monotonic() < end:  # noqa: ASYNC110  a page
            await asyncio.sleep(0.5)
    return page


@pytest.fixture
def page(pages: Mapping[str, Page], request: pytest.FixtureRequest) -> Page:
    return pages[request.param]


def of(scenario: str) -> pytest.MarkDecorator:
    """The page of one scenario."""
    return pytest.mark.parametrize("page", [scenario], indirect=True)


@pytest.mark.parametrize(("page", "scenario"), [(name, name) for name in SCENARIOS], indirect=["page"])
def test_the_verdict_is_the_one_that_the_scenario_is_to_show(page: Page, scenario: str) -> None:
    assert list(page.by("state", "model_state", target="demo")) == [SCENARIOS[scenario].state]


@pytest.mark.parametrize("page", SCENARIOS, indirect=True)
def test_its_model_is_recognised_like_any_other_and_every_gpu_says_that_it_is_simulated(page: Page) -> None:
    engines = {it.labels["engine"] for it in page.samples("model_info", target="demo")}
    names = {it.labels["name"] for it in page.samples("gpu_info")}

    assert engines == {"vllm"}
    assert {name.partition(" ")[0] for name in names} == {"Simulated"}


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("busy", "timeout_first_token"),
        ("green-but-hung", "timeout_first_token"),
        ("garbage", "repetitive"),
        ("dead", "refused"),
        ("loading", "loading"),
        ("misconfigured", "unauthorized"),
    ],
    indirect=["page"],
)
def test_a_prompt_fails_for_what_is_wrong(page: Page, reason: str) -> None:
    assert page.value("model_probe_up", target="demo") == 0
    # Beside it, an answer may have been cut off in its middle when that began.
    assert reason in page.by("reason", "model_probe_failures_total", target="demo")


@pytest.mark.parametrize("page", ["healthy", "gpu-hot", "gpu-lost", "xid", "memory-leak"], indirect=True)
def test_a_prompt_is_answered_where_the_model_is_well(page: Page) -> None:
    assert page.value("model_probe_up", target="demo") == 1
    assert page.value("model_health_up", target="demo") == 1
    assert page.by("reason", "model_probe_failures_total", target="demo") == {}


@of("healthy")
def test_the_first_token_comes_before_the_first_word_of_the_answer(page: Page) -> None:
    first = value(page, "model_probe_last_first_token_seconds", target="demo")
    answer = value(page, "model_probe_last_first_answer_token_seconds", target="demo")

    assert 0 < first <= answer


@of("busy")
def test_a_busy_model_has_a_queue_and_goes_on_generating(page: Page) -> None:
    assert value(page, "model_server_requests_waiting", target="demo") > 8
    assert value(page, "gpu_power_watts", gpu="0") > 300


@of("green-but-hung")
def test_a_hung_model_is_green_holds_requests_and_leaves_its_gpu_cold(page: Page) -> None:
    assert page.value("model_health_up", target="demo") == 1
    assert value(page, "model_server_requests_running", target="demo") > 0
    assert page.value("gpu_utilization_ratio", gpu="0") == 1
    assert 0 < value(page, "gpu_power_watts", gpu="0") < 200


@of("asleep")
def test_a_sleeping_model_is_never_asked(page: Page) -> None:
    assert list(page.by("reason", "model_probe_skipped_total", target="demo")) == ["asleep"]
    assert page.value("model_probe_attempts_total", target="demo") == 0
    assert page.value("model_health_up", target="demo") == 1


@of("loading")
def test_a_loading_model_says_so_where_its_health_is_asked(page: Page) -> None:
    assert list(page.by("reason", "model_health_failures_total", target="demo")) == ["loading"]


@of("dead")
def test_a_dead_models_process_is_gone_and_with_it_its_hold_on_the_gpu(page: Page) -> None:
    assert page.value("model_process_up", target="demo") == 0
    assert page.value("gpu_memory_used_bytes", gpu="0") == 0
    assert page.value("gpu_utilization_ratio", gpu="0") == 0


@of("gpu-hot")
def test_a_hot_gpu_slows_down(page: Page) -> None:
    now = value(page, "gpu_clock_hertz", gpu="0", clock="sm")

    assert 0 < now < value(page, "gpu_clock_max_hertz", gpu="0", clock="sm")


@pytest.mark.parametrize("page", ["gpu-lost", "xid"], indirect=True)
def test_a_lost_gpu_is_still_known_by_its_uuid(page: Page) -> None:
    (gone,) = page.samples("gpu_up", gpu="1")

    assert gone.value == 0
    assert gone.labels["uuid"]
    assert page.value("gpu_up", gpu="0") == 1


def test_it_names_the_scenario_and_says_that_its_gpus_are_simulated(tmp_path: Path) -> None:
    with started(tmp_path, None, "demo", "--scenario", TOUR) as daemon:
        daemon.until(lambda _: "scenario " in daemon.log)

    assert "every GPU is simulated" in daemon.log
    assert f'msg="scenario healthy: {SCENARIOS["healthy"].sentence}"' in daemon.log
    assert f"look at {daemon.url}/" in daemon.log


def test_a_tour_shows_everything_in_turn_within_minutes_and_then_again() -> None:
    parts = list(islice(stage.order(TOUR), len(SCENARIOS) + 1))

    assert [name for name, _ in parts] == [*SCENARIOS, "healthy"]
    assert sum(seconds for _, seconds in parts) < 7 * 60


def test_a_scenario_that_is_misspelt_is_refused_with_the_one_that_was_meant() -> None:
    refused = ended("demo", "--scenario", "green-but-hungry")

    assert refused.returncode == 2
    assert "did you mean green-but-hung?" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_every_scenario_is_told_of_in_its_help() -> None:
    lines = [line.split(maxsplit=1) for line in ended("demo", "--help").stdout.splitlines()]

    assert [[name, scenario.sentence] for name, scenario in SCENARIOS.items()] == [
        line for line in lines if line and line[0] in SCENARIOS
    ]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """The demo with a model that holds on to all that it was asked."""
    with begun(tmp_path, None, "demo", "--scenario", "green-but-hung") as daemon:
        yield daemon


def test_the_scenario_that_was_typed_is_shown(daemon: Daemon) -> None:
    page = daemon.until(lambda page: page.value("model_probe_up") == 0)

    assert (page.value("model_probe_up"), page.value("model_health_up")) == (0, 1)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_its_model_ends_with_it_however_it_ends(daemon: Daemon, sign: signal.Signals) -> None:
    (scripted,) = psutil.Process(daemon.process.pid).children()

    daemon.stop(sign)

    assert soon(lambda: not runs(scripted))


def runs(process: psutil.Process) -> bool:
    """Whether it runs, rather than waiting for somebody to ask how it ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def soon(holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold."""
    end = time.monotonic() + PATIENCE
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


def test_a_model_that_was_dead_is_there_again_on_the_same_port() -> None:
    async def life() -> list[int | None]:
        with stage.reserved() as port:
            scripted = stage.Model(port, SimulatedDriver())
            behave = partial(scripted.behave, gpu_memory=MODELS)
            url = f"{stage.target(port, 'demo')['url']}/health"
            try:
                return [await answered(behave, manner, url) for manner in (Manner.WELL, None, Manner.WELL)]
            finally:
                await scripted.end()

    assert asyncio.run(life()) == [200, None, 200]


async def answered(behave: Callable[[Manner | None], object], manner: Manner | None, url: str) -> int | None:
    """The status of one answer once the model behaves so; None where the connection is refused."""
    await behave(manner)  # type: ignore[misc]  # a partial of a coroutine function
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            return (await client.get(url)).status_code
        except httpx.ConnectError:
            return None
