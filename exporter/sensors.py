"""The temperature sensors of this machine: those of its chips, or where there are none the zones of its firmware."""

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from exporter.frozen import frozen
from exporter.kernel import said

CLASSES = Path("/sys/class")
CHIPS, ZONES = "hwmon", "thermal"
LISTED = 60.0
"""Seconds after which a sensor that a known chip has got since is seen."""


@frozen
class Sensor:
    """One sensor."""

    chip: str
    label: str
    file: Path
    """Where the kernel tells its temperature, in thousandths of a degree."""


class Sensors:
    """The sensors of this machine, which are listed anew when a chip comes or goes; a large one has hundreds."""

    def __init__(self, classes: Path = CLASSES, *, listed: float = LISTED) -> None:
        self._listed = listed
        self._folders = (classes / CHIPS, classes / ZONES)
        self._sensors: Sequence[Sensor] = ()
        self._known: Sequence[tuple[str, int]] | None = None
        self._due = 0.0

    def now(self) -> Mapping[str, float]:
        """Temperatures by chip, index and label of the sensor, without those that cannot be read."""
        known = [each for folder in self._folders for each in _known(folder)]
        if known != self._known or time.monotonic() >= self._due:
            chips, zones = self._folders
            self._sensors = list(_of_chips(chips)) or list(_of_zones(zones))
            self._known, self._due = known, time.monotonic() + self._listed
        seen: Counter[str] = Counter()
        found: dict[str, float] = {}
        for sensor in self._sensors:
            with suppress(OSError, ValueError):
                celsius = float(said(sensor.file)) / 1000
                found["/".join(filter(None, (sensor.chip, str(seen[sensor.chip]), sensor.label)))] = celsius
                seen[sensor.chip] += 1
        return found


def _known(folder: Path) -> Iterator[tuple[str, int]]:
    """What is in a folder, with numbers that tell a thing from another which got its name."""
    with suppress(OSError), os.scandir(folder) as entries:
        yield from sorted((entry.name, entry.inode()) for entry in entries)


def _of_chips(chips: Path) -> Iterator[Sensor]:
    inputs = [*chips.glob("hwmon*/temp*_input"), *chips.glob("hwmon*/device/temp*_input")]
    for file in sorted(inputs, key=_stem):
        with suppress(OSError):
            name = said(file.parent / "name").strip()
            yield Sensor(chip=name, label=_label(f"{_stem(file)}_label"), file=file)


def _stem(file: Path) -> str:
    return str(file).removesuffix("_input")


def _label(file: str) -> str:
    with suppress(OSError):
        return said(file).strip()
    return ""


def _of_zones(zones: Path) -> Iterator[Sensor]:
    for zone in sorted(zones.glob("thermal_zone*")):
        with suppress(OSError):
            yield Sensor(chip=said(zone / "type").strip(), label="", file=zone / "temp")
