"""The GPUs, as their driver tells of them: which are there, and each thing that is told of them in its own time."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from exporter.frozen import by_place, frozen
from exporter.gpus import identity, xids
from exporter.gpus.activity import Gpu
from exporter.gpus.tiers import Rhythm, Tiers
from exporter.kernel import written
from exporter.nvml import Door, Lost, Respondent, within
from exporter.reading import Counter, Gauge, Label, Reading, Reason, Unreadable

REASONS = (
    Reason.TIMEOUT,
    Reason.STUCK,
    Reason.NOT_FOUND,
    Reason.NOT_PERMITTED,
    Reason.NOT_SUPPORTED,
    Reason.VERSION_MISMATCH,
    Reason.RELEASED,
    Reason.ERROR,
)
"""Why a look at the GPUs can fail."""

MOST_GPUS = 1 << 16
LONGEST_REST = 30.0
"""Seconds for which a GPU that keeps silent is left alone, at most: a try may take seconds in the driver."""

PCI = Path("/sys/bus/pci/devices")


@frozen
class Options:
    """Which GPUs are looked at, and how."""

    medium: float = 15.0
    """Seconds after which is asked again what moves slowly, or is dear to ask."""
    slow: float = 300.0
    """Seconds after which is asked again what hardly ever changes."""
    devices: frozenset[str] | None = None
    """UUIDs or indexes of those that are told of; None for all."""
    by_pid: bool = False
    timed: bool = False
    """Whether what the driver's functions cost is told."""
    proc: Path = Path("/proc")
    pci: Path = PCI


@frozen
class GpuDevices(Reading):
    """How many there are."""

    PREFIX = "gpu"
    devices: Annotated[
        int, Gauge("GPUs that the driver knows, lost and hidden ones too; absent where no driver answers.")
    ]


@frozen
class GpuPresence(Reading):
    """Whether one GPU is there."""

    PREFIX = "gpu"
    gpu: Annotated[str, Label("Index on this host, which another may have after a restart.")]
    uuid: Annotated[str, Label("UUID, the same across restarts; left out for one that was lost before it could tell.")]
    up: Annotated[
        bool,
        Gauge(
            "Whether the GPU answers its driver, 0 also for one that has gone; one that is suspended is not woken, and "
            "tells nothing else meanwhile; absent where no driver answers."
        ),
    ]


@frozen
class GpuCalls(Reading):
    """What asking the driver costs."""

    PREFIX = "gpu_driver"
    call_seconds: Annotated[
        Mapping[str, float],
        Counter("Time in which the driver was asked, those that wait included; absent unless wanted.", by="function"),
    ]
    calls: Annotated[Mapping[str, int], Counter("Questions to the driver; absent unless wanted.", by="function")]


@by_place
class Card:
    """One GPU that answers, and who is asked."""

    index: int
    uuid: str
    told: Respondent
    power: Path | None
    """Where the machine says whether it has put the GPU to sleep; None where it does not."""


@by_place
class Rest:
    """For how long a GPU that kept silent is left alone, and until when."""

    seconds: float
    until: float


class Gpus:
    """Every GPU of this machine; whoever looks may be held for as long as the driver likes."""

    def __init__(self, nvml: Door, options: Options | None = None) -> None:
        self._nvml = nvml
        self.options = options or Options()
        """How they are looked at from the next look on."""
        self._options = self.options
        self.xids = xids.Xids(nvml.events())
        self._driver: identity.GpuDriver | None = None
        self._count = 0
        self._cards: dict[int, Card] = {}
        self._others: set[int] = set()
        self._rests: dict[int, Rest] = {}
        self._indexes: dict[str, int] = {}
        """Where each GPU was when it was last there."""
        self._tiers = self._begun()

    def _begun(self) -> Tiers:
        rhythm = Rhythm(medium=self._options.medium, slow=self._options.slow)
        return Tiers(self._nvml, rhythm, by_pid=self._options.by_pid, proc=self._options.proc)

    def look(self) -> Sequence[Reading]:
        """One look; raises Unreadable where there is no library or no driver."""
        if self.options != self._options:
            self._forget()
            self._options = self.options
            self._tiers = self._begun()
            self._indexes = {}
        try:
            if self._nvml.open():
                self._forget()
            readings = [*self._of_all(), *self._of_each()]
        except Unreadable:
            self._forget()
            self.xids.release()
            raise
        self.xids.watch({card.uuid: card.index for card in self._cards.values()})
        return [*readings, *self.xids.readings()]

    def _of_all(self) -> Iterator[Reading]:
        told = self._nvml.driver()
        count = within(told.number("nvmlDeviceGetCount"), MOST_GPUS)
        if count is None:
            self._nvml.release()
            raise Unreadable(Reason.ERROR, "the driver does not say how many GPUs there are")
        if count != self._count:  # so that an index may be another's
            self._forget()
        self._count = count
        self._driver = self._driver or identity.driver(told)
        yield self._driver
        yield GpuDevices(devices=count)
        if self._options.timed:
            costs = self._nvml.costs()
            yield GpuCalls(
                call_seconds={function: cost.seconds for function, cost in costs.items()},
                calls={function: cost.calls for function, cost in costs.items()},
            )

    def _of_each(self) -> Iterator[Reading]:
        silent: list[int] = []
        for index in range(self._count):
            try:
                yield from self._of(index)
            except Lost:
                self._lose(index)
                silent.append(index)
        yield from self._gone(silent)

    def _of(self, index: int) -> Sequence[Reading]:
        card = self._cards.get(index)
        if card and _suspended(card.power):
            return (GpuPresence(gpu=str(index), uuid=card.uuid, up=True),)
        card = card or self._taken_up(index)
        if card is None:
            return ()
        readings = tuple(self._tiers.read(card.told, str(index), card.uuid))
        # One that tells a figure is there still: who has its handle asks no other until the library is opened anew.
        if any(isinstance(each, Gpu) and each.silent for each in readings) and _uuid(card.told) != card.uuid:
            raise Lost
        self._rests.pop(index, None)
        return (GpuPresence(gpu=str(index), uuid=card.uuid, up=True), *readings)

    def _taken_up(self, index: int) -> Card | None:
        """The GPU at an index, once it has said who it is; None where it is not for us. Raises Lost."""
        if index in self._others or not self._may_be_wanted(index):
            return None
        if index in self._rests and time.monotonic() < self._rests[index].until:
            raise Lost
        told = self._nvml.gpu(index)
        uuid = _uuid(told) if told else ""
        if told is None or not self._may_be_wanted(index, uuid):
            self._others.add(index)
            return None
        if not uuid:
            raise Lost
        self._indexes[uuid] = index
        card = self._cards[index] = Card(index, uuid, told, _power(self._options.pci, identity.bus_id(told)))
        return card

    def _may_be_wanted(self, index: int, uuid: str = "") -> bool:
        """Whether one is told of; of one whose UUID is not known yet, any that is wanted and was not found may be."""
        if self._options.devices is None or str(index) in self._options.devices:
            return True
        missing = {each for each in self._options.devices if not each.isdecimal()} - self._indexes.keys()
        return uuid in self._options.devices if uuid else bool(missing)

    def _gone(self, silent: Sequence[int]) -> Iterator[GpuPresence]:
        """Those that were there once, which the driver may have struck from its list, and others that keep silent."""
        here = {card.uuid for card in self._cards.values()}
        gone = {uuid: index for uuid, index in self._indexes.items() if uuid not in here}
        for uuid, index in gone.items():
            yield GpuPresence(gpu=str(index), uuid=uuid, up=False)
        for index in silent:
            if index not in gone.values():
                yield GpuPresence(gpu=str(index), uuid="", up=False)

    def _lose(self, index: int) -> None:
        """Leave a GPU alone for longer each time that it keeps silent, but not after the first."""
        self._drop(index)
        before = self._rests.get(index)
        seconds = min(max(2 * before.seconds, 1.0), LONGEST_REST) if before else 0.0
        if before is None or time.monotonic() >= before.until:
            self._rests[index] = Rest(seconds, time.monotonic() + seconds)

    def _drop(self, index: int) -> None:
        if card := self._cards.pop(index, None):
            self._tiers.forget(card.uuid)

    def _forget(self) -> None:
        """Every GPU is to be looked up anew."""
        for index in tuple(self._cards):
            self._drop(index)
        self._driver = None
        self._others.clear()
        self._rests.clear()


def _uuid(told: Respondent) -> str:
    return told.text("nvmlDeviceGetUUID")


def _power(pci: Path, bus: str) -> Path | None:
    # The driver writes the domain with eight digits, the kernel with four.
    told = pci / bus.lower()[-12:] / "power/runtime_status"
    return told if told.exists() else None


def _suspended(power: Path | None) -> bool:
    """Whether the machine has put a GPU to sleep, from which any question would wake it."""
    try:
        return power is not None and written(power) == b"suspended\n"
    except OSError:
        return False
