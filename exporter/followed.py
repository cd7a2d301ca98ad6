"""What a file holds: read anew when it changes, and kept where the file is of no use any more."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from exporter.frozen import frozen
from exporter.reading import Unreadable
from exporter.threads import Thread

log = logging.getLogger(__name__)

T = TypeVar("T")

RECENT = 1.0  # Seconds for which a file is taken to hold what it held.
PATIENCE = 1.0  # Seconds after which what was read last is taken, since the file's system hangs.

Stamp = tuple[int, int, int, int]


@frozen
class Source:
    """A file, the setting that names it, and what the log tells beside it."""

    file: Path
    setting: str
    about: Mapping[str, str]


class Followed(Generic[T]):
    """What a file holds now, at most a second old; what it held last where it holds nothing of use.

    `read` raises ValueError, saying what was expected, and `since` is the file's stamp when `last` was read.
    """

    def __init__(self, source: Source, read: Callable[[Path], T], last: T, *, since: Stamp | None = None) -> None:
        self._source = source
        self._read = read
        self._last = last
        self._stamp = since
        self._thread = Thread("file")
        self._due = 0.0
        self._told = False

    async def now(self) -> T:
        """What it holds; the file is looked at once a second at most."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + RECENT
            await self._look()
        return self._last

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                found = await self._thread.call(partial(_changed, self._source.file, self._read, self._stamp))
        except (TimeoutError, Unreadable):
            self._miss("a file that can be read at once")
        except ValueError as error:
            self._miss(str(error))
        else:
            self._told = False
            if found is not None:
                self._take(*found)

    def _take(self, stamp: Stamp, found: T) -> None:
        if found != self._last:
            log.info("%s was read anew", self._source.setting, extra=self._source.about)
        self._stamp, self._last = stamp, found

    def _miss(self, expected: str) -> None:
        if not self._told:
            miss = "%s is no longer of use, expected %s: what it held last is kept"
            log.warning(miss, self._source.setting, expected, extra=self._source.about)
        self._told = True


def stamped(file: Path) -> Stamp:
    """What changes with a file; raises ValueError, saying what was expected, where there is none."""
    try:
        status = file.stat()
    except OSError as error:
        raise ValueError(f"a file that can be read ({error.strerror})") from error
    return stamp_of(status)


def stamp_of(status: os.stat_result) -> Stamp:
    """What changes with a file, of what the system says of it."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _changed(file: Path, read: Callable[[Path], T], since: Stamp | None) -> tuple[Stamp, T] | None:
    """The file's stamp and what it holds now; None where it is as it was."""
    # Taken before the file is read, so that what is written meanwhile is read the next time.
    stamp = stamped(file)
    return None if stamp == since else (stamp, read(file))
