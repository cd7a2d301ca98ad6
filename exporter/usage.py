"""What processes use, as the kernel tells of each of them."""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

from exporter.frozen import frozen
from exporter.kernel import said
from exporter.pids import PROC, Pid, stat

T = TypeVar("T")

PAGE = os.sysconf("SC_PAGE_SIZE")


@frozen
class Usage:
    """What one process uses; None, and nothing spent, where that is not ours to know."""

    spent: Mapping[str, float]
    resident: int
    threads: int
    open_fds: int | None
    max_fds: int | None

    @property
    def crowding(self) -> float:
        """The share of its files that the process has open; 0 where it is not known or has no limit."""
        return self.open_fds / self.max_fds if self.open_fds and self.max_fds else 0.0


Usages = Mapping[Pid, Usage]


def usages(processes: Iterable[Pid]) -> Usages:
    """What these processes use, without those that have ended."""
    return {process: used for process in processes if (used := usage(process)) is not None}


def usage(of: Pid) -> Usage | None:
    """What a process uses now; None where it has ended."""
    now, files = stat(of.number), f"{PROC}/{of.number}"
    if now is None or now.pid != of:
        return None
    resident = told(partial(resident_memory, f"{files}/statm"))
    traffic, open_fds = told(partial(disk_traffic, f"{files}/io")), told(partial(open_files, f"{files}/fd"))
    # What is missing is not ours to know, or gone with the process.
    ended = (traffic is None or open_fds is None) and not of.running
    if resident is None or ended:
        return None
    return Usage(
        spent={**now.cpu_seconds, **(traffic or {})},
        resident=resident,
        threads=now.threads,
        open_fds=open_fds,
        max_fds=None if open_fds is None else told(partial(most_files, f"{files}/limits")),
    )


def told(ask: Callable[[], T]) -> T | None:
    """What a process tells of itself; None where it may not be asked, or the kernel keeps no such figure."""
    try:
        return ask()
    except (OSError, LookupError):
        return None


def resident_memory(statm: str) -> int:
    """The memory that a process has in RAM, with the pages that it shares."""
    return int(said(statm).split()[1]) * PAGE


def disk_traffic(io: str) -> Mapping[str, float]:
    """What a process has read from disks, and written to them."""
    words = said(io).split()
    counts = dict(zip(words[::2], words[1::2], strict=False))
    return {"read": int(counts["read_bytes:"]), "written": int(counts["write_bytes:"])}


def open_files(folder: str) -> int:
    """How many files a process has open."""
    files = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Since Linux 6.2 the folder's size says it; before it is 0. To list a thousand sockets takes 0.5 ms.
        return os.fstat(files).st_size or len(os.listdir(files))  # noqa: PTH208  a Path does not take a descriptor
    finally:
        os.close(files)


def most_files(limits: str) -> int | None:
    """How many files a process may have open; None where it may have any number.

    Not by prlimit, which tells it of another user's process to none but who may change it.
    """
    limit, *_ = said(limits).partition("Max open files")[2].split(maxsplit=1)
    return int(limit) if limit.isdigit() else None
