"""What the table of engines says of one engine, and the answers that it is judged by."""

from collections.abc import Callable, Mapping
from dataclasses import field
from enum import StrEnum

from exporter.frozen import frozen
from exporter.paths import Json, Path
from exporter.wire import Recognition, Sight


@frozen
class Reply:
    """What one GET brought; status 0 where no answer came in time."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    document: Json = None
    """The body as JSON, None where it is none."""
    came: float = 0.0
    """When it came, a Unix time by our own clock."""

    def value(self, place: str) -> Json:
        """What stands at a place of the document, None where nothing does."""
        found = Path(place).values(self.document)
        return found[0] if found else None


Seen = Mapping[str, Reply]
"""The answers of one service so far, by path."""


def at(seen: Seen, path: str) -> Reply:
    """The answer to that GET, an empty one where it was not sent."""
    return seen.get(path, Reply())


def never(_seen: Seen) -> bool:
    """Whether to ask: not for this sign alone."""
    return False


def always(_seen: Seen) -> bool:
    """Whether to ask: whatever was answered so far."""
    return True


@frozen
class Sign:
    """What gives an engine away in its answer to one GET."""

    path: str
    words: str
    """What is seen there, in words of ours: a service's own would get into the log."""
    holds: Callable[[Reply], bool]
    asked: Callable[[Seen], bool] = never
    """Whether the answers so far justify the GET; one that is sent anyway is judged all the same."""

    def __str__(self) -> str:
        return f"{self.words} in its answer to GET {self.path}"


class Condition(StrEnum):
    """What an engine says of itself when it is asked for its health."""

    READY = "ready"
    LOADING = "loading"
    SLEEPING = "sleeping"
    UNHEALTHY = "unhealthy"


class Skip(StrEnum):
    """Why an engine is not to be asked now."""

    ASLEEP = "asleep"
    UNLOADED = "unloaded"
    LOADING = "loading"


@frozen
class Look:
    """A GET that tells whether a prompt would wake, load or keep a model."""

    path: str
    sight: Callable[[Reply, Recognition], Sight]
    """What the answer says of a prompt to what was recognised; nothing where it does not say."""


Judge = Callable[[int, bytes], Condition | None]
"""What a health answer means, by status and body; None where it says nothing about the engine, as a 404."""


NO_THINKING: Mapping[str, Json] = {"chat_template_kwargs": {"enable_thinking": False}}


@frozen
class Engine:
    """One row of the table: how an engine is recognised, asked, and read."""

    condition: Judge
    signs: tuple[Sign, ...] = ()
    tried: bool = False
    """Whether it was really run, or tested on what it really answered; else written from the reference."""
    details: tuple[str, ...] = ()
    """GETs that tell its version, its model and its protocol, once it is recognised."""
    version: Callable[[Seen], str] | None = None
    model: Callable[[Seen], str] | None = None
    """What to ask for; absent for an engine that needs no name."""
    protocols: tuple[str, ...] = ()
    """How it may be asked, the usual way first; none for an engine that is watched by its health alone."""
    speaks: Callable[[Seen], str] | None = None
    """Which of its protocols it speaks; empty where none of them."""
    named: bool = False
    """Whether it is asked only where the operator names the model."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Where it is asked in a protocol, if elsewhere than in the protocol's own place."""
    place: Callable[[Seen], str] | None = None
    """Where it is asked in its usual protocol, where only its answers tell."""
    health: tuple[str, ...] = ("/health",)
    """Where it tells its health; one that does not know the first (404) is asked at the next."""
    health_timeout: float = 5.0
    looks: tuple[Look, ...] = ()
    unthinking: Mapping[str, Json] = field(default_factory=dict)
    """Fields of a request in the usual protocol that switch thinking off."""

    def sign(self, seen: Seen) -> Sign | None:
        """The first sign of this engine in these answers."""
        return next((sign for sign in self.signs if sign.path in seen and sign.holds(seen[sign.path])), None)

    def path(self, seen: Seen, protocol: str) -> str:
        """Where it is asked in this protocol, by these answers; empty where in the protocol's own place."""
        if self.place and protocol in self.protocols[:1]:
            return self.place(seen)
        return self.places.get(protocol, "")

    def protocol(self, seen: Seen, model: str | None) -> str:
        """How it is asked, by these answers and the model that the operator names; empty where it is not."""
        if self.named and model is None:
            return ""
        return self.speaks(seen) if self.speaks else next(iter(self.protocols), "")
