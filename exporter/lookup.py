"""Which process serves a port, and which descend from it: searched again only when something has changed."""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar

from exporter.reading import Reason, Unreadable
from exporter.sockets import Address, Listener, Sockets, addresses_here, answers, sockets
from exporter.threads import Thread

T = TypeVar("T")

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
ENDED = frozenset("ZX")

RECENT = 1.0  # Seconds for which services share one look at the machine.
SETTLED = 30.0  # Seconds for which a tree that has lost no member is taken to have no new one.
SEARCH = 60.0  # Seconds between two searches while nothing about the port changes.
CONNECT = 1.0  # Seconds within which a port of this machine accepts a connection, or does not.

# They hold a port for what runs in another namespace, or on another machine.
FORWARDERS = frozenset(
    {
        *("docker-proxy", "rootlessport", "rootlessport-ch", "rootlesskit", "slirp4netns", "conmon"),
        *("pasta", "pasta.avx2", "passt", "passt.avx2", "kube-proxy"),
    }
)
# They hold a port until somebody calls, and then hand it to the service.
ACTIVATORS = frozenset({"systemd", "inetd", "xinetd"})


class Lookup(StrEnum):
    """What became of the search for a service's process."""

    FOUND = "found"
    NOT_LOCAL = "not_local"
    NOT_PERMITTED = "not_permitted"
    OTHER_NAMESPACE = "other_namespace"
    NOT_FOUND = "not_found"
    OFF = "off"


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


def topmost(numbers: Iterable[int]) -> Stat | None:
    """Of processes that hold one socket the oldest: who hands a socket down is older than whom it is handed to."""
    holders = (holder for number in sorted(numbers) if (holder := stat(number)) is not None)
    return min((holder for holder in holders if holder.name not in ACTIVATORS), key=_age, default=None)


def _age(process: Stat) -> float:
    return process.pid.started


class Recent(Generic[T]):
    """What a look gave, for as long as those who ask find it recent enough."""

    def __init__(self, look: Callable[[], T]) -> None:
        self._look = look
        self._seen: tuple[float, T] | None = None

    def within(self, seconds: float) -> T:
        """What was seen within the last seconds, if need be now."""
        now = time.monotonic()
        if self._seen is None or now - self._seen[0] > seconds:
            self._seen = (now, self._look())
        return self._seen[1]


class Neighbours:
    """What the searches for all services share: a thread, and recent looks at the machine's sockets and processes."""

    def __init__(self, *, recent: float = RECENT, settled: float = SETTLED) -> None:
        self.thread = Thread("process")
        self._recent = recent
        self._settled = settled
        self._sockets = Recent(sockets)
        self._children = Recent(children)

    def sockets(self) -> Sockets:
        """The sockets of this network namespace."""
        return self._sockets.within(self._recent)

    def children(self, *, changed: bool) -> Children:
        """Who is whose child; as it was a while ago, unless something is known to have changed."""
        return self._children.within(self._recent if changed else self._settled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search gave."""

    lookup: Lookup
    root: Pid | None = None
    since: float | None = None
    """When the root started; told once, since the clock it is reckoned from is set now and then."""
    forwarded: bool = False
    """Whether what listens here only passes on to the service what comes."""


class Search:
    """Finds the process behind a port, and counts how often another took its place."""

    def __init__(self, host: str, port: int, neighbours: Neighbours) -> None:
        self.found = Found(lookup=Lookup.NOT_FOUND)
        self.listeners: Sequence[Listener] = ()
        self.connections = 0
        self.restarts = 0
        self._host = host
        self._port = port
        self._neighbours = neighbours
        self._addresses: Sequence[Address] | None = ()
        self._inodes: frozenset[int] = frozenset()
        self._due = 0.0
        self._known: Pid | None = None

    def look(self) -> None:
        """Learn how things stand now; raises Unreadable where the service's name says nothing."""
        due = self.found.root is None and time.monotonic() >= self._due
        if due:
            self._due = time.monotonic() + SEARCH
            self._addresses = addresses_here(self._host, self._port)
        if self._addresses is None:
            raise Unreadable(Reason.NOT_FOUND, f"{self._host} cannot be resolved")
        here = self._neighbours.sockets()
        self.listeners = here.listeners(self._addresses, self._port)
        self.connections = here.connections[self._port]
        if due or self._changed():
            self._note(self._search(self._addresses, here))

    def _changed(self) -> bool:
        root, inodes = self.found.root, _inodes(self.listeners)
        if root is None:
            return inodes != self._inodes
        # A server that drains listens no more, and still runs.
        return not root.running or (bool(inodes) and inodes != self._inodes)

    def _search(self, addresses: Sequence[Address], here: Sockets) -> Found:
        if not addresses:
            return Found(lookup=Lookup.NOT_LOCAL)
        if not self.listeners:
            # What is accepted where nothing listens was passed on to another namespace by the kernel's own rules.
            accepted = any(answers(address, self._port, CONNECT) for address in addresses)
            return Found(lookup=Lookup.OTHER_NAMESPACE if accepted else Lookup.NOT_FOUND)
        holders = here.holders.of(self.listeners)
        if not holders:
            return Found(lookup=Lookup.NOT_PERMITTED if here.holders.hidden else Lookup.OTHER_NAMESPACE)
        top = topmost(holders)
        if top is None:
            return Found(lookup=Lookup.NOT_FOUND)
        if top.name in FORWARDERS:
            return Found(lookup=Lookup.OTHER_NAMESPACE, forwarded=True)
        booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        return Found(lookup=Lookup.FOUND, root=top.pid, since=booted + top.pid.started)

    def _note(self, found: Found) -> None:
        if found.root is not None:
            self.restarts += self._known not in {None, found.root}
            self._known = found.root
        self.found = found
        self._inodes = _inodes(self.listeners)
        self._due = time.monotonic() + SEARCH


def _inodes(listeners: Sequence[Listener]) -> frozenset[int]:
    return frozenset(listener.inode for listener in listeners)
