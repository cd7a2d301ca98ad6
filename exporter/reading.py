"""What a reading declares: one annotated field is one metric."""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self, get_args, get_origin, get_type_hints

from exporter.frozen import by_place

Key = str | tuple[str, ...]


@by_place
class Label:
    """A field that names what is read; an empty label is left out."""

    help: str


@by_place
class Gauge:
    """A field that goes up and down; `by` names the labels of a mapping's keys."""

    help: str
    by: Key = ()


@by_place
class Counter:
    """A field that only grows, named without `_total`; `by` names the labels of a mapping's keys."""

    help: str
    by: Key = ()


@by_place
class Histogram:
    """A field that holds a Distribution."""

    help: str


@by_place
class Note:
    """A field for the page, the command line and the verdict; it has no metric."""

    help: str
    shown: bool = True
    """Whether a person is to read it, rather than the verdict alone."""


Declaration = Label | Gauge | Counter | Histogram | Note


class Reading:
    """What one source says at one moment about one thing; frozen, and complete or absent."""

    __slots__ = ()
    PREFIX: ClassVar[str]

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        declarations(cls)


def declarations(reading: type[Reading]) -> Mapping[str, Declaration]:
    """The declaration of each field, in their order.

    Raises TypeError where a field declares nothing, so that a forgotten declaration fails at import.
    """
    found: dict[str, Declaration] = {}
    for name, hint in get_type_hints(reading, include_extras=True).items():
        if get_origin(hint) is ClassVar:
            continue
        declared = [extra for extra in _extras(hint) if isinstance(extra, Declaration)]
        if len(declared) != 1:
            raise TypeError(
                f"{reading.__name__}.{name} declares {len(declared)} of Label, Gauge, Counter, Histogram, Note"
            )
        found[name] = declared[0]
    return found


def _extras(hint: Any) -> tuple[object, ...]:  # noqa: ANN401  a type hint has no narrower type
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


@by_place
class Distribution:
    """How observations spread over a ladder of edges, which are upper bounds in ascending order."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float = 0.0

    @classmethod
    def over(cls, edges: tuple[float, ...]) -> Self:
        """An empty distribution over a ladder; the last count is of what lies beyond every edge."""
        return cls(edges, (0,) * (len(edges) + 1))

    def plus(self, value: float | None) -> Self:
        """This distribution and one more observation; None adds nothing."""
        if value is None:
            return self
        rung = next((index for index, edge in enumerate(self.edges) if value <= edge), len(self.edges))
        counts = tuple(count + (index == rung) for index, count in enumerate(self.counts))
        return replace(self, counts=counts, sum=self.sum + value)


def counted(counts: Mapping[str, int], key: str, by: int = 1) -> Mapping[str, int]:
    """These counts with one of them higher."""
    return {**counts, key: counts.get(key, 0) + by}


class Reason(StrEnum):
    """Why a source could not look."""

    TIMEOUT = "timeout"
    STUCK = "stuck"
    NOT_PERMITTED = "not_permitted"
    NOT_FOUND = "not_found"
    NOT_SUPPORTED = "not_supported"
    VERSION_MISMATCH = "version_mismatch"
    RELEASED = "released"
    INVALID = "invalid"
    ERROR = "error"


class Unreadable(Exception):  # noqa: N818  it reads as the sentence it raises
    """A source could not look, for a known reason."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
