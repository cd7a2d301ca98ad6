"""The TCP sockets of this machine: what listens where, how full its backlog is, and which processes hold it."""

import os
import socket
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from struct import Struct

from exporter.frozen import frozen
from exporter.kernel import asked, said

Address = IPv4Address | IPv6Address
Place = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
Ports = tuple[int, int]
"""The lowest and the highest of those that are looked at."""

PROC = Path("/proc")
TABLES = ("tcp", "tcp6")
LISTEN, ESTABLISHED = "0A", "01"
ANY = {4: (IPv4Address(0), IPv6Address(0)), 6: (IPv6Address(0),)}
EVERY: Ports = (0, 0xFFFF)

# As linux/sock_diag.h and linux/inet_diag.h have it; of its two questions the older, which both families answer in one
# walk through the kernel's table of connections: 0.3 ms, where each of its tables in /proc takes 4 ms.
NETLINK_SOCK_DIAG, TCPDIAG_GETSOCK = 4, 18
TCP_ESTABLISHED, TCP_LISTEN = 1, 10
QUESTION = Struct("=52xI4x")  # inet_diag_req: states
# A nlattr, and twice an inet_diag_bc_op: what to compare, how far it is to what follows where it holds, and to past the
# end where it does not; and in place of another one the port.
BETWEEN = Struct("=HH BBHxxH BBHxxH")
INET_DIAG_REQ_BYTECODE, INET_DIAG_BC_S_GE, INET_DIAG_BC_S_LE = 1, 2, 3
# inet_diag_msg: family, state, and of inet_diag_sockid the source; of a socket that listens, idiag_rqueue is how many
# wait and idiag_wqueue how many may; and idiag_inode.
ANSWER = Struct("=BBxx2sxx16s32xII4xI")


@frozen
class Listener:
    """A listening socket, and how many connections wait in its backlog to be accepted."""

    address: Address
    inode: int
    waiting: int
    limit: int | None = None
    """The backlog that the service asked for; None where the kernel cannot be asked."""

    @property
    def full(self) -> bool | None:
        """Whether the kernel takes no further connection; None where the limit is not known."""
        # As sk_acceptq_is_full has it, in the kernel's include/net/sock.h: there is room for one more than the limit.
        return None if self.limit is None else self.waiting > self.limit


@frozen
class Holders:
    """Which processes hold which listening sockets."""

    pids: Mapping[int, Sequence[int]] = field(default_factory=dict)
    hidden: bool = False
    """Whether there are processes that may hold more, and whose files are not ours to see."""

    def of(self, listeners: Sequence[Listener]) -> frozenset[int]:
        """The processes that hold any of these sockets."""
        return frozenset(pid for listener in listeners for pid in self.pids.get(listener.inode, ()))


Seen = tuple[int, Listener | None]
"""A local port, and what listens there; None of a connection."""


class Sockets:
    """TCP sockets of this network namespace at one moment."""

    def __init__(self, seen: Iterable[Seen] = ()) -> None:
        self.connections: Counter[int] = Counter()
        self._listeners: defaultdict[int, list[Listener]] = defaultdict(list)
        for port, listener in seen:
            if listener is None:
                self.connections[port] += 1
            else:
                self._listeners[port].append(listener)

    def listeners(self, addresses: Sequence[Address], port: int) -> Sequence[Listener]:
        """What a connection to the first of these addresses at which anything listens would reach."""
        listening = self._listeners.get(port, ())
        # The kernel, too, prefers a socket bound to the address to one bound to any.
        bound = (bound for address in addresses for bound in (address, *ANY[address.version]))
        reached = ([listener for listener in listening if listener.address == address] for address in bound)
        return next(filter(None, reached), [])

    @cached_property
    def holders(self) -> Holders:
        """Who holds the listening sockets: looked up when first asked for, since it visits every open file."""
        return holders(frozenset(listener.inode for found in self._listeners.values() for listener in found))


def sockets(ports: Ports = EVERY, counted: Sockets | None = None) -> Sockets:
    """The TCP sockets at these ports now, with the connections that were counted earlier, where they were.

    To count them the kernel goes through its whole table of connections: 0.5 ms, where what listens takes 0.05.
    """
    states = 1 << TCP_LISTEN | (0 if counted else 1 << TCP_ESTABLISHED)
    try:
        found = Sockets(_answered(ports, states))
    except OSError:  # not permitted, or no such kernel
        return tabled()
    if counted:
        found.connections = counted.connections
    return found


def _answered(ports: Ports, states: int) -> Iterator[Seen]:
    for answer in asked(NETLINK_SOCK_DIAG, TCPDIAG_GETSOCK, QUESTION.pack(states) + _between(*ports)):
        family, state, port, source, waiting, limit, inode = ANSWER.unpack_from(answer)
        listener = None
        if state == TCP_LISTEN:
            address = _address(source[:4] if family == socket.AF_INET else source)
            listener = Listener(address=address, inode=inode, waiting=waiting, limit=limit)
        yield int.from_bytes(port, "big"), listener


def _between(lowest: int, highest: int) -> bytes:
    """The kernel's own filter, by which a connection elsewhere costs 0.4 µs rather than 2.5."""
    least, most = (INET_DIAG_BC_S_GE, 8, 20, lowest), (INET_DIAG_BC_S_LE, 8, 12, highest)
    return BETWEEN.pack(BETWEEN.size, INET_DIAG_REQ_BYTECODE, *least, *most)


def tabled(net: Path = PROC / "net") -> Sockets:
    """The TCP sockets as the kernel's tables have them, which takes it long and says nothing of limits."""
    return Sockets(seen for table in TABLES for seen in _rows(net / table))


def _rows(table: Path) -> Iterator[Seen]:
    try:
        lines = said(table).splitlines()[1:]
    except FileNotFoundError:  # a kernel without IPv6
        return
    for line in lines:
        _, local, _, state, queues, _, _, _, _, inode, *_ = line.split()
        address, _, port = local.partition(":")
        if state == ESTABLISHED:
            yield int(port, 16), None
        elif state == LISTEN:
            waiting = int(queues.partition(":")[2], 16)
            yield int(port, 16), Listener(address=_address(_packed(address)), inode=int(inode), waiting=waiting)


def _packed(digits: str) -> bytes:
    words = (int(digits[start : start + 8], 16) for start in range(0, len(digits), 8))
    return b"".join(word.to_bytes(4, sys.byteorder) for word in words)


def _address(packed: bytes) -> Address:
    address = ip_address(packed)
    return getattr(address, "ipv4_mapped", None) or address


def holders(inodes: frozenset[int], proc: Path = PROC) -> Holders:
    """Who holds these sockets."""
    pids: defaultdict[int, list[int]] = defaultdict(list)
    everyone = [name for name in os.listdir(proc) if name.isdigit()]  # noqa: PTH208  a Path costs more than the look
    # Where /proc is mounted with hidepid, other users' processes are not even listed, the first among them.
    hidden = "1" not in everyone
    for pid in everyone:
        try:
            held = set(_held(f"{proc}/{pid}/fd"))
        except PermissionError:
            hidden = True
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
        else:
            for inode in held & inodes:
                pids[inode].append(int(pid))
    return Holders(pids=pids, hidden=hidden)


def _held(files: str) -> Iterator[int]:
    with os.scandir(files) as entries:
        for entry in entries:
            try:
                kind, _, rest = os.readlink(entry).partition(":[")  # noqa: PTH115  a Path costs more than the look
            except FileNotFoundError:  # closed meanwhile
                continue
            if kind == "socket":
                yield int(rest.rstrip("]"))


def addresses_here(host: str, port: int) -> Sequence[Address] | None:
    """Those of a host's addresses that are this machine's own, None where it has none; sends nothing to any."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (socket.gaierror, UnicodeError):
        return None
    return [address for family, _, _, _, place in found if (address := _here(family, place)) is not None]


def _here(family: int, place: Place) -> Address | None:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as connection:
            connection.connect(place)
            reached, own = (ip_address(end[0]) for end in (connection.getpeername(), connection.getsockname()))
    except OSError:  # no route, or no such family
        return None
    # Only an address of this machine is reached from itself.
    return reached if reached == own or reached.is_loopback else None


def answers(address: Address, port: int, within: float) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((str(address), port), timeout=within) as connection:
            # A free port of the ephemeral range can be connected to itself.
            return bool(connection.getsockname() != connection.getpeername())
    except OSError:
        return False
