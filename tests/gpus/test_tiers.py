"""What is asked of a GPU at every look and what less often, and whose count is believed."""

import time
from pathlib import Path

import pytest

from exporter.gpus.links import GpuLinkErrors, GpuLinks
from exporter.gpus.tiers import Rhythm, Tiers
from exporter.reading import Reading
from tests.gpus.asked import UUID
from tests.nvml.driver import require_compiler
from tests.nvml.opened import first, opened, times

require_compiler()

ALWAYS = Rhythm(medium=0.0, slow=0.0)
SELDOM = Rhythm(medium=1e9, slow=1e9)
MOST_CALLS = 17


def links(readings: list[Reading]) -> GpuLinks:
    (found,) = [reading for reading in readings if isinstance(reading, GpuLinks)]
    return found


def test_what_hardly_changes_is_asked_once_and_told_at_every_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    tiers = Tiers(nvml, SELDOM)
    before = list(tiers.read(first(nvml), "0", UUID))
    driver.forget_calls()

    again = list(tiers.read(first(nvml), "0", UUID))

    assert {type(reading) for reading in before} <= {type(reading) for reading in again}
    assert times(driver, "nvmlDeviceGetName") == 0
    assert times(driver, "nvmlDeviceGetSupportedClocksEventReasons") == 0
    assert times(driver, "nvmlDeviceGetComputeRunningProcesses_v3") == 0
    assert len(driver.calls()) <= MOST_CALLS


def test_a_count_that_the_driver_keeps_to_itself_for_once_is_absent_and_not_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    driver.script({"gpu.0.pcie_transmitted": 10**9, "gpu.0.gpm.20": 1000})
    tiers = Tiers(nvml, ALWAYS)
    counted = links(list(tiers.read(first(nvml), "0", UUID))).pcie_transmitted_bytes
    driver.script({"gpu.0.pcie_transmitted": "N/A"})

    untold = links(list(tiers.read(first(nvml), "0", UUID))).pcie_transmitted_bytes
    driver.script({"gpu.0.pcie_transmitted": 10**9 + 5})
    nvml.ask_anew()
    told = links(list(tiers.read(first(nvml), "0", UUID))).pcie_transmitted_bytes

    assert (counted, untold, told) == (10**9, None, 10**9 + 5)


def test_what_was_remembered_of_a_gpu_that_has_gone_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    tiers = Tiers(nvml, SELDOM)
    list(tiers.read(first(nvml), "0", UUID))
    driver.forget_calls()

    tiers.forget(UUID)
    list(tiers.read(first(nvml), "0", UUID))

    assert times(driver, "nvmlDeviceGetName") == 1


def test_errors_of_links_are_asked_more_seldom_than_what_went_over_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    tiers = Tiers(nvml, Rhythm(medium=0.2, slow=1e9))
    sent, errors = [], []
    for number in range(8):
        driver.script({"gpu.0.pcie_transmitted": number, "gpu.0.nvlink.0.errors.crc": number})
        told = list(tiers.read(first(nvml), "0", UUID))
        sent.append(links(told).pcie_transmitted_bytes)
        errors += [each.nvlink_errors["crc"] for each in told if isinstance(each, GpuLinkErrors)]
        time.sleep(0.2)

    assert len(errors) == 8
    assert 2 <= len(set(errors)) < len(set(sent))
