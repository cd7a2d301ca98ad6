"""A watch of a source whose looks block: the thread that makes them keeps their clock, and wakes nobody else."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial

from exporter.frozen import by_place
from exporter.reading import Reading, Reason
from exporter.threads import Thread
from exporter.watch import COMMON, Clock, Watch

LATE = 2.0
"""Seconds too late for the loop to say that a look takes long: what has held it up may have held up the look."""


def nothing(_said: Sequence[Reading]) -> None:
    """Of what is said nobody waits for anything."""


@by_place
class Blocking:
    """All that a source is whose looks block."""

    look: Callable[[], Sequence[Reading]]
    """One look, and what there is to be said after it."""
    thread: Thread
    """Where it is made."""
    awaited: Callable[[Sequence[Reading]], object] = nothing
    """What somebody waits for of what is said: while that stands still, nobody is woken."""


class BlockingWatch(Watch):
    """Reads one source on its clock from its thread and keeps what it said last.

    A look that takes too long is given up; what it says when it comes back at last is not listened to.
    """

    def __init__(
        self, of: Blocking, clock: Clock, *, source: str, target: str = "", reasons: Sequence[Reason] = COMMON
    ) -> None:
        super().__init__(self._asked, clock, source=source, target=target, reasons=reasons)
        self._look, self._thread, self._awaited = of.look, of.thread, of.awaited
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: object | None = None
        self._due = self._deadline = 0.0
        self._looking = self._given_up = self._stuck = False

    async def run(self) -> None:
        """Have the thread look for ever, and give up what takes too long."""
        self._loop = asyncio.get_running_loop()
        this_run = self._running = object()
        self._due = time.monotonic() + self.clock.first_after
        self._deadline = self._due + self.clock.timeout
        self._thread.attend(partial(self._turn, this_run), self._due)
        try:
            while True:
                # At a whole second, when the loop wakes anyway.
                await asyncio.sleep(math.ceil(self._deadline) - time.monotonic())
                self._give_up()
        finally:
            self._running = None

    async def _asked(self) -> AsyncGenerator[Sequence[Reading], None]:
        """One look besides those that come by the clock."""
        yield await self._thread.call(self._look)

    def _turn(self, of_run: object) -> float | None:
        if self._running is not of_run:
            return None
        with self._lock:
            self._looking, self._given_up = True, False
            self._deadline = time.monotonic() + self.clock.timeout
        self._begin()
        began = time.perf_counter()
        try:
            readings = self._look()
        except Exception as error:  # noqa: BLE001  as where a source is read on the loop
            if self._listened_to():
                self._fail(error, time.perf_counter() - began)
        else:
            if self._listened_to():
                self._say(readings)
                self._succeed(time.perf_counter() - began)
        return self._due

    def _listened_to(self) -> bool:
        """Whether the look that has come back was not given up; the next is due an interval after it was."""
        with self._lock:
            self._looking = self._stuck = False
            self._due = max(self._due + self.interval(), time.monotonic())
            self._deadline = self._due + self.clock.timeout
            return not self._given_up

    def _give_up(self) -> None:
        """Count a look that has taken too long, or has waited too long for another; each that is due meanwhile too."""
        with self._lock:
            late = time.monotonic() - self._deadline
            if late < 0:
                return
            if late > LATE:
                self._deadline += late + self.clock.timeout
                return
            again, counted = self._stuck, self._looking and not self._stuck
            self._stuck, self._given_up = True, self._looking
            self._deadline += self.interval()
        if not counted:
            self._begin()
        self._fail(self._thread.stuck() if again else TimeoutError(), 0.0 if again else self.clock.timeout)

    def _new(self, readings: Sequence[Reading]) -> bool:
        return self._awaited(readings) != self._awaited(self._said)

    def _wake(self) -> None:
        if self._loop is None:
            super()._wake()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(super()._wake)
