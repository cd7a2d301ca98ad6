"""Processes as the kernel tells of them: who is whose child, and who takes the place of one that has ended."""

import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
ENDED = frozenset("ZX")

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """What the kernel says of a process."""

    pid: Pid
    name: str
    parent: int


def stat(number: int) -> Stat | None:
    """What the kernel says of a process now; None where it has ended, reaped or not."""
    try:
        text = (PROC / str(number) / "stat").read_text(errors="replace")
    except OSError:
        return None
    name, _, rest = text.partition("(")[2].rpartition(") ")
    state, parent, *others = rest.split()
    if state in ENDED:
        return None
    return Stat(pid=Pid(number, int(others[17]) / TICKS), name=name, parent=int(parent))


Children = Mapping[int, Sequence[Pid]]


def children() -> Children:
    """Who is whose child now."""
    found: defaultdict[int, list[Pid]] = defaultdict(list)
    for path in PROC.iterdir():
        if path.name.isdigit() and (child := stat(int(path.name))) is not None:
            found[child.parent].append(child.pid)
    return found


def tree(root: Pid, children: Children) -> Sequence[Pid]:
    """A process and all its descendants."""
    members = {root.number: root}
    unvisited = [root.number]
    for number in unvisited:
        new = {child.number: child for child in children.get(number, ()) if child.number not in members}
        members |= new
        unvisited.extend(new)
    return list(members.values())


@dataclass(frozen=True, slots=True, kw_only=True)
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
    files = PROC / str(of.number)
    try:
        lines = (files / "status").read_text(errors="replace").splitlines()
        status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        found = Role(
            user=status["Uid"][0],
            name=" ".join(status["Name"]),
            command=(files / "cmdline").read_bytes(),
            unit=unit((files / "cgroup").read_text(errors="replace")),
        )
    except OSError:
        return None
    return found if of.running else None


def unit(cgroups: str) -> str | None:
    """The cgroup of a process, where it is that of a systemd service, and not a session's, a scope's or a part's."""
    for line in cgroups.splitlines():
        _, hierarchy, path = line.split(":", 2)
        if hierarchy in UNITS and path.endswith(".service"):
            return path
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
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
    for pid in of:
        try:
            yield unit((PROC / str(pid.number) / "cgroup").read_text(errors="replace"))
        except OSError:  # it has ended meanwhile
            continue
