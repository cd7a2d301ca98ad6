"""Readings of fake GPUs, for pages of any size."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from math import ceil
from pathlib import Path
from typing import Any

from exporter.exposition import Exposition
from exporter.nvml import Nvml
from exporter.reading import Counter, Gauge, Reading, declarations
from exporter.services import CATALOG
from exporter.sources.gpu import Gpus, Options
from tests.nvml.bench import loaded

PLAIN, OPENMETRICS = "text/plain", "application/openmetrics-text;version=1.0.0"


def told(folder: Path, samples: int) -> Sequence[Reading]:
    """About so many samples' worth of what eight GPUs say, each of which is there as often as it takes."""
    loaded(folder)
    gpus = Gpus(Nvml(), Options(medium=0, slow=0))
    gpus.look()
    look = [reading for reading in gpus.look() if hasattr(reading, "uuid")]
    gpus.xids.release()
    times = max(ceil(samples / counted(look)), 1)
    more = (_other(reading, time) for time in range(times) for reading in look)
    return _first(list(more), samples)


def looks(readings: Sequence[Reading]) -> Iterator[Sequence[Reading]]:
    """The same readings over and over, each time as if they had been read again and every measure had moved on."""
    # Read before anything is measured.
    return cycle([[_moved(reading, by=look) for reading in readings] for look in range(16)])


def _other(reading: Any, number: int) -> Reading:  # noqa: ANN401  a Reading, of which replace knows no field
    other: Reading = replace(reading, gpu=f"{number}-{reading.gpu}", uuid=f"{reading.uuid}-{number}")
    return other


def _moved(reading: Any, by: int) -> Reading:  # noqa: ANN401  a Reading, of which replace knows no field
    measures = {name: getattr(reading, name) for name in _measures(type(reading))}
    moved: Reading = replace(reading, **{name: _more(each, by) for name, each in measures.items() if each is not None})
    return moved


def _more(value: object, by: int) -> object:
    match value:
        case bool():
            return value
        case int():
            return value + by
        case float():
            return round(value * (1 + by / 1000), 3)  # NVML tells thousandths
        case Mapping():
            return {key: _more(each, by) for key, each in value.items()}
        case _:
            return value


def _measures(kind: type[Reading]) -> Sequence[str]:
    return [name for name, told in declarations(kind).items() if isinstance(told, Gauge | Counter)]


def counted(readings: Sequence[Reading]) -> int:
    """How many samples they are on a page."""
    return samples_of(Exposition(CATALOG, lambda: readings).page(PLAIN)[0])


def samples_of(body: bytes) -> int:
    """How many samples a page holds."""
    return sum(not line.startswith(b"#") for line in body.splitlines())


def _first(readings: Sequence[Reading], samples: int) -> Sequence[Reading]:
    exposition = Exposition(CATALOG, lambda: ())
    own = samples_of(exposition.page(PLAIN)[0])
    held, taken = 0, []
    for reading in readings:
        if held >= samples:
            break
        taken.append(reading)
        held += counted([reading]) - own
    return taken
