"""Model servers by what they tell of themselves, and what becomes of them."""

import random
from collections.abc import Callable
from dataclasses import replace

from exporter.wire import Failure
from tests.lives import Life, Moment

WELL = 600.0
"""Seconds for which a service is well before its story begins."""
MINUTE = 60.0
HOUR = 3600.0
EVER = 100 * HOUR

VLLM = Moment(generates=40.0, prefills=200.0, running=1.0)
SGLANG = Moment(generates=40.0, ends=40.0, prefills=200.0, running=1.0)
TGI = Moment(generates=40.0, ends=40.0, running=1.0)
LLAMA = Moment(generates=20.0, running=1.0)
TRITON = Moment(ends=2.0)
MUTE = Moment()
"""It tells nothing of itself, as Ollama, mlx-lm, oMLX and most that stand behind a proxy."""


def seen(service: Moment, *, started: float = -86_400.0, cores: float = 0.5) -> Moment:
    """One whose process can be seen."""
    return replace(service, up=True, started=started, cores=cores)


def failing(service: Moment, failure: Failure) -> Moment:
    """One that fails so, while all that it tells of itself goes on."""
    return replace(service, fails=failure)


def still(service: Moment) -> Moment:
    """One that generates nothing, for all that it tells."""
    return replace(
        service,
        generates=_stopped(service.generates),
        ends=_stopped(service.ends),
        prefills=_stopped(service.prefills),
        serves=_stopped(service.serves),
    )


def _stopped(rate: float | None) -> float | None:
    return None if rate is None else 0.0


def hung(service: Moment, failure: Failure = Failure.TIMEOUT_FIRST_TOKEN) -> Moment:
    """One that takes prompts, generates nothing, and calls itself healthy."""
    return failing(still(service), failure)


def busy(service: Moment, failure: Failure = Failure.TIMEOUT_FIRST_TOKEN) -> Moment:
    """One that works, and has no time for our prompt."""
    return replace(failing(service, failure), running=8.0, waiting=40.0)


def gone(*, up: bool | None = None) -> Moment:
    """One that listens no more; whether its process runs is None where that cannot be seen."""
    return Moment(fails=Failure.REFUSED, health=Failure.REFUSED, up=up)


def starting(started: float) -> Moment:
    """One whose process has started then, and does not listen yet."""
    return replace(gone(up=True), started=started, cores=1.0)


def loading() -> Moment:
    """One that says that it loads its model."""
    return Moment(fails=Failure.LOADING, health=Failure.LOADING)


def cut(failure: Failure = Failure.UNREACHABLE) -> Moment:
    """One of many that cannot be reached."""
    return Moment(fails=failure, health=failure, shared=True)


def then(*chapters: tuple[float, Moment]) -> Life:
    """A life in chapters, each of which lasts so many seconds."""

    def moment(now: float) -> Moment:
        for lasts, each in chapters:
            if now < lasts:
                return each
            now -= lasts
        return chapters[-1][1]

    return moment


def until(well: Moment, *chapters: Moment | tuple[float, Moment]) -> Life:
    """A service that is well, until what comes next; the last chapter has no end."""
    return then((WELL, well), *(each if isinstance(each, tuple) else (EVER, each) for each in chapters))


def now_and_then(share: float, well: Moment, ill: Moment) -> Callable[[float], Moment]:
    """One that fails by chance, as one bad worker of several does."""
    return lambda now: ill if random.Random(int(now)).random() < share else well
