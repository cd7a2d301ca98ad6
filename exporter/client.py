"""The client of one service: requests as httpx makes them, each sent once and as it is."""

from collections.abc import Mapping

import httpx

from exporter.credentials import Credentials
from exporter.response import SECRETS


class Client(httpx.AsyncClient):
    """Sends a request over the service's transport, with what only the service is told, and does nothing besides.

    Of what httpx does nothing is wanted, and to do it takes a fifth of a health check: it keeps cookies, of which a
    balancer's would tie every prompt to one replica, and it prepares to follow redirects, which is for whoever asks.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        *,
        base_url: str,
        connect: float,
        headers: Mapping[str, str] | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        timeout = httpx.Timeout(None, connect=connect)
        super().__init__(transport=transport, base_url=base_url, headers=headers, timeout=timeout, trust_env=False)
        self._over = transport
        self._credentials = credentials

    async def send(self, request: httpx.Request, *, stream: bool = False, **_settings: object) -> httpx.Response:
        """The response, its body unread where it is to be a stream."""
        secrets = await self._credentials.given(request) if self._credentials else ()
        response = await self._over.handle_async_request(request)
        response.request = request
        response.extensions[SECRETS] = secrets
        if not stream:
            await response.aread()
        return response
