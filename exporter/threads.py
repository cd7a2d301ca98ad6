"""Work that must not hold up the loop: blocking calls on a daemon thread, computations in a process of their own."""

import asyncio
import os
import pickle
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread as _Thread
from typing import TypeVar
from weakref import finalize

from exporter.reading import Reason, Unreadable

T = TypeVar("T")
Job = Callable[[], None]


class Thread:
    """One daemon thread that makes blocking calls, one at a time, and ends when nobody can call it any more.

    A daemon, because the interpreter joins the workers of a pool at exit, and a call that the driver
    holds would then hold the exit: 8.1 s against 0.4 s.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.busy = False
        self._turn = asyncio.Lock()
        self._jobs: SimpleQueue[Job] | None = None

    async def call(self, function: Callable[[], T]) -> T:
        """What the function returns or raises; a call that was given up goes on until it ends by itself.

        Raises Unreadable (stuck) at once while such a call is still under way.
        """
        async with self._turn:
            if self.busy:
                raise Unreadable(Reason.STUCK, f"an earlier call on thread {self.name} has not returned")
            loop = asyncio.get_running_loop()
            outcome: asyncio.Future[T] = loop.create_future()
            self.busy = True
            self._started().put(lambda: self._make(function, outcome, loop))
            return await outcome

    def _started(self) -> SimpleQueue[Job]:
        if self._jobs is None:
            self._jobs = SimpleQueue()
            finalize(self, self._jobs.put, sys.exit)
            _Thread(target=_work, args=(self._jobs,), name=self.name, daemon=True).start()
        return self._jobs

    def _make(self, function: Callable[[], T], outcome: "asyncio.Future[T]", loop: asyncio.AbstractEventLoop) -> None:
        try:
            result = function()
        except StopIteration as error:  # a future takes any error but this one
            tell: Job = partial(outcome.set_exception, RuntimeError(f"StopIteration: {error}"))
        except BaseException as error:  # noqa: BLE001  handed to the caller, whatever it is
            tell = partial(outcome.set_exception, error)
        else:
            tell = partial(outcome.set_result, result)
        self.busy = False
        if not loop.is_closed():
            loop.call_soon_threadsafe(lambda: None if outcome.done() else tell())


def _work(jobs: SimpleQueue[Job]) -> None:
    with suppress(SystemExit):
        while True:
            jobs.get()()


async def apart(function: Callable[..., T], *args: object) -> T:
    """What a module's function returns or raises, computed in a process that lives only for it.

    For work of which one step holds the interpreter for long: parsing 6 MiB of JSON on a thread stalls the
    loop for 0.23 s, since the parser never lets go of the interpreter's lock. Not a pool of processes, since
    that would leave one behind for as long as we live.
    """
    process = await _started()
    try:
        told, _ = await process.communicate(pickle.dumps((function, args)))
    finally:
        if process.returncode is None:  # A computation that nobody waits for any more ends with its caller.
            process.kill()
            await process.wait()
    if not told:
        raise RuntimeError(f"the process that was to compute {function.__name__} ended with {process.returncode}")
    result, error = pickle.loads(told)  # noqa: S301  our own process wrote it
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]  # of the function that was sent


async def _started() -> asyncio.subprocess.Process:
    try:
        started = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            f"from {__name__} import answer; answer()",
            stdin=PIPE,
            stdout=PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    except OSError as error:  # which would be taken for the service's
        raise RuntimeError("no process could be started to compute in") from error
    _expendable(started.pid)
    return started


def _expendable(number: int) -> None:
    """Where memory runs out, the kernel is to end that process rather than ours."""
    with suppress(OSError):
        Path(f"/proc/{number}/oom_score_adj").write_text("1000")


def answer() -> None:
    """Compute what stands on standard input, for the process that waits for it."""
    function, args = pickle.load(sys.stdin.buffer)  # noqa: S301  our own process wrote it
    result, error = None, None
    try:
        result = function(*args)
    except BaseException as raised:  # noqa: BLE001  handed to the caller, whatever it is
        error = raised
    pickle.dump((result, error), sys.stdout.buffer)


JUDGED_HERE = 256 * 2**10


async def judged(function: Callable[..., T], body: bytes, *args: object) -> T:
    """What a module's function makes of a body: here where it is small, apart where parsing it would stall the loop."""
    if len(body) <= JUDGED_HERE:
        return function(body, *args)
    return await apart(function, body, *args)
