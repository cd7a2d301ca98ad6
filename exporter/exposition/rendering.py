"""Readings as lines of the page, each with what stands before its value kept from the time before.

Of a sample nothing but the value changes, so that names and labels are escaped, sorted and joined only once.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, chain
from math import inf
from operator import attrgetter
from typing import Any

from prometheus_client import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from exporter.reading import Counter, Distribution, Gauge, Histogram, Label, Reading, declarations

Declared = Gauge | Counter | Histogram
Pairs = Sequence[tuple[str, str]]
Line = Callable[[Any], str]
"""A value's samples."""

MILLION = 1e6  # From here on Go, and with it every exporter, writes exponents.


@dataclass(frozen=True, kw_only=True)
class Column:
    """One metric of one kind of reading."""

    name: str
    attribute: str
    declared: Declared
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

    def line(self, pairs: Pairs) -> Line:
        """How the samples of a reading with these labels are written."""
        if isinstance(self.declared, Histogram):
            return _Buckets(self.name, pairs).told
        return _ByKey(self.sample, pairs, self.by).told if self.by else _single(self.sample, pairs)


def columns(kind: type[Reading]) -> Iterator[Column]:
    """The metrics of a kind of reading, in the order of its fields."""
    declared = declarations(kind)
    labels = tuple(sorted(name for name, declaration in declared.items() if isinstance(declaration, Label)))
    for name, declaration in declared.items():
        if isinstance(declaration, Gauge | Counter | Histogram):
            yield Column(name=f"{kind.PREFIX}_{name}", attribute=name, declared=declaration, labels=labels)


class Lines:
    """The samples of all readings of one kind; of those that are gone nothing is kept."""

    def __init__(self, of: Sequence[Column]) -> None:
        self._columns = of
        self._labels = of[0].labels if of else ()
        self._named: Callable[[Reading], Hashable] = attrgetter(*self._labels) if self._labels else type
        self._values = [attrgetter(column.attribute) for column in of]
        self._known: Mapping[Hashable, Sequence[Line]] = {}

    def columns(self, readings: Iterable[Reading]) -> Iterator[tuple[Column, str]]:
        """The samples, metric by metric, of every metric that has some."""
        readings = list(readings)
        rows = self._rows(readings)
        for column, value_of, lines in zip(self._columns, self._values, zip(*rows, strict=True), strict=False):
            values = zip(map(value_of, readings), lines, strict=True)
            if told := "".join([line(value) for value, line in values if value is not None]):
                yield column, told

    def _rows(self, readings: Sequence[Reading]) -> Sequence[Sequence[Line]]:
        known = {}
        for reading in readings:
            name = self._named(reading)
            known[name] = self._known.get(name) or self._lines(reading)
        self._known = known
        return [known[self._named(reading)] for reading in readings]

    def _lines(self, reading: Reading) -> Sequence[Line]:
        labels = ((label, getattr(reading, label)) for label in self._labels)
        pairs = [(label, _escaped(value)) for label, value in labels if value != ""]
        return [column.line(pairs) for column in self._columns]


class Foreign:
    """What collectors of prometheus_client tell, of which each is a gauge or a counter."""

    def __init__(self, *collectors: Collector) -> None:
        self._collectors = collectors
        self._columns: dict[str, Column] = {}
        self._lines: dict[tuple[str, ...], Line] = {}

    def columns(self) -> Iterator[tuple[Column, str]]:
        """The samples, metric by metric."""
        for family in chain.from_iterable(each.collect() for each in self._collectors):
            column = self._columns.get(family.name) or self._columns.setdefault(family.name, _as_column(family))
            yield column, "".join(self._line(sample)(sample.value) for sample in family.samples)

    def _line(self, sample: Sample) -> Line:
        name = (sample.name, *chain.from_iterable(sample.labels.items()))
        if name not in self._lines:
            pairs = sorted((label, _escaped(value)) for label, value in sample.labels.items())
            self._lines[name] = _single(sample.name, pairs)
        return self._lines[name]


def _as_column(family: Metric) -> Column:
    declared = (Counter if family.type == "counter" else Gauge)(family.documentation)
    return Column(name=family.name, attribute="", declared=declared, labels=())


def _single(sample: str, pairs: Pairs) -> Line:
    before = f"{sample}{_braced(pairs)} "

    def told(value: float) -> str:
        return f"{before}{float(value)}\n" if -MILLION < value < MILLION else f"{before}{_number(value)}\n"

    return told


class _ByKey:
    """The samples of a metric by key; what stands before them is kept for as long as the keys are the same."""

    __slots__ = ("_by", "_keys", "_pairs", "_sample", "_template")

    def __init__(self, sample: str, pairs: Pairs, by: tuple[str, ...]) -> None:
        self._sample, self._pairs, self._by = sample, pairs, by
        self._keys: tuple[str | tuple[str, ...], ...] = ()
        self._template = ""

    def told(self, values: Mapping[str | tuple[str, ...], float]) -> str:
        keys = tuple(values)
        if keys != self._keys:
            self._keys = keys
            self._template = "".join(map(self._of_key, keys))
        return self._template % _numbers(values.values())

    def _of_key(self, key: str | tuple[str, ...]) -> str:
        keyed = zip(self._by, (key,) if isinstance(key, str) else key, strict=True)
        return _template(self._sample, sorted([*self._pairs, *((label, _escaped(part)) for label, part in keyed)]))


class _Buckets:
    """The samples of a histogram; what stands before them is kept for as long as the ladder is the same."""

    __slots__ = ("_edges", "_name", "_pairs", "_template")

    def __init__(self, name: str, pairs: Pairs) -> None:
        self._name, self._pairs = name, pairs
        self._edges: tuple[float, ...] | None = None
        self._template = ""

    def told(self, spread: Distribution) -> str:
        if spread.edges != self._edges:
            self._edges = spread.edges
            self._template = "".join(self._over(spread.edges))
        below = tuple(accumulate(spread.counts))
        return self._template % _numbers((*below, below[-1], spread.sum))

    def _over(self, edges: Sequence[float]) -> Iterator[str]:
        for edge in (*edges, inf):
            yield _template(f"{self._name}_bucket", sorted([*self._pairs, ("le", _number(edge))]))
        yield _template(f"{self._name}_count", self._pairs)
        yield _template(f"{self._name}_sum", self._pairs)


def _template(sample: str, pairs: Pairs) -> str:
    return f"{sample}{_braced(pairs)}".replace("%", "%%") + " %s\n"


def _braced(pairs: Pairs) -> str:
    return "{" + ",".join([f'{label}="{value}"' for label, value in pairs]) + "}" if pairs else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _numbers(values: Iterable[float]) -> tuple[float | str, ...]:
    # Below a million Python writes a number as Go does, only faster.
    return tuple([float(value) if -MILLION < value < MILLION else _number(value) for value in values])


@lru_cache(maxsize=4096)  # Sizes, limits and moments, of which most are the same the next time.
def _number(value: float) -> str:
    told: str = floatToGoString(float(value))  # type: ignore[no-untyped-call]  # prometheus_client leaves it so
    return told
