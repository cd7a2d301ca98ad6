"""The GPUs, as their driver tells of them: what they are, what they do, and who uses their memory."""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from exporter.nvml import MEMORY_V2, Door, Lost, Respondent, millions, ratio, thousandths, within
from exporter.reading import Counter, Gauge, Label, Reading, Reason, Unreadable
from exporter.threads import Thread

REASONS = (
    Reason.TIMEOUT,
    Reason.STUCK,
    Reason.NOT_FOUND,
    Reason.NOT_PERMITTED,
    Reason.NOT_SUPPORTED,
    Reason.VERSION_MISMATCH,
    Reason.ERROR,
)
"""Why a look at the GPUs can fail."""

CLOCKS = {"graphics": 0, "sm": 1, "memory": 2, "video": 3}
ARCHITECTURES = {
    2: "Kepler",
    3: "Maxwell",
    4: "Pascal",
    5: "Volta",
    6: "Turing",
    7: "Ampere",
    8: "Ada",
    9: "Hopper",
    10: "Blackwell",
    13: "Rubin",
}
CHIP = 0
SLOWEST_STATE = 15
MOST_GPUS = 1 << 16
MOST_BYTES = 1 << 62
MOST_WATTS = 25_000
MOST_CELSIUS = 200
MOST_PID = 1 << 22

MOST_NAMES = 20
OTHER = "other"
FIRST_PID_NAMESPACE = Path("pid:[4026531836]")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuDriver(Reading):
    """The driver, and what else has a version of its own."""

    PREFIX = "gpu_driver"
    driver: Annotated[str, Label("Version of the driver.")]
    cuda: Annotated[str, Label("Newest CUDA that the driver runs.")]
    nvml: Annotated[str, Label("Version of the driver's management library.")]
    info: Annotated[int, Gauge("The driver's versions, as labels of a constant 1; absent where no driver answers.")] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuDevices(Reading):
    """How many there are."""

    PREFIX = "gpu"
    devices: Annotated[
        int, Gauge("GPUs that the driver knows, lost and hidden ones too; absent where no driver answers.")
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPresence(Reading):
    """Whether one GPU is there."""

    PREFIX = "gpu"
    gpu: Annotated[str, Label("Index on this host, which another may have after a restart.")]
    uuid: Annotated[str, Label("UUID, the same across restarts; left out for one that was lost before it could tell.")]
    up: Annotated[
        bool,
        Gauge("Whether the GPU answers its driver, 0 also for one that has gone; absent where no driver answers."),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuIdentity(Reading):
    """What one GPU is."""

    PREFIX = "gpu"
    gpu: Annotated[str, Label("Index on this host.")]
    uuid: Annotated[str, Label("UUID, the same across restarts.")]
    name: Annotated[str, Label("Product name.")]
    pci_bus_id: Annotated[str, Label("Address on the PCI bus.")]
    serial: Annotated[str, Label("Serial number, where the board has one.")]
    vbios: Annotated[str, Label("Version of the board's firmware.")]
    architecture: Annotated[str, Label("Generation of the chip, such as Hopper.")]
    compute_capability: Annotated[str, Label("What CUDA code the chip runs, such as 9.0.")]
    info: Annotated[int, Gauge("What the GPU is, as labels of a constant 1; absent while it is lost.")] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu(Reading):
    """What one GPU does; whatever it cannot tell is absent."""

    PREFIX = "gpu"
    gpu: Annotated[str, Label("Index on this host.")]
    uuid: Annotated[str, Label("UUID, the same across restarts.")]
    utilization_ratio: Annotated[
        float | None,
        Gauge("Share of the last second in which any kernel ran, however small; absent where MIG splits the GPU."),
    ]
    memory_utilization_ratio: Annotated[
        float | None,
        Gauge("Share of the last second in which memory was read or written; absent where MIG splits the GPU."),
    ]
    encoder_utilization_ratio: Annotated[
        float | None, Gauge("Share of time the video encoder was busy; absent where there is none.")
    ]
    decoder_utilization_ratio: Annotated[
        float | None, Gauge("Share of time the video decoder was busy; absent where there is none.")
    ]
    memory_total_bytes: Annotated[int | None, Gauge("Memory on the board; absent where it is the host's.")]
    memory_used_bytes: Annotated[
        int | None,
        Gauge("Memory in use by every process, and before driver 510 by the driver; absent where it is the host's."),
    ]
    memory_free_bytes: Annotated[int | None, Gauge("Memory that can still be had; absent where it is the host's.")]
    memory_reserved_bytes: Annotated[
        int | None,
        Gauge("Memory that the driver keeps for itself; absent where it does not tell, as before driver 510."),
    ]
    power_watts: Annotated[
        float | None, Gauge("Draw of the board, over the last second from Ampere on; absent where it is not measured.")
    ]
    power_limit_watts: Annotated[
        Mapping[str, float],
        Gauge(
            "Draw that the board keeps to, of which the enforced one counts; absent where a limit is not told.",
            by="limit",
        ),
    ]
    energy_joules: Annotated[
        float | None, Counter("Drawn since the driver was loaded, at a rate truer than any power; absent before Volta.")
    ]
    temperature_celsius: Annotated[int | None, Gauge("How hot the chip is; absent where it is not measured.")]
    clock_hertz: Annotated[Mapping[str, float], Gauge("Speed now; a clock that the chip lacks is absent.", by="clock")]
    clock_max_hertz: Annotated[
        Mapping[str, float], Gauge("Speed at most; a clock that the chip lacks is absent.", by="clock")
    ]
    performance_state: Annotated[
        int | None, Gauge("How fast the GPU may run, from 0, the fastest, to 15; absent where it has no such states.")
    ]
    process_memory_bytes: Annotated[
        Mapping[str, int],
        Gauge(
            "Memory held by the computing processes of one name, past the largest 20 and unnamed ones as other; "
            "absent where the driver hides them, as in most containers.",
            by="process",
        ),
    ]


class Gpus:
    """Every GPU of this machine, asked on a thread of its own."""

    def __init__(self, nvml: Door, proc: Path = Path("/proc")) -> None:
        self._nvml = nvml
        self._thread = Thread("gpu")
        self._proc = proc
        self._indexes: dict[str, int] = {}

    async def read(self) -> AsyncGenerator[Sequence[Reading], None]:
        """One look; raises Unreadable where there is no library or no driver."""
        yield await self._thread.call(self._look)

    def _look(self) -> Sequence[Reading]:
        self._nvml.open()
        driver = self._nvml.driver()
        count = within(driver.number("nvmlDeviceGetCount"), MOST_GPUS)
        if count is None:
            self._nvml.release()
            raise Unreadable(Reason.ERROR, "the driver does not say how many GPUs there are")
        readings: list[Reading] = [_driver(driver), GpuDevices(devices=count)]
        silent: list[int] = []
        for index in range(count):
            try:
                readings += self._gpu(index)
            except Lost:
                silent.append(index)
        return [*readings, *self._gone(readings, silent)]

    def _gpu(self, index: int) -> Sequence[Reading]:
        gpu = self._nvml.gpu(index)
        if gpu is None:
            return ()
        uuid = gpu.text("nvmlDeviceGetUUID")
        if not uuid:
            raise Lost
        self._indexes[uuid] = index
        return (
            GpuPresence(gpu=str(index), uuid=uuid, up=True),
            _identity(gpu, str(index), uuid),
            _activity(gpu, str(index), uuid, self._proc),
        )

    def _gone(self, readings: Sequence[Reading], silent: Sequence[int]) -> Iterator[GpuPresence]:
        """Those that were there once, which the driver may have struck from its list, and others that keep silent."""
        here = {reading.uuid for reading in readings if isinstance(reading, GpuPresence)}
        gone = {uuid: index for uuid, index in self._indexes.items() if uuid not in here}
        for uuid, index in gone.items():
            yield GpuPresence(gpu=str(index), uuid=uuid, up=False)
        for index in silent:
            if index not in gone.values():
                yield GpuPresence(gpu=str(index), uuid="", up=False)


def _driver(driver: Respondent) -> GpuDriver:
    cuda = driver.number("nvmlSystemGetCudaDriverVersion")
    return GpuDriver(
        driver=driver.text("nvmlSystemGetDriverVersion"),
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else "",
        nvml=driver.text("nvmlSystemGetNVMLVersion"),
    )


def _identity(told: Respondent, gpu: str, uuid: str) -> GpuIdentity:
    architecture = told.number("nvmlDeviceGetArchitecture")
    capability = told.numbers("nvmlDeviceGetCudaComputeCapability")
    return GpuIdentity(
        gpu=gpu,
        uuid=uuid,
        name=told.text("nvmlDeviceGetName"),
        pci_bus_id=told.text("nvmlDeviceGetPciInfo", part="busId"),
        serial=told.text("nvmlDeviceGetSerial"),
        vbios=told.text("nvmlDeviceGetVbiosVersion"),
        architecture=ARCHITECTURES.get(architecture, "") if architecture else "",
        compute_capability=".".join(map(str, capability.values())),
    )


def _activity(told: Respondent, gpu: str, uuid: str, proc: Path) -> Gpu:
    busy = told.numbers("nvmlDeviceGetUtilizationRates")
    memory = _memory(told)
    limits = _power_limits(told)
    return Gpu(
        gpu=gpu,
        uuid=uuid,
        utilization_ratio=ratio(busy.get("gpu")),
        memory_utilization_ratio=ratio(busy.get("memory")),
        encoder_utilization_ratio=ratio(told.numbers("nvmlDeviceGetEncoderUtilization").get(0)),
        decoder_utilization_ratio=ratio(told.numbers("nvmlDeviceGetDecoderUtilization").get(0)),
        memory_total_bytes=memory.get("total"),
        memory_used_bytes=memory.get("used"),
        memory_free_bytes=memory.get("free"),
        memory_reserved_bytes=memory.get("reserved"),
        power_watts=_power(told, limits),
        power_limit_watts=limits,
        energy_joules=thousandths(told.number("nvmlDeviceGetTotalEnergyConsumption")),
        temperature_celsius=_temperature(told),
        clock_hertz=_clocks(told, "nvmlDeviceGetClockInfo"),
        clock_max_hertz=_clocks(told, "nvmlDeviceGetMaxClockInfo"),
        performance_state=within(told.number("nvmlDeviceGetPerformanceState"), SLOWEST_STATE),
        process_memory_bytes=_by_name(_by_pid(told, memory.get("total", MOST_BYTES)), proc),
    )


def _memory(told: Respondent) -> Mapping[str, int]:
    found = told.numbers(("nvmlDeviceGetMemoryInfo", MEMORY_V2), "nvmlDeviceGetMemoryInfo")
    total = found.get("total", 0)
    # A board without memory of its own may say that it has 0 bytes of it.
    parts = {part: found[part] for part in ("total", "used", "free", "reserved") if part in found and total}
    return parts if all(part <= total for part in parts.values()) else {}


def _power_limits(told: Respondent) -> Mapping[str, float]:
    constraints = told.numbers("nvmlDeviceGetPowerManagementLimitConstraints")
    return _known(
        {
            "enforced": thousandths(told.number("nvmlDeviceGetEnforcedPowerLimit")),
            "set": thousandths(told.number("nvmlDeviceGetPowerManagementLimit")),
            "default": thousandths(told.number("nvmlDeviceGetPowerManagementDefaultLimit")),
            "minimum": thousandths(constraints.get(0)),
            "maximum": thousandths(constraints.get(1)),
        }
    )


def _power(told: Respondent, limits: Mapping[str, float]) -> float | None:
    drawn = thousandths(told.number("nvmlDeviceGetPowerUsage"))
    # Some drivers tell garbage and call it a success; no board draws several times its limit.
    most = 4 * max(limits.values(), default=MOST_WATTS)
    return drawn if drawn is not None and drawn <= most else None


def _temperature(told: Respondent) -> int | None:
    return within(
        told.number(("nvmlDeviceGetTemperatureV", CHIP), ("nvmlDeviceGetTemperature", CHIP)),
        MOST_CELSIUS,
        least=-MOST_CELSIUS,
    )


def _clocks(told: Respondent, function: str) -> Mapping[str, float]:
    return _known({name: millions(told.number((function, clock))) for name, clock in CLOCKS.items()})


def _by_pid(told: Respondent, most: int) -> Mapping[int, int]:
    """Bytes by pid; the graphics processes are left out, whose list is by far the dearest call there is."""
    kinds = ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetMPSComputeRunningProcesses")
    rows = [row for kind in kinds for row in told.rows(f"{kind}_v3", f"{kind}_v2") or ()]
    # One that cannot be true means that driver and binding disagree on how a row is laid out.
    if any(not 0 < row.get("pid", 0) <= MOST_PID or row.get("usedGpuMemory", 0) > most for row in rows):
        return {}
    # A process has a row for each instance of MIG it is on, and a client of MPS may stand in both lists.
    distinct = {(row["pid"], row.get("gpuInstanceId"), row.get("computeInstanceId")): row for row in rows}
    used: dict[int, int] = {}
    for row in distinct.values():
        if "usedGpuMemory" in row:
            used[row["pid"]] = used.get(row["pid"], 0) + row["usedGpuMemory"]
    return used


def _by_name(used: Mapping[int, int], proc: Path) -> Mapping[str, int]:
    named: dict[str, int] = {}
    for pid, held in used.items():
        name = _name(pid, proc)
        named[name] = named.get(name, 0) + held
    largest = sorted(named.keys() - {OTHER}, key=lambda name: (-named[name], name))[:MOST_NAMES]
    rest = {OTHER: sum(named.values()) - sum(named[name] for name in largest)}
    return {name: named[name] for name in largest} | (rest if len(named) > len(largest) else {})


def _name(pid: int, proc: Path) -> str:
    """A process's short name, or `other` where the pid may be someone else's.

    Some drivers tell the host's pids even in a container, where another process may have the same one; there only
    a process that holds a GPU is believed.
    """
    try:
        if (proc / "self/ns/pid").readlink() != FIRST_PID_NAMESPACE and not _holds_gpu(proc / str(pid)):
            return OTHER
        return (proc / str(pid) / "comm").read_text(errors="replace").strip() or OTHER
    except OSError:
        return OTHER


def _holds_gpu(process: Path) -> bool:
    return any(_opened(file).startswith("/dev/nvidia") for file in (process / "fd").iterdir())


def _opened(file: Path) -> str:
    try:
        return str(file.readlink())
    except FileNotFoundError:  # closed since it was listed, as connections are all the time
        return ""


def _known(values: Mapping[str, float | None]) -> Mapping[str, float]:
    return {name: value for name, value in values.items() if value is not None}
