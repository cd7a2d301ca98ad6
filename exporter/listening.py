"""The sockets at which the page is served."""

import errno
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

ADDRESS = re.compile(r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")
ADVICE: Mapping[int | None, str] = {
    errno.EADDRINUSE: "the port is taken; stop the program that listens there (ss -ltnp names it) or choose another",
    errno.EADDRNOTAVAIL: "this machine has no such address; choose one it has, or leave it out to listen on all",
    errno.EACCES: "this port needs privilege; choose one above 1023",
    errno.EAFNOSUPPORT: "this machine has no IPv6; choose an IPv4 address",
    socket.EAI_NONAME: "the name is not known here; choose an address, or leave it out to listen on all",
}
BACKLOG = 1024


class Unbound(Exception):  # noqa: N818  it reads as the sentence it raises
    """An address cannot be listened on; the message names it as it was typed, and what to do."""


def bind(addresses: Sequence[str]) -> list[socket.socket]:
    """A listening socket for each address, `host:port`, or `:port` for all of this machine; every one or none.

    Raises Unbound.
    """
    with ExitStack() as opened:
        sockets = [opened.enter_context(_bound(address)) for address in addresses]
        opened.pop_all()
    return sockets


def _bound(address: str) -> socket.socket:
    parts = ADDRESS.fullmatch(address)
    if parts is None or int(parts["port"]) not in range(65536):
        raise Unbound(f"cannot listen on {address!r}: write :10068 to listen on all addresses, or 127.0.0.1:10068")
    try:
        return _listening(parts["ipv6"] or parts["host"], int(parts["port"]))
    except OSError as error:
        raise Unbound(f"cannot listen on {address!r}: {ADVICE.get(error.errno, error.strerror)}") from error


def _listening(host: str, port: int) -> socket.socket:
    if host in ("", "::") and socket.has_dualstack_ipv6():
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, where = min(found, key=lambda each: each[0] is not socket.AF_INET)
    return socket.create_server(where, family=family, backlog=BACKLOG)
