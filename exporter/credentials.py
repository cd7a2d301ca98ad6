"""A service's secrets: told to its own origin alone, and its key read anew when the file that holds it changes."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterable
from functools import partial
from pathlib import Path

import httpx

from exporter.keys import key_in
from exporter.reading import Unreadable
from exporter.response import SECRETS, origin
from exporter.threads import Thread

log = logging.getLogger(__name__)

RECENT = 1.0  # Seconds for which a file is taken to hold what it held.
PATIENCE = 1.0  # Seconds after which a request goes out with the key as it was, since the file's system hangs.
LEAST = 8  # Characters of a secret; what is shorter stands in an answer by chance.

Stamp = tuple[int, int, int, int]


class Key:
    """A service's key as it is now; what is read from a file follows it, and stays where the file holds none."""

    def __init__(self, text: str, *, file: Path | None, target: str) -> None:
        self._text = text
        self._file = file
        self._target = target
        self._thread = Thread("key")
        self._stamp: Stamp | None = None
        self._due = 0.0
        self._told = False

    async def now(self) -> str:
        """The key, at most a second old."""
        if self._file is not None and time.monotonic() >= self._due:
            self._due = time.monotonic() + RECENT
            await self._look(self._file)
        return self._text

    async def _look(self, file: Path) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                found = await self._thread.call(partial(_changed, file, self._stamp))
        except (TimeoutError, Unreadable):
            self._miss("a file that can be read at once")
        except ValueError as error:
            self._miss(str(error))
        else:
            self._told = False
            if found is not None:
                self._take(*found)

    def _take(self, stamp: Stamp, text: str) -> None:
        if text != self._text:
            log.info("the key was read anew", extra={"target": self._target})
        self._stamp, self._text = stamp, text

    def _miss(self, expected: str) -> None:
        if not self._told:
            who = {"target": self._target}
            log.warning("api_key_file is no longer of use, expected %s: the last key is kept", expected, extra=who)
        self._told = True


def _changed(file: Path, since: Stamp | None) -> tuple[Stamp, str] | None:
    """When the file was changed and the key that it holds now; None where it is as it was."""
    try:
        status = file.stat()
    except OSError as error:
        raise ValueError(f"a file that can be read ({error.strerror})") from error
    # Taken before the file is read, so that what is written meanwhile is read the next time.
    stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return None if stamp == since else (stamp, key_in(file))


class Credentials(httpx.Auth):
    """What a service alone is told; nothing of it goes to another origin, wherever a request leads."""

    def __init__(self, service: httpx.URL, key: Key | None, headers: Iterable[str]) -> None:
        self._service = origin(service)
        self._key = key
        self._headers = frozenset(headers)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """The request with the key as it is now; its response knows what it is not to repeat."""
        if origin(request.url) != self._service:
            yield request
            return
        secrets = self._headers
        if self._key is not None:
            text = await self._key.now()
            secrets |= {text}
            request.headers["Authorization"] = f"Bearer {text}"
        response = yield request
        response.extensions[SECRETS] = [secret for secret in secrets if len(secret) >= LEAST]
