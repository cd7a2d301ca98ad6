"""Which process serves a port, or is about to: searched again only when something has changed."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import Self
from weakref import WeakKeyDictionary

from exporter.frozen import frozen
from exporter.pids import Census, Everyone, Pid, Role, Stat, role, stat, successor, tree
from exporter.reading import Reason, Unreadable
from exporter.recent import Recent
from exporter.sockets import EVERY, Address, Holders, Listener, Ports, Sockets, addresses_here, answers, sockets
from exporter.threads import Thread

RECENT = 1.0  # Seconds for which services share one look at the machine.
COUNTED = 14.0  # Seconds for which connections that were counted stand.
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


def topmost(numbers: Iterable[int]) -> Stat | None:
    """Of processes that hold one socket the oldest: who hands a socket down is older than whom it is handed to."""
    holders = (holder for number in sorted(numbers) if (holder := stat(number)) is not None)
    return min((holder for holder in holders if holder.name not in ACTIVATORS), key=_age, default=None)


def _age(process: Stat) -> float:
    return process.pid.started


class Neighbours:
    """What the searches for all services share: a thread, and recent looks at the machine's sockets and processes."""

    def __init__(self, *, recent: float = RECENT, settled: float = SETTLED, counted: float = COUNTED) -> None:
        self.thread = Thread("process")
        self.serving: WeakKeyDictionary[Search, Pid] = WeakKeyDictionary()
        self._recent = recent
        self._settled = settled
        self._counted = counted
        self._ports: Ports | None = None
        self._sockets = self._listed(EVERY)
        census = Census()
        self._everyone = Recent(lambda: Everyone(census.children()))

    def include(self, port: int) -> None:
        """Look at this port too from now on, whatever others have seen a moment ago."""
        lowest, highest = self._ports or (port, port)
        self._ports = min(lowest, port), max(highest, port)
        self._sockets = self._listed(self._ports)

    def sockets(self) -> Sockets:
        """The sockets of this network namespace at the ports that are looked at, and at all those between."""
        return self._sockets.within(self._recent)

    def _listed(self, ports: Ports) -> Recent[Sockets]:
        """What listens at these ports, with connections as they were counted a while ago."""
        counting = Recent(partial(sockets, ports))
        return Recent(lambda: sockets(ports, counting.within(self._counted)))

    def taken(self, besides: "Search") -> frozenset[Pid]:
        """The processes that serve the ports of other searches."""
        return frozenset(root for search, root in self.serving.items() if search is not besides)

    def everyone(self, *, changed: bool) -> Everyone:
        """All processes; as they were a while ago, unless something is known to have changed."""
        return self._everyone.within(self._recent if changed else self._settled)


@frozen
class Found:
    """What a search gave."""

    lookup: Lookup
    root: Pid | None = None
    since: float | None = None
    """When the root started; told once, since the clock it is reckoned from is set now and then."""
    presumed: bool = False
    """Whether the root may be another than the service, whose unit it started in."""
    forwarded: bool = False
    """Whether what listens here only passes on to the service what comes."""

    @property
    def uncertain(self) -> bool:
        """Whether the service may run all the same."""
        return self.lookup is Lookup.NOT_FOUND or self.presumed

    def followed_by(self, root: Pid, *, presumed: bool = False) -> Self:
        """What a search gives that finds this process next."""
        booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        since = self.since if root == self.root else booted + root.started
        return type(self)(lookup=Lookup.FOUND, root=root, since=since, presumed=presumed)


@frozen
class Known:
    """The process that was last known to be the service."""

    pid: Pid
    role: Role | None
    listened: bool
    alive: float
    """When it was last seen to run, in seconds after the machine started."""
    lost: float
    """When the last one that listened was."""

    def now(self) -> Self:
        """The same, seen to run again where it does."""
        at = time.clock_gettime(time.CLOCK_BOOTTIME)
        return replace(self, alive=at) if self.pid.running else self


class Entrance:
    """Where a service is called: what listens there, and how many are connected; nothing where it has no port."""

    def __init__(self, host: str, port: int | None, neighbours: Neighbours) -> None:
        self.addresses: Sequence[Address] | None = ()
        """Those of its host that are this machine's; None where the host's name says nothing."""
        self.listeners: Sequence[Listener] = ()
        self.connections = 0
        self._host = host
        self._port = port
        self._neighbours = neighbours
        self._here = Sockets()
        if port is not None:
            neighbours.include(port)

    @property
    def holders(self) -> Holders:
        """Which processes hold what listens."""
        return self._here.holders

    def resolve(self) -> None:
        """Learn anew where its host's name leads."""
        self.addresses = () if self._port is None else addresses_here(self._host, self._port)

    def look(self) -> None:
        """Learn how things stand now."""
        if self._port is None:
            return
        self._here = self._neighbours.sockets()
        self.listeners = self._here.listeners(self.addresses or (), self._port)
        self.connections = self._here.connections[self._port]


class Search:
    """Finds the process behind a port, and counts how often another took its place."""

    def __init__(self, host: str, port: int, neighbours: Neighbours) -> None:
        self.found = Found(lookup=Lookup.NOT_FOUND)
        self.entrance = Entrance(host, port, neighbours)
        self.restarts = 0
        self._host = host
        self._port = port
        self._neighbours = neighbours
        self._inodes: frozenset[int] = frozenset()
        self._due = 0.0
        self._known: Known | None = None

    def look(self) -> None:
        """Learn how things stand now; raises Unreadable where the service's name says nothing."""
        due = self.found.root is None and time.monotonic() >= self._due
        if due:
            self._due = time.monotonic() + SEARCH
            self.entrance.resolve()
        if self.entrance.addresses is None:
            raise Unreadable(Reason.NOT_FOUND, f"{self._host} cannot be resolved")
        self.entrance.look()
        self._known = self._known and self._known.now()
        if due or self._changed():
            self._note(self._search(self.entrance.addresses))
        if self._known is not None:
            self._await(self._known)

    @property
    def listeners(self) -> Sequence[Listener]:
        """What listens at its port."""
        return self.entrance.listeners

    def members(self, root: Pid, everyone: Everyone) -> Sequence[Pid]:
        """The processes of the service: the one that was found, and all its descendants."""
        return tree(root, everyone.children)

    def _changed(self) -> bool:
        root, inodes = self.found.root, _inodes(self.listeners)
        if root is None:
            return inodes != self._inodes
        # A server that drains listens no more, and still runs.
        return not root.running or (bool(inodes) and inodes != self._inodes)

    def _search(self, addresses: Sequence[Address]) -> Found:
        if not addresses:
            return Found(lookup=Lookup.NOT_LOCAL)
        if not self.listeners:
            # What is accepted where nothing listens was passed on to another namespace by the kernel's own rules.
            accepted = any(answers(address, self._port, CONNECT) for address in addresses)
            return Found(lookup=Lookup.OTHER_NAMESPACE if accepted else Lookup.NOT_FOUND)
        every = self.entrance.holders
        holders = every.of(self.listeners)
        if not holders:
            return Found(lookup=Lookup.NOT_PERMITTED if every.hidden else Lookup.OTHER_NAMESPACE)
        top = topmost(holders)
        if top is None:
            return Found(lookup=Lookup.NOT_FOUND)
        if top.name in FORWARDERS:
            return Found(lookup=Lookup.OTHER_NAMESPACE, forwarded=True)
        return self.found.followed_by(top.pid)

    def _note(self, found: Found) -> None:
        self.found = found
        self._inodes = _inodes(self.listeners)
        self._due = time.monotonic() + SEARCH
        if found.root is not None:
            self._neighbours.serving[self] = found.root
            self._know(found.root, listened=True)

    def _await(self, known: Known) -> None:
        if known.role is None or (known.listened and not self.found.uncertain):
            return
        taken = self._neighbours.taken(besides=self)
        # Of services that run one command, each is told from the others by its port, once it listens.
        mistaken = not known.listened and known.pid in taken
        if not (self.found.uncertain or (mistaken and self.found.root == known.pid)):
            return
        everyone = self._neighbours.everyone(changed=True).pids
        heir = successor(known.role, known.lost if mistaken else known.alive, everyone, taken)
        if heir is None:
            self.found = Found(lookup=Lookup.NOT_FOUND)
            return
        self.found = self.found.followed_by(heir.pid, presumed=not heir.alike)
        if heir.alike:
            self._know(heir.pid, listened=False)

    def _know(self, root: Pid, *, listened: bool) -> None:
        known, lost = self._known, root.started
        if known is not None and root != known.pid:
            # One that took the place and has yet to listen may leave that to another, which is no second restart.
            self.restarts += known.listened or not known.pid.running
            lost = known.alive if known.listened else known.lost
        self._known = Known(pid=root, role=role(root), listened=listened, alive=root.started, lost=lost).now()


def _inodes(listeners: Sequence[Listener]) -> frozenset[int]:
    return frozenset(listener.inode for listener in listeners)
