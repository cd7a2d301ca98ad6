"""Blocking calls that hold up neither the loop nor the exit, made on daemon threads."""

import asyncio
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from sched import scheduler
from threading import Thread as _Thread
from typing import TypeVar
from weakref import finalize

from exporter.reading import Reason, Unreadable

T = TypeVar("T")
Job = Callable[[], object]
Turn = Callable[[], float | None]
"""Work that is done again and again: it gives the moment of the monotonic clock at which it is due next, or None."""


class Thread:
    """One daemon thread that makes blocking calls, one at a time, and ends when nobody can call it any more.

    A daemon, because the interpreter joins the workers of a pool at exit, and a call that the driver
    holds would then hold the exit: 8.1 s against 0.4 s.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.busy = False
        self._in_turn = asyncio.Lock()
        self._turns = scheduler(time.monotonic)
        self._jobs: SimpleQueue[Job] | None = None

    async def call(self, function: Callable[[], T]) -> T:
        """What the function returns or raises; a call that was given up goes on until it ends by itself.

        Raises Unreadable (stuck) at once while such a call is still under way.
        """
        async with self._in_turn:
            return await asyncio.wrap_future(self.begin(function))

    def begin(self, function: Callable[[], T]) -> "Future[T]":
        """The same for a thread to wait for, which has something else to do meanwhile."""
        if self.busy:
            raise self.stuck()
        outcome: Future[T] = Future()
        outcome.set_running_or_notify_cancel()
        self.busy = True
        self._started().put(partial(self._make, function, outcome))
        return outcome

    def attend(self, turn: Turn, at: float) -> None:
        """Have a turn taken at that moment of the monotonic clock, and again whenever it is due."""
        self._started().put(partial(self._enter, turn, at))

    def stuck(self) -> Unreadable:
        """What to raise where it does not come back from a call."""
        return Unreadable(Reason.STUCK, f"an earlier call on thread {self.name} has not returned")

    def _started(self) -> SimpleQueue[Job]:
        if self._jobs is None:
            self._jobs = SimpleQueue()
            finalize(self, self._jobs.put, sys.exit)
            _Thread(target=_work, args=(self._jobs, self._turns), name=self.name, daemon=True).start()
        return self._jobs

    def _make(self, function: Callable[[], T], outcome: "Future[T]") -> None:
        try:
            result = function()
        except StopIteration as error:  # asyncio's future takes any error but this one
            tell: Job = partial(outcome.set_exception, RuntimeError(f"StopIteration: {error}"))
        except BaseException as error:  # noqa: BLE001  handed to the caller, whatever it is
            tell = partial(outcome.set_exception, error)
        else:
            tell = partial(outcome.set_result, result)
        self.busy = False
        tell()

    def _enter(self, turn: Turn, at: float) -> None:
        self._turns.enterabs(at, 0, self._take, (turn,))

    def _take(self, turn: Turn) -> None:
        due = turn()
        if due is not None:
            self._enter(turn, due)


def _work(jobs: SimpleQueue[Job], turns: scheduler) -> None:
    with suppress(SystemExit):
        while True:
            rest = turns.run(blocking=False)
            with suppress(Empty):
                jobs.get(timeout=rest)()
