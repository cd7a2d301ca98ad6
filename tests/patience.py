"""Waiting for what another thread or process is about to do."""

import asyncio
from collections.abc import Callable

GUARD = 30.0
"""Seconds after which it has not come about."""


async def until(met: Callable[[], bool]) -> None:
    """Wait for what happens elsewhere."""
    async with asyncio.timeout(GUARD):
        while not met():  # noqa: ASYNC110  what happens elsewhere sets no event here
            await asyncio.sleep(0.01)
