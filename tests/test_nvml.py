"""The door to the driver: units, what it cannot say, and a driver that is missing, old, unloaded or loaded anew."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from exporter.reading import Reason
from exporter.sources.gpu import Gpu, GpuDevices, GpuDriver, GpuIdentity
from exporter.watch import Collection
from tests.nvml.driver import ROOT, Driver, Look, Readings, looking, of, require_compiler

require_compiler()

PATIENCE = 30.0

SAYS_NOTHING = """
    name serial vbios architecture capability_major utilization memory_utilization encoder decoder memory_total
    power_mw enforced_mw set_mw default_mw minimum_mw energy_mj temperature clock.0 clock.1 clock.2 clock.3
    clock_max.0 clock_max.1 clock_max.2 clock_max.3 performance_state processes mps_processes
"""

MEMORY = {"memory_total_bytes", "memory_used_bytes", "memory_free_bytes", "memory_reserved_bytes"}
CANNOT_BE: Sequence[tuple[str, int, set[str]]] = (
    ("power_mw", 0xFFFFFFFF, {"power_watts"}),
    ("power_mw", 4 * 700_000 + 1, {"power_watts"}),
    ("power_mw", 0, {"power_watts"}),
    ("energy_mj", 0xFFFFFFFFFFFFFFFF, {"energy_joules"}),
    ("energy_mj", 9223372036854775792, {"energy_joules"}),
    ("energy_mj", 0, {"energy_joules"}),
    ("utilization", 101, {"utilization_ratio"}),
    ("temperature", 201, {"temperature_celsius"}),
    ("performance_state", 32, {"performance_state"}),
    ("memory_used", 85_520_809_985, MEMORY),
    ("memory_total", 0, MEMORY),
)


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path)


def failed(readings: Readings) -> Mapping[str, int]:
    """How often looking failed, by reason."""
    return {reason: times for reason, times in of(Collection, readings)[0].failures.items() if times}


def until_readable(look: Look) -> Readings:
    """What the first look says that succeeds."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        readings = look()
        if of(Collection, readings)[0].up:
            return readings
        time.sleep(0.05)
    raise AssertionError("the driver was never readable again")


def untold(gpu: Gpu) -> set[str]:
    """The names of what a GPU does not tell, but for processes, of which it has none."""
    return {name for name in gpu.__slots__ if getattr(gpu, name) in (None, {})} - {"process_memory_bytes"}


def test_everything_is_told_in_base_units(driver: Driver) -> None:
    driver.script(
        {
            "gpu.0.utilization": 55,
            "gpu.0.memory_utilization": 7,
            "gpu.0.encoder": 100,
            "gpu.0.memory_used": 1 << 30,
            "gpu.0.power_mw": 123450,
            "gpu.0.set_mw": 650000,
            "gpu.0.enforced_mw": 600000,
            "gpu.0.energy_mj": 5_000_000_000_123,
            "gpu.0.temperature": 77,
            "gpu.0.performance_state": 2,
        }
    )

    gpu = of(Gpu, driver.look())[0]

    assert gpu == Gpu(
        gpu="0",
        uuid="GPU-00000000-0000-0000-0000-000000000000",
        utilization_ratio=0.55,
        memory_utilization_ratio=0.07,
        encoder_utilization_ratio=1.0,
        decoder_utilization_ratio=0.0,
        memory_total_bytes=85_520_809_984,
        memory_used_bytes=1 << 30,
        memory_free_bytes=85_520_809_984 - (1 << 30) - 502_267_904,
        memory_reserved_bytes=502_267_904,
        power_watts=123.45,
        power_limit_watts={"enforced": 600.0, "set": 650.0, "default": 700.0, "minimum": 200.0, "maximum": 700.0},
        energy_joules=5_000_000_000.123,
        temperature_celsius=77,
        clock_hertz={"graphics": 345e6, "sm": 345e6, "memory": 2619e6, "video": 765e6},
        clock_max_hertz={"graphics": 1980e6, "sm": 1980e6, "memory": 2619e6, "video": 1545e6},
        performance_state=2,
        process_memory_bytes={},
    )


def test_what_a_driver_does_not_offer_is_absent_and_never_zero(driver: Driver) -> None:
    driver.script({f"gpu.0.{word}": "N/A" for word in SAYS_NOTHING.split()})

    readings = driver.look()

    assert untold(of(Gpu, readings)[0]) == {*Gpu.__slots__} - {"gpu", "uuid", "process_memory_bytes"}
    assert of(GpuIdentity, readings)[0].name == ""


def test_a_call_that_fails_for_itself_costs_its_own_value_alone(driver: Driver) -> None:
    codes = [2, 4, 6, 14, 17, 20, 27, 999]
    driver.script({f"result.{gpu}.nvmlDeviceGetPowerUsage": code for gpu, code in enumerate(codes)})
    driver.script({"gpus": len(codes), "result.nvmlSystemGetDriverVersion": 999})

    readings = driver.look()

    assert [untold(gpu) for gpu in of(Gpu, readings)] == [{"power_watts"}] * len(codes)
    assert of(GpuDriver, readings)[0].driver == ""


def test_a_value_that_cannot_be_is_absent(driver: Driver) -> None:
    driver.script({f"gpu.{gpu}.{word}": value for gpu, (word, value, _) in enumerate(CANNOT_BE)})
    driver.script({"gpus": len(CANNOT_BE)})

    readings = driver.look()

    assert [untold(gpu) for gpu in of(Gpu, readings)] == [absent for *_, absent in CANNOT_BE]


def test_a_limit_or_a_clock_that_is_not_known_leaves_the_others(driver: Driver) -> None:
    driver.script({"gpu.0.enforced_mw": 0xFFFFFFFF, "gpu.0.clock.3": "N/A"})

    gpu = of(Gpu, driver.look())[0]

    assert gpu.power_limit_watts.keys() == {"set", "default", "minimum", "maximum"}
    assert gpu.clock_hertz.keys() == {"graphics", "sm", "memory"}


def test_a_cold_chip_is_told_below_zero(driver: Driver) -> None:
    driver.script({"gpu.0.temperature": -5})

    assert of(Gpu, driver.look())[0].temperature_celsius == -5


def test_an_older_driver_tells_what_its_older_functions_can(tmp_path: Path) -> None:
    driver = Driver(
        tmp_path,
        lacks=[
            "nvmlDeviceGetTemperatureV",
            "nvmlDeviceGetMemoryInfo_v2",
            "nvmlDeviceGetComputeRunningProcesses_v3",
            "nvmlDeviceGetMPSComputeRunningProcesses_v3",
            "nvmlDeviceGetMPSComputeRunningProcesses_v2",
            "nvmlDeviceGetArchitecture",
        ],
    )
    driver.script({"gpu.0.memory_used": 1 << 30, "gpu.0.processes": f"{os.getpid()}:1024"})

    readings = driver.look()

    gpu = of(Gpu, readings)[0]
    assert gpu.temperature_celsius == 41
    assert gpu.memory_used_bytes == (1 << 30) + 502_267_904
    assert gpu.memory_reserved_bytes is None
    assert sum(gpu.process_memory_bytes.values()) == 1024
    assert of(GpuIdentity, readings)[0].architecture == ""


def test_a_function_that_the_driver_does_not_know_is_asked_for_once(driver: Driver) -> None:
    driver.script({"result.nvmlDeviceGetTemperatureV": 13})

    with looking(driver.environment) as look:
        readings = [look() for _ in range(3)]

    functions = [call.function for call in driver.calls()]
    assert functions.count("nvmlDeviceGetTemperatureV") == 1
    assert [of(Gpu, each)[0].temperature_celsius for each in readings] == [41, 41, 41]


def test_a_driver_is_asked_anew_what_it_knows_once_it_was_loaded_anew(driver: Driver) -> None:
    driver.script({"result.nvmlDeviceGetTotalEnergyConsumption": 13})

    with looking(driver.environment) as look:
        before = look()
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
        look()
        driver.script({"driver.generation": 2, "driver.version": "590.48.01"})
        missed, after = look(), look()

    assert failed(missed) == {"error": 1}
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
