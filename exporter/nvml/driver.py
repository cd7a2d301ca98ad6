"""The library itself: opened, lost, released, and asked; what it cannot say is None."""

import ctypes
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import IntEnum

import pynvml

from exporter.frozen import by_place
from exporter.nvml import fields, library
from exporter.nvml.door import Cost, Lost, Respondent
from exporter.nvml.events import Events, NvmlEvents
from exporter.reading import Reason, Unreadable

log = logging.getLogger(__name__)

LONGEST_REST = 30.0
"""Seconds for which a library that could not be opened is left alone, at most: a try may start the driver's helpers."""

UNSUPPORTED_FOR = 600.0
"""Seconds for which a GPU is not asked again what it does not support: a refusal costs twice what an answer does."""

OURS: Mapping[str, Callable[..., object]] = {"nvmlDeviceGetFieldValues": fields.ask}
"""Functions in place of the binding's own of these names."""

Wanted = tuple[object, tuple[object, ...] | None]
"""Of whom, and what besides; None where either is such that it cannot be known again."""

BY_PLACE: type = ctypes.Structure.__mro__[1]
"""Every structure, array and pointer of C: each is equal to itself alone."""


class Code(IntEnum):
    """What a call can return, as far as it changes what happens next."""

    UNINITIALIZED = 1
    NOT_SUPPORTED = 3
    NO_PERMISSION = 4
    DRIVER_NOT_LOADED = 9
    LIBRARY_NOT_FOUND = 12
    FUNCTION_NOT_FOUND = 13
    GPU_IS_LOST = 15
    RESET_REQUIRED = 16
    VERSION_MISMATCH = 18
    ARGUMENT_VERSION_MISMATCH = 25
    GPU_NOT_FOUND = 28
    UNKNOWN = 999


UNKNOWN_TO_DRIVER = frozenset({Code.FUNCTION_NOT_FOUND, Code.ARGUMENT_VERSION_MISMATCH})
UNKNOWN_TO_GPU = frozenset({Code.NOT_SUPPORTED, Code.NO_PERMISSION})
# The oldest pynvml that will do has no such error, and raises none.
UNTOLD = (UnicodeDecodeError, vars(pynvml).get("NVMLLibraryMismatchError", UnicodeDecodeError))
"""What pynvml raises besides its own errors where a driver's answer makes no sense to it."""

LOSES_GPU = frozenset({Code.GPU_IS_LOST, Code.RESET_REQUIRED})
LOSES_LIBRARY = frozenset(
    {
        Code.UNINITIALIZED,
        Code.DRIVER_NOT_LOADED,
        Code.LIBRARY_NOT_FOUND,
        Code.VERSION_MISMATCH,
        Code.GPU_NOT_FOUND,
    }
)
TROUBLES: Mapping[int, tuple[Reason, str]] = {
    Code.UNINITIALIZED: (Reason.ERROR, "the driver was unloaded or loaded anew; it is opened again at the next look"),
    Code.NOT_SUPPORTED: (Reason.NOT_SUPPORTED, "the driver does not offer its management library here"),
    Code.NO_PERMISSION: (Reason.NOT_PERMITTED, "the driver refuses this user"),
    Code.DRIVER_NOT_LOADED: (Reason.NOT_FOUND, "the driver's library is installed, but the driver is not loaded"),
    Code.LIBRARY_NOT_FOUND: (
        Reason.NOT_FOUND,
        "the driver's library {library} is not installed, which is as it should be on a machine without GPUs",
    ),
    Code.VERSION_MISMATCH: (
        Reason.VERSION_MISMATCH,
        "driver and library are of different versions; once the right library is installed the exporter begins anew",
    ),
    Code.GPU_NOT_FOUND: (Reason.NOT_FOUND, "the driver finds no GPU"),
    Code.UNKNOWN: (
        Reason.ERROR,
        "the driver fails for no known reason; a container that lost its devices needs a restart",
    ),
}


@by_place
class Refusal:
    """Why the library could not be opened, for how long it is left alone, and until when."""

    code: int
    rest: float
    until: float


class Nvml:
    """The driver's library: opened when first needed, and again once it was lost.

    Every call may hang, so that one thread, which does nothing else, makes them all.
    """

    def __init__(self, path: str | None = None, *, unsupported_for: float = UNSUPPORTED_FOR) -> None:
        self._path = path
        self._unsupported_for = unsupported_for
        self._loaded: library.File | None = None
        self._opened = False
        self._refusal: Refusal | None = None
        self._silent: dict[str, dict[Wanted, float]] = {}
        """Until when a function is not called again, by what it was to tell of whom; of nobody is of everybody."""
        self._withheld: set[str] = set()
        self._costs: dict[str, Cost] | None = None

    def open(self) -> bool:
        """Make the library ready, unless it is; whether that opened it anew. Raises Unreadable."""
        if self._opened:
            return False
        if self._refusal and time.monotonic() < self._refusal.until:
            raise self._trouble(self._refusal.code)
        try:
            self._load()
            self._call("nvmlInitWithFlags", pynvml.NVML_INIT_FLAG_NO_GPUS)
        except pynvml.NVMLError as error:
            rest = min(2 * self._refusal.rest, LONGEST_REST) if self._refusal else 0.1
            self._refusal = Refusal(error.value, rest, time.monotonic() + rest)
            raise self._trouble(error.value) from error
        finally:
            self._loaded = self._loaded or library.loaded(self._path)
        self._opened, self._refusal = True, None
        self._silent.clear()
        return True

    def release(self) -> None:
        """Let go of the driver, so that it can be unloaded or a GPU reset; opening takes it up again."""
        if self._opened:
            self._opened = False
            with suppress(pynvml.NVMLError):  # a driver that is gone has let go of us
                self._call("nvmlShutdown")

    @property
    def installed(self) -> library.File | None:
        """The library's file as a new process would load it; None where there is none, or none was ever loaded."""
        return library.at(self._loaded.path) if self._loaded else None

    def replaced(self) -> bool:
        """Whether the library's file is another by now than the one this process has loaded and cannot let go of."""
        return self.installed not in {None, self._loaded}

    def driver(self) -> "Respondent":
        """The driver as a whole."""
        return Respondent(self)

    def gpu(self, index: int) -> "Respondent | None":
        """The GPU at an index, which may be another's after a restart; None where this process may not see it.

        Raises Lost where it does not answer.
        """
        try:
            handle = self._call("nvmlDeviceGetHandleByIndex", index)
        except pynvml.NVMLError as error:
            if error.value == Code.NO_PERMISSION:
                return None
            self._raise_if_lost(error)
            raise Lost from error
        return Respondent(self, handle)

    def told(self, function: str, *arguments: object) -> object:
        """What a function of pynvml answers; None where the driver cannot say.

        Raises Lost where the GPU is, and Unreadable where the whole library is.
        """
        call = OURS.get(function) or getattr(pynvml, function, None)
        if call is None or (function in self._silent and self._is_silent(function, arguments)):
            return None
        try:
            return call(*arguments) if self._costs is None else _timed(self._costs, function, call, *arguments)
        except UNTOLD:
            return None
        except pynvml.NVMLError as error:
            self._remember(function, arguments, error.value)
            self._raise_if_lost(error)
            return None

    def events(self) -> Events:
        """Where the Xids of its GPUs are heard, on a thread of their own."""
        return NvmlEvents()

    def ask_anew(self) -> None:
        """Forget what the driver and its GPUs could not say, since they may by now."""
        self._silent.clear()

    def costs(self) -> Mapping[str, Cost]:
        """What the calls of each function have taken since this was first asked, with one call of each."""
        if self._costs is None:
            self._costs = {}
        return dict(self._costs)

    def _call(self, function: str, *arguments: object) -> object:
        call = getattr(pynvml, function)
        return call(*arguments) if self._costs is None else _timed(self._costs, function, call, *arguments)

    def _is_silent(self, function: str, arguments: Sequence[object]) -> bool:
        whom, what = _wanted(arguments)
        until = self._silent[function]
        return max(until.get((whom, what), 0.0), until.get((None, what), 0.0)) > time.monotonic()

    def _remember(self, function: str, arguments: Sequence[object], code: int) -> None:
        """Remembered, because pynvml searches the library anew for what it lacks, and because a refusal is dear."""
        whom, what = _wanted(arguments)
        if code == Code.FUNCTION_NOT_FOUND or (code in UNKNOWN_TO_DRIVER and what is not None):
            self._silent.setdefault(function, {})[None, what] = math.inf
        elif code in UNKNOWN_TO_GPU and what is not None:
            self._silent.setdefault(function, {})[whom, what] = time.monotonic() + self._unsupported_for
        if code == Code.NO_PERMISSION and function not in self._withheld:
            self._withheld.add(function)
            log.info("the driver does not tell this user what %s would", function)

    def _load(self) -> None:
        # pynvml itself looks for one name in the usual places, and takes what is already there.
        if self._path is not None and pynvml.nvmlLib is None:
            try:
                pynvml.nvmlLib = ctypes.CDLL(self._path)
            except OSError as error:
                raise pynvml.NVMLError(Code.LIBRARY_NOT_FOUND) from error

    def _raise_if_lost(self, error: pynvml.NVMLError) -> None:
        if error.value in LOSES_GPU:
            raise Lost from error
        if error.value in LOSES_LIBRARY:
            self.release()
            raise self._trouble(error.value) from error

    def _trouble(self, code: int) -> Unreadable:
        reason, message = TROUBLES.get(code, (Reason.ERROR, f"the driver cannot be opened, error {code}"))
        return Unreadable(reason, message.format(library=self._path or library.LIBRARY))


def _timed(costs: dict[str, Cost], function: str, call: Callable[..., object], *arguments: object) -> object:
    began = time.perf_counter()
    try:
        return call(*arguments)
    finally:
        before = costs.get(function, Cost())
        costs[function] = Cost(before.calls + 1, before.seconds + time.perf_counter() - began)


def _wanted(arguments: Sequence[object]) -> Wanted:
    whom, *what = arguments or ("",)
    if isinstance(whom, pynvml.c_nvmlDevice_t):
        # A new object each time, but for the same GPU it points to the same place.
        whom = ctypes.addressof(whom.contents)
    plain = not any(isinstance(each, BY_PLACE) or each.__hash__ is None for each in (whom, *what))
    return (whom, tuple(what)) if plain else (None, None)
