"""The library itself: opened, lost, released, and asked; what it cannot say is None."""

import ctypes
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import pynvml

from exporter.reading import Reason, Unreadable

LIBRARY = "libnvidia-ml.so.1"

LONGEST_REST = 30.0
"""Seconds for which a library that could not be opened is left alone, at most: a try may start the driver's helpers."""

MEMORY_V2: int = pynvml.nvmlMemory_v2
"""Asks for memory with what the driver reserves told apart from what is used."""

Question = str | tuple[str, int]
"""A function of pynvml, with what it wants to know besides of whom."""

NONE_IN_32_BITS = 0xFFFFFFFF
NONE_FROM = 1 << 62


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
        "the driver was upgraded while its old library is loaded; restart the exporter, or else the machine",
    ),
    Code.GPU_NOT_FOUND: (Reason.NOT_FOUND, "the driver finds no GPU"),
    Code.UNKNOWN: (
        Reason.ERROR,
        "the driver fails for no known reason; a container that lost its devices needs a restart",
    ),
}


class Lost(Exception):  # noqa: N818  it reads as what has become of the GPU
    """A GPU fell off the bus or needs a reset, and tells nothing more."""


class Door(Protocol):
    """Where GPUs are asked: the driver's library, or what stands in for it."""

    def open(self) -> None:
        """Make it ready, unless it is; raises Unreadable."""

    def release(self) -> None:
        """Let go of the driver; opening takes it up again."""

    def driver(self) -> "Respondent":
        """The driver as a whole."""

    def gpu(self, index: int) -> "Respondent | None":
        """The GPU at an index; None where this process may not see it; raises Lost where it does not answer."""

    def told(self, function: str, *arguments: object) -> object:
        """What a function of pynvml answers; None where the driver cannot say."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the library could not be opened, for how long it is left alone, and until when."""

    code: int
    rest: float
    until: float


class Nvml:
    """The driver's library: opened when first needed, and again once it was lost.

    Every call may hang, so that one thread, which does nothing else, makes them all.
    """

    def __init__(self, library: str | None = None) -> None:
        self._library = library
        self._opened = False
        self._refusal: Refusal | None = None
        self._unknown: set[tuple[object, ...]] = set()

    def open(self) -> None:
        """Make the library ready, unless it is; raises Unreadable."""
        if self._opened:
            return
        if self._refusal and time.monotonic() < self._refusal.until:
            raise self._trouble(self._refusal.code)
        try:
            self._load()
            pynvml.nvmlInitWithFlags(pynvml.NVML_INIT_FLAG_NO_GPUS)
        except pynvml.NVMLError as error:
            rest = min(2 * self._refusal.rest, LONGEST_REST) if self._refusal else 0.1
            self._refusal = Refusal(error.value, rest, time.monotonic() + rest)
            raise self._trouble(error.value) from error
        self._opened, self._refusal = True, None
        self._unknown.clear()

    def release(self) -> None:
        """Let go of the driver, so that it can be unloaded or a GPU reset; opening takes it up again."""
        if self._opened:
            self._opened = False
            with suppress(pynvml.NVMLError):  # a driver that is gone has let go of us
                pynvml.nvmlShutdown()

    def driver(self) -> "Respondent":
        """The driver as a whole."""
        return Respondent(self)

    def gpu(self, index: int) -> "Respondent | None":
        """The GPU at an index, which may be another's after a restart; None where this process may not see it.

        Raises Lost where it does not answer.
        """
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
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
        call = getattr(pynvml, function, None)
        question = (function, *arguments[1:])  # the first is of whom it is asked
        if call is None or question in self._unknown:
            return None
        try:
            answer: object = call(*arguments)
        except pynvml.NVMLError as error:
            # Remembered, because pynvml searches the library anew for what it lacks.
            if error.value in UNKNOWN_TO_DRIVER:
                self._unknown.add(question)
            self._raise_if_lost(error)
            return None
        except UnicodeDecodeError:
            return None
        return answer

    def _load(self) -> None:
        # pynvml itself looks for one name in the usual places, and takes what is already there.
        if self._library is not None and pynvml.nvmlLib is None:
            try:
                pynvml.nvmlLib = ctypes.CDLL(self._library)
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
        return Unreadable(reason, message.format(library=self._library or LIBRARY))


class Respondent:
    """The driver as a whole or one GPU, to be asked during one look.

    Of several questions the first that is answered counts, so that an older function stands in where a driver
    lacks the newer.
    """

    def __init__(self, nvml: Door, *handle: object) -> None:
        self._nvml = nvml
        self._handle = handle

    def told(self, function: str, *wanted: object) -> object:
        """What a function of pynvml answers of it, with what it wants to know besides; None where it cannot say."""
        return self._nvml.told(function, *self._handle, *wanted)

    def number(self, *questions: Question) -> int | None:
        """A whole number, in the driver's own unit."""
        return number(self._answer(questions))

    def numbers(self, *questions: Question) -> Mapping[str | int, int]:
        """Several numbers that one call tells, by name or position, without those it cannot tell."""
        return _numbers(self._answer(questions))

    def rows(self, *questions: Question) -> Sequence[Mapping[str | int, int]] | None:
        """A list of such numbers, which may be empty; None where there is no list."""
        answer = self._answer(questions)
        return [_numbers(row) for row in answer] if isinstance(answer, list) else None

    def text(self, question: Question, part: str | None = None) -> str:
        """A word, or one part of an answer; empty where the driver cannot say."""
        answer = self._answer((question,))
        word = answer if part is None else getattr(answer, part, None)
        return word if isinstance(word, str) else ""

    def _answer(self, questions: Sequence[Question]) -> object:
        for question in questions:
            function, *wanted = (question,) if isinstance(question, str) else question
            answer = self.told(str(function), *wanted)
            if answer is not None:
                return answer
        return None


def number(answer: object) -> int | None:
    """A number as it is, unless it is one of the greatest, which say that there is none."""
    return answer if isinstance(answer, int) and answer < NONE_FROM and answer != NONE_IN_32_BITS else None


def within(answer: int | None, most: float, *, least: float = 0) -> int | None:
    """A number, unless it is beyond what can be: some drivers tell garbage and call it a success."""
    return answer if answer is not None and least <= answer <= most else None


def ratio(percent: int | None) -> float | None:
    """A share from 0 to 1."""
    told = within(percent, 100)
    return None if told is None else told / 100


def thousandths(told: int | None) -> float | None:
    """Watts of milliwatts, joules of millijoules; nothing that runs has drawn or may draw none."""
    told = within(told, NONE_FROM, least=1)
    return None if told is None else told / 1000


def millions(told: int | None) -> float | None:
    """Hertz of megahertz."""
    told = within(told, 100_000)
    return None if told is None else told * 1e6


def _numbers(answer: object) -> Mapping[str | int, int]:
    parts = ((key, number(value)) for key, value in _parts(answer))
    return {key: value for key, value in parts if value is not None}


def _parts(answer: object) -> Iterator[tuple[str | int, object]]:
    if isinstance(answer, list | tuple):
        yield from enumerate(answer)
    elif isinstance(answer, ctypes.Structure):
        yield from ((name, getattr(answer, name)) for name, *_ in answer._fields_)
    elif answer is not None:
        yield from vars(answer).items()
