"""Readings as lines of the page, of which what stands around the values is kept from the time before.

Of a page little but its values changes, so that names and labels are escaped, sorted and joined only once: the samples
of one metric, whatever the readings, are one text with places for the values.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, chain
from operator import attrgetter
from typing import Any

from prometheus_client import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from exporter.reading import Counter, Distribution, Gauge, Histogram, Label, Reading, declarations

MILLION = 1e6  # From here on Go, and with it every exporter, writes exponents.
PLACE = " %s\n"

Pairs = Sequence[tuple[str, str]]
Shape = tuple[Any, ...] | bool
"""Whether there is a value, and of one that is several their keys or edges."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One metric of one kind of reading."""

    name: str
    attribute: str
    declared: Gauge | Counter | Histogram
    labels: Sequence[str]

    @property
    def kind(self) -> str:
        """The metric's type, as the page tells it."""
        return type(self.declared).__name__.lower()

    @property
    def sample(self) -> str:
        """What its samples are named."""
        return f"{self.name}_total" if isinstance(self.declared, Counter) else self.name

    @cached_property
    def by(self) -> tuple[str, ...]:
        """The labels that its keys fill."""
        by = () if isinstance(self.declared, Histogram) else self.declared.by
        return (by,) if isinstance(by, str) else by

    @cached_property
    def heads(self) -> Mapping[bool, str]:
        """What stands before the samples, in OpenMetrics and not: there a counter's family is named without _total."""
        help_ = self.declared.help.replace("\\", "\\\\").replace("\n", "\\n")
        quoted = help_.replace('"', '\\"')
        return {
            True: f"# HELP {self.name} {quoted}\n# TYPE {self.name} {self.kind}\n",
            False: f"# HELP {self.sample} {help_}\n# TYPE {self.sample} {self.kind}\n",
        }


def columns(kind: type[Reading]) -> Iterator[Column]:
    """The metrics of a kind of reading, in the order of its fields."""
    declared = declarations(kind)
    labels = tuple(sorted(name for name, declaration in declared.items() if isinstance(declaration, Label)))
    for name, declaration in declared.items():
        if isinstance(declaration, Gauge | Counter | Histogram):
            yield Column(name=f"{kind.PREFIX}_{name}", attribute=name, declared=declaration, labels=labels)


class Lines:
    """The samples of all readings of one kind, each time as many as there are."""

    def __init__(self, of: Sequence[Column]) -> None:
        self._labels = of[0].labels if of else ()
        self._named: Callable[[Reading], Hashable] = attrgetter(*self._labels) if self._labels else type
        self._samples = [(column, attrgetter(column.attribute), _samples(column)) for column in of]
        self._names: Sequence[Hashable] = ()
        self._pairs: Sequence[Pairs] = ()

    def columns(self, readings: Sequence[Reading]) -> Iterator[tuple[Column, str]]:
        """The samples, metric by metric, of every metric that has some."""
        names = list(map(self._named, readings))
        if names != self._names:
            self._names = names
            self._pairs = [self._pairs_of(reading) for reading in readings]
        for column, value_of, samples in self._samples:
            if told := samples.told(self._pairs, list(map(value_of, readings))):
                yield column, told

    def _pairs_of(self, reading: Reading) -> Pairs:
        named = ((name, getattr(reading, name)) for name in self._labels)
        return [(name, _escaped(value)) for name, value in named if value != ""]


class Foreign:
    """What collectors of prometheus_client tell, of which each is a gauge or a counter."""

    def __init__(self, *collectors: Collector) -> None:
        self._collectors = collectors
        self._samples: dict[str, tuple[Column, _Single]] = {}

    def columns(self) -> Iterator[tuple[Column, str]]:
        """The samples, metric by metric."""
        for family in chain.from_iterable(each.collect() for each in self._collectors):
            column, samples = self._samples.get(family.name) or self._samples.setdefault(family.name, _foreign(family))
            pairs = [sorted((name, _escaped(value)) for name, value in each.labels.items()) for each in family.samples]
            yield column, samples.told(pairs, [each.value for each in family.samples])


def _foreign(family: Metric) -> "tuple[Column, _Single]":
    declared = (Counter if family.type == "counter" else Gauge)(family.documentation)
    column = Column(name=family.name, attribute="", declared=declared, labels=())
    return column, _Single(column)


def _samples(column: Column) -> "_Single":
    if isinstance(column.declared, Histogram):
        return _Buckets(column)
    return _ByKey(column) if column.by else _Single(column)


class _Single:
    """The samples of a metric that has one of each reading."""

    def __init__(self, column: Column) -> None:
        self._column = column
        self._told_of: tuple[Sequence[Pairs], Sequence[Shape]] = ((), ())
        self._template = ""

    def told(self, pairs: Sequence[Pairs], values: Sequence[Any]) -> str:
        """The samples of readings with these labels and values; nothing of those that have none."""
        shapes = self._shapes(values)
        if (pairs, shapes) != self._told_of:
            self._told_of = pairs, shapes
            each = zip(pairs, shapes, strict=True)
            self._template = "".join(self._places(labels, shape) for labels, shape in each if shape is not False)
        told = self._figures([value for value in values if value is not None])
        # Below a million Python writes a number as Go does, only faster.
        return self._template % tuple([float(it) if -MILLION < it < MILLION else _large(it) for it in told])

    def _shapes(self, values: Sequence[Any]) -> Sequence[Shape]:
        return [value is not None for value in values]

    def _places(self, labels: Pairs, _shape: Any) -> str:  # noqa: ANN401  as the shapes have it
        return _place(self._column.sample, labels)

    def _figures(self, values: Sequence[Any]) -> Iterable[float]:
        return values


class _ByKey(_Single):
    """The samples of a metric that has one for each key."""

    def _shapes(self, values: Sequence[Any]) -> Sequence[Shape]:
        return [False if value is None else tuple(value) for value in values]

    def _places(self, labels: Pairs, shape: Any) -> str:  # noqa: ANN401  as the shapes have it
        return "".join(_place(self._column.sample, sorted([*labels, *self._keyed(key)])) for key in shape)

    def _keyed(self, key: str | tuple[str, ...]) -> Iterator[tuple[str, str]]:
        for name, value in zip(self._column.by, (key,) if isinstance(key, str) else key, strict=True):
            yield name, _escaped(value)

    def _figures(self, values: Sequence[Mapping[Any, float]]) -> Iterable[float]:
        return chain.from_iterable(value.values() for value in values)


class _Buckets(_Single):
    """The samples of a histogram."""

    def _shapes(self, values: Sequence[Any]) -> Sequence[Shape]:
        return [False if value is None else value.edges for value in values]

    def _places(self, labels: Pairs, shape: Any) -> str:  # noqa: ANN401  as the shapes have it
        name, edges = self._column.name, (*map(_number, shape), "+Inf")
        buckets = [_place(f"{name}_bucket", sorted([*labels, ("le", edge)])) for edge in edges]
        return "".join([*buckets, _place(f"{name}_count", labels), _place(f"{name}_sum", labels)])

    def _figures(self, values: Sequence[Distribution]) -> Iterable[float]:
        for value in values:
            below = [*accumulate(value.counts)]
            yield from (*below, below[-1], value.sum)


def _place(sample: str, pairs: Pairs) -> str:
    braced = "{" + ",".join([f'{label}="{value}"' for label, value in pairs]) + "}" if pairs else ""
    return f"{sample}{braced}".replace("%", "%%") + PLACE


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return repr(float(value)) if -MILLION < value < MILLION else _large(value)


@lru_cache(maxsize=1024)  # Sizes, limits and moments, of which most are the same the next time.
def _large(value: float) -> str:
    told: str = floatToGoString(float(value))  # type: ignore[no-untyped-call]  # prometheus_client leaves it so
    return told
