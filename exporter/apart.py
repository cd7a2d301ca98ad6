"""Computations of which one step would hold up everything, each made in a process of its own."""

import os
import pickle
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Lock
from typing import TypeVar

from exporter import cgroups
from exporter.reading import Reason, Unreadable
from exporter.threads import Thread

T = TypeVar("T")

LESS_URGENT = 10
"""How much nicer a process is than ours that computes for it."""
PROCESS = 20 * 2**20
"""Bytes of memory that such a process takes before it has begun."""


async def apart(function: Callable[..., T], *args: object) -> T:
    """What a module's function returns or raises, computed in a process that lives only for it.

    For work of which one step holds the interpreter for long: parsing 6 MiB of JSON on a thread stalls the
    loop for 0.23 s, since the parser never lets go of the interpreter's lock. Not a pool of processes, since
    that would leave one behind for as long as we live.
    """
    computing = _Computing()
    try:
        return await Thread("apart").call(partial(computing.result, function, args))
    finally:
        computing.end()  # A computation that nobody waits for any more ends with its caller.


class _Computing:
    """One computation in a process of its own, waited for on a thread, since starting a process takes milliseconds."""

    def __init__(self) -> None:
        self._turn = Lock()
        self._process: Popen[bytes] | None = None
        self._ended = False

    def result(self, function: Callable[..., T], args: tuple[object, ...]) -> T:
        with self._begun() as process:
            with suppress(BrokenPipeError), process.stdin as asked:  # type: ignore[union-attr]  # it is a pipe
                # Into the pipe itself: of a body of megabytes no copy is made.
                pickle.dump((function, args), asked, protocol=5)
            try:
                result, error = pickle.load(process.stdout)  # type: ignore[arg-type]  # noqa: S301  our own process wrote it
            except (EOFError, pickle.UnpicklingError):
                ended = f"the process that was to compute {function.__name__} ended with {process.wait()}"
                raise RuntimeError(ended) from None
        if isinstance(error, MemoryError):
            raise _no_room()
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]  # of the function that was sent

    def _begun(self) -> "Popen[bytes]":
        with self._turn:
            if self._ended:
                raise RuntimeError("nobody waits for it any more")
            self._process = _started()
            return self._process

    def end(self) -> None:
        """End the process, where it has not ended by itself."""
        with self._turn:
            self._ended = True
            if self._process is not None:
                self._process.kill()


ALONE = f"from {__name__} import answer; answer()"


def _started() -> "Popen[bytes]":
    left = cgroups.room()
    if left is not None and left < PROCESS:
        raise _no_room()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        process = Popen([sys.executable, "-c", ALONE], stdin=PIPE, stdout=PIPE, env=environment)  # noqa: S603  our own
    except OSError as error:  # which would be taken for the service's
        raise RuntimeError("no process could be started to compute in") from error
    _give_way(process.pid, left)
    return process


def _no_room() -> Unreadable:
    return Unreadable(Reason.ERROR, "no memory is left here for a process that computes apart")


def _give_way(pid: int, left: int | None) -> None:
    """Let a process be the first to go without; by us, since it would take milliseconds until it can do so itself."""
    # Where there is little memory it is not to take what is left, and where that runs out, the kernel is to end it
    # rather than us; where there is little time, what stamps the arrival of tokens comes first. A sandbox may refuse
    # any of it.
    if left is not None:
        with suppress(OSError, ValueError):
            resource.prlimit(pid, resource.RLIMIT_DATA, (left, left))
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, LESS_URGENT)


def answer() -> None:
    """Compute what stands on standard input, for the process that waits for it."""
    result, error = None, None
    try:
        function, args = pickle.load(sys.stdin.buffer)  # noqa: S301  our own process wrote it
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
