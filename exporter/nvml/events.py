"""What the driver tells by itself: the Xids of its GPUs, for a thread that does nothing but wait for them."""

import ctypes
from contextlib import suppress
from typing import Protocol

import pynvml

from exporter.frozen import frozen

XID: int = pynvml.nvmlEventTypeXidCriticalError
MOST_XID = 999


class Unheard(Exception):  # noqa: N818  it reads as what has become of the events
    """The driver does not tell what happens, here or at this moment."""


@frozen
class Event:
    """An Xid on a GPU, whichever part of it MIG had given it to."""

    uuid: str
    xid: int


class Events(Protocol):
    """Where what happens to GPUs is heard: from the driver's library, or from what stands in for it."""

    def open(self) -> None:
        """Begin with no GPU; raises Unheard."""

    def register(self, uuid: str, index: int, /) -> bool:
        """Hear of one GPU more, from now on; whether that can be."""

    def next(self, seconds: float) -> Event | None:
        """What happened first of what was not told yet; None if nothing does meanwhile; raises Unheard."""

    def close(self) -> None:
        """Let go of the driver; opening takes it up again."""


class NvmlEvents:
    """Xids as the driver's library tells them, one at a time and none from before.

    It initialises the library for itself, which counts who has, so that others come and go as they like. They have
    loaded it by then: nobody waits for a GPU that was not found.
    """

    def __init__(self) -> None:
        self._opened = False
        self._set: object | None = None
        self._uuids: dict[int | None, str] = {}

    def open(self) -> None:
        """Begin with no GPU; raises Unheard where the library cannot do this."""
        self.close()
        try:
            pynvml.nvmlInitWithFlags(pynvml.NVML_INIT_FLAG_NO_GPUS)
            self._opened = True
            self._set = pynvml.nvmlEventSetCreate()
        except pynvml.NVMLError as error:
            self.close()
            raise Unheard from error

    def register(self, uuid: str, index: int) -> bool:
        """Hear of the GPU at an index; not where it is another's, tells no Xids, is lost or may not be watched."""
        try:
            gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
            if _uuid(gpu) != uuid or not pynvml.nvmlDeviceGetSupportedEventTypes(gpu) & XID:
                return False
            pynvml.nvmlDeviceRegisterEvents(gpu, XID, self._set)
        except pynvml.NVMLError:
            return False
        # By then it may not answer any more, so that it is asked who it is beforehand.
        self._uuids[_address(gpu)] = uuid
        return True

    def next(self, seconds: float) -> Event | None:
        """What happened first of what was not told yet; None if nothing does meanwhile.

        Raises Unheard, which happens at once and for ever while one of the GPUs is lost.
        """
        if self._set is None:
            raise Unheard
        try:
            told = pynvml.nvmlEventSetWait_v2(self._set, round(seconds * 1000))
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_TIMEOUT:
                return None
            raise Unheard from error
        uuid = self._uuids.get(_address(told.device))
        # Some drivers tell garbage and call it a success.
        if not uuid or told.eventType != XID or told.eventData > MOST_XID:
            return None
        return Event(uuid=uuid, xid=told.eventData)

    def close(self) -> None:
        """Let go of the driver, so that it can be unloaded or a GPU reset; opening takes it up again."""
        opened, events = self._opened, self._set
        self._opened, self._set, self._uuids = False, None, {}
        with suppress(pynvml.NVMLError):  # a driver that is gone has let go of us
            if events is not None:
                pynvml.nvmlEventSetFree(events)
        with suppress(pynvml.NVMLError):
            if opened:
                pynvml.nvmlShutdown()


def _address(gpu: object) -> int | None:
    """Where the driver keeps a GPU, since two handles of one never equal each other."""
    return ctypes.cast(gpu, ctypes.c_void_p).value  # type: ignore[arg-type]  # pynvml has no types


def _uuid(gpu: object) -> str:
    try:
        uuid: str = pynvml.nvmlDeviceGetUUID(gpu)
    except UnicodeDecodeError:
        return ""
    return uuid
