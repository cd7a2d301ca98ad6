"""Readings as the page that Prometheus reads, and what each metric means."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain

from exporter.exposition import own
from exporter.exposition.columns import Column, columns
from exporter.exposition.rendering import Lines, same
from exporter.frozen import frozen
from exporter.reading import Reading

OPENMETRICS = "application/openmetrics-text"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"
"""What whoever has no wish gets."""
END = "# EOF\n"
GZIP = 16 | 14
"""For zlib: gzip, with half of the usual window, which makes nothing larger and takes a quarter less time."""
PIECE = 256 * 1024


@frozen
class Entry:
    """What the reference says of one metric."""

    name: str
    kind: str
    labels: Sequence[str]
    help: str


class Catalog:
    """Every kind of reading that is published.

    Raises TypeError where two of them would publish the same metric.
    """

    def __init__(self, kinds: Sequence[type[Reading]]) -> None:
        self.columns: Mapping[type[Reading], Sequence[Column]] = {kind: tuple(columns(kind)) for kind in kinds}
        names = [column.name for column in chain.from_iterable(self.columns.values())]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise TypeError(f"declared by two kinds of reading: {', '.join(twice)}")

    def reference(self) -> Iterator[Entry]:
        """What each metric is, for README and whoever looks a name up."""
        for column in chain.from_iterable(self.columns.values()):
            labels = (*column.labels, *column.by)
            yield Entry(name=column.sample, kind=column.kind, labels=labels, help=column.declared.help)


class Exposition:
    """The page that Prometheus reads, rendered once for each format however many ask while nothing has changed.

    Belongs to one thread, which is the one that serves.
    """

    def __init__(self, catalog: Catalog, snapshot: Callable[[], Sequence[Reading]]) -> None:
        whole = {**catalog.columns, **Catalog(own.KINDS).columns}
        self._lines = {kind: Lines(columns) for kind, columns in whole.items()}
        self._own = own.Own()
        self._snapshot = snapshot
        self._readings: Sequence[Reading] = ()
        self._bodies: dict[tuple[str, bool], bytes] = {}

    def page(self, accept: str, *, gzipped: bool = False) -> tuple[bytes, str]:
        """The body and its content type, as the Accept header asks."""
        content_type = _content_type(accept)
        self._take(self._snapshot())
        if (content_type, gzipped) not in self._bodies:
            pieces = _pieces(self._told(openmetrics=content_type.startswith(OPENMETRICS)))
            self._bodies[content_type, gzipped] = b"".join(_gzipped(pieces) if gzipped else pieces)
        return self._bodies[content_type, gzipped], content_type

    def _take(self, current: Sequence[Reading]) -> None:
        # A reading is frozen, so that the same ones make the same page.
        if not same(current, self._readings):
            self._readings = current
            self._bodies = {}

    def _told(self, *, openmetrics: bool) -> Iterator[str]:
        of_kind: dict[type[Reading], list[Reading]] = {kind: [] for kind in self._lines}
        for reading in chain(self._readings, self._own.readings()):
            of_kind[type(reading)].append(reading)
        for kind, readings in of_kind.items():
            for column, samples in self._lines[kind].columns(readings):
                yield column.heads[openmetrics]
                yield samples
        if openmetrics:
            yield END


@lru_cache(maxsize=16)  # Whoever scrapes asks the same each time.
def _content_type(accept: str) -> str:
    if not accept:
        return PLAIN
    # With all that it brings this would be a thirtieth of the start, of which the GPUs' first figures need nothing.
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415  as above

    _, content_type = choose_encoder(accept)
    return content_type


def _gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    # 236 kB take 0.6 ms at level 1 and 4 ms at level 9, which would only bring 25 kB down to 17.
    packing = zlib.compressobj(level=1, wbits=GZIP)
    for piece in pieces:
        yield packing.compress(piece)
    yield packing.flush()


def _pieces(parts: Iterable[str]) -> Iterator[bytes]:
    # Metric by metric they would take twice as long to gzip, and a page of a thousand services at once would take
    # memory for a second page.
    held: list[str] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= PIECE:
            yield "".join(held).encode(errors="replace")
            held, size = [], 0
    yield "".join(held).encode(errors="replace")
