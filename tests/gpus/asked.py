"""A GPU that can be asked in this process, by the real pynvml and through the door."""

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path

import pynvml
import pytest

from exporter.nvml import Nvml, Respondent
from tests.nvml.driver import Driver

UUID = "GPU-00000000-0000-0000-0000-000000000000"

Ask = Callable[..., tuple[Driver, Respondent]]


def asked(
    folder: Path, patch: pytest.MonkeyPatch, board: str = "h100", *, lacks: Sequence[str] = (), **said: object
) -> tuple[Driver, Respondent]:
    """One board that says besides what it usually does, in words whose dots are written as two underscores."""
    driver = Driver(folder, lacks=lacks, board=board)
    driver.script({f"gpu.0.{word.replace('__', '.')}": value for word, value in said.items()})
    patch.setenv("NVML_SCRIPT", driver.environment["NVML_SCRIPT"])
    patch.setenv("NVML_CALLS", driver.environment["NVML_CALLS"])
    # A copy of the library is another library, so that each test has one in its first state.
    patch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(driver.library)))
    patch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    nvml = Nvml()
    nvml.open()
    gpu = nvml.gpu(0)
    assert gpu is not None
    return driver, gpu


def batches(driver: Driver) -> int:
    """How many calls asked for fields so far."""
    return sum(call.function == "nvmlDeviceGetFieldValues" for call in driver.calls())
