"""Readings as lines of the page, each with what stands before its value kept from the time before.

Of a sample nothing but the value changes, so that names and labels are escaped, sorted and joined only once.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import inf
from operator import attrgetter
from typing import Any

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
            return _Buckets(self.name, pairs)
        return _ByKey(self.sample, pairs, self.by) if self.by else _Single(self.sample, pairs)


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
        self._known: Mapping[Hashable, Sequence[tuple[str, Line]]] = {}

    def columns(self, readings: Iterable[Reading]) -> Iterator[tuple[Column, str]]:
        """The samples, metric by metric, of every metric that has some."""
        rows = self._rows(readings)
        for column, samples in zip(self._columns, zip(*rows, strict=True), strict=False):
            if told := "".join(samples):
                yield column, told

    def _rows(self, readings: Iterable[Reading]) -> Sequence[Sequence[str]]:
        known, rows = {}, []
        for reading in readings:
            name = self._named(reading)
            lines = known[name] = self._known.get(name) or self._lines(reading)
            values = ((getattr(reading, attribute), line) for attribute, line in lines)
            rows.append(["" if value is None else line(value) for value, line in values])
        self._known = known
        return rows

    def _lines(self, reading: Reading) -> Sequence[tuple[str, Line]]:
        labels = ((label, getattr(reading, label)) for label in self._labels)
        pairs = [(label, _escaped(value)) for label, value in labels if value != ""]
        return [(column.attribute, column.line(pairs)) for column in self._columns]


class _Single:
    __slots__ = ("_template",)

    def __init__(self, sample: str, pairs: Pairs) -> None:
        self._template = _template(sample, pairs)

    def __call__(self, value: float) -> str:
        return self._template % _numbers((value,))


class _ByKey:
    __slots__ = ("_by", "_keys", "_pairs", "_sample", "_template")

    def __init__(self, sample: str, pairs: Pairs, by: tuple[str, ...]) -> None:
        self._sample, self._pairs, self._by = sample, pairs, by
        self._keys: tuple[str | tuple[str, ...], ...] = ()
        self._template = ""

    def __call__(self, values: Mapping[str | tuple[str, ...], float]) -> str:
        keys = tuple(values)
        if keys != self._keys:
            self._keys = keys
            self._template = "".join(map(self._of_key, keys))
        return self._template % _numbers(values.values())

    def _of_key(self, key: str | tuple[str, ...]) -> str:
        keyed = zip(self._by, (key,) if isinstance(key, str) else key, strict=True)
        return _template(self._sample, sorted([*self._pairs, *((label, _escaped(part)) for label, part in keyed)]))


class _Buckets:
    __slots__ = ("_edges", "_name", "_pairs", "_template")

    def __init__(self, name: str, pairs: Pairs) -> None:
        self._name, self._pairs = name, pairs
        self._edges: tuple[float, ...] | None = None
        self._template = ""

    def __call__(self, spread: Distribution) -> str:
        if spread.edges != self._edges:
            self._edges = spread.edges
            self._template = "".join(self._over(spread.edges))
        return self._template % _numbers((*accumulate(spread.counts), sum(spread.counts), spread.sum))

    def _over(self, edges: Sequence[float]) -> Iterator[str]:
        for edge in (*edges, inf):
            yield _template(f"{self._name}_bucket", sorted([*self._pairs, ("le", _number(edge))]))
        yield _template(f"{self._name}_count", self._pairs)
        yield _template(f"{self._name}_sum", self._pairs)


def _template(sample: str, pairs: Pairs) -> str:
    braced = "{" + ",".join([f'{label}="{value}"' for label, value in pairs]) + "}" if pairs else ""
    return f"{sample}{braced}".replace("%", "%%") + " %s\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _numbers(values: Iterable[float]) -> tuple[float | str, ...]:
    # Below a million Python writes a number as Go does, only faster.
    return tuple([float(value) if -MILLION < value < MILLION else _number(value) for value in values])


def _number(value: float) -> str:
    told: str = floatToGoString(float(value))  # type: ignore[no-untyped-call]  # prometheus_client leaves it so
    return told
