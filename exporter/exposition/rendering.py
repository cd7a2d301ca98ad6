"""Readings as lines of the page, of which what stands still is kept from the time before.

Of a page little but its figures changes, so that names and labels are escaped, sorted and joined only once: the samples
of one metric, whatever the readings, are one text with places for the figures. Where these are the same as well, the
text is the one of the time before.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, chain, compress
from operator import attrgetter, is_
from typing import Any

from exporter.exposition.columns import Column
from exporter.reading import Distribution, Histogram, Reading

KEPT = 64  # The GPUs of a machine, or services that take 32 kB each so; of a thousand it is 5.

MILLION = 1e6  # From here on Go, and with it every exporter, writes exponents.
LADDER = ("le",)

Pairs = Sequence[tuple[str, str]]
Shape = Sequence[Any]
"""Which readings have a value, and of one that is several their keys or edges; empty where each has its one."""


def same(some: Sequence[Reading], others: Sequence[Reading]) -> bool:
    """Whether both are the very same readings, which are frozen and so tell the same."""
    return len(some) == len(others) and all(map(is_, some, others))


class Lines:
    """The samples of all readings of one kind, each time as many as there are."""

    def __init__(self, of: Sequence[Column]) -> None:
        self._columns = of
        self._labels = of[0].labels if of else ()
        # One more than it takes, since a getter makes no tuple of one alone.
        self._fields = attrgetter("PREFIX", *self._labels, *(column.attribute for column in of))
        self._samples = [_samples(column) for column in of]
        self._names: Sequence[Sequence[str]] = ()
        self._rows = _Rows((), ())
        self._readings: Sequence[Reading] = ()
        self._told: Sequence[tuple[Column, str]] = ()

    def columns(self, readings: Sequence[Reading]) -> Iterable[tuple[Column, str]]:
        """The samples, metric by metric, of every metric that has some."""
        if len(readings) > KEPT:
            return self._anew(readings, map(_samples, self._columns))
        if not same(readings, self._readings):
            self._readings = readings
            self._told = [*self._anew(readings, self._samples)]
        return self._told

    def _anew(self, readings: Sequence[Reading], all_samples: "Iterable[_Single]") -> Iterator[tuple[Column, str]]:
        fields = [*zip(*[*map(self._fields, readings)], strict=True)]
        names, values = fields[: 1 + len(self._labels)], fields[1 + len(self._labels) :]
        if names != self._names:
            self._names = names
            self._rows = _Rows(self._labels, [each[1:] for each in zip(*names, strict=True)])
        nothing = (None,) * len(readings)
        for column, samples, each in zip(self._columns, all_samples, values, strict=False):
            if each != nothing and (told := samples.told(self._rows, each)):
                yield column, told


class _Rows:
    """What stands around the figures of each reading: its labels, and places for those that a key fills."""

    def __init__(self, labels: Sequence[str], values: Iterable[Sequence[str]]) -> None:
        named = (zip(labels, each, strict=True) for each in values)
        self._pairs = [[(label, _escaped(value)) for label, value in each if value != ""] for each in named]
        self._lines: dict[tuple[str, Sequence[str]], Sequence[str]] = {}

    def lines(self, form: str, by: Sequence[str] = ()) -> Sequence[str]:
        """A line of each reading without the metric's name; one with places for a key is to be filled with it first."""
        if (form, by) not in self._lines:
            self._lines[form, by] = [_keyed(pairs, by, form) if by else _line(pairs, form) for pairs in self._pairs]
        return self._lines[form, by]


def _line(pairs: Pairs, form: str) -> str:
    braced = "{" + ",".join([f'{label}="{value}"' for label, value in pairs]) + "}" if pairs else ""
    return f"{braced} {form}\n"


def _keyed(pairs: Pairs, by: Sequence[str], form: str) -> str:
    own = ((label, value.replace("%", "%%")) for label, value in pairs)
    return _line(sorted([*own, *((label, "%s") for label in by)]), f"%{form}")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"').replace("%", "%%")


def _samples(column: Column) -> "_Single":
    if isinstance(column.declared, Histogram):
        return _Buckets(column)
    return _ByKey(column) if column.by else _Single(column)


class _Single:
    """The samples of a metric that has one of each reading."""

    __slots__ = ("_around", "_column", "_figures", "_templates", "_text")

    def __init__(self, column: Column) -> None:
        self._column = column
        self._around: tuple[_Rows, Shape] | None = None
        self._templates: dict[str, str] = {}
        self._figures: Sequence[float] = ()
        self._text = ""

    def told(self, rows: _Rows, values: Sequence[Any]) -> str:
        """The samples of readings with these labels and values; nothing of those that have none."""
        shape, figures = self._parted(values)
        if (rows, shape) != self._around:
            self._around = rows, shape
            self._templates = {}
        elif figures == self._figures:  # or one is 0.0 and was -0.0
            return self._text
        form, written = _written(figures)
        if form not in self._templates:
            self._templates[form] = self._template(rows, shape, form)
        self._figures = figures
        self._text = self._templates[form] % written
        return self._text

    def _parted(self, values: Sequence[Any]) -> tuple[Shape, Sequence[float]]:
        if None not in values:
            return (), values
        return [value is not None for value in values], [value for value in values if value is not None]

    def _template(self, rows: _Rows, shape: Shape, form: str) -> str:
        lines = rows.lines(form)
        return self._column.sample.join(["", *(compress(lines, shape) if shape else lines)])


class _ByKey(_Single):
    """The samples of a metric that has one for each key."""

    __slots__ = ()

    def _parted(self, values: Sequence[Mapping[Any, float] | None]) -> tuple[Shape, Sequence[float]]:
        told = [value or {} for value in values]
        return [*map(tuple, told)], [*chain.from_iterable([value.values() for value in told])]

    def _template(self, rows: _Rows, shape: Shape, form: str) -> str:
        name, by = self._column.sample, self._column.by
        places = {keys: tuple(self._places(keys)) for keys in set(shape)}
        each = zip(rows.lines(form, by), shape, strict=True)
        return "".join([(name + line) * len(keys) % places[keys] for line, keys in each])

    def _places(self, keys: Sequence[str | tuple[str, ...]]) -> Iterator[str]:
        for key in keys:
            named = zip(self._column.by, (key,) if isinstance(key, str) else key, strict=True)
            yield from (_escaped(value) for _, value in sorted(named))


class _Buckets(_Single):
    """The samples of a histogram."""

    __slots__ = ()

    def _parted(self, values: Sequence[Distribution | None]) -> tuple[Shape, Sequence[float]]:
        shape = [None if value is None else value.edges for value in values]
        return shape, [*chain.from_iterable([_summed(value) for value in values if value is not None])]

    def _template(self, rows: _Rows, shape: Shape, form: str) -> str:
        each = zip(rows.lines(form, LADDER), rows.lines(form), shape, strict=True)
        return "".join([self._ladder(rung, line, edges) for rung, line, edges in each if edges is not None])

    def _ladder(self, rung: str, line: str, edges: tuple[float, ...]) -> str:
        name, places = self._column.name, (*map(_large, edges), "+Inf")
        return f"{name}_bucket{rung}" * len(places) % places + f"{name}_count{line}{name}_sum{line}"


def _summed(spread: Distribution) -> Sequence[float]:
    below = [*accumulate(spread.counts)]
    return [*below, below[-1], spread.sum]


def _written(figures: Sequence[float]) -> tuple[str, tuple[object, ...]]:
    """The places that the figures are to fill, and as what they fill them."""
    # A sum that is whole is of whole numbers alone; one below a million is of no NaN, and of nothing above it. Tuples
    # are made of lists: what is made of an iterator is made too large and cut, and Python keeps thousands of such cuts.
    total = sum(map(abs, figures))
    if not total < MILLION:
        return "%s", tuple([float(it) if -MILLION < it < MILLION else _large(it) for it in figures])
    return ("%d.0", tuple(figures)) if isinstance(total, int) else ("%s", (*map(float, figures),))


@lru_cache(maxsize=256)  # Sizes, limits and moments, of which most are the same the next time.
def _large(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    told = repr(float(value))
    whole, point, part = told.partition(".")
    if value < MILLION or not point or "e" in part:
        return told
    return f"{whole[0]}.{whole[1:]}{part}".rstrip("0.") + f"e+{len(whole) - 1:02}"
