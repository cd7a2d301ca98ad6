"""The figures that a service may tell of itself, and how it is written down where and by which names it does."""

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from enum import StrEnum
from itertools import chain
from typing import Literal, TypeVar

from exporter.frozen import by_place, frozen

Publish = Literal["none", "gauges", "all"]
"""Which of a service's own figures are published: none, those that go up and down, or all."""


class Figure(StrEnum):
    """What a service may tell of itself, in the order in which it is told."""

    REQUESTS_RUNNING = "requests_running"
    REQUESTS_WAITING = "requests_waiting"
    KV_CACHE_USAGE_RATIO = "kv_cache_usage_ratio"
    PROMPT_TOKENS = "prompt_tokens"
    GENERATION_TOKENS = "generation_tokens"
    CACHED_PROMPT_TOKENS = "cached_prompt_tokens"
    PREEMPTIONS = "preemptions"
    REQUESTS = "requests"
    REQUEST_FAILURES = "request_failures"
    FIRST_TOKEN_SECONDS = "first_token_seconds"  # noqa: S105  a duration's name, no secret
    TIME_PER_OUTPUT_TOKEN_SECONDS = "time_per_output_token_seconds"  # noqa: S105  the same
    REQUEST_DURATION_SECONDS = "request_duration_seconds"
    QUEUE_SECONDS = "queue_seconds"


LEVELS = (Figure.REQUESTS_RUNNING, Figure.REQUESTS_WAITING, Figure.KV_CACHE_USAGE_RATIO)
SPREADS = (
    Figure.FIRST_TOKEN_SECONDS,
    Figure.TIME_PER_OUTPUT_TOKEN_SECONDS,
    Figure.REQUEST_DURATION_SECONDS,
    Figure.QUEUE_SECONDS,
)
COUNTS = tuple(figure for figure in Figure if figure not in {*LEVELS, *SPREADS})
BY_ROUTE = frozenset({Figure.REQUESTS, Figure.REQUEST_FAILURES, Figure.REQUEST_DURATION_SECONDS})


class Proof(StrEnum):
    """What figures prove of a service's progress, the strongest first; each is a number that moves with it."""

    GENERATING = "generating"
    """Moves while answers are generated, so that one that stands proves as much as one that moves."""
    ANSWERED = "answered"
    """Moves with every answer, also those to our own prompts, and with nothing else that is asked."""
    ENDED = "ended"
    """Moves when a request ends, so that one that stands proves nothing."""
    PREFILLING = "prefilling"
    """Moves while prompts are read, or with each of the engine's iterations."""


class Moves(StrEnum):
    """Which way a series goes when something has happened."""

    UP = "up"
    """As a counter does; one that has fallen has begun again."""
    DOWN = "down"
    EITHER = "either"


@by_place
class Term:
    """Series of one name that are added up; a histogram's name stands without its suffixes."""

    name: str
    only: Mapping[str, str] = field(default_factory=dict)
    """Labels by which a series is one of these, and the pattern that each value must match as a whole."""
    counts_if: Mapping[str, str] = field(default_factory=dict)
    """The same for those of these that count; the others say that there was nothing to count."""
    status: str = ""
    """Their class of status, whatever their labels say of it."""
    per: float = 1.0
    """How many of their unit make one of ours."""
    moves: Moves = Moves.UP
    """How they go when there was something to count, where they are counted."""


Sum = tuple[Term, ...]
Names = Mapping[Figure, Sequence[Sum]]
"""Where each figure is told: of several sums the first that is there."""
Proofs = Mapping[Proof, Sequence[Sum]]
"""By what each proof is told, chosen alike; a sum of several is no amount of anything, and only moves."""

K = TypeVar("K")


def either(*names: str) -> Sequence[Sum]:
    """The first of these names that is there."""
    return tuple((Term(name),) for name in names)


def together(*several: Mapping[K, Sequence[Sum]]) -> Mapping[K, Sequence[Sum]]:
    """What several engines tell, of which the first that is there is taken."""
    return {key: tuple(chain(*(told.get(key, ()) for told in several))) for key in dict.fromkeys(chain(*several))}


def under_ray(told: Mapping[K, Sequence[Sum]]) -> Mapping[K, Sequence[Sum]]:
    """What another engine tells, by the names that Ray gives to it."""
    return {
        key: tuple(tuple(replace(term, name=f"ray_{term.name.replace(':', '_')}") for term in sum_) for sum_ in sums)
        for key, sums in told.items()
    }


class Form(StrEnum):
    """What a place answers with."""

    PAGE = "page"
    LOADS = "loads"
    SLOTS = "slots"
    QUEUE = "queue"
    FUNCTIONS = "functions"


@by_place
class Place:
    """A path at which a service tells figures of its own."""

    path: str
    form: Form = Form.PAGE
    ask_first: str = ""
    """Where the service says that it sleeps, for a place at which asking would wake it."""


Way = tuple[Place, ...]
"""Places that are read together where the service has the first; another that it does not have is left out."""


@frozen
class Vocabulary:
    """What an engine calls its figures, and where it tells them."""

    names: Names
    proofs: Proofs = field(default_factory=dict)
    ways: Sequence[Way] = ((Place("/metrics"),),)
    """The first that the service has is taken."""
    ways_if_asked: Sequence[Way] = ()
    """Taken before these where the operator asks for it, since reading them disturbs whoever reads them too."""
    ports: tuple[int, int] | None = None
    """The service's usual port and that of its metrics, where they have one of their own."""
    model: Sequence[str] = ("model_name", "model")
    handler: Sequence[str] = ()
    method: Sequence[str] = ()
    status: Sequence[str] = ()

    def wanted(self, *, spreads: bool) -> frozenset[str]:
        """The names of all samples that say something."""
        terms = {figure: {term.name for term in chain(*sums)} for figure, sums in self.names.items()}
        proving = {term.name for sums in self.proofs.values() for term in chain(*sums)}
        plain = {name for figure, names in terms.items() if figure not in SPREADS for name in names}
        spread = {name for figure, names in terms.items() if figure in SPREADS and spreads for name in names}
        return frozenset({*plain, *proving, *(f"{name}_{part}" for name in spread for part in ("bucket", "sum"))})
