"""The client with which services are asked, as the program makes it."""

import ssl
from functools import partial

from exporter.client import Client
from exporter.clock import Transport


def client(
    url: str,
    tls: ssl.SSLContext | None = None,
    *,
    server_name: str | None = None,
    connect: float = 5.0,
    local: str | None = None,
) -> Client:
    """A client of one service, which waits so many seconds for a connection."""
    return Client(
        Transport(None if tls is None else partial(_same, tls), server_name=server_name, local=local),
        base_url=url,
        connect=connect,
    )


async def _same(tls: ssl.SSLContext) -> ssl.SSLContext:
    return tls
