"""What the units of each GPU do, and what it moves, as the chip itself counts them from Hopper on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from exporter.frozen import frozen
from exporter.nvml import Respondent
from exporter.nvml.gpm import Metric, Part, Samples, Stretch
from exporter.reading import Gauge, Label, Reading

UNITS = {
    "graphics": Metric.GRAPHICS,
    "sm": Metric.SM,
    "occupancy": Metric.OCCUPANCY,
    "tensor": Metric.TENSOR,
    "dram": Metric.DRAM,
    "fp64": Metric.FP64,
    "fp32": Metric.FP32,
    "fp16": Metric.FP16,
}
WAYS = {
    "pcie_transmitted": Metric.PCIE_TRANSMITTED,
    "pcie_received": Metric.PCIE_RECEIVED,
    "nvlink_transmitted": Metric.NVLINK_TRANSMITTED,
    "nvlink_received": Metric.NVLINK_RECEIVED,
}
MIB = 1 << 20
MOST_MIB = 10_000_000

MOST_PERCENT = 105
"""Two counts that are made up a moment apart come to a little more than all there is."""


@frozen
class GpuUnits(Reading):
    """What the units of one GPU do."""

    PREFIX = "gpu"
    gpu: Annotated[str, Label("Index on this host.")]
    uuid: Annotated[str, Label("UUID, the same across restarts.")]
    activity_ratio: Annotated[
        Mapping[str, float],
        Gauge(
            "Share of what a unit can do that it did since the look before, whose tensor and dram tell real work from "
            "waiting; absent before Hopper, and where the driver refuses it, as to a container without privileges.",
            by="unit",
        ),
    ]


@dataclass(slots=True)
class Moved:
    """What one GPU has moved, by way, and the Stretch that was added last; None where the driver did not tell."""

    totals: dict[str, float] = field(default_factory=dict)
    latest: Stretch | None = None


class Units:
    """What the units of GPUs do between two looks."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._moved: dict[str, Moved] = {}

    def read(self, told: Respondent, gpu: str, uuid: str) -> GpuUnits | None:
        """What those of one GPU did since the look before; None the first time, and where the driver does not tell."""
        if not self._samples.supported(told, uuid):
            return None
        stretch = self._samples.since(told, Part(uuid))
        self._count(uuid, stretch)
        return GpuUnits(gpu=gpu, uuid=uuid, activity_ratio=shares(stretch)) if stretch else None

    def moved(self, uuid: str) -> Mapping[str, float]:
        """Bytes that a GPU has moved since it was first read, by way, of those that it told when it was last read.

        They are reckoned from rates, so that a counter of the driver's goes before them.
        """
        moved = self._moved.get(uuid, Moved())
        return {way: total for way, total in moved.totals.items() if moved.latest and WAYS[way] in moved.latest.told}

    def forget(self, uuid: str) -> None:
        """Drop what is remembered of a GPU that has gone, or whose driver is closed."""
        self._samples.forget(uuid)
        self._moved.pop(uuid, None)

    def _count(self, uuid: str, stretch: Stretch | None) -> None:
        moved = self._moved.setdefault(uuid, Moved())
        again = stretch is moved.latest  # as when it was read a moment ago
        moved.latest = stretch
        if stretch is None or again:
            return
        for way, metric in WAYS.items():
            rate = stretch.told.get(metric, -1.0)
            if 0 <= rate <= MOST_MIB:
                moved.totals[way] = moved.totals.get(way, 0.0) + rate * MIB * stretch.seconds


def shares(stretch: Stretch) -> Mapping[str, float]:
    """What each unit did, from 0 to 1; without those of which the driver tells nothing or nonsense."""
    told = {unit: stretch.told.get(metric, -1.0) for unit, metric in UNITS.items()}
    return {unit: min(percent / 100, 1.0) for unit, percent in told.items() if 0 <= percent <= MOST_PERCENT}
