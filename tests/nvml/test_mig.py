"""The instances of a GPU that is split: which there are, their names, and what becomes of one that has gone."""

from pathlib import Path

import pytest

from exporter.nvml import Lost
from exporter.nvml.mig import instances, memory
from tests.nvml.driver import require_compiler
from tests.nvml.opened import first, opened, times

require_compiler()

MIB = 1 << 20


def test_the_instances_of_a_gpu_are_found_past_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, nvml = opened(tmp_path, monkeypatch, board="h100-mig")

    found = instances(nvml, first(nvml))

    assert [(each.number, each.profile) for each in found] == [(1, "3g.40gb"), (5, "2g.20gb"), (13, "1g.10gb")]
    assert [memory(each.told)["used"] // MIB for each in found] == [20, 13, 9]
    assert len({uuid for each in found for uuid in each.uuids}) == 3


def test_an_instance_that_is_split_once_more_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board="h100-mig")
    name = "NVIDIA H100 80GB HBM3 MIG {}c.3g.40gb"
    driver.script({"gpu.0.mig.0.name": name.format(1), "gpu.0.mig.1.name": name.format(2), "gpu.0.mig.1.ids": "1:1"})
    driver.script({"gpu.0.mig.0.multiprocessors": "N/A"})

    found = instances(nvml, first(nvml))

    assert [(each.number, each.profile, len(each.uuids)) for each in found] == [(1, "3g.40gb", 2), (13, "1g.10gb", 1)]


@pytest.mark.parametrize("profile", ["1g.10gb+me", "1g.12gb+gfx", "7g.141gb", "1g.18gb", "2g.35gb"])
def test_a_profile_is_taken_whole_from_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board="h100-mig")
    driver.script({"gpu.0.mig.0.name": f"NVIDIA H200 MIG {profile}"})

    assert instances(nvml, first(nvml))[0].profile == profile


def test_a_profile_that_no_name_tells_is_reckoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board="h100-mig")
    driver.script({f"gpu.0.mig.{slot}.name": "N/A" for slot in (0, 1, 3)})
    reckoned = [each.profile for each in instances(nvml, first(nvml))]
    driver.script({f"gpu.0.mig.{slot}.multiprocessors": "!4" for slot in (0, 1, 3)})

    untold = [each.profile for each in instances(nvml, first(nvml))]

    assert reckoned == ["3g.40gb", "2g.20gb", "1g.10gb"]
    assert untold == ["", "", ""]


@pytest.mark.parametrize(
    ("slices", "memory_mb", "profile"), [(1, 16384, "1g.18gb"), (2, 33280, "2g.35gb"), (3, 71424, "3g.71gb")]
)
def test_a_profile_is_reckoned_from_eighths_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slices: int, memory_mb: int, profile: str
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board="h100-mig")
    driver.script({"gpu.0.memory_total": 150754820096, "gpu.0.mig.0.name": "N/A"})
    driver.script({"gpu.0.mig.0.slices": slices, "gpu.0.mig.0.memory_mb": memory_mb})

    assert instances(nvml, first(nvml))[0].profile == profile


@pytest.mark.parametrize("board", ["h100", "t4", "gb10", "l40s"])
def test_a_gpu_that_is_not_split_has_none_and_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: str
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board=board)
    gpu = first(nvml)
    driver.forget_calls()

    assert not instances(nvml, gpu)
    assert [call.function for call in driver.calls()] == ["nvmlDeviceGetMigMode"]


@pytest.mark.parametrize("code", [2, 3, 4, 6, 999])
@pytest.mark.parametrize(
    "function", ["nvmlDeviceGetMigDeviceHandleByIndex", "nvmlDeviceGetGpuInstanceId", "nvmlDeviceGetMaxMigDeviceCount"]
)
def test_instances_that_this_user_may_not_see_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board="h100-mig")
    driver.script({f"result.{function}": code})

    assert not instances(nvml, first(nvml))


def test_an_instance_without_a_number_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board="h100-mig")
    driver.script({"gpu.0.mig.1.ids": f"{0xFFFFFFFF}:{0xFFFFFFFF}", "gpu.0.mig_count": 10**9})

    assert 0xFFFFFFFF not in {each.number for each in instances(nvml, first(nvml))}


def test_an_instance_that_has_gone_since_it_was_found_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board="h100-mig")
    found = instances(nvml, first(nvml))

    driver.script({"gpu.0.mig.1.ids": "none", "gpu.0.mig.2.ids": "6:0"})

    assert [bool(memory(each.told)) for each in found] == [True, False, True]
    assert [each.number for each in instances(nvml, first(nvml))] == [1, 6, 13]


def test_a_lost_gpu_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board="h100-mig")
    gpu = first(nvml)
    driver.script({"result.0.nvmlDeviceGetGpuInstanceId": 15})

    with pytest.raises(Lost):
        instances(nvml, gpu)


@pytest.mark.parametrize("said", [{"memory_total": "N/A"}, {"memory_total": 0}, {"memory_used": 10**12}])
def test_memory_that_cannot_be_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, object]
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board="h100-mig")
    driver.script({f"gpu.0.mig.0.{word}": value for word, value in said.items()})

    assert memory(instances(nvml, first(nvml))[0].told) == {}


def test_before_driver_510_memory_is_told_the_old_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board="h100-mig", lacks=["nvmlDeviceGetMemoryInfo_v2"])

    told = [memory(each.told) for each in instances(nvml, first(nvml))]

    assert [each["total"] for each in told] == [42278584320, 20937965568, 10468982784]
    assert times(driver, "nvmlDeviceGetMemoryInfo") == 3
