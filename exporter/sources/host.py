"""The host as its kernel reports it: enough to explain what a model server suffers from, and no more."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Annotated, TypeVar

from exporter import cgroups, kernel
from exporter.frozen import frozen
from exporter.reading import Counter, Gauge, Label, Reading, Unreadable
from exporter.recent import Recent
from exporter.sensors import Sensors
from exporter.threads import Thread

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = 2.0  # Seconds within which a file system tells its size, as one that is well does in microseconds.
SELDOM = 4.5  # Seconds for which file systems and sensors are as they were, which take long or change slowly.
STANDING = 59.0  # Seconds for which limits are as they were.
CHANGES = {
    False: (logging.WARNING, "the file system does not answer, and is left out until it does"),
    True: (logging.INFO, "the file system answers again"),
}

CANNOT_SAY = (OSError, RuntimeError, ValueError)

# In the order of proc_stat(5). Time of guests is left out: the kernel has counted it under user and nice already.
MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
PERIODS = ("1m", "5m", "15m")
RESOURCES = ("cpu", "io", "memory", "irq")

MEMORY_DISKS = ("loop", "ram", "zram")
# A machine has as many of these as it has containers and guests, and what they carry passes a real device too.
CONTAINER_INTERFACES = (
    *("veth", "docker", "podman", "br-", "virbr", "vnet", "tap", "lxc", "lxd"),
    *("cni", "cali", "cilium", "flannel", "vxlan.calico", "weave", "kube-", "nodelocaldns", "eni"),
)

TICKS = os.sysconf("SC_CLK_TCK")
SECTOR = 512  # Bytes, whatever those of the disk are.

BLOCK_DEVICES = Path("/sys/block")
DISKS = Path("/proc/diskstats")
INTERFACES = Path("/proc/net/dev")
MEMORY = Path("/proc/meminfo")
PRESSURE = Path("/proc/pressure")
STAT = Path("/proc/stat")
VMSTAT = Path("/proc/vmstat")


@frozen
class Host(Reading):
    """The host as a whole."""

    PREFIX = "host"
    cpu_seconds: Annotated[
        Mapping[str, float] | None,
        Counter("Time of all CPUs by what it went to; absent where the kernel does not say.", by="mode"),
    ]
    cpus: Annotated[int | None, Gauge("CPUs in use by the kernel; absent where it does not say.")]
    load: Annotated[
        Mapping[str, float] | None,
        Gauge("Tasks running or waiting for CPU or disk, averaged; absent where not told.", by="period"),
    ]
    pressure_seconds: Annotated[
        Mapping[tuple[str, str], float],
        Counter(
            "Time in which some tasks, or all (full), stood still for want of a resource; absent without PSI.",
            by=("resource", "kind"),
        ),
    ]
    temperature_celsius: Annotated[
        Mapping[str, float] | None, Gauge("Temperature at a sensor; absent where the host has none.", by="sensor")
    ]
    boot_timestamp_seconds: Annotated[float | None, Gauge("When the kernel started; absent where not told.")]
    oom_kills: Annotated[
        int | None, Counter("Processes killed for want of memory, on the host or in a container; absent before 4.13.")
    ]


@frozen
class Memory(Reading):
    """The host's memory."""

    PREFIX = "host_memory"
    total_bytes: Annotated[int, Gauge("Memory of the host; absent where the kernel does not say.")]
    available_bytes: Annotated[int, Gauge("Memory to be had without swapping; absent where not told.")]
    used_bytes: Annotated[int, Gauge("Memory not to be had without swapping; absent where not told.")]


@frozen
class Swap(Reading):
    """The host's swap space."""

    PREFIX = "host_swap"
    total_bytes: Annotated[int, Gauge("Swap space, 0 where there is none; absent where the kernel does not say.")]
    used_bytes: Annotated[int, Gauge("Swap space in use; absent where the kernel does not say.")]


@frozen
class FileSystem(Reading):
    """The file system at one of the configured paths."""

    PREFIX = "host_disk"
    path: Annotated[str, Label("The path in the configuration.")]
    total_bytes: Annotated[int, Gauge("Size of the file system; absent where the path cannot be read.")]
    free_bytes: Annotated[int, Gauge("Room for ordinary users; absent where the path cannot be read.")]


@frozen
class Disk(Reading):
    """A whole disk; what stands on other disks, such as a volume or an array, is counted there."""

    PREFIX = "host_disk"
    device: Annotated[str, Label("The kernel's name of the disk.")]
    read_bytes: Annotated[int, Counter("Read from the disk; absent until it has been used.")]
    written_bytes: Annotated[int, Counter("Written to the disk; absent until it has been used.")]


@frozen
class Interface(Reading):
    """A network interface that is not a container's or a guest's."""

    PREFIX = "host_network"
    device: Annotated[str, Label("The kernel's name of the interface.")]
    received_bytes: Annotated[int, Counter("Received; absent where the interface is gone.")]
    transmitted_bytes: Annotated[int, Counter("Transmitted; absent where the interface is gone.")]


@frozen
class Group(Reading):
    """The limits of the control group that the exporter runs in: its container's, or its unit's."""

    PREFIX = "host_cgroup"
    memory_limit_bytes: Annotated[int | None, Gauge("Memory the container may use; absent without a limit.")] = None
    memory_used_bytes: Annotated[
        int | None, Gauge("Memory and page cache that count towards the limit; absent without one.")
    ] = None
    cpu_limit_cores: Annotated[float | None, Gauge("CPUs' worth of time it may use; absent without a limit.")] = None


READINGS = (Host, Memory, Swap, FileSystem, Disk, Interface, Group)


class Place:
    """The file system at one path, asked on a thread of its own, since one that hangs never lets go of whoever asks."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._thread = Thread(f"disk {path}")
        self._answers = True
        self._asked: Future[FileSystem | None] | None = None

    def ask(self) -> None:
        """Begin to ask it."""
        self._asked = None
        with suppress(Unreadable):
            self._asked = self._thread.begin(partial(told, partial(file_system, self._path)))

    def answer(self, patience: float) -> FileSystem | None:
        """What it tells; None where it cannot be read, or hangs, which is logged once."""
        found, answers = None, self._asked is not None
        try:
            found = self._asked.result(patience) if self._asked else None
        except TimeoutError:
            answers = False
        if answers is not self._answers:
            level, message = CHANGES[answers]
            log.log(level, message, extra={"source": "host", "path": self._path})
        self._answers = answers
        return found


class Hosts:
    """The source of the host's readings; a file system that hangs holds up nothing else."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths
        """The file systems that are told of from the next look on."""
        self._places: dict[str, Place] = {}
        self._sensors = Sensors()
        self._temperatures = Recent(partial(told, self._sensors.now))
        self._limits = Recent(partial(told, limits))
        self._spent: Mapping[str, float] = {}
        self._asked: Sequence[str] = ()
        self._seldom = Recent(self._look_seldom)

    def look(self) -> Sequence[Reading]:
        """Look once at everything, and at what is dear or moves slowly only where that was some seconds ago."""
        if self.paths != self._asked:
            self._asked, self._seldom = self.paths, Recent(self._look_seldom)
        return [*self._look(), *self._seldom.within(SELDOM)]

    def _look(self) -> Sequence[Reading]:
        looks: Sequence[Callable[[], Sequence[Reading]]] = (
            lambda: [self._host()],
            lambda: list(memory()),
            lambda: list(disks()),
            lambda: list(interfaces()),
        )
        return [reading for look in looks for reading in told(look) or ()]

    def _look_seldom(self) -> Sequence[Reading]:
        places = [self._places.setdefault(path, Place(path)) for path in dict.fromkeys(self.paths)]
        for place in places:
            place.ask()
        under, end = self._limits.within(STANDING), time.monotonic() + PATIENCE
        systems = [place.answer(max(end - time.monotonic(), 0.0)) for place in places]
        return [*([under.now()] if under else ()), *filter(None, systems)]

    def _host(self) -> Host:
        stat = told(partial(kernel.kept, STAT)) or ""
        booted = figure(stat, "btime")
        return Host(
            cpu_seconds=told(partial(self._cpu_seconds, stat)),
            cpus=stat.count("\ncpu") or None,
            load=told(lambda: dict(zip(PERIODS, os.getloadavg(), strict=True))),
            pressure_seconds=pressure(),
            temperature_celsius=self._temperatures.within(SELDOM),
            boot_timestamp_seconds=None if booted is None else float(booted),
            oom_kills=told(oom_kills),
        )

    def _cpu_seconds(self, stat: str) -> Mapping[str, float]:
        of_all, *_ = stat.splitlines()
        ticks = zip(MODES, of_all.split()[1:], strict=False)
        # The kernel sometimes takes back idle and iowait, which would read as a restart.
        self._spent = {mode: max(int(count) / TICKS, self._spent.get(mode, 0.0)) for mode, count in ticks}
        return self._spent


def told(ask: Callable[[], T]) -> T | None:
    """What the kernel says; None where it cannot."""
    try:
        return ask()
    except CANNOT_SAY:
        return None


def figure(text: str, name: str) -> int | None:
    """The number on the line that begins with a name; None where there is none."""
    found = f"\n{text}".partition(f"\n{name} ")[2].split(maxsplit=1)
    return int(found[0]) if found and found[0].isdigit() else None


def memory(meminfo: Path = MEMORY) -> Iterator[Memory | Swap]:
    """The host's memory and swap space now."""
    text = kernel.kept(meminfo)
    total, available, swap, unused = (
        None if (kibibytes := figure(text, f"{name}:")) is None else 1024 * kibibytes
        for name in ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree")
    )
    if total is not None:
        # Kernels before 3.14 do not say it, and some containers are told nonsense: psutil then reckons it. To load it
        # for everybody would be a twentieth of the start.
        if available is None or not 0 < available <= total:
            from psutil import virtual_memory  # noqa: PLC0415  as above

            available = virtual_memory().available
        yield Memory(total_bytes=total, available_bytes=available, used_bytes=total - available)
    if swap is not None and unused is not None:
        yield Swap(total_bytes=swap, used_bytes=swap - unused)


def file_system(path: str) -> FileSystem:
    """The file system at a path; raises OSError where it cannot be read."""
    told = os.statvfs(path)
    return FileSystem(path=path, total_bytes=told.f_blocks * told.f_frsize, free_bytes=told.f_bavail * told.f_frsize)


def disks(diskstats: Path = DISKS) -> Iterator[Disk]:
    """The disks that have been used."""
    for line in kernel.kept(diskstats).splitlines():
        _, _, device, *counts = line.split()
        _, _, read, _, _, _, written, *_ = counts
        if any(count != "0" for count in counts[:11]) and whole(device):
            yield Disk(device=device, read_bytes=int(read) * SECTOR, written_bytes=int(written) * SECTOR)


def whole(device: str, among: Path = BLOCK_DEVICES) -> bool:
    """Whether a block device is a disk of its own: no partition, nothing in memory, nothing that stands on others."""
    if device.startswith(MEMORY_DISKS):
        return False
    entry = f"{among}/{device.replace('/', '!')}"
    try:
        return not os.listdir(f"{entry}/slaves")  # noqa: PTH208  a Path costs more than the look
    except OSError:
        return Path(entry).exists()


def interfaces(dev: Path = INTERFACES) -> Iterator[Interface]:
    """The network interfaces of the host itself."""
    for line in kernel.kept(dev).splitlines()[2:]:
        name, _, counts = line.rpartition(":")
        device = name.strip()
        if not device.startswith(CONTAINER_INTERFACES):
            received, _, _, _, _, _, _, _, transmitted, *_ = counts.split()
            yield Interface(device=device, received_bytes=int(received), transmitted_bytes=int(transmitted))


def pressure(where: Path = PRESSURE) -> Mapping[tuple[str, str], float]:
    """Seconds in which tasks stood still, by resource and kind."""
    stalls = {
        (resource, line.split()[0]): int(line.rpartition("total=")[2]) / 1e6
        for resource in RESOURCES
        for line in (told(partial(kernel.kept, f"{where}/{resource}")) or "").splitlines()
    }
    # For the whole host there is no such thing as all tasks waiting for a CPU; the kernel says 0.
    return {stall: seconds for stall, seconds in stalls.items() if stall != ("cpu", "full")}


def oom_kills(vmstat: Path = VMSTAT) -> int | None:
    """Processes that the kernel has killed for want of memory."""
    return figure(kernel.kept(vmstat), "oom_kill")


@frozen
class Limits:
    """The tightest limits among a control group and those around it; None where there is none."""

    memory: int | None
    memory_of: cgroups.ControlGroup | None
    cpu: float | None

    def now(self) -> Group:
        """These limits, and what there is of what they limit."""
        used = self.memory_of.number(cgroups.MEMORY_USED) if self.memory_of else None
        return Group(memory_limit_bytes=self.memory, memory_used_bytes=used, cpu_limit_cores=self.cpu)


def limits(own: Path = cgroups.OWN, mounted: Path = cgroups.MOUNTED) -> Limits:
    """The limits that the exporter runs under, of version 1 or 2."""
    paths = cgroups.paths(own)
    memories = [
        (limit, around)
        for around in cgroups.lineage("memory", paths, mounted)
        if (limit := around.number(cgroups.MEMORY_LIMIT)) is not None
    ]
    around_all = cgroups.lineage("cpu", paths, mounted)
    limit, of = min(memories, key=itemgetter(0), default=(None, None))
    cores = min((cores for around in around_all if (cores := _cores(around)) is not None), default=None)
    return Limits(memory=limit, memory_of=of, cpu=cores)


def _cores(around: cgroups.ControlGroup) -> float | None:
    words = around.words(cgroups.CPU_LIMIT)
    quota, period = map(cgroups.limited, words) if len(words) == len(("quota", "period")) else (None, None)
    return quota / period if quota and period else None
