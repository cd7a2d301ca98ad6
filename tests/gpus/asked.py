"""A GPU that can be asked in this process, by the real pynvml and through the door."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from exporter.nvml import Respondent
from tests.nvml.driver import Driver
from tests.nvml.opened import first, opened

UUID = "GPU-00000000-0000-0000-0000-000000000000"

Ask = Callable[..., tuple[Driver, Respondent]]


def asked(
    folder: Path, patch: pytest.MonkeyPatch, board: str = "h100", *, lacks: Sequence[str] = (), **said: object
) -> tuple[Driver, Respondent]:
    """One board that says besides what it usually does, in words whose dots are written as two underscores."""
    driver, nvml = opened(folder, patch, board=board, lacks=lacks)
    driver.script({f"gpu.0.{word.replace('__', '.')}": value for word, value in said.items()})
    return driver, first(nvml)


def batches(driver: Driver) -> int:
    """How many calls asked for fields so far."""
    return sum(call.function == "nvmlDeviceGetFieldValues" for call in driver.calls())
