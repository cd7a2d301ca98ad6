"""Where everything meets: what is watched for which settings, and what is served of it."""

import asyncio
import logging
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from typing import Protocol

from exporter import __version__, log, machine
from exporter.lifecycle import posts
from exporter.nvml.lease import Lease
from exporter.reading import Reading
from exporter.reload import Asked, Reload
from exporter.routes import routes
from exporter.settings import Settings
from exporter.sources import itself
from exporter.web import OPEN, Guard, Server

logger = logging.getLogger(__name__)

FIRST_LOOK = 1.0
"""Seconds that all else waits until the GPUs were looked at once; a driver that hangs holds it up no longer."""

BREATH = 0.02
"""Seconds that the services leave to whoever waits for the first page."""


class Beside(Protocol):
    """What goes on for the services."""

    def readings(self) -> Iterable[Reading]:
        """All that is known of them now, for any thread."""

    def narrowed(self, told: Sequence[Reading]) -> tuple[Reading, ...]:
        """What is told, without that of GPUs on which no service runs."""

    def targets(self) -> int:
        """How many there are."""

    def dropped(self) -> int:
        """Series of theirs that were left out."""

    def in_short(self) -> str:
        """How they stand, in one line."""

    async def adopt(self) -> None:
        """Go on by the settings that are in force now."""


class _NotYet:
    """The services, before what watches them is loaded."""

    def readings(self) -> Iterable[Reading]:
        return ()

    def narrowed(self, told: Sequence[Reading]) -> tuple[Reading, ...]:
        return tuple(each for each in told if getattr(each, "uuid", None) is None)

    def targets(self) -> int:
        return 0

    def dropped(self) -> int:
        return 0

    def in_short(self) -> str:
        return "begins"

    async def adopt(self) -> None:
        pass


class _Sidecar:
    """All that goes on, by the settings in force: what is watched, and what is told of it."""

    def __init__(self, settings: Settings, asked: Asked, lease: Lease) -> None:
        self.reload = Reload(settings, asked)
        self.once = tuple(machine.watches(self.now, lease))
        self.of_gpus = next((each for each in self.once if each.collection.source == "gpu"), None)
        self.services: Beside = _NotYet()
        self.served: Server | None = None
        self.letting_in: Guard = OPEN
        self.pulse = itself.Pulse(
            version=__version__,
            targets=self._targets,
            requests=lambda: self.served.requests if self.served else {},
            dropped=lambda: {"server": self.services.dropped()},
        )
        self.reload.then = self._adopt

    def now(self) -> Settings:
        """The settings in force."""
        return self.reload.settings

    def gpus(self) -> Sequence[Reading]:
        """What was said of the GPUs last."""
        return self.of_gpus.latest if self.of_gpus else ()

    def snapshot(self) -> tuple[Reading, ...]:
        """All that is known now, for any thread."""
        services = self.services
        once = chain.from_iterable(each.latest for each in self.once)
        itself = (*self.pulse.latest, *self.reload.latest, *self.letting_in.latest)
        told = (*services.readings(), *once, *itself)
        return services.narrowed(told) if self.now().gpu.devices == "targets" else told

    async def run(self) -> None:
        """Watch for ever what is watched once, the GPUs before all else."""
        async with asyncio.TaskGroup() as group:
            if self.of_gpus:
                group.create_task(self.of_gpus.run())
            for life in (self.pulse.run(), self.reload.run()):
                group.create_task(life)
            await self.seen_once()
            for each in self.once:
                if each is not self.of_gpus:
                    group.create_task(each.run())

    async def seen_once(self) -> None:
        """Return once the GPUs were looked at, if there is to be such a look."""
        if self.of_gpus is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK):
                while self.of_gpus.collection.up is None:
                    self.of_gpus.news.clear()
                    await self.of_gpus.news.wait()

    def in_short(self) -> str:
        """How things stand, in one line."""
        return self.services.in_short()

    def _targets(self) -> int:
        return self.services.targets()

    async def _adopt(self) -> None:
        log.configure(self.now().log.level, self.now().log.format)
        await self.services.adopt()


async def run(
    settings: Settings, sockets: Sequence[socket.socket], asked: Asked, lease: Lease, letting_in: Guard = OPEN
) -> None:
    """Watch and serve until told to stop; listening ends first."""
    sidecar = _Sidecar(settings, asked, lease)
    able = posts(lease, sidecar.of_gpus, sidecar.reload.once, enabled=settings.web.enable_lifecycle)
    serving = Server(routes(machine.CATALOG, sidecar.snapshot, able), sockets, guard=letting_in)
    sidecar.served, sidecar.letting_in = serving, letting_in

    async def watch_services() -> None:
        await asyncio.sleep(BREATH)
        # A third of all that is loaded, of which the GPUs need nothing.
        from exporter.services import CATALOG, Services  # noqa: PLC0415  as above

        services = Services(sidecar.now, sidecar.gpus, sidecar.pulse)
        # First the page that has a place for what is told then.
        serving.routes = routes(CATALOG, sidecar.snapshot, able)
        sidecar.services = services
        asked.supervisor.ready()
        await services.run()

    try:
        async with asyncio.TaskGroup() as group:
            living = [group.create_task(sidecar.run())]
            await sidecar.seen_once()
            serving.start()
            _greet(settings, sockets, "https" if letting_in.secures else "http")
            telling = asked.supervisor.run(sidecar.in_short, serving.turned)
            living += [group.create_task(each) for each in (watch_services(), telling)]
            await asked.stop.wait()
            serving.stop()
            for life in living:
                life.cancel()
    finally:
        serving.stop()


def _greet(settings: Settings, sockets: Sequence[socket.socket], scheme: str) -> None:
    for listening in sockets:
        address, port = listening.getsockname()[:2]
        local = "localhost" if address in {"::", "0.0.0.0"} else f"[{address}]" if ":" in address else address  # noqa: S104  compared, not bound
        logger.info("model-sidecar %s listens; look at %s://%s:%d/", __version__, scheme, local, port)
    if not settings.targets and not settings.targets_files:
        logger.warning("no target: the GPUs, the host and the exporter itself are all that is published")
