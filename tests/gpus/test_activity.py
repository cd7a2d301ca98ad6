"""What each GPU does: in base units, and what it cannot say, or says though it cannot be, is absent."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from exporter.gpus.activity import Gpu, GpuFastest, GpuVideo
from exporter.gpus.identity import GpuDriver, GpuIdentity
from exporter.gpus.processes import GpuProcesses
from exporter.reading import declarations
from tests.nvml.driver import Driver, of, require_compiler

require_compiler()

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


def untold(gpu: Gpu) -> set[str]:
    """The names of what a GPU does not tell."""
    return {name for name in declarations(Gpu) if getattr(gpu, name) in (None, {})}


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

    readings = driver.look()

    assert of(Gpu, readings)[0] == Gpu(
        gpu="0",
        uuid="GPU-00000000-0000-0000-0000-000000000000",
        utilization_ratio=0.55,
        memory_utilization_ratio=0.07,
        memory_total_bytes=85_520_809_984,
        memory_used_bytes=1 << 30,
        memory_free_bytes=85_520_809_984 - (1 << 30) - 502_267_904,
        memory_reserved_bytes=502_267_904,
        power_watts=123.45,
        power_limit_watts={"enforced": 600.0, "set": 650.0, "default": 700.0, "minimum": 200.0, "maximum": 700.0},
        energy_joules=5_000_000_000.123,
        temperature_celsius=77,
        clock_hertz={"graphics": 345e6, "sm": 345e6, "memory": 2619e6, "video": 765e6},
        performance_state=2,
    )
    assert of(GpuVideo, readings)[0] == GpuVideo(
        gpu="0",
        uuid="GPU-00000000-0000-0000-0000-000000000000",
        encoder_utilization_ratio=1.0,
        decoder_utilization_ratio=0.0,
    )
    assert of(GpuFastest, readings)[0].clock_max_hertz == {
        "graphics": 1980e6,
        "sm": 1980e6,
        "memory": 2619e6,
        "video": 1545e6,
    }


def test_what_a_driver_does_not_offer_is_absent_and_never_zero(driver: Driver) -> None:
    driver.script({f"gpu.0.{word}": "N/A" for word in SAYS_NOTHING.split()})

    readings = driver.look()

    assert untold(of(Gpu, readings)[0]) == {*Gpu.__slots__} - {"gpu", "uuid"}
    (video,) = of(GpuVideo, readings)
    assert (video.encoder_utilization_ratio, video.decoder_utilization_ratio) == (None, None)
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
    assert sum(of(GpuProcesses, readings)[0].process_memory_bytes.values()) == 1024
    assert of(GpuIdentity, readings)[0].architecture == ""
