"""Work of our own that may fail without ending what it is done for."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def spared(work: Callable[[], T], told: Callable[[Exception], None]) -> T | None:
    """What work of our own gives; None where it fails, once that was told, lest the failure of one end all others."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001  the other place where one ends, for what is no source's
        told(error)
        return None
