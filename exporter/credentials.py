"""A service's secrets: told to its own origin alone, and its key read anew when the file that holds it changes."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import httpx

from exporter.followed import Followed, Source
from exporter.keys import key_in
from exporter.response import origin

LEAST = 8  # Characters of a secret; what is shorter stands in an answer by chance.


class Key:
    """A service's key as it is now; what is read from a file follows it, and stays where the file holds none."""

    def __init__(self, text: str, *, file: Path | None, target: str) -> None:
        self._text = text
        self._followed: Followed[str] | None = None
        if file is not None:
            source = Source(file=file, setting="api_key_file", about={"target": target})
            self._followed = Followed(source, key_in, text)

    async def now(self) -> str:
        """The key, at most a second old."""
        return self._text if self._followed is None else await self._followed.now()


class Credentials:
    """What a service alone is told; nothing of it goes to another origin, wherever a request leads."""

    def __init__(self, service: httpx.URL, key: Key | None, headers: Iterable[str]) -> None:
        self._service = origin(service)
        self._key = key
        self._headers = frozenset(headers)

    async def given(self, request: httpx.Request) -> Sequence[str]:
        """Give a request the key as it is now; what of it and of its other secrets no answer is to repeat."""
        if origin(request.url) != self._service:
            return ()
        secrets = self._headers
        if self._key is not None:
            text = await self._key.now()
            secrets |= {text}
            request.headers["Authorization"] = f"Bearer {text}"
        return [secret for secret in secrets if len(secret) >= LEAST]
