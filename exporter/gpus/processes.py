"""Which processes hold a GPU's memory, by name or by number."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from exporter.frozen import frozen
from exporter.nvml import MEMORY_V2, Door, Respondent
from exporter.nvml.mig import instances
from exporter.reading import Gauge, Label, Note, Reading

MOST_BYTES = 1 << 62
MOST_PID = 1 << 22

MOST_NAMES = 20
OTHER = "other"
FIRST_PID_NAMESPACE = Path("pid:[4026531836]")

Row = Mapping[str | int, int]


@frozen
class Holder:
    """A process that holds memory of a GPU, or of one instance that MIG made of it."""

    pid: int
    name: str
    """Empty where the number cannot be seen here, or may be another process's."""
    held: int | None
    """Bytes; None where the driver does not tell."""
    instance: int | None = None
    """Which instance of the GPU; None where it is whole."""


@frozen
class GpuProcesses(Reading):
    """Who holds the memory of one GPU."""

    PREFIX = "gpu"
    gpu: Annotated[str, Label("Index on this host.")]
    uuid: Annotated[str, Label("UUID, the same across restarts.")]
    process_memory_bytes: Annotated[
        Mapping[str, int],
        Gauge(
            "Memory held by the computing processes of one name, or with gpu.pid_labels by each as name:pid, past the "
            "largest 20 and unnamed ones as other; absent where the driver hides them, as in most containers.",
            by="process",
        ),
    ]
    holders: Annotated[
        tuple[Holder, ...] | None,
        Note("Which processes these are; None where the driver has no list of them to be believed.", shown=False),
    ]


class Processes:
    """Who holds the memory of any GPU: told by name, or with `pids` each process by itself."""

    def __init__(self, nvml: Door, *, pids: bool = False, proc: Path = Path("/proc")) -> None:
        self._nvml = nvml
        self._label = _numbered if pids else _named
        self._proc = proc

    def read(self, told: Respondent, gpu: str, uuid: str) -> GpuProcesses:
        """Who holds memory of this GPU now."""
        rows = self._rows(told)
        holders = None if rows is None else tuple(self._holders(rows))
        labelled = ((self._label(each), each.held) for each in holders or ())
        return GpuProcesses(gpu=gpu, uuid=uuid, process_memory_bytes=_largest(_sums(labelled)), holders=holders)

    def _rows(self, told: Respondent) -> Sequence[Row] | None:
        rows = _listed(told)
        if not rows:
            # Some who may not see the whole of a split GPU may see an instance of it.
            parts = [_listed(each.told) for each in instances(self._nvml, told)]
            rows = [row for part in parts for row in part or ()] or rows
        most = _memory(told) if rows else 0
        # One that cannot be true means that driver and binding disagree on how a row is laid out.
        garbled = any(not 0 < row.get("pid", 0) <= MOST_PID or row.get("usedGpuMemory", 0) > most for row in rows or ())
        return None if garbled else rows

    def _holders(self, rows: Sequence[Row]) -> Iterator[Holder]:
        # A client of MPS may stand in both lists, and a process has a row for each part of an instance that it is on.
        distinct = {(row["pid"], row.get("gpuInstanceId"), row.get("computeInstanceId")): row for row in rows}
        by_instance: dict[tuple[int, int | None], list[int | None]] = {}
        for (pid, instance, _), row in distinct.items():
            by_instance.setdefault((pid, instance), []).append(row.get("usedGpuMemory"))
        for (pid, instance), parts in by_instance.items():
            told = [part for part in parts if part is not None]
            held = sum(told) if len(told) == len(parts) else None
            yield Holder(pid=pid, name=_name(pid, self._proc), held=held, instance=instance)


def _listed(told: Respondent) -> Sequence[Row] | None:
    """What the driver lists; the graphics processes are left out, whose list is by far the dearest call there is."""
    kinds = ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetMPSComputeRunningProcesses")
    lists = [rows for kind in kinds if (rows := told.rows(f"{kind}_v3", f"{kind}_v2")) is not None]
    return [row for rows in lists for row in rows] if lists else None


def _memory(told: Respondent) -> int:
    """All that can be held; a board without memory of its own does not say, or says that it has none."""
    every = told.numbers(("nvmlDeviceGetMemoryInfo", MEMORY_V2), "nvmlDeviceGetMemoryInfo")
    return every.get("total") or MOST_BYTES


def _named(holder: Holder) -> str:
    return holder.name or OTHER


def _numbered(holder: Holder) -> str:
    return f"{holder.name}:{holder.pid}" if holder.name else str(holder.pid)


def _sums(labelled: Iterable[tuple[str, int | None]]) -> Mapping[str, int]:
    sums: dict[str, int] = {}
    for label, held in labelled:
        if held is not None:
            sums[label] = sums.get(label, 0) + held
    return sums


def _largest(sums: Mapping[str, int]) -> Mapping[str, int]:
    largest = sorted(sums.keys() - {OTHER}, key=lambda label: (-sums[label], label))[:MOST_NAMES]
    rest = {OTHER: sum(sums.values()) - sum(sums[label] for label in largest)}
    return {label: sums[label] for label in largest} | (rest if len(sums) > len(largest) else {})


def _name(pid: int, proc: Path) -> str:
    """A process's short name; empty where the number cannot be seen, or may be another process's.

    Some drivers tell the host's pids even in a container, where another process may have the same one; there only
    a process that holds a GPU is believed.
    """
    try:
        if (proc / "self/ns/pid").readlink() != FIRST_PID_NAMESPACE and not _holds_gpu(proc / str(pid)):
            return ""
        return (proc / str(pid) / "comm").read_text(errors="replace").strip()
    except OSError:
        return ""


def _holds_gpu(process: Path) -> bool:
    return any(_opened(file).startswith("/dev/nvidia") for file in (process / "fd").iterdir())


def _opened(file: Path) -> str:
    try:
        return str(file.readlink())
    except FileNotFoundError:  # closed since it was listed, as connections are all the time
        return ""
