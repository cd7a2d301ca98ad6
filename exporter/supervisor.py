"""The service manager that started the program, and is told how it goes, as systemd's sd_notify(3) has it."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from socket import AF_UNIX, SOCK_DGRAM, SOCK_NONBLOCK, socket

STATUS_EVERY = 5.0  # Seconds between two looks at what is to be told of the program.
FEEDS = 3
"""How often the watchdog is fed within its time, so that one word may be lost."""


class Supervisor:
    """Whoever waits for word of the program; without one, or once it listens no more, every word is lost."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        # One socket for good, so that a shortage of files does not end in the watchdog's bite.
        self._socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK) if self._address else None
        self._status = ""
        self.patience = _patience(environ) if self._address else None
        """Seconds within which the watchdog is to be fed; None where there is none."""

    def ready(self) -> None:
        """The page is served."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """The program ends, as it was told to."""
        self._tell("STOPPING=1")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """For as long as the settings are read anew."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            self.ready()

    def status(self, line: str) -> None:
        """How things stand, in one line."""
        if line != self._status:
            self._status = line
            self._tell(f"STATUS={line}")

    def close(self) -> None:
        """Not a word more."""
        if self._socket is not None:
            self._socket.close()

    async def run(self, line: Callable[[], str], turned: Callable[[], Awaitable[object]]) -> None:
        """Tell for ever how things stand, and feed the watchdog each time that this loop and another have turned."""
        if self._socket is None:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell_how_it_stands(line))
            if self.patience is not None:
                group.create_task(self._feed(self.patience / FEEDS, turned))

    async def _tell_how_it_stands(self, line: Callable[[], str]) -> None:
        while True:
            self.status(line())
            await asyncio.sleep(STATUS_EVERY)

    async def _feed(self, every: float, turned: Callable[[], Awaitable[object]]) -> None:
        while True:
            await turned()
            self._tell("WATCHDOG=1")
            await asyncio.sleep(every)

    def _tell(self, *words: str) -> None:
        if self._socket is not None:
            # Nobody is there to hear it, or the queue is full, and to wait for that would be to hang.
            with suppress(OSError):
                self._socket.sendto("\n".join(words).encode(), self._address)


def _address(told: str) -> str:
    """Where word is waited for: a file, or, as the kernel has it, a name that begins with a zero."""
    return f"\0{told[1:]}" if told.startswith("@") else told if told.startswith("/") else ""


def _patience(environ: Mapping[str, str]) -> float | None:
    spent, number = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(os.getpid()))
    meant = spent.isdecimal() and int(spent) > 0 and number == str(os.getpid())
    return int(spent) / 1e6 if meant else None
