"""Readings as the page that Prometheus reads, and what each metric means."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from math import inf, isinf
from operator import is_

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.utils import floatToGoString

from exporter.reading import Counter, Distribution, Gauge, Histogram, Label, Reading, declarations

Declared = Gauge | Counter | Histogram
Pairs = Sequence[tuple[str, str]]

OPENMETRICS = "application/openmetrics-text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the reference says of one metric."""

    name: str
    kind: str
    labels: Sequence[str]
    help: str


@dataclass(frozen=True, kw_only=True)
class _Column:
    """One metric of one kind of reading."""

    name: str
    attribute: str
    declared: Declared
    labels: Sequence[str]

    @property
    def kind(self) -> str:
        return type(self.declared).__name__.lower()

    @property
    def sample(self) -> str:
        return f"{self.name}_total" if isinstance(self.declared, Counter) else self.name

    @cached_property
    def by(self) -> tuple[str, ...]:
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

    def lines(self, reading: Reading, pairs: Pairs) -> str:
        """The samples of one reading, which has these labels; nothing where it does not say."""
        value = getattr(reading, self.attribute)
        if value is None:
            return ""
        if isinstance(value, Distribution):
            return "".join(_buckets(self.name, pairs, value))
        if isinstance(value, Mapping):
            return "".join(self._by_key(pairs, value))
        return f"{self.sample}{_braced(pairs)} {_number(value)}\n"

    def _by_key(self, pairs: Pairs, values: Mapping[str | tuple[str, ...], float]) -> Iterator[str]:
        for key, value in values.items():
            keyed = zip(self.by, (key,) if isinstance(key, str) else key, strict=True)
            every = sorted([*pairs, *((label, _escaped(part)) for label, part in keyed)])
            yield f"{self.sample}{_braced(every)} {_number(value)}\n"


def _buckets(name: str, pairs: Pairs, spread: Distribution) -> Iterator[str]:
    below = 0
    for edge, count in zip((*spread.edges, inf), spread.counts, strict=True):
        below += count
        labels = _braced(sorted([*pairs, ("le", "+Inf" if isinf(edge) else _number(edge))]))
        yield f"{name}_bucket{labels} {_number(below)}\n"
    yield f"{name}_count{_braced(pairs)} {_number(below)}\n"
    yield f"{name}_sum{_braced(pairs)} {_number(spread.sum)}\n"


def _pairs(reading: Reading, labels: Sequence[str]) -> Pairs:
    return [(label, _escaped(getattr(reading, label))) for label in labels if getattr(reading, label) != ""]


def _braced(pairs: Pairs) -> str:
    return "{" + ",".join([f'{label}="{value}"' for label, value in pairs]) + "}" if pairs else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    told: str = floatToGoString(float(value))  # type: ignore[no-untyped-call]  # prometheus_client leaves it so
    return told


class Catalog:
    """Every kind of reading that is published.

    Raises TypeError where two of them would publish the same metric.
    """

    def __init__(self, kinds: Sequence[type[Reading]]) -> None:
        self.columns: Mapping[type[Reading], Sequence[_Column]] = {kind: tuple(_columns(kind)) for kind in kinds}
        names = [column.name for column in chain.from_iterable(self.columns.values())]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise TypeError(f"declared by two kinds of reading: {', '.join(twice)}")

    def lines(self, reading: Reading) -> Sequence[str]:
        """The samples of one reading, metric by metric."""
        columns = self.columns[type(reading)]
        pairs = _pairs(reading, columns[0].labels if columns else ())
        return [column.lines(reading, pairs) for column in columns]

    def reference(self) -> Iterator[Entry]:
        """What each metric is, for README and whoever looks a name up."""
        for column in chain.from_iterable(self.columns.values()):
            labels = (*column.labels, *column.by)
            yield Entry(name=column.sample, kind=column.kind, labels=labels, help=column.declared.help)


def _columns(kind: type[Reading]) -> Iterator[_Column]:
    declared = declarations(kind)
    labels = tuple(sorted(name for name, declaration in declared.items() if isinstance(declaration, Label)))
    for name, declaration in declared.items():
        if isinstance(declaration, Gauge | Counter | Histogram):
            yield _Column(name=f"{kind.PREFIX}_{name}", attribute=name, declared=declaration, labels=labels)


class Exposition:
    """The page that Prometheus reads; what has not changed since the last is not rendered again.

    Belongs to one thread, which is the one that serves.
    """

    def __init__(self, catalog: Catalog, snapshot: Callable[[], Sequence[Reading]]) -> None:
        self._catalog = catalog
        self._snapshot = snapshot
        self._readings: Sequence[Reading] = ()
        self._lines: Mapping[int, Sequence[str]] = {}
        self._bodies: dict[str, bytes] = {}
        self._own = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._own)

    def page(self, accept: str) -> tuple[bytes, str]:
        """The body and its content type, as the Accept header asks."""
        encode, content_type = choose_encoder(accept)
        self._take(self._snapshot())
        if content_type not in self._bodies:
            ours = "".join(self._families(openmetrics=content_type.startswith(OPENMETRICS)))
            # About ourselves last, since with it comes the mark that ends a page of OpenMetrics.
            self._bodies[content_type] = ours.encode(errors="replace") + encode(self._own)
        return self._bodies[content_type], content_type

    def _take(self, current: Sequence[Reading]) -> None:
        if len(current) == len(self._readings) and all(map(is_, current, self._readings)):
            return
        # A reading is frozen, so that the same one has the same lines; the old ones are kept until here, so that no
        # new one can have taken an old one's id.
        known = self._lines
        old = {id(reading) for reading in self._readings}
        self._lines = {
            id(reading): known[id(reading)] if id(reading) in old else self._catalog.lines(reading)
            for reading in current
        }
        self._readings = current
        self._bodies = {}

    def _families(self, *, openmetrics: bool) -> Iterator[str]:
        of_kind: dict[type[Reading], list[Sequence[str]]] = {kind: [] for kind in self._catalog.columns}
        for reading in self._readings:
            of_kind[type(reading)].append(self._lines[id(reading)])
        for kind, columns in self._catalog.columns.items():
            for column, samples in zip(columns, zip(*of_kind[kind], strict=True), strict=False):
                if any(samples):
                    yield column.heads[openmetrics]
                    yield from samples
