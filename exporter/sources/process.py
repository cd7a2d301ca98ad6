"""The processes of a service: found by its port or as its operator has named them, and added up."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field, replace
from operator import attrgetter
from typing import Annotated, Self, TypeVar

import psutil

from exporter.chosen import Chosen
from exporter.frozen import frozen
from exporter.lookup import Found, Lookup, Neighbours, Search
from exporter.pids import TICKS, Everyone, Pid
from exporter.reading import Counter, Gauge, Label, Note, Reading
from exporter.sockets import Listener
from exporter.usage import Usage, Usages, usages

T = TypeVar("T")

CANNOT_SAY = (psutil.AccessDenied, OSError, RuntimeError)
VISIBLE = (Lookup.FOUND, Lookup.NOT_FOUND)

UNIQUE, UNIQUE_SLOW = 60.0, 600.0  # Seconds between two readings of unique memory, and after a slow one.
SLOW = 0.05

TELL_OF_GPUS = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES")


@frozen
class Process(Reading):
    """The service's process and all its descendants, added up."""

    PREFIX = "model_process"
    target: Annotated[str, Label("The service's name in the configuration.")]
    lookup: Annotated[
        Mapping[str, bool], Gauge("What became of the search for the process; exactly one is 1.", by="result")
    ]
    up: Annotated[bool | None, Gauge("Whether the process runs; absent where it could not be seen.")] = None
    restarts: Annotated[
        int | None, Counter("Times another process took its place; absent where it could not be seen.")
    ] = None
    start_timestamp_seconds: Annotated[
        float | None, Gauge("When the topmost process started; absent while it is not found.")
    ] = None
    cpu_seconds: Annotated[
        Mapping[str, float] | None,
        Counter("CPU time since the exporter began to look; absent while not found.", by="mode"),
    ] = None
    resident_memory_bytes: Annotated[
        int | None, Gauge("Memory in RAM, shared pages once for each process; absent while not found.")
    ] = None
    unique_memory_bytes: Annotated[
        int | None,
        Gauge("Memory that would be freed if it ended, up to ten minutes old; absent where not permitted."),
    ] = None
    threads: Annotated[int | None, Gauge("Threads; absent while not found.")] = None
    open_fds: Annotated[
        int | None, Gauge("Files open in the process nearest to its limit of them; absent where not permitted.")
    ] = None
    max_fds: Annotated[
        int | None, Gauge("Limit of open files of that same process; absent where unlimited or not permitted.")
    ] = None
    read_bytes: Annotated[
        int | None, Counter("Read from disks since the exporter began to look; absent where not permitted.")
    ] = None
    written_bytes: Annotated[
        int | None, Counter("Written to disks since the exporter began to look; absent where not permitted.")
    ] = None
    accept_queue: Annotated[
        int | None, Gauge("Connections in the backlog that the service has yet to accept; absent while none listens.")
    ] = None
    accept_queue_full: Annotated[
        bool | None,
        Note("Whether the backlog is full, so that who calls is kept waiting for a connection.", shown=False),
    ] = None
    connections: Annotated[
        int | None,
        Gauge("Open connections to the port, those in the backlog too, up to 15 s old; absent while none listens."),
    ] = None
    pids: Annotated[frozenset[int], Note("The numbers of its processes; none while not found.", shown=False)] = (
        frozenset()
    )
    environment: Annotated[
        Mapping[str, str] | None,
        Note("What the topmost process was told of GPUs at its start; None where not ours to know.", shown=False),
    ] = None


@frozen
class Tree(Reading):
    """How many processes make the service."""

    PREFIX = "model"
    target: Annotated[str, Label("The service's name in the configuration.")]
    processes: Annotated[int, Gauge("Processes of the service; absent while not found.")]


READINGS = (Process, Tree)


@frozen
class Totals:
    """What a service's processes have spent since someone began to look; who leaves takes nothing with him."""

    since: float = field(default_factory=lambda: whole_ticks(time.clock_gettime(time.CLOCK_BOOTTIME)))
    """Seconds after the machine started, as a process's start is told."""
    sums: Mapping[str, float] = field(default_factory=dict)
    last: Mapping[Pid, Mapping[str, float]] = field(default_factory=dict)

    def plus(self, now: Usages) -> Self:
        """These totals and what each process has spent since it was last seen, or since it began."""
        sums = dict(self.sums)
        for process, used in now.items():
            before = self._before(process, used)
            for name, amount in used.spent.items():
                sums[name] = sums.get(name, 0.0) + max(amount - before.get(name, amount), 0.0)
        # One that could not be read this time must not count from its birth the next.
        missed = {process: spent for process, spent in self.last.items() if process not in now and process.running}
        return replace(self, sums=sums, last=missed | {process: used.spent for process, used in now.items()})

    def _before(self, process: Pid, used: Usage) -> Mapping[str, float]:
        if process in self.last:
            return self.last[process]
        # What was spent before anyone looked would, after a restart of the exporter, read as spent at once.
        return dict.fromkeys(used.spent, 0.0) if process.started >= self.since else used.spent


def whole_ticks(seconds: float) -> float:
    """A moment as the kernel tells it of a process's start: one that started in the same tick did not start before."""
    return int(seconds * TICKS) / TICKS


class UniqueMemory:
    """The memory that processes share with nobody; read seldom, since reading it holds their memory map."""

    def __init__(self) -> None:
        self._root: Pid | None = None
        self._bytes: int | None = None
        self._due = 0.0

    def of(self, root: Pid, members: Iterable[Pid]) -> int | None:
        """The unique memory of a tree, as of some minutes ago; None where it is not ours to know."""
        if time.monotonic() >= self._due:
            began = time.perf_counter()
            self._root, self._bytes = root, summed(_unique(member) for member in members)
            slow = time.perf_counter() - began > SLOW
            self._due = time.monotonic() + (UNIQUE_SLOW if slow else UNIQUE)
        return self._bytes if root == self._root else None


def told(ask: Callable[[], T]) -> T | None:
    """What a process says of itself; None where it may not be asked."""
    try:
        return ask()
    except CANNOT_SAY:
        return None


def _unique(of: Pid) -> int | None:
    try:
        process = psutil.Process(of.number)
        # A kernel without smaps has no such figure.
        return told(lambda: getattr(process.memory_full_info(), "uss", None))
    except psutil.NoSuchProcess:
        return 0


def environment(of: Pid) -> Mapping[str, str] | None:
    """What a process was told of GPUs when it started; None where that is not ours to know."""
    try:
        every = told(psutil.Process(of.number).environ)
    except psutil.NoSuchProcess:
        return None
    return None if every is None else {name: every[name] for name in TELL_OF_GPUS if name in every}


def summed(amounts: Iterable[int | None]) -> int | None:
    """Their sum; None where one of them is not known."""
    every = list(amounts)
    known = [amount for amount in every if amount is not None]
    return sum(known) if len(known) == len(every) else None


def standing(said: Sequence[Reading]) -> object:
    """What of a service's processes turns how it is judged; what they spend alone does not."""
    return [
        (each.up, each.restarts, each.start_timestamp_seconds, each.accept_queue_full, each.pids)
        for each in said
        if isinstance(each, Process)
    ]


class ServiceProcess:
    """The source of a service's Process and Tree; without a search it is off."""

    def __init__(self, *, target: str, search: Search | Chosen | None, neighbours: Neighbours) -> None:
        self._target = target
        self._neighbours = neighbours
        self._search = search
        self._everyone = Everyone({})
        self._members: Sequence[Pid] = ()
        self._totals = Totals()
        self._unique = UniqueMemory()
        self._found = Found(lookup=Lookup.OFF)
        self._environment: Mapping[str, str] | None = None

    def look(self) -> Sequence[Reading]:
        """Look once; services take turns, since they share what they look at."""
        search = self._search
        if search is None:
            return [Process(target=self._target, lookup=_results(Lookup.OFF))]
        search.look()
        seen = self._seen(search)
        root = search.found.root
        if search.found != self._found:
            self._found, self._environment = search.found, None if root is None else environment(root)
        return [seen] if root is None else self._added_up(seen, root, self._usages(search, root))

    def _seen(self, search: Search | Chosen) -> Process:
        found, entrance = search.found, search.entrance
        visible = found.lookup in VISIBLE
        listening = bool(entrance.listeners) and not found.forwarded
        return Process(
            target=self._target,
            lookup=_results(found.lookup),
            up=found.root is not None if visible else None,
            restarts=search.restarts if visible else None,
            start_timestamp_seconds=found.since,
            accept_queue=sum(listener.waiting for listener in entrance.listeners) if listening else None,
            accept_queue_full=any_full(entrance.listeners) if listening else None,
            connections=entrance.connections if listening else None,
        )

    def _added_up(self, seen: Process, root: Pid, now: Usages) -> Sequence[Reading]:
        if not now:
            return [seen]
        self._totals = self._totals.plus(now)
        fullest = max(now.values(), key=attrgetter("crowding"))
        process = replace(
            seen,
            pids=frozenset(member.number for member in now),
            environment=self._environment,
            # Differences of hundredths, added up, would drag a tail of digits behind them.
            cpu_seconds={mode: round(self._totals.sums.get(mode, 0.0), 6) for mode in ("user", "system")},
            resident_memory_bytes=sum(used.resident for used in now.values()),
            unique_memory_bytes=self._unique.of(root, now),
            threads=sum(used.threads for used in now.values()),
            open_fds=fullest.open_fds,
            max_fds=fullest.max_fds,
            read_bytes=self._spent("read", now),
            written_bytes=self._spent("written", now),
        )
        return [process, Tree(target=self._target, processes=len(now))]

    def _usages(self, search: Search | Chosen, root: Pid) -> Usages:
        now = usages(self._members)
        left = root not in now or len(now) < len(self._members)
        everyone = self._neighbours.everyone(changed=left)
        if left or everyone is not self._everyone:
            self._everyone = everyone
            now = usages(search.members(root, everyone))
        self._members = list(now)
        return now

    def _spent(self, name: str, now: Usages) -> int | None:
        return int(self._totals.sums.get(name, 0)) if all(name in used.spent for used in now.values()) else None


def _results(lookup: Lookup) -> Mapping[str, bool]:
    return {result: result is lookup for result in Lookup}


def any_full(listeners: Iterable[Listener]) -> bool | None:
    """Whether any backlog is full; None where that may be and cannot be told."""
    full = {listener.full for listener in listeners}
    return True if True in full else None if None in full else False
