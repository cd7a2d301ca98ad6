"""The processes that an operator has named: by their unit, by their pid file or by their command line."""

import os
import stat as modes
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, Self

from exporter.frozen import by_place, frozen
from exporter.lookup import SEARCH, Entrance, Found, Lookup, Neighbours, topmost
from exporter.pids import TICKS, Everyone, Pid, ancestors, stat, tree
from exporter.reading import Reason, Unreadable
from exporter.units import Unit, of_a_user

LONGEST_PID = 64
"""Bytes of a pid file that are read; its first word is the pid."""
LATE = 1.0
"""Seconds by which a process may seem younger than the file that it wrote, since the kernel keeps two clocks."""


class Way(Protocol):
    """One way to name a service's processes."""

    def stamp(self) -> object:
        """What is another as soon as other processes are meant."""

    def root(self, everyone: Everyone) -> Pid | None:
        """The topmost of them now; None where none runs. Raises Unreadable where that cannot be told."""

    def members(self, root: Pid, everyone: Everyone) -> Sequence[Pid]:
        """All of them."""

    def run(self, root: Pid) -> str | None:
        """What tells one run of them from the next; None where only the end of the one before does."""

    def missing(self) -> str:
        """What is the matter where none was ever there; empty where that is nothing wrong."""


@by_place
class ByUnit:
    """Those in the cgroup of a unit of systemd."""

    unit: Unit

    def stamp(self) -> object:
        return None

    def root(self, everyone: Everyone) -> Pid | None:
        return _oldest(self._within(everyone))

    def members(self, root: Pid, everyone: Everyone) -> Sequence[Pid]:
        return list(dict.fromkeys((root, *self._within(everyone))))

    def run(self, _root: Pid) -> str | None:
        return self.unit.run

    def missing(self) -> str:
        return "" if self.unit.installed else f"there is no unit {self.unit.name}"

    def _within(self, everyone: Everyone) -> Sequence[Pid]:
        within = {path: own for path in everyone.cgroups if (own := self.unit.part_of(path)) is not None}
        # Where the system and a user have units of one name, the system's is meant.
        one = min(within.values(), key=lambda own: (of_a_user(own), own), default=None)
        return [pid for path, own in within.items() if own == one for pid in everyone.cgroups[path]]


@by_place
class ByPidFile:
    """The one whose number stands in a file, and all its descendants."""

    file: Path

    def stamp(self) -> object:
        try:
            now = self.file.stat()
        except OSError:
            return None
        return now.st_ino, now.st_mtime_ns

    def root(self, _everyone: Everyone) -> Pid | None:
        try:
            written = self.file.stat()
            # A pipe is not opened, which would wait for somebody to write.
            text = _beginning(self.file) if modes.S_ISREG(written.st_mode) else b"?"
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unreadable(Reason.NOT_PERMITTED, f"{self.file} is not readable: {error.strerror}") from error
        word, *_ = [*text.split(), b""]
        if word and not word.isdigit():
            raise Unreadable(Reason.INVALID, f"{self.file} holds no pid")
        found = stat(int(word)) if word else None
        # Whoever has that number now is another, if he began after the file was written.
        return found.pid if found is not None and _began(found.pid) <= written.st_mtime + LATE else None

    def members(self, root: Pid, everyone: Everyone) -> Sequence[Pid]:
        return tree(root, everyone.children)

    def run(self, root: Pid) -> str | None:
        return str(root)

    def missing(self) -> str:
        return "" if self.file.exists() else f"there is no file {self.file}"


@by_place
class ByCommand:
    """Those with a command line like this, and all their descendants, but for the exporter and who started it."""

    pattern: str
    matches: Callable[[str], bool]

    def stamp(self) -> object:
        return None

    def root(self, everyone: Everyone) -> Pid | None:
        return _oldest(self._alike(everyone))

    def members(self, root: Pid, everyone: Everyone) -> Sequence[Pid]:
        alike = self._alike(everyone)
        return list(dict.fromkeys(pid for each in (root, *alike) for pid in tree(each, everyone.children)))

    def run(self, _root: Pid) -> str | None:
        return None

    def missing(self) -> str:
        return f"no process has a command line like {self.pattern}"

    def _alike(self, everyone: Everyone) -> Sequence[Pid]:
        ours = {os.getpid(), *ancestors(os.getpid())}
        return [pid for pid, command in everyone.commands.items() if pid.number not in ours and self.matches(command)]


def _beginning(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(LONGEST_PID)


def _oldest(pids: Iterable[Pid]) -> Pid | None:
    top = topmost(pid.number for pid in pids)
    return None if top is None else top.pid


def _began(pid: Pid) -> float:
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + pid.started


@frozen
class Run:
    """The processes as they ran when they were last seen."""

    root: Pid
    name: str | None
    """What tells it from other runs."""
    alive: float
    """When it was last seen, in seconds after the machine started."""

    def followed_by(self, other: Self) -> bool:
        """Whether another run took its place; who is left over of the same run did not."""
        if self.name is not None and other.name is not None:
            return self.name != other.name
        # A start is told in whole ticks.
        return other.root != self.root and other.root.started >= self.alive - 1 / TICKS


class Chosen:
    """Finds the processes that an operator has named, and counts how often others took their place.

    What was never there may be misspelt, and is not said to be down.
    """

    def __init__(self, way: Way, entrance: Entrance, neighbours: Neighbours) -> None:
        self.found = Found(lookup=Lookup.NOT_FOUND)
        self.entrance = entrance
        self.restarts = 0
        self._way = way
        self._neighbours = neighbours
        self._due = 0.0
        self._stamp: object = None
        self._run: Run | None = None

    def look(self) -> None:
        """Learn how things stand now; raises Unreadable where what was named was never there, or cannot be told."""
        self._look_at_the_entrance()
        stamp, root = self._way.stamp(), self.found.root
        if root is None or not root.running or stamp != self._stamp:
            self._stamp = stamp
            everyone = self._neighbours.everyone(changed=True)
            self.found = self._found(self._way.root(everyone), everyone)
        if self.found.root is not None:
            self._note(self.found.root)
        elif self._run is None and self.found.lookup is Lookup.NOT_FOUND and (missing := self._way.missing()):
            raise Unreadable(Reason.NOT_FOUND, missing)

    def members(self, root: Pid, everyone: Everyone) -> Sequence[Pid]:
        """The processes of the service."""
        return self._way.members(root, everyone)

    def _look_at_the_entrance(self) -> None:
        if not self.entrance.listeners and time.monotonic() >= self._due:
            self._due = time.monotonic() + SEARCH
            self.entrance.resolve()
        self.entrance.look()

    def _found(self, root: Pid | None, everyone: Everyone) -> Found:
        if root is not None:
            return self.found.followed_by(root)
        return Found(lookup=Lookup.NOT_PERMITTED if everyone.hidden else Lookup.NOT_FOUND)

    def _note(self, root: Pid) -> None:
        now = Run(root=root, name=self._way.run(root), alive=time.clock_gettime(time.CLOCK_BOOTTIME))
        self.restarts += self._run is not None and self._run.followed_by(now)
        self._run = now
