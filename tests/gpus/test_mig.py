"""The instances of a split GPU: their memory and activity, through every change of MIG."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from exporter.gpus.mig import Instances, Mig, MigIdentity
from exporter.nvml import Lost, Nvml
from exporter.nvml.gpm import Samples
from exporter.reading import Reading
from tests.nvml.boards import words
from tests.nvml.driver import Driver, of, require_compiler
from tests.nvml.opened import first, opened, times

require_compiler()

UUID = "GPU-1"


def made(nvml: Nvml) -> Instances:
    return Instances(nvml, Samples(nvml))


def looked(instances: Instances, nvml: Nvml, *, times: int = 2) -> tuple[Reading, ...]:
    """What the last of some looks says, between which the chip makes up its counts."""
    readings: Sequence[Reading] = ()
    for look in range(times):
        time.sleep(0.11 if look else 0.0)
        readings = instances.read(first(nvml), "0", UUID)
    return tuple(readings)


def numbers(readings: tuple[Reading, ...]) -> list[str]:
    assert [each.gpu_instance for each in of(Mig, readings)] == [
        each.gpu_instance for each in of(MigIdentity, readings)
    ]
    return [each.gpu_instance for each in of(Mig, readings)]


def activity(readings: tuple[Reading, ...], unit: str) -> Mapping[str, float | None]:
    return {each.gpu_instance: each.activity_ratio.get(unit) for each in of(Mig, readings)}


def test_each_instance_says_what_it_is_holds_and_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board="h100-mig")
    driver.script(words("h100-mig", load=True))

    readings = looked(made(nvml), nvml)

    assert of(MigIdentity, readings)[1] == MigIdentity(
        gpu="0",
        uuid=UUID,
        gpu_instance="5",
        profile="2g.20gb",
        mig_uuid="MIG-00000000-0000-0000-0001-000000000000",
        info=1,
    )
    first_of_them = of(Mig, readings)[0]
    assert (first_of_them.gpu, first_of_them.uuid, first_of_them.profile) == ("0", UUID, "3g.40gb")
    assert (first_of_them.memory_total_bytes, first_of_them.memory_used_bytes) == (42278584320, 11588651008)
    assert first_of_them.activity_ratio == {
        "graphics": pytest.approx(0.996, rel=1e-3),
        "sm": pytest.approx(0.973, rel=1e-3),
        "occupancy": pytest.approx(0.241, rel=1e-3),
        "tensor": pytest.approx(0.91, rel=1e-3),
        "dram": pytest.approx(0.198, rel=1e-3),
        "fp64": 0,
        "fp32": pytest.approx(0.031, rel=1e-3),
        "fp16": 0,
    }
    assert activity(readings, "sm") == {"1": pytest.approx(0.973, rel=1e-3), "5": 0, "13": 0}


def test_an_instance_of_an_older_chip_tells_its_memory_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board="h100-mig")
    driver.script({"gpu.*.gpm_supported": 0})

    readings = looked(made(nvml), nvml)

    assert [(each.memory_used_bytes, each.activity_ratio) for each in of(Mig, readings)] == [
        (20971520, {}),
        (13631488, {}),
        (9437184, {}),
    ]
    assert times(driver, "nvmlGpmMigSampleGet") == 0


def test_mig_that_is_turned_on_and_off_and_on_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board="h100-mig")
    instances = made(nvml)
    told = []
    for mode in (0, 1, 0, 1):
        driver.script({"gpu.0.mig_mode": mode})
        told.append(looked(instances, nvml))

    assert [numbers(each) for each in told] == [[], ["1", "5", "13"]] * 2
    assert all(None not in activity(each, "sm").values() for each in told)
    assert times(driver, "nvmlGpmSampleAlloc") == 12
    assert times(driver, "nvmlGpmSampleFree") == 6


def test_an_instance_that_took_the_place_of_another_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board="h100-mig")
    instances = made(nvml)
    looked(instances, nvml)
    driver.script({"gpu.0.mig.0.uuid": "MIG-another", "gpu.0.mig.1.ids": "none", "gpu.0.mig.2.ids": "6:0"})
    time.sleep(0.11)

    readings = looked(instances, nvml, times=1)

    assert numbers(readings) == ["1", "6", "13"]
    assert activity(readings, "sm") == {"1": None, "6": None, "13": 0}


@pytest.mark.parametrize("code", [2, 4, 6, 999])
def test_an_instance_that_goes_amid_a_look_tells_nothing_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board="h100-mig")
    instances = made(nvml)
    looked(instances, nvml)
    refused = ("nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetMemoryInfo", "nvmlGpmMigSampleGet", "nvmlDeviceGetName")
    driver.script({f"result.{function}": code for function in refused})
    time.sleep(0.11)

    readings = looked(instances, nvml, times=1)

    assert [(each.memory_total_bytes, each.memory_used_bytes) for each in of(Mig, readings)] == [(None, None)] * 3
    assert [each.activity_ratio for each in of(Mig, readings)] == [{}] * 3


def test_an_instance_without_anything_to_measure_tells_no_activity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board="h100-mig")
    driver.script({f"gpu.0.mig.0.gpm.{metric}": "nan" for metric in (1, 2, 3, 5, 10, 11, 12, 13)})

    readings = looked(made(nvml), nvml)

    assert activity(readings, "sm") == {"1": None, "5": 0, "13": 0}


@pytest.mark.parametrize("function", ["nvmlDeviceGetMigMode", "nvmlGpmMigSampleGet", "nvmlDeviceGetMemoryInfo_v2"])
def test_a_gpu_that_is_lost_amid_a_look_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board="h100-mig")
    instances = made(nvml)
    looked(instances, nvml)
    driver.script({f"result.0.{function}": 15})
    time.sleep(0.11)

    with pytest.raises(Lost):
        looked(instances, nvml, times=1)
    instances.forget(UUID)

    assert times(driver, "nvmlGpmSampleFree") == 6


def seven(driver: Driver) -> None:
    """Eight GPUs of seven instances each."""
    each = {
        "name": "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "memory_total": 10468982784,
        "memory_used": 9437184,
        "memory_reserved": 0,
    }
    driver.script({f"gpu.*.mig.{slot}.{word}": value for slot in range(7) for word, value in each.items()})
    driver.script({f"gpu.*.mig.{slot}.ids": f"{7 + slot}:0" for slot in range(7)})
    driver.script({f"gpu.*.mig.*.gpm.{metric}": 50 for metric in (1, 2, 3, 5, 10, 11, 12, 13)})
    driver.script({"gpus": 8})


def test_56_instances_cost_seven_calls_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board="h100-mig")
    seven(driver)
    instances = made(nvml)
    gpus = [first(nvml, index) for index in range(8)]
    for index, gpu in enumerate(gpus):
        instances.read(gpu, str(index), f"GPU-{index}")
    time.sleep(0.11)
    driver.forget_calls()

    readings = [each for index, gpu in enumerate(gpus) for each in instances.read(gpu, str(index), f"GPU-{index}")]

    assert len(of(Mig, tuple(readings))) == 56
    assert all(len(each.activity_ratio) == 8 for each in of(Mig, tuple(readings)))
    assert Counter(call.function for call in driver.calls()) == {
        "nvmlDeviceGetMigMode": 8,
        "nvmlDeviceGetMaxMigDeviceCount": 8,
        "nvmlDeviceGetMigDeviceHandleByIndex": 56,
        "nvmlDeviceGetGpuInstanceId": 56,
        "nvmlDeviceGetUUID": 56,
        "nvmlDeviceGetName": 56,
        "nvmlDeviceGetMemoryInfo_v2": 56,
        "nvmlGpmMigSampleGet": 56,
        "nvmlGpmMetricsGet": 56,
    }
