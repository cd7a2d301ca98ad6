import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from exporter.sockets import Listener, addresses_here, answers, holders, sockets, tabled

ROOT = Path(__file__).parent.parent

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
TCP = HEAD + (
    "   0: 00000000:1F40 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 41 1 0 100 0 0 10 0\n"
    "   1: 0100007F:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 42 1 0 100 0 0 10 0\n"
    "   2: 00000000:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 43 1 0 100 0 0 10 0\n"
    "   3: 0100007F:1F41 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 44 1 0 20 4 30 10 -1\n"
    "   4: 0100007F:9C40 0100007F:1F41 01 00000000:00000000 00:00000000 00000000     0        0 45 1 0 20 4 30 10 -1\n"
    "   5: 0100007F:1F41 0100007F:9C41 06 00000000:00000000 03:00000A2B 00000000     0        0 0 3 0\n"
    "   6: 0100007F:1F41 0100007F:9C42 08 00000000:00000001 00:00000000 00000000     0        0 46 1 0 20 4 30 10 -1\n"
)
TCP6 = HEAD + (
    "   0: 00000000000000000000000000000000:1F42 00000000000000000000000000000000:0000 0A 00000000:00000000"
    " 00:00000000 00000000     0        0 51 1 0 100 0 0 10 0\n"
    "   1: 00000000000000000000000001000000:1F43 00000000000000000000000000000000:0000 0A 00000000:00000000"
    " 00:00000000 00000000     0        0 52 1 0 100 0 0 10 0\n"
    "   2: 0000000000000000FFFF00000100007F:1F44 00000000000000000000000000000000:0000 0A 00000000:00000000"
    " 00:00000000 00000000     0        0 53 1 0 100 0 0 10 0\n"
    "   3: 0000000000000000FFFF00000100007F:1F44 0000000000000000FFFF00000100007F:9C43 01 00000000:00000000"
    " 00:00000000 00000000     0        0 54 1 0 20 4 30 10 -1\n"
)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """What a little-endian machine with some sockets lists."""
    (tmp_path / "tcp").write_text(TCP)
    (tmp_path / "tcp6").write_text(TCP6)
    return tmp_path


@pytest.mark.parametrize(
    ("addresses", "port", "inodes"),
    [
        pytest.param(["127.0.0.1"], 8000, [41], id="bound to any address"),
        pytest.param(["127.0.0.1"], 8001, [42], id="bound to the address before bound to any"),
        pytest.param(["127.0.0.2"], 8001, [43], id="bound to another address"),
        pytest.param(["127.0.0.1"], 8002, [51], id="bound to any IPv6 address, which takes IPv4 too"),
        pytest.param(["::1"], 8002, [51], id="bound to any IPv6 address"),
        pytest.param(["::1"], 8003, [52], id="bound to an IPv6 address"),
        pytest.param(["127.0.0.1"], 8003, [], id="IPv6 alone"),
        pytest.param(["::1"], 8001, [], id="IPv4 alone"),
        pytest.param(["::1", "127.0.0.1"], 8001, [42], id="the second address where nothing listens at the first"),
        pytest.param(["127.0.0.1"], 8004, [53], id="an IPv4 address in IPv6's clothes"),
        pytest.param(["127.0.0.1"], 40000, [], id="a client's port"),
        pytest.param([], 8000, [], id="no address"),
    ],
)
def test_a_connection_reaches_the_socket_that_the_kernel_would_choose(
    net: Path, addresses: list[str], port: int, inodes: list[int]
) -> None:
    listeners = tabled(net).listeners([ip_address(address) for address in addresses], port)

    assert [listener.inode for listener in listeners] == inodes


def test_a_listening_socket_tells_its_backlog(net: Path) -> None:
    [listener] = tabled(net).listeners([ip_address("127.0.0.1")], 8000)

    assert listener.waiting == 3


@contextmanager
def calling(address: str, port: int, count: int) -> Iterator[None]:
    """Connections that nobody accepts."""
    with ExitStack() as kept:
        for _ in range(count):
            kept.enter_context(socket.create_connection((address, port), timeout=10))
        yield


def listener(address: str, port: int) -> Listener:
    """The one socket that listens there now, and how many may wait."""
    [found] = sockets().listeners([ip_address(address)], port)
    return found


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_backlog_is_full_once_the_kernel_takes_no_further_connection(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family, backlog=3) as listening:
        port = listening.getsockname()[1]

        with calling(address, port, 3):
            nearly = listener(address, port)
        with calling(address, port, 1):
            full = listener(address, port)
            with pytest.raises(TimeoutError):
                socket.create_connection((address, port), timeout=0.2)

        assert (nearly.waiting, nearly.limit, nearly.full) == (3, 3, False)
        assert (full.waiting, full.limit, full.full) == (4, 3, True)


def test_the_limit_of_a_socket_that_takes_both_families_is_told() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=7) as listening:
        assert listener("127.0.0.1", listening.getsockname()[1]).limit == 7


def test_each_of_the_sockets_that_share_a_port_has_its_own_limit() -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=3, reuse_port=True) as one,
        socket.create_server(("127.0.0.1", one.getsockname()[1]), backlog=5, reuse_port=True),
    ):
        port = one.getsockname()[1]

        both = sockets().listeners([ip_address("127.0.0.1")], port)

    assert sorted(each.limit or 0 for each in both) == [3, 5]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A server that listens, and how it is called."""

    bound: str
    called: str
    dual: bool = False

    @property
    def listening(self) -> socket.socket:
        """A socket that listens there."""
        family = socket.AF_INET6 if ":" in self.bound else socket.AF_INET
        return socket.create_server((self.bound, 0), family=family, backlog=5, dualstack_ipv6=self.dual)


CASES = [
    pytest.param(Case(bound="127.0.0.1", called="127.0.0.1"), id="IPv4"),
    pytest.param(Case(bound="0.0.0.0", called="127.0.0.1"), id="any IPv4 address"),
    pytest.param(Case(bound="::1", called="::1"), id="IPv6"),
    pytest.param(Case(bound="::", called="::1", dual=True), id="both by IPv6"),
    pytest.param(Case(bound="::", called="127.0.0.1", dual=True), id="both by IPv4"),
    pytest.param(Case(bound="::ffff:127.0.0.1", called="127.0.0.1", dual=True), id="IPv4 in IPv6's clothes"),
]


@pytest.mark.parametrize("case", CASES)
def test_what_the_kernel_answers_is_what_its_tables_say_but_for_the_limit(case: Case) -> None:
    with case.listening as listening:
        port, there = listening.getsockname()[1], [ip_address(case.called)]
        with calling(case.called, port, 3):
            listening.accept()[0].detach()

            answered, listed = sockets(), tabled()

    [one], [other] = answered.listeners(there, port), listed.listeners(there, port)
    assert replace(one, limit=None) == other
    assert (one.waiting, one.limit, other.full) == (2, 5, None)
    assert answered.connections[port] == listed.connections[port] == 3


def test_only_the_ports_that_are_asked_for_are_told_of() -> None:
    with ExitStack() as kept:
        ports = sorted(kept.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(4))
        for port in ports:
            kept.enter_context(calling("127.0.0.1", port, 1))

        found = sockets((ports[1], ports[2]))

    assert [bool(found.listeners([ip_address("127.0.0.1")], port)) for port in ports] == [False, True, True, False]
    assert [found.connections[port] for port in ports] == [0, 1, 1, 0]


def test_more_connections_than_the_kernel_tells_of_at_once_are_all_counted() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=400) as listening:
        port = listening.getsockname()[1]

        with calling("127.0.0.1", port, 400):
            assert sockets((port, port)).connections[port] == 400


WITHOUT_NETLINK = """
import ctypes, platform, socket, struct, sys
NUMBER = {"x86_64": 41, "aarch64": 198}[platform.machine()]
# Of the calls of socket(2) those for AF_NETLINK fail with EAFNOSUPPORT, as under systemd's RestrictAddressFamilies=.
REFUSED, ALLOWED = (0x06, 0, 0, 0x50000 | 97), (0x06, 0, 0, 0x7FFF0000)
STEPS = [(0x20, 0, 0, 0), (0x15, 0, 3, NUMBER), (0x20, 0, 0, 16), (0x15, 0, 1, 16), REFUSED, ALLOWED]
steps = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in STEPS))
program = ctypes.create_string_buffer(struct.pack("@HP", len(STEPS), ctypes.addressof(steps)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 == libc.prctl(22, 2, program, 0, 0), ctypes.get_errno()
try:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
except OSError:
    from ipaddress import ip_address
    from exporter.sockets import sockets
    [found] = sockets().listeners([ip_address("127.0.0.1")], int(sys.argv[1]))
    print(found.waiting, found.limit, found.full)
"""


@pytest.mark.skipif(platform.machine() not in {"x86_64", "aarch64"}, reason="its system calls have other numbers")
def test_where_the_kernel_may_not_be_asked_its_tables_tell_but_for_the_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, calling("127.0.0.1", listening.getsockname()[1], 2):
        seen = subprocess.run(
            [sys.executable, "-c", WITHOUT_NETLINK, str(listening.getsockname()[1])],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    assert seen == "2 None None\n"


def test_only_open_connections_to_a_port_count(net: Path) -> None:
    connections = tabled(net).connections

    assert (connections[8000], connections[8001], connections[8004]) == (0, 1, 1)


def test_a_kernel_without_ipv6_is_ordinary(net: Path) -> None:
    (net / "tcp6").unlink()

    [listener] = tabled(net).listeners([ip_address("127.0.0.1")], 8000)

    assert listener.inode == 41


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("127.1.2.3", ["127.1.2.3"]),
        ("0.0.0.0", ["127.0.0.1"]),
        ("192.0.2.1", []),
    ],
)
def test_a_machine_knows_its_own_addresses(host: str, here: list[str]) -> None:
    assert addresses_here(host, 8000) == [ip_address(address) for address in here]


def test_a_name_that_means_nothing_has_no_addresses() -> None:
    assert addresses_here("a..b", 8000) is None


def test_a_port_that_listens_answers_and_one_that_is_free_does_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        assert answers(ip_address("127.0.0.1"), port, within=10)
    assert not answers(ip_address("127.0.0.1"), port, within=10)


@pytest.mark.parametrize(("first", "hidden"), [("1", False), ("2", True)])
def test_where_the_first_process_is_not_listed_others_are_hidden_too(tmp_path: Path, first: str, hidden: bool) -> None:  # noqa: FBT001  a row of the table
    (tmp_path / first / "fd").mkdir(parents=True)
    (tmp_path / "77" / "fd").mkdir(parents=True)
    (tmp_path / "77" / "fd" / "3").symlink_to("socket:[41]")
    (tmp_path / "77" / "fd" / "4").symlink_to("pipe:[42]")

    found = holders(frozenset({41, 42, 43}), tmp_path)

    assert found.pids == {41: [77]}
    assert found.hidden is hidden
