"""The TCP sockets of this machine: what listens where, how full its backlog is, and which processes hold it."""

import os
import socket
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from struct import Struct

Address = IPv4Address | IPv6Address
Place = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]

PROC = Path("/proc")
TABLES = ("tcp", "tcp6")
LISTEN, ESTABLISHED = "0A", "01"
FAMILIES = (socket.AF_INET, socket.AF_INET6)
ANY = {4: (IPv4Address(0), IPv6Address(0)), 6: (IPv6Address(0),)}

# How the kernel is asked for more than it lists, as linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h have it.
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY = 4, 20
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
TCP_LISTEN = 10
HEADER = Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
QUESTION = Struct("=BBxxI2s46x")  # inet_diag_req_v2: family, protocol, states, and of inet_diag_sockid the source port
ANSWER = Struct("=60xI4xI")  # inet_diag_msg: idiag_wqueue, which of a listening socket is the limit, and idiag_inode
MESSAGES = 1 << 16
ANSWERED = 1.0  # Seconds within which the kernel answers, which it does at once or not at all.


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Holders:
    """Which processes hold which listening sockets."""

    pids: Mapping[int, Sequence[int]] = field(default_factory=dict)
    hidden: bool = False
    """Whether there are processes that may hold more, and whose files are not ours to see."""

    def of(self, listeners: Sequence[Listener]) -> frozenset[int]:
        """The processes that hold any of these sockets."""
        return frozenset(pid for listener in listeners for pid in self.pids.get(listener.inode, ()))


class Sockets:
    """The TCP sockets of this network namespace at one moment."""

    def __init__(self, rows: Iterator[Sequence[str]]) -> None:
        self.connections: Counter[int] = Counter()
        self._listeners: defaultdict[int, list[Listener]] = defaultdict(list)
        for _, local, _, state, queues, _, _, _, _, inode, *_ in rows:
            address, _, port = local.partition(":")
            if state == ESTABLISHED:
                self.connections[int(port, 16)] += 1
            elif state == LISTEN:
                waiting = int(queues.partition(":")[2], 16)
                self._listeners[int(port, 16)].append(
                    Listener(address=_address(address), inode=int(inode), waiting=waiting)
                )

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


def sockets(net: Path = PROC / "net") -> Sockets:
    """The TCP sockets now."""
    return Sockets(row for table in TABLES for row in _rows(net / table))


def _rows(table: Path) -> Iterator[Sequence[str]]:
    try:
        text = table.read_text()
    except FileNotFoundError:  # a kernel without IPv6
        return
    yield from (line.split() for line in text.splitlines()[1:])


def limited(listeners: Sequence[Listener], port: int) -> Sequence[Listener]:
    """The sockets that listen at a port, each with the limit of its backlog where the kernel tells it."""
    told = dict(limit for family in FAMILIES for limit in _limits(family, port)) if listeners else {}
    return [replace(listener, limit=told.get(listener.inode)) for listener in listeners]


def _limits(family: int, port: int) -> Iterator[tuple[int, int]]:
    asked = QUESTION.pack(family, socket.IPPROTO_TCP, 1 << TCP_LISTEN, port.to_bytes(2, "big"))
    header = HEADER.pack(HEADER.size + len(asked), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 0, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
            kernel.settimeout(ANSWERED)
            kernel.sendto(header + asked, (0, 0))
            for message in _messages(kernel):
                limit, inode = ANSWER.unpack_from(message)
                yield inode, limit
    except OSError:  # not permitted, no such kernel, or no such family
        return


def _messages(kernel: socket.socket) -> Iterator[bytes]:
    while True:
        rest = kernel.recv(MESSAGES)
        while rest:
            length, kind, _, _, _ = HEADER.unpack_from(rest)
            if kind != SOCK_DIAG_BY_FAMILY:  # the end, or an error
                return
            yield rest[HEADER.size : length]
            rest = rest[length + -length % 4 :]


def _address(digits: str) -> Address:
    words = (int(digits[start : start + 8], 16) for start in range(0, len(digits), 8))
    address = ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))
    return getattr(address, "ipv4_mapped", None) or address


def holders(inodes: frozenset[int], proc: Path = PROC) -> Holders:
    """Who holds these sockets."""
    pids: defaultdict[int, list[int]] = defaultdict(list)
    everyone = [path.name for path in proc.iterdir() if path.name.isdigit()]
    # Where /proc is mounted with hidepid, other users' processes are not even listed, the first among them.
    hidden = "1" not in everyone
    for pid in everyone:
        try:
            held = set(_held(proc / pid / "fd"))
        except PermissionError:
            hidden = True
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
        else:
            for inode in held & inodes:
                pids[inode].append(int(pid))
    return Holders(pids=pids, hidden=hidden)


def _held(files: Path) -> Iterator[int]:
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
