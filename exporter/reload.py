"""The settings in force, and how they are read anew while the program runs."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import field, replace
from typing import Annotated

from exporter.frozen import frozen
from exporter.reading import Gauge, Reading, Unreadable
from exporter.settings import Settings, WrongSettings
from exporter.settings.sections import Place, dotted
from exporter.supervisor import Supervisor
from exporter.threads import Thread

log = logging.getLogger(__name__)

PATIENCE = 30.0  # Seconds in which settings are read; a file of theirs may lie on a file system that hangs.
AT_START: tuple[Place, ...] = (
    ("web", "listen_address"),
    ("web", "config_file"),
    ("web", "enable_lifecycle"),
    ("gpu", "enabled"),
    ("gpu", "library"),
    ("host", "enabled"),
)
"""What takes effect when the program starts, and at no other time."""


@frozen
class Asked:
    """What is asked of the program while it runs, and by whom."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reload: asyncio.Event = field(default_factory=asyncio.Event)
    load: Callable[[], Settings] | None = None
    """What reads the settings anew."""
    supervisor: Supervisor = field(default_factory=lambda: Supervisor({}))
    """Who is told how it goes."""


@frozen
class Config(Reading):
    """What came of reading the settings."""

    PREFIX = "model_sidecar_config"
    last_reload_successful: Annotated[
        bool, Gauge("Whether the settings were valid when they were read last; those before stay in force if not.")
    ]
    last_reload_success_timestamp_seconds: Annotated[
        float, Gauge("When the settings in force were read, which is the start where they were not read anew.")
    ]


class Reload:
    """The settings in force, replaced when they are read anew and are valid."""

    def __init__(self, settings: Settings, asked: Asked) -> None:
        self.settings = settings
        self.then: Callable[[], Awaitable[None]] = _nothing
        """What is to be done once others are in force."""
        self._asked = asked
        self._load = asked.load or (lambda: settings)
        self._thread = Thread("settings")
        self._turn = asyncio.Lock()
        self._config = Config(last_reload_successful=True, last_reload_success_timestamp_seconds=time.time())

    @property
    def latest(self) -> tuple[Reading, ...]:
        """What came of it last."""
        return (self._config,)

    async def run(self) -> None:
        """Read them anew for ever, each time that this is asked for."""
        while True:
            await self._asked.reload.wait()
            self._asked.reload.clear()
            await self.once()

    async def once(self) -> str | None:
        """Read them anew; what is wrong with them, line by line, and then nothing is changed."""
        async with self._turn:
            with self._asked.supervisor.reloading():
                return await self._once()

    async def _once(self) -> str | None:
        try:
            async with asyncio.timeout(PATIENCE):
                read = await self._thread.call(self._load)
        except WrongSettings as wrong:
            return self._refused(str(wrong))
        except (TimeoutError, Unreadable):
            return self._refused("the settings cannot be read: a file system hangs")
        await self._adopt(read)
        return None

    def _refused(self, lines: str) -> str:
        for line in lines.splitlines():
            log.error("%s", line)
        log.error("the settings stay as they were")
        self._config = replace(self._config, last_reload_successful=False)
        return lines

    async def _adopt(self, read: Settings) -> None:
        for name in _later(self.settings, read):
            log.warning("%s was changed, which takes effect at the next start", name)
        self.settings = read
        await self.then()
        self._config = Config(last_reload_successful=True, last_reload_success_timestamp_seconds=time.time())
        log.info("the settings were read anew")


def _later(before: Settings, now: Settings) -> Iterator[str]:
    """What was changed and is not taken up."""
    for section, name in AT_START:
        old, new = (getattr(getattr(each, str(section)), str(name), None) for each in (before, now))
        if old != new:
            yield dotted((section, name))


async def _nothing() -> None:
    pass
