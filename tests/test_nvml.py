"""The door to the driver: units, what it cannot say, and a driver that is missing, old, unloaded or loaded anew."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pynvml
import pytest

from exporter.gpus.activity import Gpu
from exporter.gpus.identity import GpuDriver
from exporter.nvml import Nvml
from exporter.reading import Reason, Unreadable
from exporter.sources.gpu import GpuCalls, GpuDevices
from exporter.watch import Collection
from tests.nvml.driver import ROOT, Driver, Look, Readings, looking, of, require_compiler, until, until_heard
from tests.nvml.opened import first, opened, times

require_compiler()


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path)


def failed(readings: Readings) -> Mapping[str, int]:
    """How often looking failed, by reason."""
    return {reason: times for reason, times in of(Collection, readings)[0].failures.items() if times}


def until_readable(look: Look) -> Readings:
    """What the first look says that succeeds."""
    return until(look, lambda readings: of(Collection, readings)[0].up)


def test_a_function_that_the_driver_does_not_know_is_asked_for_once(driver: Driver) -> None:
    driver.script({"result.nvmlDeviceGetTemperature": 13})

    with looking(driver.environment) as look:
        readings = [look() for _ in range(3)]

    functions = [call.function for call in driver.calls()]
    assert functions.count("nvmlDeviceGetTemperature") == 1
    assert [of(Gpu, each)[0].temperature_celsius for each in readings] == [41, 41, 41]


def test_a_driver_is_asked_anew_what_it_knows_once_it_was_loaded_anew(driver: Driver) -> None:
    driver.script({"result.nvmlDeviceGetTotalEnergyConsumption": 13})

    with looking(driver.environment) as look:
        before = until_heard(look)
        driver.script({"driver.generation": 2, "result.nvmlDeviceGetTotalEnergyConsumption": None})
        after = until_readable(look)

    assert [of(Gpu, each)[0].energy_joules for each in (before, after)] == [None, 600.0]


def test_a_missing_library_is_counted_and_named_once(capfd: pytest.CaptureFixture[str]) -> None:
    with looking({**os.environ, "PYTHONPATH": str(ROOT)}, "--library", "/nowhere/libnvidia-ml.so.1") as look:
        readings = [look() for _ in range(3)]

    assert [failed(each) for each in readings] == [{"not_found": times} for times in (1, 2, 3)]
    assert all(len(each) == 1 for each in readings)
    log = capfd.readouterr().err
    assert log.count("/nowhere/libnvidia-ml.so.1 is not installed") == 1
    assert "without GPUs" in log


def test_the_library_may_stand_in_an_unusual_place(driver: Driver) -> None:
    environment = {name: value for name, value in driver.environment.items() if name != "LD_LIBRARY_PATH"}

    with looking(environment, "--library", str(driver.library)) as look:
        readings = look()

    assert of(GpuDevices, readings)[0].devices == 1


def test_a_driver_that_is_loaded_later_is_found(driver: Driver) -> None:
    driver.script({"driver.loaded": 0})

    with looking(driver.environment) as look:
        before = look()
        driver.script({"driver.loaded": 1})
        after = until_readable(look)

    assert failed(before) == {"not_found": 1}
    assert len(of(Gpu, after)) == 1


def test_a_driver_that_was_upgraded_and_loaded_anew_costs_one_look(driver: Driver) -> None:
    with looking(driver.environment) as look:
        until_heard(look)
        driver.script({"driver.generation": 2, "driver.version": "590.48.01"})
        missed, after = look(), look()

    # None where it was the thread that waits for Xids that met the other driver first.
    assert failed(missed) in ({}, {"error": 1})
    assert not of(Gpu, missed)
    assert of(GpuDriver, after)[0].driver == "590.48.01"
    assert len(of(Gpu, after)) == 1


def test_a_driver_that_is_unloaded_leaves_nothing_behind_and_is_found_again(driver: Driver) -> None:
    with looking(driver.environment) as look:
        look()
        driver.script({"driver.loaded": 0})
        without = [look(), look()]
        driver.script({"driver.loaded": 1, "driver.generation": 2})
        after = until_readable(look)

    assert not any(of(Gpu, each) for each in without)
    assert failed(without[-1]) == {"error": 1, "not_found": 1}
    assert of(Gpu, after)[0].temperature_celsius == 41


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (3, Reason.NOT_SUPPORTED),
        (4, Reason.NOT_PERMITTED),
        (18, Reason.VERSION_MISMATCH),
        (28, Reason.NOT_FOUND),
        (8, Reason.ERROR),
        (999, Reason.ERROR),
    ],
)
def test_a_driver_that_cannot_be_opened_gives_its_reason(driver: Driver, code: int, reason: Reason) -> None:
    driver.script({"result.nvmlInitWithFlags": code})

    readings = driver.look()

    assert failed(readings) == {reason: 1}
    assert len(readings) == 1


def test_a_driver_upgraded_under_a_running_exporter_is_a_version_mismatch(driver: Driver) -> None:
    with looking(driver.environment) as look:
        look()
        driver.script({"result.nvmlDeviceGetCount_v2": 18, "result.nvmlInitWithFlags": 18})
        readings = [look(), look()]

    assert failed(readings[-1]) == {"version_mismatch": 2}


def test_a_driver_that_cannot_count_its_gpus_is_opened_anew(driver: Driver) -> None:
    driver.script({"result.nvmlDeviceGetCount_v2": 999})

    with looking(driver.environment) as look:
        readings = [look(), look()]

    assert failed(readings[-1]) == {"error": 2}
    assert [call.function for call in driver.calls()].count("nvmlInitWithFlags") == 2


def test_a_driver_that_cannot_be_opened_is_left_alone_for_a_while(driver: Driver) -> None:
    driver.script({"driver.loaded": 0})

    with looking(driver.environment) as look:
        for _ in range(50):
            look()

    opened = [call for call in driver.calls() if call.function == "nvmlInitWithFlags"]
    assert 1 <= len(opened) < 25


def test_what_a_gpu_does_not_support_it_is_asked_once_and_the_others_at_every_look(driver: Driver) -> None:
    driver.script({"gpus": 2, "gpu.1.power_mw": "N/A"})

    with looking(driver.environment) as look:
        for _ in range(3):
            look()

    asked = [call.gpu for call in driver.calls() if call.function == "nvmlDeviceGetPowerUsage"]
    assert (asked.count(0), asked.count(1)) == (3, 1)


def test_a_gpu_is_asked_again_after_a_while_what_it_did_not_support(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, _ = opened(tmp_path, monkeypatch)
    nvml = Nvml(unsupported_for=0.05)
    nvml.open()
    driver.script({"gpu.0.power_mw": "N/A"})
    before = [first(nvml).number("nvmlDeviceGetPowerUsage") for _ in range(2)]
    driver.script({"gpu.0.power_mw": 70_000})
    time.sleep(0.06)

    after = first(nvml).number("nvmlDeviceGetPowerUsage")

    assert before == [None, None]
    assert after == 70_000


def test_a_gpu_is_asked_again_what_it_did_not_support_once_the_driver_was_loaded_anew(driver: Driver) -> None:
    driver.script({"gpu.0.power_mw": "N/A"})

    with looking(driver.environment) as look:
        before = until_heard(look)
        driver.script({"driver.generation": 2, "gpu.0.power_mw": 70_000})
        after = until_readable(look)

    assert [of(Gpu, each)[0].power_watts for each in (before, after)] == [None, 70.0]


def test_one_thing_that_is_not_supported_leaves_others_of_the_same_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    driver.script({"gpu.0.clock.3": "N/A"})
    gpu = first(nvml)

    told = [gpu.number(("nvmlDeviceGetClockInfo", clock)) for clock in (3, 0, 3, 0)]

    assert told == [None, 345, None, 345]
    assert times(driver, "nvmlDeviceGetClockInfo") == 3


def test_what_the_driver_keeps_from_this_user_is_told_in_the_log_once(
    driver: Driver, capfd: pytest.CaptureFixture[str]
) -> None:
    driver.script({"gpus": 2, "result.nvmlDeviceGetTotalEnergyConsumption": 4})

    with looking(driver.environment, "--verbose") as look:
        for _ in range(3):
            look()

    assert capfd.readouterr().err.count("nvmlDeviceGetTotalEnergyConsumption") == 1


def test_a_function_that_the_binding_does_not_know_is_not_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, nvml = opened(tmp_path, monkeypatch)

    assert first(nvml).number("nvmlDeviceGetKettles") is None


def test_a_driver_too_old_for_a_list_as_the_binding_wants_it_has_no_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, nvml = opened(tmp_path, monkeypatch, lacks=["nvmlDeviceGetComputeRunningProcesses_v3"])

    assert first(nvml).rows("nvmlDeviceGetComputeRunningProcesses") is None


def test_what_each_function_costs_is_told_where_it_is_wanted(driver: Driver) -> None:
    driver.script({"gpus": 2, "hang.nvmlDeviceGetPowerUsage": 20, "hang.nvmlDeviceGetHandleByIndex_v2": 10})

    with looking(driver.environment, "--timed") as look:
        look()
        look()
        calls = of(GpuCalls, look())[0]

    assert calls.calls["nvmlDeviceGetPowerUsage"] == 4
    assert calls.call_seconds["nvmlDeviceGetPowerUsage"] >= 0.08
    assert calls.call_seconds["nvmlDeviceGetHandleByIndex"] >= 0.02
    assert calls.calls.keys() == calls.call_seconds.keys()


def test_what_a_failed_call_cost_is_counted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    driver.script({"gpu.0.power_mw": "!999"})
    nvml.costs()

    first(nvml).number("nvmlDeviceGetPowerUsage")

    assert nvml.costs()["nvmlDeviceGetPowerUsage"].calls == 1


def test_what_the_functions_cost_is_absent_unless_wanted(driver: Driver) -> None:
    assert not of(GpuCalls, driver.look())


def test_a_library_that_is_installed_later_is_found(driver: Driver) -> None:
    driver.uninstall()

    with looking(driver.environment) as look:
        before = look()
        driver.install()
        after = until_readable(look)

    assert failed(before) == {"not_found": 1}
    assert len(of(Gpu, after)) == 1


def test_a_driver_that_fails_at_first_for_no_known_reason_is_tried_until_it_does_not(driver: Driver) -> None:
    driver.script({"result.nvmlInitWithFlags": 999})

    with looking(driver.environment) as look:
        before = look()
        driver.script({"result.nvmlInitWithFlags": None})
        after = until_readable(look)

    assert failed(before) == {"error": 1}
    assert len(of(Gpu, after)) == 1


def test_a_driver_that_is_loaded_anew_is_read_again_at_the_second_look(driver: Driver) -> None:
    driver.script({"gpus": 8})

    with looking(driver.environment) as look:
        until_heard(look)
        driver.script({"driver.generation": 2})
        missed, after = look(), look()

    assert failed(missed) == {"error": 1}
    assert len(of(Gpu, after)) == 8


def test_a_library_that_has_not_changed_is_not_called_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, nvml = opened(tmp_path, monkeypatch)

    assert nvml.installed is not None
    assert not nvml.replaced()


def test_another_file_in_the_librarys_place_replaces_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(tmp_path)
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    monkeypatch.setenv("NVML_SCRIPT", driver.environment["NVML_SCRIPT"])
    nvml = Nvml(str(driver.library))
    nvml.open()
    before = nvml.installed

    driver.install(version="590.48.01")

    assert nvml.replaced()
    assert nvml.installed not in {None, before}


def test_a_library_that_was_taken_away_is_not_called_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(tmp_path)
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    monkeypatch.setenv("NVML_SCRIPT", driver.environment["NVML_SCRIPT"])
    nvml = Nvml(str(driver.library))
    nvml.open()

    driver.uninstall()

    assert not nvml.replaced()
    assert nvml.installed is None


def test_a_library_that_was_never_loaded_is_not_called_replaced() -> None:
    nvml = Nvml("/nowhere/libnvidia-ml.so.1")

    with pytest.raises(Unreadable):
        nvml.open()

    assert not nvml.replaced()


def test_a_library_that_the_system_finds_by_its_name_is_replaced_where_the_name_leads_elsewhere(
    driver: Driver,
) -> None:
    named = driver.library
    old, new = named.with_name("libnvidia-ml.so.580.105.08"), named.with_name("libnvidia-ml.so.590.48.01")
    shutil.copy(named, old)
    shutil.copy(named, new)
    named.unlink()
    named.symlink_to(old.name)
    asks = "nvml.open(); print(nvml.replaced()); sys.stdin.readline(); print(nvml.replaced())"

    program = [sys.executable, "-uc", f"import sys; from exporter.nvml import Nvml; nvml = Nvml(); {asks}"]
    with subprocess.Popen(
        program, env=driver.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as asking:
        assert asking.stdout is not None
        before = asking.stdout.readline()
        named.unlink()
        named.symlink_to(new.name)
        after, _ = asking.communicate("\n")

    assert (before.strip(), after.strip()) == ("False", "True")
