"""The door: who is asked of GPUs, and the numbers that an answer holds; what cannot be said is None."""

import ctypes
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Protocol

import pynvml

from exporter.frozen import by_place
from exporter.nvml.events import Events

MEMORY_V2: int = pynvml.nvmlMemory_v2
"""Asks for memory with what the driver reserves told apart from what is used."""

Question = str | tuple[str, int]
"""A function of pynvml, with what it wants to know besides of whom."""

NONE_IN_32_BITS = 0xFFFFFFFF
NONE_FROM = 1 << 62


class Lost(Exception):  # noqa: N818  it reads as what has become of the GPU
    """A GPU fell off the bus or needs a reset, and tells nothing more."""


@by_place
class Cost:
    """What the calls of one function have taken together."""

    calls: int = 0
    seconds: float = 0.0


class Door(Protocol):
    """Where GPUs are asked: the driver's library, or what stands in for it."""

    def open(self) -> bool:
        """Make it ready, unless it is; whether that opened it anew, so that no GPU of before is known any more.

        Raises Unreadable.
        """

    def release(self) -> None:
        """Let go of the driver; opening takes it up again."""

    def driver(self) -> "Respondent":
        """The driver as a whole."""

    def gpu(self, index: int) -> "Respondent | None":
        """The GPU at an index; None where this process may not see it; raises Lost where it does not answer."""

    def told(self, function: str, *arguments: object) -> object:
        """What a function of pynvml answers; None where the driver cannot say."""

    def events(self) -> Events:
        """Where the Xids of its GPUs are heard."""

    def ask_anew(self) -> None:
        """Forget what GPUs did not support, since they may by now."""

    def costs(self) -> Mapping[str, Cost]:
        """What the calls of each function have taken since this was first asked."""


class Respondent:
    """The driver as a whole or one GPU, to be asked until the driver is opened anew.

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
            if isinstance(question, str):
                answer = self._nvml.told(question, *self._handle)
            else:
                answer = self._nvml.told(question[0], *self._handle, question[1])
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
    if isinstance(answer, ctypes.Structure):
        return {name: told for name, part in _parts(type(answer)) if (told := number(part(answer))) is not None}
    return {key: told for key, value in _entries(answer) if (told := number(value)) is not None}


def _entries(answer: object) -> Iterable[tuple[str | int, object]]:
    if isinstance(answer, (list, tuple)):
        return enumerate(answer)
    return () if answer is None else vars(answer).items()


@cache
def _parts(kind: type[ctypes.Structure]) -> Sequence[tuple[str, Callable[[ctypes.Structure], object]]]:
    """How each part of a structure is read; the binding's own way, which also decodes text, takes far longer."""
    return [(name, vars(kind)[name].__get__) for name, *_ in kind._fields_]
