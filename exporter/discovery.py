"""Which services there are now: those of the settings, of the files of targets, and one for each address of a name."""

import asyncio
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from urllib.parse import urlsplit

from exporter.followed import Stamp, stamp_of
from exporter.frozen import frozen
from exporter.reading import Unreadable
from exporter.settings import Settings, Target, WrongSettings
from exporter.settings.addresses import EACH_ADDRESS
from exporter.settings.groups import MOST, named, targets_in
from exporter.threads import Thread

log = logging.getLogger(__name__)

FILES_EVERY = 3.0  # Seconds between two looks at the files of targets.
NAMES_EVERY = 30.0  # Seconds between two questions for a name's addresses.
PATIENCE = 10.0  # Seconds in which a name server answers, or a file's directory.


Resolve = Callable[[str], tuple[str, ...]]


def addresses(name: str) -> tuple[str, ...]:
    """Every address of a name, IPv4 and IPv6; raises OSError where it has none."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return tuple(sorted({str(where[0]) for *_, where in found}))


@frozen
class Listed:
    """What a file of targets listed when it was read last, with which settings for every service."""

    stamp: Stamp
    settings: Settings
    targets: tuple[Target, ...] = ()
    wrong: str = ""
    """What is wrong with it, where the targets are those of the last time that nothing was."""


class Discovery:
    """The services that there are, followed as files are written and names get other addresses."""

    def __init__(self, settings: Callable[[], Settings], resolve: Resolve = addresses) -> None:
        self.then: Callable[[], Awaitable[None]] = _nothing
        """What is to be done once there are others."""
        self._settings = settings
        self._resolve = resolve
        self._files: Mapping[Path, Listed] = {}
        self._thread = Thread("files of targets")
        self._answers: dict[str, tuple[str, ...]] = {}
        self._threads: dict[str, Thread] = {}
        self._troubles: dict[str, str] = {}
        self._turned = asyncio.Event()

    def found(self) -> Sequence[Target]:
        """The services now, no two of one name."""
        found: dict[str, Target] = {}
        for target in self._every():
            first = found.setdefault(target.name, target)
            if first is not target:
                self._tell(target.name, "has the name of another, and is left out", {"url": target.url})
            if len(found) > MOST:
                del found[target.name]
                self._tell("", f"there are more than {MOST} services: the others are not watched")
                break
        return tuple(found.values())

    async def once(self) -> Sequence[Target]:
        """The services now, after a look at every file and a question for every name."""
        await self.look_at_files()
        await asyncio.gather(*map(self._ask, self._names()))
        return self.found()

    async def follow_files(self) -> None:
        """Look at the files for ever, as long as there are any."""
        while True:
            await self.look_at_files()
            there_are = self._settings().targets_files or self._files
            await _rest(self._turned, FILES_EVERY if there_are else None)

    async def follow_names(self) -> None:
        """Ask for names for ever, for one that is new at once."""
        asked: set[str] = set()
        due = 0.0
        loop = asyncio.get_running_loop()
        while True:
            if loop.time() >= due:
                asked, due = set(), loop.time() + NAMES_EVERY
            turned, names = self._turned, self._names() - asked
            self._forget()
            asked |= names
            await asyncio.gather(*map(self._ask, names))
            await _rest(turned, due - loop.time() if asked else None)

    async def adopt(self) -> None:
        """Go on by the settings that are in force now."""
        await self.look_at_files()
        self._turn()

    def _turn(self) -> None:
        self._turned.set()
        self._turned = asyncio.Event()

    async def look_at_files(self) -> None:
        """Read what was written since the last look; a file that cannot be used counts for what it said before."""
        settings, before = self._settings(), self._files
        if not settings.targets_files and not before:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                now = await self._thread.call(partial(_looked, settings, before))
        except (TimeoutError, Unreadable):
            self._tell("files", "the files of targets cannot be looked at: their file system hangs")
            return
        self._troubles.pop("files", None)
        self._files = now
        self._tell_of(now, settings.targets_files)
        if _targets(now) != _targets(before):
            self._turn()
            await self.then()

    def _tell_of(self, files: Mapping[Path, Listed], wanted: Iterable[str]) -> None:
        for name in wanted:
            if "*" not in name and Path(name) not in files:
                self._tell(name, f"there is no file {name}")
        for path, listed in files.items():
            if listed.wrong:
                self._tell(str(path), f"{listed.wrong}; what the file said before stands")
            else:
                self._troubles.pop(str(path), None)

    def _forget(self) -> None:
        """Leave out what was known of names that nobody has any more."""
        for name in self._answers.keys() - self._names():
            del self._answers[name], self._threads[name]

    def _names(self) -> set[str]:
        return {_host(target) for target in self._listed() if _each_address(target)}

    async def _ask(self, name: str) -> None:
        """Take the addresses that a name has now; where it has none, or nobody says, the last ones stand."""
        thread = self._threads.setdefault(name, Thread(f"addresses of {name}"))
        try:
            async with asyncio.timeout(PATIENCE):
                found = await thread.call(partial(self._resolve, name))
        except (OSError, UnicodeError, Unreadable) as error:
            why = "the name server hangs" if isinstance(error, TimeoutError) else error
            self._tell(name, f"the addresses of {name} cannot be had: {why}")
            found = self._answers.get(name, ())
        else:
            self._troubles.pop(name, None)
        if found != self._answers.get(name):
            self._answers[name] = found
            await self.then()

    def _listed(self) -> Iterator[Target]:
        return chain(self._settings().targets, _targets(self._files))

    def _every(self) -> Iterator[Target]:
        for target in self._listed():
            if _each_address(target):
                yield from replicas(target, self._answers.get(_host(target)))
            else:
                yield target

    def _tell(self, about: str, trouble: str, extra: Mapping[str, str] | None = None) -> None:
        """Say what is the matter, once."""
        if self._troubles.get(about) != trouble:
            self._troubles[about] = trouble
            log.warning("%s", trouble, extra=extra)


def replicas(target: Target, at: Sequence[str] | None) -> Iterator[Target]:
    """A service at each address of its name; the one at the name, which tells why, where it never had an address.

    Nothing is known before the name was first asked for.
    """
    url = target.url.removeprefix(EACH_ADDRESS)
    if at == ():
        yield target.model_copy(update={"url": url})
    for address in at or ():
        yield target.model_copy(update={"url": url, "name": named(target.name, address), "address": address})


def _each_address(target: Target) -> bool:
    return target.url.startswith(EACH_ADDRESS)


def _host(target: Target) -> str:
    return urlsplit(target.url.removeprefix(EACH_ADDRESS)).hostname or ""


def _targets(files: Mapping[Path, Listed]) -> tuple[Target, ...]:
    return tuple(chain.from_iterable(listed.targets for _, listed in sorted(files.items())))


def _looked(settings: Settings, before: Mapping[Path, Listed]) -> Mapping[Path, Listed]:
    """What every file lists."""
    now: dict[Path, Listed] = {}
    for path in _paths(settings.targets_files, before):
        last = before.get(path, Listed(stamp=(0, 0, 0, 0), settings=settings))
        try:
            now[path] = _read(path, settings, last)
        except FileNotFoundError:
            continue
        except OSError as error:
            now[path] = replace(last, wrong=f"{path} is not readable: {error.strerror}")
    return now


def _paths(patterns: Iterable[str], before: Iterable[Path]) -> Iterator[Path]:
    found = chain.from_iterable(_matching(Path(each), before) for each in patterns)
    return islice(dict.fromkeys(found), MOST)


def _matching(pattern: Path, known: Iterable[Path]) -> Sequence[Path]:
    """The files that are meant; a star stands for anything, and nothing else for anything but itself."""
    before, star, after = pattern.name.partition("*")
    if not star:
        return [pattern]
    meant = re.compile(f"{re.escape(before)}.*{re.escape(after)}", re.DOTALL)
    try:
        here = sorted(pattern.parent.iterdir())
    except FileNotFoundError:
        return ()
    except OSError:  # A directory that cannot be read now may hold what it held.
        here = [each for each in known if each.parent == pattern.parent]
    return [each for each in here if meant.fullmatch(each.name)]


def _read(path: Path, settings: Settings, before: Listed) -> Listed:
    stamp = stamp_of(path.stat())  # before it is read, so that what is written meanwhile is read the next time
    if before.stamp == stamp and before.settings is settings:
        return before
    try:
        return Listed(stamp=stamp, settings=settings, targets=targets_in(path, settings))
    except WrongSettings as error:
        return Listed(stamp=stamp, settings=settings, targets=before.targets, wrong=str(error))


async def _rest(turned: asyncio.Event, within: float | None) -> None:
    """Return once there are other services or settings, at the latest after so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            await turned.wait()


async def _nothing() -> None:
    pass
