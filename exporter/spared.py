"""Work of our own that may fail without ending what it is done for."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def spared(work: Callable[[], T], told: Callable[[Exception], None]) -> T | None:
    """What work of our own gives; None where it fails, once that was told, lest one service's end all watching."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001  the other place where one ends, for what is no source's
        told(error)
        return None
