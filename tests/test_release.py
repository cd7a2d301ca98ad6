"""The real program, which lets go of the GPUs' driver when asked to, and begins anew for a library it cannot load."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from exporter.renewal import DONE_FOR
from tests.daemon import PATIENCE, Daemon, Page, begun, started
from tests.nvml.driver import Driver, require_compiler

require_compiler()

RELEASE, ACQUIRE = "/-/gpu/release", "/-/gpu/acquire"
OFTEN = {"every": "200ms", "medium": "200ms", "slow": "200ms"}
ABLE: Mapping[str, object] = {"gpu": OFTEN, "host": {"enabled": False}, "web": {"enable_lifecycle": True}}
SECOND = "GPU-00000001-0000-0000-0000-000000000001"
OLD, NEW = "580.105.08", "590.48.01"


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    folder = tmp_path / "driver"
    folder.mkdir()
    return Driver(folder)


@pytest.fixture
def daemon(tmp_path: Path, driver: Driver) -> Iterator[Daemon]:
    """The program, which has seen the driver's one GPU and waits for its Xids."""
    with started(tmp_path, ABLE, environment=driver.environment) as daemon:
        daemon.until(lambda page: page.value("gpu_xid_errors_total", xid="79") == 0)
        yield daemon


def posted(daemon: Daemon, path: str) -> httpx.Response:
    return httpx.post(daemon.url + path, timeout=PATIENCE, trust_env=False)


def of_gpus(page: Page) -> list[str]:
    return [line for line in page.text.splitlines() if line.startswith(("gpu_", "model_gpu_"))]


def up(page: Page) -> float | None:
    return page.value("model_sidecar_collection_up", source="gpu")


def failures(page: Page, reason: str) -> float:
    return page.value("model_sidecar_collection_failures_total", source="gpu", reason=reason) or 0


def looks(page: Page) -> float:
    return page.value("model_sidecar_collection_attempts_total", source="gpu") or 0


def users(driver: Driver) -> int:
    """How many more times the driver was taken up than let go of."""
    calls = [call.function for call in driver.calls() if call.result == 0]
    return calls.count("nvmlInitWithFlags") - calls.count("nvmlShutdown")


def test_a_release_lets_go_of_the_driver_at_once_and_until_it_is_acquired(daemon: Daemon, driver: Driver) -> None:
    before = users(driver)

    response = posted(daemon, RELEASE)
    after = users(driver)
    page = daemon.scrape()
    driver.forget_calls()
    daemon.until(lambda later: looks(later) >= looks(page) + 3)

    assert (response.status_code, response.text) == (200, "The GPUs' driver is let go of.\n")
    assert before > 0
    assert after == 0
    assert driver.calls() == []
    assert of_gpus(page) == []
    assert (up(page), failures(page, "released") > 0) == (0, True)
    assert "cannot be read (released)" in daemon.log

    response = posted(daemon, ACQUIRE)
    page = daemon.scrape()

    assert (response.status_code, response.text) == (200, "The GPUs' driver is taken up again.\n")
    assert (page.value("gpu_up", gpu="0"), up(page)) == (1, 1)
    assert "can be read again" in daemon.log


def test_to_release_what_is_released_and_acquire_what_is_acquired_changes_nothing(
    daemon: Daemon, driver: Driver
) -> None:
    answers = [posted(daemon, path).status_code for path in (RELEASE, RELEASE, ACQUIRE, ACQUIRE, RELEASE)]

    assert answers == [200] * 5
    assert users(driver) == 0
    assert of_gpus(daemon.scrape()) == []


def test_a_release_waits_for_a_look_that_is_under_way(daemon: Daemon, driver: Driver) -> None:
    driver.script({"hang.nvmlDeviceGetPerformanceState": 1500})
    until(lambda: bool(driver.hanging()))

    response = posted(daemon, RELEASE)

    assert response.status_code == 200
    assert users(driver) == 0
    assert driver.hanging() == []


def test_a_release_during_a_call_that_hangs_says_so_and_is_made_good_when_that_returns(
    daemon: Daemon, driver: Driver
) -> None:
    driver.script({"hang.nvmlDeviceGetPerformanceState": "forever"})
    until(lambda: bool(driver.hanging()))

    response = posted(daemon, RELEASE)
    meanwhile = users(driver)
    driver.script({"hang.nvmlDeviceGetPerformanceState": None})
    page = daemon.until(lambda page: failures(page, "released") > 0)

    assert response.status_code == 504
    assert response.text == "A call of the driver hangs. The driver is let go of as soon as that returns.\n"
    assert meanwhile > 0
    assert users(driver) == 0
    assert of_gpus(page) == []


def test_a_wait_for_xids_that_does_not_return_holds_the_driver_too(daemon: Daemon, driver: Driver) -> None:
    driver.script({"hang.nvmlEventSetWait_v2": "forever"})
    until(lambda: bool(driver.hanging()))

    response = posted(daemon, RELEASE)
    page = daemon.scrape()
    driver.script({"hang.nvmlEventSetWait_v2": None})
    until(lambda: users(driver) == 0)

    assert response.status_code == 503
    assert response.text == "A call of the driver hangs. The driver is let go of as soon as that returns.\n"
    assert of_gpus(page) == []


def test_a_driver_that_cannot_be_taken_up_again_is_tried_at_every_look(daemon: Daemon, driver: Driver) -> None:
    posted(daemon, RELEASE)
    driver.script({"driver.loaded": 0})

    response = posted(daemon, ACQUIRE)
    unloaded = daemon.scrape()
    driver.script({"driver.loaded": 1})
    page = daemon.until(lambda page: up(page) == 1)

    assert response.status_code == 503
    assert failures(unloaded, "not_found") > 0
    assert page.value("gpu_up", gpu="0") == 1


def test_nothing_is_released_where_that_is_not_enabled(tmp_path: Path, driver: Driver) -> None:
    config = {"gpu": OFTEN, "host": {"enabled": False}}
    with started(tmp_path, config, environment=driver.environment) as daemon:
        refused = [posted(daemon, path) for path in (RELEASE, ACQUIRE)]
        asked = [daemon.get(path) for path in (RELEASE, ACQUIRE)]
        page = daemon.until(lambda page: page.value("gpu_up", gpu="0") == 1)

    assert {(each.status_code, each.text) for each in refused} == {
        (403, "Lifecycle API is not enabled. Start with --web.enable-lifecycle, or set web.enable_lifecycle.\n")
    }
    assert {(each.status_code, each.headers["allow"]) for each in asked} == {(405, "POST")}
    assert page.value("gpu_up", gpu="0") == 1


def test_a_flag_enables_it_and_without_gpus_there_is_nothing_to_release(tmp_path: Path) -> None:
    config = {"gpu": {"enabled": False}, "host": {"enabled": False}}
    with started(tmp_path, config, "--web.enable-lifecycle") as daemon:
        response = posted(daemon, RELEASE)

    assert response.status_code == 404
    assert response.text == "The GPUs are not read here, so that nothing holds their driver.\n"


def upgraded(daemon: Daemon, driver: Driver) -> None:
    """The driver is upgraded under the program, which cannot let go of the library of before."""
    daemon.until(lambda page: up(page) == 1)
    driver.script({"driver.version": NEW, "driver.generation": 2})
    daemon.until(lambda page: failures(page, "version_mismatch") > 0)


def begun_anew(daemon: Daemon, times: int = 1) -> None:
    """Returns once it listens again."""
    until(lambda: daemon.log.count(" listens; ") > times)
    until(lambda: answers(daemon))


def answers(daemon: Daemon) -> bool:
    try:
        return daemon.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def until(settled: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not settled():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_program_begins_anew_once_its_drivers_library_is_another(tmp_path: Path, driver: Driver) -> None:
    driver.install(OLD)
    with started(tmp_path, ABLE, environment=driver.environment) as daemon:
        upgraded(daemon, driver)
        meanwhile = daemon.scrape()
        driver.install(NEW)
        begun_anew(daemon)
        page = daemon.until(lambda page: page.value("gpu_up", gpu="0") == 1)

    assert of_gpus(meanwhile) == []
    assert daemon.log.count("starts anew") == 1
    assert page.value("gpu_driver_info", driver=NEW) == 1
    assert failures(page, "version_mismatch") == 0


def test_it_begins_anew_no_second_time_for_a_library_that_is_still_wrong(tmp_path: Path, driver: Driver) -> None:
    driver.install(OLD)
    with started(tmp_path, ABLE, environment=driver.environment) as daemon:
        upgraded(daemon, driver)
        driver.install("585.0")
        begun_anew(daemon)
        page = daemon.until(lambda page: failures(page, "version_mismatch") > 1)

        assert daemon.log.count("starts anew") == 1
        assert (up(page), of_gpus(page)) == (0, [])

        driver.install(NEW)
        begun_anew(daemon, times=2)
        page = daemon.until(lambda page: page.value("gpu_up", gpu="0") == 1)

    assert daemon.log.count("starts anew") == 2
    assert page.value("gpu_up", gpu="0") == 1


def test_it_does_not_begin_anew_with_settings_that_have_become_wrong(tmp_path: Path, driver: Driver) -> None:
    driver.install(OLD)
    with started(tmp_path, ABLE, environment=driver.environment) as daemon:
        upgraded(daemon, driver)
        right = (tmp_path / "config.yml").read_text()
        (tmp_path / "config.yml").write_text("gpu: {evry: 1}")
        driver.install(NEW)
        daemon.until(lambda _page: "correct them" in daemon.log)
        several = failures(daemon.scrape(), "version_mismatch") + 2
        daemon.until(lambda page: failures(page, "version_mismatch") >= several)

        assert daemon.log.count("correct them") == 1
        assert "starts anew" not in daemon.log

        (tmp_path / "config.yml").write_text(right)
        begun_anew(daemon)

    assert daemon.log.count("starts anew") == 1


def test_a_supervisor_can_stop_it_after_it_has_begun_anew(tmp_path: Path, driver: Driver) -> None:
    driver.install(OLD)
    with begun(tmp_path, ABLE, environment=driver.environment) as daemon:
        upgraded(daemon, driver)
        driver.install(NEW)
        until(lambda: "starts anew" in daemon.log)

        os.kill(daemon.process.pid, signal.SIGTERM)

        assert daemon.process.wait(PATIENCE) == 0


def test_it_begins_anew_for_no_file_for_which_it_has(tmp_path: Path, driver: Driver) -> None:
    kept = driver.library.with_name("kept")
    os.link(driver.library, kept)
    file = kept.stat()
    known = {DONE_FOR: f"{file.st_dev}:{file.st_ino}:{file.st_mtime_ns}"}
    driver.install(OLD)
    with started(tmp_path, ABLE, environment={**driver.environment, **known}) as daemon:
        upgraded(daemon, driver)
        kept.replace(driver.library)
        several = failures(daemon.scrape(), "version_mismatch") + 2
        daemon.until(lambda page: failures(page, "version_mismatch") >= several)

    assert "starts anew" not in daemon.log


def of_services(gpus: object, devices: object) -> Mapping[str, object]:
    """A service with these GPUs, where these are told of."""
    target = {"url": "http://127.0.0.1:9", "gpus": gpus}
    return {"targets": [target], "gpu": {**OFTEN, "devices": devices}, "host": {"enabled": False}}


@pytest.mark.parametrize(
    ("config", "gpus"),
    [
        (of_services("auto", [SECOND, 2]), {"1", "2"}),
        (of_services([2], "targets"), {"2"}),
    ],
)
def test_no_question_is_asked_of_gpus_that_were_not_chosen(
    tmp_path: Path, driver: Driver, config: Mapping[str, object], gpus: set[str]
) -> None:
    driver.script({"gpus": 3})

    with started(tmp_path, config, environment=driver.environment) as daemon:
        page = daemon.until(lambda page: {*page.by("gpu", "gpu_up")} == gpus)

    asked = {str(call.gpu) for call in driver.calls() if call.function == "nvmlDeviceGetMemoryInfo_v2"}
    assert {*page.by("gpu", "gpu_up")} == {*page.by("gpu", "gpu_memory_total_bytes")} == asked == gpus
    assert page.value("gpu_devices") == 3


def test_processes_are_told_by_pid_and_calls_by_what_they_took_where_that_is_wanted(
    tmp_path: Path, driver: Driver
) -> None:
    driver.script({"gpu.0.processes": "11:1048576"})
    config = {"gpu": {**OFTEN, "pid_labels": True, "call_metrics": True}, "host": {"enabled": False}}

    with started(tmp_path, config, environment=driver.environment) as daemon:
        page = daemon.until(lambda page: page.samples("gpu_driver_calls_total") != [])

    assert page.by("process", "gpu_process_memory_bytes") == {"11": 1048576}
    assert page.by("function", "gpu_driver_calls_total")["nvmlDeviceGetUUID"] > 0


def test_gpus_that_a_service_names_by_halves_are_found_among_all(tmp_path: Path, driver: Driver) -> None:
    driver.script({"gpus": 3})

    config = of_services([SECOND[:12]], "targets")
    with started(tmp_path, config, environment=driver.environment) as daemon:
        page = daemon.until(lambda page: bool(page.samples("gpu_up")))

    assert {*page.by("gpu", "gpu_up")} == {*page.by("gpu", "gpu_memory_total_bytes")} == {"1"}
