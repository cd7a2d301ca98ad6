"""Who knows a password, found out at the price that its hash has, but only once."""

import asyncio
import binascii
import re
import secrets
from base64 import b64decode
from collections.abc import Mapping
from functools import partial
from hashlib import blake2b

import bcrypt

from exporter.threads import Thread

HASH = re.compile(r"\$2[abxy]\$(0[4-9]|[12]\d|3[01])\$(?P<salt>[./A-Za-z0-9]{22})[./A-Za-z0-9]{31}")
LONGEST_PASSWORD = 72  # Bytes; bcrypt sees no more, and its library takes no more.
CACHED = 100
WAITING = 16


class Crowded(Exception):  # noqa: N818  it reads as the sentence it raises
    """So many passwords are waiting to be hashed that another is not taken."""


def is_hash(text: str) -> bool:
    """Whether a text is a hash that passwords can be held against."""
    parts = HASH.fullmatch(text)
    if parts is None:
        return False
    try:  # at the least price, since not every salt of these letters is one
        bcrypt.hashpw(b"", b"$2b$04$" + parts["salt"].encode())
    except ValueError:
        return False
    return True


def credentials(authorization: str) -> tuple[str, bytes] | None:
    """The name and the password of basic authentication; None where there are none."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = b64decode(encoded, validate=True).partition(b":")
        return (name.decode(), password) if colon else None
    except (binascii.Error, ValueError):
        return None


class Users:
    """Names and the hashes of their passwords, one of which is computed at a time.

    What was found is kept: what is right for good, what is wrong until others push it out, so that
    no crowd of wrong passwords makes a right one be hashed again.
    """

    def __init__(self, hashes: Mapping[str, str], thread: Thread) -> None:
        self._hashes = hashes
        self._names = sorted(hashes)
        self._thread = thread
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._salt = secrets.token_bytes(32)
        self._right: dict[bytes, None] = {}
        self._wrong: dict[bytes, None] = {}

    async def know(self, name: str, password: bytes) -> bool:
        """Whether it is that user's password, which takes as long where there is no such user; raises Crowded."""
        key = self._digest(name.encode(), password)
        known = self._known(key)
        if known is not None:
            return known
        if self._waiting >= WAITING:
            raise Crowded
        self._waiting += 1
        try:
            async with self._turn:
                return await self._found(name, password, key)
        finally:
            self._waiting -= 1

    async def _found(self, name: str, password: bytes, key: bytes) -> bool:
        known = self._known(key)  # by now, since the same may have been asked twice at once
        if known is not None:
            return known
        # The hash of another, always the same for a name, so that neither the first answer's time nor the
        # cost of its hash tells which names there are.
        other = self._names[self._digest(name.encode())[0] % len(self._names)]
        expected = self._hashes.get(name, self._hashes[other])
        right = await self._thread.call(partial(bcrypt.checkpw, password[:LONGEST_PASSWORD], expected.encode()))
        right = right and name in self._hashes
        _keep(self._right if right else self._wrong, key)
        return right

    def _known(self, key: bytes) -> bool | None:
        return True if key in self._right else False if key in self._wrong else None

    def _digest(self, *parts: bytes) -> bytes:
        """What stands for a name and a password, so that no password is kept."""
        together = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return blake2b(together, key=self._salt, digest_size=32).digest()


def _keep(cache: dict[bytes, None], key: bytes) -> None:
    while len(cache) >= CACHED:
        del cache[next(iter(cache))]
    cache[key] = None
