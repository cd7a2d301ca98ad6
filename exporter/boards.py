"""The GPUs of this machine that services share: what names one, and which of them an environment gives."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import TypeVar

from exporter.frozen import frozen
from exporter.gpus.activity import Gpu
from exporter.gpus.identity import GpuIdentity
from exporter.gpus.mig import MigIdentity
from exporter.gpus.processes import GpuProcesses, Holder
from exporter.reading import Reading
from exporter.sources.gpu import GpuPresence

R = TypeVar("R", bound=Reading)

OCCUPIED = 1 << 30
"""Bytes in use from which on some process holds them: what an idle driver uses is less."""

EVERYTHING = frozenset({None, "", "all"})
"""What `NVIDIA_VISIBLE_DEVICES` says where no GPU is kept from a process."""


@frozen
class Board:
    """A GPU of this machine, as far as it tells whose it is."""

    gpu: str
    uuid: str
    up: bool = True
    model: str = ""
    instances: frozenset[str] = frozenset()
    """The UUIDs of what MIG made of it."""
    holders: tuple[Holder, ...] | None = None
    occupied: bool = False
    """Whether so much of its memory is in use that some process must hold it."""


Held = Sequence[tuple[Board, Holder]]


@dataclass(frozen=True, kw_only=True)
class Rack:
    """All the GPUs of this machine, in the driver's order."""

    boards: tuple[Board, ...] = ()

    def held(self, by: Iterable[int]) -> Held:
        """What processes of these numbers hold, as the driver has it."""
        return [each for pid in by for each in self._by_pid.get(pid, ())]

    @cached_property
    def _by_pid(self) -> Mapping[int, Held]:
        # Once for all services, of which there may be as many as processes.
        found: dict[int, list[tuple[Board, Holder]]] = {}
        for board in self.boards:
            for holder in board.holders or ():
                found.setdefault(holder.pid, []).append((board, holder))
        return found

    @cached_property
    def listed(self) -> bool:
        """Whether the driver lists the processes of any GPU."""
        return any(board.holders is not None for board in self.boards)

    @cached_property
    def foreign(self) -> bool:
        """Whether it lists any that are not to be seen here."""
        return any(not holder.name for held in self._by_pid.values() for _, holder in held)

    @cached_property
    def hidden(self) -> bool:
        """Whether some GPU is held by processes that it does not list."""
        return any(board.occupied and not board.holders for board in self.boards)


def boards(readings: Iterable[Reading]) -> tuple[Board, ...]:
    """The GPUs of this machine, in the driver's order."""
    every = list(readings)
    names = {each.uuid: each.name for each in _of(GpuIdentity, every)}
    processes = {each.uuid: each.holders for each in _of(GpuProcesses, every)}
    parts: dict[str, set[str]] = {}
    for part in _of(MigIdentity, every):
        parts.setdefault(part.uuid, set()).add(part.mig_uuid)
    used = {each.uuid: each.memory_used_bytes or 0 for each in _of(Gpu, every)}
    here = (each for each in _of(GpuPresence, every) if each.uuid)
    found = (
        Board(
            gpu=each.gpu,
            uuid=each.uuid,
            up=each.up,
            model=names.get(each.uuid, ""),
            instances=frozenset(parts.get(each.uuid, ())),
            holders=processes.get(each.uuid),
            occupied=used.get(each.uuid, 0) >= OCCUPIED,
        )
        for each in here
    )
    return tuple(sorted(found, key=lambda board: int(board.gpu)))


def _of(kind: type[R], readings: Iterable[Reading]) -> Sequence[R]:
    return [each for each in readings if isinstance(each, kind)]


class Machine:
    """The GPUs that all services share; looked through again only when their driver has said something."""

    def __init__(self, latest: Callable[[], Sequence[Reading]]) -> None:
        self._latest = latest
        self._seen: Sequence[Reading] = ()
        self._rack = Rack()
        self._activity: Mapping[str, Gpu] = {}

    def rack(self) -> Rack:
        """The same one as before, while nothing about its GPUs has changed."""
        latest = self._latest()
        if latest is not self._seen:
            self._seen = latest
            self._activity = {each.uuid: each for each in _of(Gpu, latest)}
            now = boards(latest)
            self._rack = Rack(boards=now) if now != self._rack.boards else self._rack
        return self._rack

    def activity(self, of: Iterable[Board]) -> Sequence[Gpu]:
        """What these GPUs do, without those that do not answer."""
        return tuple(self._activity[board.uuid] for board in of if board.uuid in self._activity)


def visible(
    environment: Mapping[str, str], machine: Sequence[Board], own: str | None = None
) -> tuple[Board, ...] | None:
    """The GPUs that a process was given by its environment; None where that does not say.

    The container runtime takes its word first, and CUDA then counts what is left. Our own such word may keep some of
    the machine's GPUs from us, whose indexes are then not those of others.
    """
    given = environment.get("NVIDIA_VISIBLE_DEVICES")
    here = _mounted(given, machine, own)
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        by_bus = environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
        return _chosen(_words(chosen), machine, here or {}, by_bus=by_bus)
    return None if here is None or given in EVERYTHING else distinct(here.values(), machine)


Indexes = Mapping[str, Board]


def by_index(machine: Sequence[Board]) -> Indexes:
    """GPUs as the driver counts them."""
    return {board.gpu: board for board in machine}


def _mounted(given: str | None, machine: Sequence[Board], own: str | None) -> Indexes | None:
    """The GPUs of a container as they are counted in it; None where that is not known."""
    indexes = by_index(machine) if own in EVERYTHING else None
    if given in EVERYTHING:
        return indexes
    words = [] if given == "none" else _words(given or "")
    # Other words, such as `void`, leave it to something else what the container gets.
    found = [named(word, machine, indexes or {}) for word in words]
    return None if None in found else {str(place): board for place, board in enumerate(distinct(found, machine))}


def _chosen(words: Sequence[str], machine: Sequence[Board], here: Indexes, *, by_bus: bool) -> tuple[Board, ...] | None:
    read = list(takewhile(lambda word: not word.startswith("-"), words))  # CUDA reads no further
    found = distinct((named(word, machine, here) for word in read), machine)
    if not any(word.isdecimal() for word in read):
        return found
    # CUDA counts the fastest first unless told otherwise, and the driver by the place on the bus.
    models = {board.model for board in here.values()}
    certain = by_bus or len(found) == len(here) or (len(models) == 1 and "" not in models)
    return found if here and certain else None


def _words(listed: str) -> Sequence[str]:
    return [word.strip() for word in listed.split(",") if word.strip()]


def named(word: str, machine: Sequence[Board], indexes: Indexes) -> Board | None:
    """The GPU of an index, of a UUID, its beginning, or that of an instance; None where it is not exactly one."""
    if word.isdecimal():
        return indexes.get(str(int(word)))
    if not word.startswith(("GPU-", "MIG-")):
        return None
    older = word.removeprefix("MIG-").partition("/")[0]  # MIG-GPU-…/1/0, before driver 470
    found = [board for board in machine if any(it.startswith((word, older)) for it in (board.uuid, *board.instances))]
    return found[0] if len(found) == 1 else None


def distinct(found: Iterable[Board | None], machine: Sequence[Board]) -> tuple[Board, ...]:
    """These, each once, in the driver's order."""
    these = {board.uuid for board in found if board is not None}
    return tuple(board for board in machine if board.uuid in these)
