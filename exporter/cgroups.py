"""The control groups that this program runs in: its container's, its unit's, and those around them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from exporter.frozen import frozen
from exporter.kernel import said

OWN = Path("/proc/self/cgroup")
MOUNTED = Path("/sys/fs/cgroup")
RESERVE = 4 * 2**20  # Bytes of memory that are left for everything else.
# Version 1 has no word for "no limit": it says the largest number of pages.
UNLIMITED = 1 << 62
# By version, the files that tell it.
CPU_LIMIT = {2: ("cpu.max",), 1: ("cpu.cfs_quota_us", "cpu.cfs_period_us")}
MEMORY_LIMIT = {2: ("memory.max",), 1: ("memory.limit_in_bytes",)}
MEMORY_USED = {2: ("memory.current",), 1: ("memory.usage_in_bytes",)}
MEMORY_STAT = dict.fromkeys((1, 2), ("memory.stat",))
# What memory holds of files, which gives way to whatever else needs it.
CACHED = frozenset({"active_file", "inactive_file", "total_active_file", "total_inactive_file"})


@frozen
class ControlGroup:
    """One control group."""

    folder: str
    version: int

    def words(self, files: Mapping[int, Sequence[str]]) -> Sequence[str]:
        """What its files say, one after another; nothing of those that cannot be read."""
        found: list[str] = []
        for file in files[self.version]:
            with suppress(OSError):
                found += said(f"{self.folder}/{file}").split()
        return found

    def number(self, files: Mapping[int, Sequence[str]]) -> int | None:
        """The number in its file; None where there is no such file, or no limit in it."""
        return next(map(limited, self.words(files)), None)


def paths(own: Path = OWN) -> Mapping[str, str]:
    """The path of the innermost group by what controls it; by nothing that of version 2."""
    return {
        controller: path
        for _, controllers, path in (line.split(":", 2) for line in said(own).splitlines())
        for controller in controllers.split(",")
    }


def lineage(controller: str, own: Mapping[str, str], mounted: Path = MOUNTED) -> Iterator[ControlGroup]:
    """Of the paths of its own, the innermost group that a controller rules, and those around it, version 1 or 2."""
    # A container may be told the host's path to its group while it sees the group itself as the root;
    # what then does not exist says nothing, and the root speaks.
    version = 1 if controller in own else 2
    root, path = (f"{mounted}/{controller}", own[controller]) if version == 1 else (str(mounted), own.get("", ""))
    inner = [part for part in path.split("/") if part]
    for depth in range(len(inner), -1, -1):
        yield ControlGroup(folder="/".join((root, *inner[:depth])), version=version)


def limited(word: str) -> int | None:
    """A number that limits something; None for "max", -1 and the like."""
    return int(word) if word.isdigit() and int(word) < UNLIMITED else None


def room(own: Path = OWN, mounted: Path = MOUNTED) -> int | None:
    """Bytes of memory that one piece of work may still take; None where no group limits it."""
    with suppress(OSError, ValueError):
        every = (_left(group) for group in lineage("memory", paths(own), mounted))
        left = min((left for left in every if left is not None), default=None)
        return None if left is None else max(left - RESERVE, 0)
    return None


def _left(group: ControlGroup) -> int | None:
    limit, used = group.number(MEMORY_LIMIT), group.number(MEMORY_USED)
    if limit is None or used is None:
        return None
    told = iter(group.words(MEMORY_STAT))
    return limit - used + sum(int(value) for name, value in zip(told, told, strict=False) if name in CACHED)
