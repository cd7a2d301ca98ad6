"""The client with which services are asked, as the program makes it."""

import ssl
from functools import partial

import httpx

from exporter.clock import Transport


def client(
    url: str,
    tls: ssl.SSLContext | None = None,
    *,
    server_name: str | None = None,
    connect: float = 5.0,
    local: str | None = None,
) -> httpx.AsyncClient:
    """A client of one service, which waits so many seconds for a connection."""
    return httpx.AsyncClient(
        transport=Transport(None if tls is None else partial(_same, tls), server_name=server_name, local=local),
        base_url=url,
        timeout=httpx.Timeout(None, connect=connect),
        trust_env=False,
    )


async def _same(tls: ssl.SSLContext) -> ssl.SSLContext:
    return tls
