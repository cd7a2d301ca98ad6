"""The scripted model's engine: slots, a queue before them, users of its own, and what it counts of all that."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum

SLOTS = 8
TOKEN_SECONDS = 0.03
PREFILL_SECONDS = 0.12
STRIDE = 4  # Tokens that a user is given at a time, so that a demo costs little.
LEAK_BYTES = 4 * 2**20
MOST_LEAKED = 128  # A demo must not be what brings a machine down.


class Manner(StrEnum):
    """How the scripted model behaves."""

    WELL = "well"
    BUSY = "busy"
    HUNG = "hung"
    GARBAGE = "garbage"
    LOADING = "loading"
    ASLEEP = "asleep"
    LOCKED = "locked"
    """It wants a key that nobody has told."""
    LEAKING = "leaking"


STANDS_STILL = frozenset({Manner.HUNG, Manner.ASLEEP, Manner.LOADING})
USERS: Mapping[Manner, int] = {Manner.BUSY: 64, Manner.HUNG: 12, Manner.LOADING: 0, Manner.ASLEEP: 0}
FEW_USERS = 5


class Engine:
    """Answers as many at once as it has slots; who comes later waits for his turn."""

    def __init__(self) -> None:
        self.manner = Manner.WELL
        self.running = 0
        self.waiting = 0
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.finished: Counter[str] = Counter(stop=0, length=0, abort=0)
        self._slots = asyncio.Semaphore(SLOTS)
        self._moves = asyncio.Event()
        self._users: list[asyncio.Task[None]] = []
        self._leaked: list[bytes] = []

    @property
    def load(self) -> float:
        """The share of its slots in which it computes."""
        return self.running / SLOTS if self._moves.is_set() else 0.0

    def behave(self, manner: Manner) -> None:
        """Be so from now on, and have as many users as goes with it."""
        self.manner = manner
        if manner in STANDS_STILL:
            self._moves.clear()
        else:
            self._moves.set()
        wanted = USERS.get(manner, FEW_USERS)
        for user in self._users[wanted:]:
            user.cancel()
        del self._users[wanted:]
        self._users += [asyncio.create_task(self._user()) for _ in range(wanted - len(self._users))]
        self._leaked.clear()

    def leak(self) -> None:
        """Hold a little more memory for ever, where it is one that does."""
        if self.manner is Manner.LEAKING and len(self._leaked) < MOST_LEAKED:
            self._leaked.append(b"\x01" * LEAK_BYTES)

    @asynccontextmanager
    async def turn(self, prompt_tokens: int) -> AsyncIterator[None]:
        """A slot, once one is free and the prompt has been read."""
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            await self._passed(PREFILL_SECONDS)
            self.prompt_tokens += prompt_tokens
            yield
        finally:
            self.running -= 1
            self._slots.release()

    async def tokens(self, number: int = 1) -> None:
        """Return when so many have been generated."""
        await self._passed(number * TOKEN_SECONDS)
        self.generation_tokens += number

    async def _passed(self, seconds: float) -> None:
        await asyncio.sleep(seconds * random.uniform(0.6, 1.5))  # noqa: S311  a life-like clock, no secret
        await self._moves.wait()

    async def _user(self) -> None:
        while True:
            async with self.turn(prompt_tokens=random.randint(50, 400)):  # noqa: S311  as above
                for _ in range(random.randint(8, 40)):  # noqa: S311  as above
                    await self.tokens(STRIDE)
            self.finished["stop"] += 1
            if self.manner is not Manner.BUSY:
                await asyncio.sleep(random.uniform(0, 3))  # noqa: S311  as above
