"""What the table of engines says of one engine, and the answers that it is judged by."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from exporter.paths import Json, Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What one GET brought; status 0 where no answer came in time."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    document: Json = None
    """The body as JSON, None where it is none."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A GET that tells whether a prompt would wake or load a model."""

    path: str
    skip: Callable[[bytes, str], Skip | None]
    """The reason not to ask, by the body and the model's name; None where the body gives none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Where an engine publishes metrics of its own."""

    path: str = "/metrics"
    port: int | None = None
    """The port, where it is by default another than the service's."""
    auto: bool = True
    """Whether they are read although nobody asked for it: not where a scrape disturbs what others read."""


Judge = Callable[[int, bytes], Condition | None]
"""What a health answer means, by status and body; None where it says nothing about the engine, as a 404."""


NO_THINKING: Mapping[str, Json] = {"chat_template_kwargs": {"enable_thinking": False}}


@dataclass(frozen=True, slots=True, kw_only=True)
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
    health: tuple[str, ...] = ("/health",)
    """Where it tells its health; one that does not know the first (404) is asked at the next."""
    health_timeout: float = 5.0
    metrics: Metrics | None = None
    looks: tuple[Look, ...] = ()
    unthinking: Mapping[str, Json] = field(default_factory=dict)
    """Fields of a request in the usual protocol that switch thinking off."""

    def sign(self, seen: Seen) -> Sign | None:
        """The first sign of this engine in these answers."""
        return next((sign for sign in self.signs if sign.path in seen and sign.holds(seen[sign.path])), None)

    def protocol(self, seen: Seen, model: str | None) -> str:
        """How it is asked, by these answers and the model that the operator names; empty where it is not."""
        if self.named and model is None:
            return ""
        return self.speaks(seen) if self.speaks else next(iter(self.protocols), "")
