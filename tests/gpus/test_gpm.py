"""What the units of a GPU do between two looks, and what it moves."""

import time
from pathlib import Path

import pytest

from exporter.gpus.gpm import Units, shares
from exporter.nvml import Lost, Nvml
from exporter.nvml.gpm import Metric, Samples, Stretch
from tests.nvml.driver import Driver, require_compiler
from tests.nvml.opened import first, opened, times

require_compiler()

UUID = "GPU-1"
MIB = 1 << 20
PCIE = {"pcie_transmitted", "pcie_received"}
NVLINK = {"nvlink_transmitted", "nvlink_received"}


def looked(units: Units, nvml: Nvml, *, times: int = 2) -> dict[str, float] | None:
    """What the last of some looks says, between which the chip makes up its counts."""
    for look in range(times):
        time.sleep(0.11 if look else 0.0)
        reading = units.read(first(nvml), "0", UUID)
    return dict(reading.activity_ratio) if reading else None


def test_each_unit_of_a_busy_gpu_tells_what_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    figures = {1: 99.8, 2: 98.5, 3: 24.6, 5: 92.1, 10: 21.4, 11: 0, 12: 3.2, 13: 0.4}
    driver.script({f"gpu.0.gpm.{metric}": percent for metric, percent in figures.items()})

    activity = looked(Units(Samples(nvml)), nvml)

    assert activity == {
        "graphics": pytest.approx(0.998, rel=1e-3),
        "sm": pytest.approx(0.985, rel=1e-3),
        "occupancy": pytest.approx(0.246, rel=1e-3),
        "tensor": pytest.approx(0.921, rel=1e-3),
        "dram": pytest.approx(0.214, rel=1e-3),
        "fp64": 0,
        "fp32": pytest.approx(0.032, rel=1e-3),
        "fp16": pytest.approx(0.004, rel=1e-3),
    }


def test_the_first_look_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, nvml = opened(tmp_path, monkeypatch)

    assert looked(Units(Samples(nvml)), nvml, times=1) is None


@pytest.mark.parametrize("board", ["t4", "l40s", "a100", "gb10"])
def test_a_chip_before_hopper_tells_nothing_and_is_not_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: str
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board=board)

    assert looked(Units(Samples(nvml)), nvml) is None
    assert times(driver, "nvmlGpmSampleAlloc") == times(driver, "nvmlGpmSampleGet") == 0


def test_a_driver_that_refuses_tells_nothing_until_it_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    units = Units(Samples(nvml))
    looked(units, nvml)
    driver.script({"result.nvmlGpmSampleGet": 4})
    time.sleep(0.11)
    refused = looked(units, nvml, times=1), units.moved(UUID)
    driver.script({"result.nvmlGpmSampleGet": None})

    told = looked(units, nvml)

    assert refused == (None, {})
    assert told is not None


def test_nonsense_is_absent_and_a_little_too_much_is_all() -> None:
    told = {
        Metric.SM: 100.4,
        Metric.TENSOR: 1e19,
        Metric.DRAM: -0.5,
        Metric.FP16: 105.1,
        Metric.FP64: 100.0,
    }

    assert shares(Stretch(seconds=5, told=told)) == {"sm": 1.0, "fp64": 1.0}


def test_a_gpu_that_is_lost_amid_a_look_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    units = Units(Samples(nvml))
    looked(units, nvml)
    driver.script({"result.0.nvmlGpmSampleGet": 15})

    with pytest.raises(Lost):
        looked(units, nvml)


def moving(driver: Driver, mib_a_second: int) -> None:
    driver.script({f"gpu.0.gpm.{metric}": mib_a_second for metric in (20, 21, 60, 61)})


def test_what_is_moved_adds_up_over_the_time_that_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    moving(driver, 1000)
    units = Units(Samples(nvml))
    began = time.perf_counter()
    looked(units, nvml)
    early = units.moved(UUID)
    looked(units, nvml, times=1)
    again = units.moved(UUID)
    time.sleep(0.11)
    looked(units, nvml, times=1)

    late = units.moved(UUID)

    assert late.keys() == PCIE | NVLINK
    assert 100 * MIB < early["pcie_received"] == again["pcie_received"]
    assert early["nvlink_transmitted"] + 100 * MIB < late["nvlink_transmitted"]
    assert late["nvlink_transmitted"] <= 1001 * MIB * (time.perf_counter() - began)


def test_a_way_that_is_not_told_is_absent_and_goes_on_when_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    moving(driver, 1000)
    units = Units(Samples(nvml))
    looked(units, nvml)
    before = units.moved(UUID)
    driver.script({"gpu.0.gpm.60": "N/A", "gpu.0.gpm.61": "nan"})
    time.sleep(0.11)
    looked(units, nvml, times=1)
    without = units.moved(UUID)
    moving(driver, 1000)
    time.sleep(0.11)
    looked(units, nvml, times=1)

    assert without.keys() == PCIE
    assert units.moved(UUID)["nvlink_received"] > before["nvlink_received"]


def test_a_rate_that_cannot_be_is_not_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    moving(driver, 10**13)
    units = Units(Samples(nvml))

    looked(units, nvml)

    assert units.moved(UUID) == {}


def test_a_gpu_that_went_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    units = Units(Samples(nvml))
    looked(units, nvml)

    units.forget(UUID)

    assert units.moved(UUID) == {}
    assert times(driver, "nvmlGpmSampleFree") == 2
    assert looked(units, nvml, times=1) is None
