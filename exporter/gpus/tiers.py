"""When each thing is asked of a GPU: at every look, less often where it moves slowly or is dear, and hardly ever."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Protocol

from exporter.frozen import by_place, frozen
from exporter.gpus import activity, gpm, heat, identity, links, mig, processes, reliability, xids
from exporter.nvml import Door, Respondent
from exporter.nvml.gpm import Samples
from exporter.reading import Reading

MODULES: Sequence[ModuleType] = (identity, activity, heat, processes, gpm, links, reliability, mig, xids)
"""What is told of GPUs besides their presence."""

EARLY = 0.9
"""The share of its time after which a tier is due, so that a look that comes a little early is not one in vain."""

DEAR = 4
"""Of so many looks at what moves slowly, one is at what moves as slowly and is dearer than all the rest of it."""

MEANS = 5.0
"""Seconds after which means over time are asked again, at most; two looks a second apart would mostly tell of noise."""

Read = Callable[[Respondent, str, str], Reading | Sequence[Reading] | None]
"""What one module asks of a GPU, by its index and UUID; None where it is asked for another's sake."""


class Remembers(Protocol):
    """What keeps something of each GPU between two looks."""

    def forget(self, uuid: str) -> None:
        """Drop what is remembered of a GPU that has gone, or whose driver was closed."""


@frozen
class Rhythm:
    """Seconds after which each tier is asked again; the fast one is at every look."""

    medium: float = 15.0
    slow: float = 300.0


@by_place
class Tier:
    """What is asked together, and after how many seconds again."""

    every: float
    reads: Sequence[Read]


@dataclass(slots=True)
class Told:
    """What one GPU told last in each tier, and when it was asked."""

    asked: dict[int, float] = field(default_factory=dict)
    readings: dict[int, Sequence[Reading]] = field(default_factory=dict)


class Tiers:
    """Everything that GPUs tell, each thing in its own time."""

    def __init__(self, nvml: Door, rhythm: Rhythm, *, by_pid: bool = False, proc: Path = Path("/proc")) -> None:
        self._nvml = nvml
        samples = Samples(nvml)
        self._activity = activity.Activity()
        self._units, self._instances = gpm.Units(samples), mig.Instances(nvml, samples)
        self._holders = processes.Processes(nvml, pids=by_pid, proc=proc)
        self._links = links.Links()
        self._throttle = heat.Throttle()
        self._origins: dict[str, dict[str, str]] = {}
        self._modes: dict[str, int | None] = {}
        self._told: dict[str, Told] = {}
        self._remembering: Sequence[Remembers] = (
            self._activity,
            self._units,
            self._instances,
            self._links,
            self._throttle,
        )
        self._tiers = self._arranged(rhythm)

    def _arranged(self, rhythm: Rhythm) -> Sequence[Tier]:
        """The slowest first, since the others make use of what it found."""
        slow: Sequence[Read] = (identity.read, activity.fastest)
        dear: Sequence[Read] = (self._links.errors,)
        medium: Sequence[Read] = (
            self._watch_mode,
            self._activity.limits,
            heat.heat,
            reliability.reliability,
            self._holders.read,
            self._links_of,
            self._instances.read,
        )
        means: Sequence[Read] = (activity.video, self._units.read)
        fast: Sequence[Read] = (self._activity.read, self._throttle.read)
        return (
            Tier(rhythm.slow, slow),
            Tier(DEAR * rhythm.medium, dear),
            Tier(rhythm.medium, medium),
            Tier(min(rhythm.medium, MEANS), means),
            Tier(0.0, fast),
        )

    def read(self, told: Respondent, gpu: str, uuid: str) -> Iterator[Reading]:
        """What one GPU told last in each tier, of which some is asked anew."""
        before = self._told.setdefault(uuid, Told())
        now = time.monotonic()
        for number, tier in enumerate(self._tiers):
            if now - before.asked.get(number, -math.inf) >= EARLY * tier.every:
                answers = (read(told, gpu, uuid) for read in tier.reads)
                before.readings[number] = tuple(_flat(answers))
                before.asked[number] = now
            yield from before.readings[number]

    def forget(self, uuid: str) -> None:
        """Drop what is remembered of a GPU that has gone, or whose driver was closed."""
        self._told.pop(uuid, None)
        self._origins.pop(uuid, None)
        for remembering in self._remembering:
            remembering.forget(uuid)

    def _links_of(self, told: Respondent, gpu: str, uuid: str) -> links.GpuLinks:
        """What went over its links, made up of the chip's own rates where the driver does not count it."""
        counted = self._links.read(told, gpu, uuid)
        moved = self._units.moved(uuid)

        def total(way: str, by_driver: int | None) -> int | None:
            return self._total(uuid, way, by_driver, moved.get(way))

        return replace(
            counted,
            pcie_transmitted_bytes=total("pcie_transmitted", counted.pcie_transmitted_bytes),
            pcie_received_bytes=total("pcie_received", counted.pcie_received_bytes),
            nvlink_transmitted_bytes=total("nvlink_transmitted", counted.nvlink_transmitted_bytes),
            nvlink_received_bytes=total("nvlink_received", counted.nvlink_received_bytes),
        )

    def _total(self, uuid: str, way: str, by_driver: int | None, by_chip: float | None) -> int | None:
        """What was told by whoever told it first, since the other's count began elsewhere."""
        # Where nothing ever moved, there may be nothing over which it could.
        told = {"driver": by_driver, "chip": int(by_chip) if by_chip else None}
        first = next((origin for origin, total in told.items() if total is not None), None)
        origins = self._origins.setdefault(uuid, {})
        if first is not None:
            origins.setdefault(way, first)
        return told.get(origins.get(way, ""))

    def _watch_mode(self, told: Respondent, _gpu: str, uuid: str) -> None:
        """A GPU that MIG splits, or does so no more, answers other questions than before."""
        mode = told.numbers("nvmlDeviceGetMigMode").get(0)
        if self._modes.setdefault(uuid, mode) != mode:
            self._modes[uuid] = mode
            self._nvml.ask_anew()


def _flat(answers: Iterator[Reading | Sequence[Reading] | None]) -> Iterator[Reading]:
    for answer in answers:
        if isinstance(answer, Reading):
            yield answer
        else:
            yield from answer or ()
