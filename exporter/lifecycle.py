"""What an operator asks of the running program over HTTP: other settings, and the driver let go of and taken up."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial

from exporter.messages import Response, plain
from exporter.nvml.lease import Lease
from exporter.watch import Watch
from exporter.web import Post

PATIENCE = 8.0  # Seconds; less than what most clients wait.

RELEASE, ACQUIRE, RELOAD = "/-/gpu/release", "/-/gpu/acquire", "/-/reload"
DISABLED = "Lifecycle API is not enabled. Start with --web.enable-lifecycle, or set web.enable_lifecycle."
NOTHING_READ = "The GPUs are not read here, so that nothing holds their driver."
HANGS = "A call of the driver hangs."

Look = Callable[[], Awaitable[bool]]
Read = Callable[[], Coroutine[object, object, str | None]]
"""Reads the settings anew, and tells what is wrong with them."""


def posts(lease: Lease, watch: Watch | None, read: Read, *, enabled: bool) -> Mapping[str, Post]:
    """What can be asked of this loop, from any other: to read the settings anew, and to look at the GPUs."""
    if not enabled:
        return dict.fromkeys((RELOAD, RELEASE, ACQUIRE), _answering(403, DISABLED))
    loop = asyncio.get_running_loop()
    reload = {RELOAD: Post(partial(_reload, read, loop))}
    if watch is None:
        return {**reload, **dict.fromkeys((RELEASE, ACQUIRE), _answering(404, NOTHING_READ))}
    look = partial(_looked, watch, loop)
    return {**reload, RELEASE: Post(partial(_release, lease, look)), ACQUIRE: Post(partial(_acquire, lease, look))}


def _answering(status: int, text: str) -> Post:
    async def answer() -> Response:
        return plain(status, text)

    return Post(answer)


async def _reload(read: Read, loop: asyncio.AbstractEventLoop) -> Response:
    reading = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(read(), loop))
    done, _ = await asyncio.wait([reading], timeout=PATIENCE)
    if not done:
        return plain(504, "Reading the settings takes long. They are in force as soon as they are read and valid.")
    wrong = reading.result()
    if wrong:
        return plain(500, f"The settings stay as they were:\n{wrong}")
    return plain(200, "The settings were read anew.")


async def _release(lease: Lease, look: Look) -> Response:
    lease.released = True
    in_time = await look()
    if not lease.held:
        return plain(200, "The GPUs' driver is let go of.")
    return plain(503 if in_time else 504, f"{HANGS} The driver is let go of as soon as that returns.")


async def _acquire(lease: Lease, look: Look) -> Response:
    lease.released = False
    in_time = await look()
    if not in_time:
        return plain(504, f"{HANGS} The driver is taken up again as soon as that returns.")
    if not lease.held:
        return plain(503, "The GPUs' driver cannot be taken up; it is tried again at every look.")
    return plain(200, "The GPUs' driver is taken up again.")


async def _looked(watch: Watch, loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a look between now and then was made in time; it comes after any that is under way."""
    looking = asyncio.run_coroutine_threadsafe(watch.once(), loop)
    done, _ = await asyncio.wait([asyncio.wrap_future(looking)], timeout=PATIENCE)
    return bool(done)
