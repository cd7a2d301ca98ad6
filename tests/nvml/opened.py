"""A scripted driver whose library the pynvml of this very process has loaded, and the door to it."""

import ctypes
from collections.abc import Sequence
from pathlib import Path

import pynvml
import pytest

from exporter.nvml import Nvml, Respondent
from tests.nvml.driver import Driver


def load(driver: Driver, patch: pytest.MonkeyPatch) -> None:
    """Have the pynvml of this process use the library of this driver, and none that it used before."""
    patch.setenv("NVML_SCRIPT", driver.environment["NVML_SCRIPT"])
    patch.setenv("NVML_CALLS", driver.environment["NVML_CALLS"])
    # A copy of the library is another library, so that each test has one in its first state.
    patch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(driver.library)))
    patch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})


def opened(
    folder: Path, patch: pytest.MonkeyPatch, *, board: str | Sequence[str] = "h100", lacks: Sequence[str] = ()
) -> tuple[Driver, Nvml]:
    """A driver of some boards, and the door to it, which is open."""
    driver = Driver(folder, lacks=lacks, board=board)
    load(driver, patch)
    nvml = Nvml()
    nvml.open()
    return driver, nvml


def first(nvml: Nvml, index: int = 0) -> Respondent:
    """A GPU of it, the first unless said."""
    gpu = nvml.gpu(index)
    assert gpu is not None
    return gpu


def times(driver: Driver, function: str) -> int:
    """How often a function was called."""
    return [call.function for call in driver.calls()].count(function)
