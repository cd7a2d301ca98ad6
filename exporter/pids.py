"""Processes as the kernel tells of them: who is whose child, and who takes the place of one that has ended."""

import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from exporter.frozen import frozen
from exporter.kernel import said, written

PROC = "/proc"
TICKS = os.sysconf("SC_CLK_TCK")
ENDED = frozenset("ZX")
PF_KTHREAD = 0x00200000
"""The flag of a kernel's thread, by include/linux/sched.h of the kernel."""

# The hierarchies in which systemd keeps its units: that of version 2, and its own of version 1.
UNITS = frozenset({"", "name=systemd"})


@dataclass(frozen=True, slots=True)
class Pid:
    """One process for good: its number will be another's one day, but not with the same start."""

    number: int
    started: float
    """Seconds after the machine did."""

    @property
    def running(self) -> bool:
        """Whether this very process still runs."""
        now = stat(self.number)
        return now is not None and now.pid == self


@frozen
class Stat:
    """What the kernel says of a process."""

    pid: Pid
    name: str
    parent: int
    further: Sequence[str]
    """What follows the parent as far as its start, by proc_pid_stat(5)."""

    @property
    def of_the_kernel(self) -> bool:
        """Whether it is a thread of the kernel's own."""
        return bool(int(self.further[4]) & PF_KTHREAD)

    @property
    def threads(self) -> int:
        """How many threads it has."""
        return int(self.further[15])

    @property
    def cpu_seconds(self) -> Mapping[str, float]:
        """CPU time that it has spent, by mode."""
        return {"user": int(self.further[9]) / TICKS, "system": int(self.further[10]) / TICKS}


def stat(number: int) -> Stat | None:
    """What the kernel says of a process now; None where it has ended, reaped or not."""
    try:
        text = said(f"{PROC}/{number}/stat")
    except OSError:
        return None
    name, _, rest = text.partition("(")[2].rpartition(") ")
    state, parent, *further = rest.split(maxsplit=20)
    if state in ENDED:
        return None
    return Stat(pid=Pid(number, int(further[17]) / TICKS), name=name, parent=int(parent), further=further)


Children = Mapping[int, Sequence[Pid]]


class Census:
    """Who is whose child, counted again and again.

    The kernel's own threads are left out, and looked at only once: a large machine has thousands of them, of which
    each look costs 25 µs.
    """

    def __init__(self) -> None:
        self._kernel: Collection[tuple[str, int]] = frozenset()

    def children(self) -> Children:
        """Who is whose child now."""
        found: defaultdict[int, list[Pid]] = defaultdict(list)
        kernel = set()
        with os.scandir(PROC) as entries:
            # Who gets the number of one that has ended gets another inode.
            everyone = [(entry.name, entry.inode()) for entry in entries if entry.name.isdigit()]
        for each in everyone:
            if each in self._kernel:
                kernel.add(each)
            elif (child := stat(int(each[0]))) is None:
                continue
            elif child.of_the_kernel:
                kernel.add(each)
            else:
                found[child.parent].append(child.pid)
        self._kernel = kernel
        return found


class Everyone:
    """All processes at one moment; what else is told of them is read when first asked for."""

    def __init__(self, children: Children) -> None:
        self.children = children

    @property
    def pids(self) -> Iterator[Pid]:
        """Each of them."""
        return chain.from_iterable(self.children.values())

    @property
    def hidden(self) -> bool:
        """Whether there are others: where /proc is mounted with hidepid, not even the first is listed."""
        return all(pid.number != 1 for pid in self.pids)

    @cached_property
    def cgroups(self) -> Mapping[str, Sequence[Pid]]:
        """Who is in which cgroup, in the hierarchies in which systemd keeps its units."""
        found: defaultdict[str, list[Pid]] = defaultdict(list)
        for pid in self.pids:
            for path in set(cgroups(_read(pid, "cgroup"))):
                found[path].append(pid)
        return found

    @cached_property
    def commands(self) -> Mapping[Pid, str]:
        """What each was started as, with spaces between the words; nothing of those that are the kernel's own."""
        said = ((pid, _read(pid, "cmdline").replace("\0", " ").strip()) for pid in self.pids)
        return {pid: command for pid, command in said if command}


def _read(pid: Pid, file: str) -> str:
    """A file that the kernel keeps of a process; empty where it has ended, or is not ours to see."""
    try:
        return said(f"{PROC}/{pid.number}/{file}")
    except OSError:
        return ""


def ancestors(number: int) -> Iterator[int]:
    """Who started a process, and who started that, up to the first."""
    while (child := stat(number)) is not None and child.parent:
        number = child.parent
        yield number


def tree(root: Pid, children: Children) -> Sequence[Pid]:
    """A process and all its descendants."""
    members = {root.number: root}
    unvisited = [root.number]
    for number in unvisited:
        new = {child.number: child for child in children.get(number, ()) if child.number not in members}
        members |= new
        unvisited.extend(new)
    return list(members.values())


@frozen
class Role:
    """What a process is there for, by which one that takes its place is known."""

    user: str
    name: str
    """The executable's, unless the process gave itself another."""
    command: bytes
    unit: str | None
    """The cgroup of the systemd service that it belongs to; None where it belongs to none."""

    def alike(self, other: "Role") -> bool:
        """Whether another has the same command to run, for the same user, and not for another unit."""
        same = (self.user, self.name, self.command) == (other.user, other.name, other.command)
        return same and bool(self.command) and (self.unit == other.unit or None in {self.unit, other.unit})


def role(of: Pid) -> Role | None:
    """What a process is there for; None where it has ended, or is not ours to see."""
    try:
        lines = said(f"{PROC}/{of.number}/status").splitlines()
        status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        found = Role(
            user=status["Uid"][0],
            name=" ".join(status["Name"]),
            command=written(f"{PROC}/{of.number}/cmdline"),
            unit=unit(said(f"{PROC}/{of.number}/cgroup")),
        )
    except OSError:
        return None
    return found if of.running else None


def unit(told: str) -> str | None:
    """The cgroup of a process, where it is that of a systemd service, and not a session's, a scope's or a part's."""
    return next((path for path in cgroups(told) if path.endswith(".service")), None)


def cgroups(told: str) -> Iterator[str]:
    """The cgroups of a process in the hierarchies in which systemd keeps its units."""
    for line in told.splitlines():
        _, hierarchy, path = line.split(":", 2)
        if hierarchy in UNITS:
            yield path


@frozen
class Successor:
    """Who has taken the place of a process that ended."""

    pid: Pid
    alike: bool
    """Whether it has the same command to run; else it is only the first in the same unit, which may prepare it."""


def successor(to: Role, after: float, everyone: Iterable[Pid], taken: Collection[Pid]) -> Successor | None:
    """The oldest process that has the role of one last seen then, and has not taken another's.

    Not one that ran already: that is a child which outlived it, or its like at work on another port.
    """
    older, newer = _parted(everyone, after)
    roles = [(pid, its) for pid in newer if pid not in taken and (its := role(pid)) is not None]
    alike = next((pid for pid, its in roles if its.alike(to)), None)
    if alike is not None:
        return Successor(pid=alike, alike=True)
    members = [pid for pid, its in roles if to.unit is not None and its.unit == to.unit]
    # Where an older one is left, the unit has not ended: it runs more than the service, as cron's does.
    if not members or to.unit in _units(older):
        return None
    return Successor(pid=members[0], alike=False)


def _parted(everyone: Iterable[Pid], moment: float) -> tuple[Sequence[Pid], Sequence[Pid]]:
    by_age = sorted(everyone, key=_started)
    # A start is told in whole ticks.
    first = bisect_right(by_age, moment - 1 / TICKS, key=_started)
    return by_age[:first], by_age[first:]


def _started(pid: Pid) -> float:
    return pid.started


def _units(of: Iterable[Pid]) -> Iterator[str | None]:
    return (unit(_read(pid, "cgroup")) for pid in of)
