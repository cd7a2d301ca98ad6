"""The control groups that this program runs in: its container's, its unit's, and those around them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

OWN = Path("/proc/self/cgroup")
MOUNTED = Path("/sys/fs/cgroup")
# Version 1 has no word for "no limit": it says the largest number of pages.
UNLIMITED = 1 << 62
# The files of version 2, and of version 1.
MEMORY_LIMIT = ("memory.max", "memory.limit_in_bytes")
MEMORY_USED = ("memory.current", "memory.usage_in_bytes")
# What memory holds of files, which gives way to whatever else needs it.
CACHED = frozenset({"active_file", "inactive_file", "total_active_file", "total_inactive_file"})


def lineage(controller: str, own: Path = OWN, mounted: Path = MOUNTED) -> Iterator[Path]:
    """The innermost group that a controller rules, and those around it, version 1 or 2."""
    paths = _paths(own)
    # A container may be told the host's path to its group while it sees the group itself as the root;
    # what then does not exist says nothing, and the root speaks.
    version_1 = controller in paths
    root = mounted / controller if version_1 else mounted
    innermost = root / paths.get(controller if version_1 else "", "/").lstrip("/")
    return (around for around in (innermost, *innermost.parents) if around.is_relative_to(root))


def _paths(own: Path) -> Mapping[str, str]:
    return {
        controller: path
        for _, controllers, path in (line.split(":", 2) for line in own.read_text().splitlines())
        for controller in controllers.split(",")
    }


def words(*files: Path) -> Sequence[str]:
    """What files say, one after another; nothing of those that cannot be read."""
    said: list[str] = []
    for file in files:
        with suppress(OSError):
            said += file.read_text().split()
    return said


def number(around: Path, names: Sequence[str]) -> int | None:
    """The number in the first of a group's files that is there."""
    return next((limited(word) for name in names for word in words(around / name)), None)


def limited(word: str) -> int | None:
    """A number that limits something; None for "max", -1 and the like."""
    return int(word) if word.isdigit() and int(word) < UNLIMITED else None


def room(own: Path = OWN, mounted: Path = MOUNTED) -> int | None:
    """Bytes of memory that this program may still take; None where no group limits it."""
    with suppress(OSError, ValueError):
        return min(
            (left for around in lineage("memory", own, mounted) if (left := _left(around)) is not None), default=None
        )
    return None


def _left(around: Path) -> int | None:
    limit, used = number(around, MEMORY_LIMIT), number(around, MEMORY_USED)
    if limit is None or used is None:
        return None
    told = iter(words(around / "memory.stat"))
    return limit - used + sum(int(value) for name, value in zip(told, told, strict=False) if name in CACHED)
