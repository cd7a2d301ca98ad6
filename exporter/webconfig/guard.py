"""Who is let in, by a file that is read again whenever it changes."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from threading import Event
from threading import Thread as Follower

from exporter.connection import Answer
from exporter.frozen import frozen
from exporter.messages import Request, Response, plain
from exporter.reading import Reading
from exporter.threads import Thread
from exporter.webconfig.document import WrongWebConfig
from exporter.webconfig.file import Tls, WebConfig, read
from exporter.webconfig.limits import Bucket
from exporter.webconfig.told import LetIn
from exporter.webconfig.users import Crowded, Users, credentials

log = logging.getLogger(__name__)

EVERY = 1.0  # Seconds between two looks at the files.

Secure = Callable[[asyncio.Protocol, Callable[[], None]], asyncio.Protocol]
State = Mapping[Path, tuple[int, ...] | None]


@frozen
class _Rules:
    """What holds for requests and connections from now on."""

    config: WebConfig
    secure: Secure | None
    users: Users | None
    bucket: Bucket | None


class Guard:
    """Stands before every path; raises WrongWebConfig where its file cannot be used to begin with.

    Whether there is TLS stays as it was at first.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._hashing = Thread("passwords")
        self._seen: State = {file: None}
        self._mistake = ""
        self._rules = self._read(None)
        self.latest: tuple[Reading, ...] = (LetIn(last_reload_successful=True),)

    @property
    def secures(self) -> bool:
        """Whether connections are TLS."""
        return self._rules.secure is not None

    def secured(self, within: asyncio.Protocol, refused: Callable[[], None]) -> asyncio.Protocol:
        """The protocol as a listening socket wants it; `refused` is told of a client that speaks no TLS."""
        secure = self._rules.secure
        return within if secure is None else secure(within, refused)

    async def answer(self, request: Request, answer: Answer) -> Response:
        """The answer, where the client may have one."""
        rules = self._rules
        if rules.bucket is not None and not rules.bucket.takes():
            return _refusal(HTTPStatus.TOO_MANY_REQUESTS)
        try:
            known = rules.users is None or await _known(rules.users, request)
        except Crowded:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE)
        if known:
            told = answer(request)
            response = told if isinstance(told, Response) else await told
        else:
            response = _refusal(HTTPStatus.UNAUTHORIZED, **{"WWW-Authenticate": "Basic"})
        return replace(response, headers={**rules.config.headers, **response.headers})

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Takes up what changes in the files, on a thread of its own, since a file system may hang."""
        over = Event()

        def follow() -> None:
            while not over.wait(EVERY):
                self.look()

        Follower(target=follow, name="web.config.file", daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def look(self) -> None:
        """Reads the files again if they have changed; a mistake in them is told once, at the look after."""
        if _state(self._seen) == self._seen:
            self._tell()
            return
        self._mistake = ""
        try:
            self._rules = self._read(self._rules)
        except WrongWebConfig as wrong:
            self._mistake = str(wrong)
        else:
            self.latest = (LetIn(last_reload_successful=True),)
            log.info("%s or a file that it names has changed, and is in force", self._file)

    def _tell(self) -> None:
        # Not at once, since files that belong together are seldom replaced together.
        if self._mistake:
            self.latest = (LetIn(last_reload_successful=False),)
            log.error("the web configuration stays as it was: %s", self._mistake)
            self._mistake = ""

    def _read(self, before: _Rules | None) -> _Rules:
        self._seen = _state(self._seen)
        config = read(self._file)
        self._seen = {self._file: self._seen[self._file], **_state(config.files)}
        if before is not None and (before.secure is None) != (config.tls is None):
            raise WrongWebConfig(f"{self._file}: TLS begins and ends only with a restart")
        return _Rules(
            config=config,
            secure=None if config.tls is None else _secure(config.tls),
            users=self._users(config, before),
            bucket=_bucket(config, before),
        )

    def _users(self, config: WebConfig, before: _Rules | None) -> Users | None:
        if before is not None and before.config.users == config.users:
            return before.users
        return Users(config.users, self._hashing) if config.users else None


def _bucket(config: WebConfig, before: _Rules | None) -> Bucket | None:
    if before is not None and before.config.rate == config.rate:
        return before.bucket
    return Bucket(config.rate) if config.rate else None


def _state(files: Iterable[Path]) -> State:
    """What changes with the content of files, wherever links lead; None of one that is not there."""
    return {file: _stamp(file) for file in files}


def _stamp(file: Path) -> tuple[int, ...] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _secure(tls: Tls) -> Secure:
    from exporter.webconfig.secured import Secured  # noqa: PLC0415  14 MB of memory, for those alone who have TLS
    from exporter.webconfig.tls import context  # noqa: PLC0415  as above

    return partial(Secured, context(tls))


async def _known(users: Users, request: Request) -> bool:
    given = credentials(request.headers.get("authorization", ""))
    return given is not None and await users.know(*given)


def _refusal(status: HTTPStatus, **headers: str) -> Response:
    return plain(status, status.phrase, **{"X-Content-Type-Options": "nosniff", **headers})
