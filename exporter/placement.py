"""On which GPUs a service runs: as configured, else by its processes, else by the environment it was started in."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field, replace
from enum import StrEnum
from typing import Annotated

from exporter.boards import Board, Held, Machine, Rack, by_index, distinct, named, visible
from exporter.frozen import frozen
from exporter.gpus.activity import Gpu
from exporter.reading import Gauge, Label, Note, Reading
from exporter.sources.process import Process


class Match(StrEnum):
    """What became of the search for a service's processes among those that hold a GPU's memory."""

    MATCHED = "matched"
    NOT_TOLD = "not_told"
    NOT_FOUND = "not_found"
    NOT_LISTED = "not_listed"
    NOT_PERMITTED = "not_permitted"
    OTHER_NAMESPACE = "other_namespace"
    HIDDEN = "hidden"
    NONE_HELD = "none_held"


WHY: Mapping[Match, str] = {
    Match.MATCHED: "",
    Match.NOT_TOLD: "the driver does not tell how much each process holds",
    Match.NOT_FOUND: "the service's process is not known, and model_process_lookup says why",
    Match.NOT_LISTED: "the driver has no list of processes that could be believed",
    Match.NOT_PERMITTED: "a process of the service may hold a GPU, and its open files are not this user's to see",
    Match.OTHER_NAMESPACE: "the driver tells process numbers that are not seen here; run in the host's PID namespace",
    Match.HIDDEN: "memory is in use and no process is listed; run in the host's PID namespace",
    Match.NONE_HELD: "its processes hold no memory of a GPU",
}


@frozen
class ServiceGpu(Reading):
    """One GPU of a service."""

    PREFIX = "model_gpu"
    target: Annotated[str, Label("The service's name in the configuration.")]
    gpu: Annotated[str, Label("Index on this host.")]
    uuid: Annotated[str, Label("UUID, the same across restarts.")]
    info: Annotated[
        int,
        Gauge(
            "The service's GPUs, lost ones too, as labels of a constant 1; absent where they are neither configured "
            "nor known by its processes or by its environment, and the status page says why."
        ),
    ] = 1


@frozen
class ServiceGpuMemory(Reading):
    """What a service holds of one GPU."""

    PREFIX = "model_process_gpu"
    target: Annotated[str, Label("The service's name in the configuration.")]
    gpu: Annotated[str, Label("Index on this host.")]
    uuid: Annotated[str, Label("UUID, the same across restarts.")]
    memory_bytes: Annotated[
        int,
        Gauge(
            "GPU memory that the service's processes hold; absent where they are not found in the driver's list, "
            "and the status page says why."
        ),
    ]


@frozen
class ServiceGpus(Reading):
    """How a service's GPUs are known."""

    PREFIX = "model_gpu"
    target: Annotated[str, Label("The service's name in the configuration.")]
    known_by: Annotated[str, Note("By what the service's GPUs are known.")]
    memory_unknown: Annotated[str, Note("Why it is not known how much of their memory the service holds.")]


@frozen
class Placement:
    """On which GPUs a service runs, by what that is known, and what its processes hold of any."""

    boards: tuple[Board, ...] = ()
    known_by: str = "unknown"
    match: Match = Match.NOT_FOUND
    held: Held = ()

    def readings(self, target: str) -> tuple[Reading, ...]:
        """What is published of it."""
        told: list[Reading] = []
        for board in self.boards:
            told.append(ServiceGpu(target=target, gpu=board.gpu, uuid=board.uuid))
            held = self._held(board)
            if held is not None:
                told.append(ServiceGpuMemory(target=target, gpu=board.gpu, uuid=board.uuid, memory_bytes=held))
        return (*told, ServiceGpus(target=target, known_by=self.known_by, memory_unknown=WHY[self.match]))

    def _held(self, board: Board) -> int | None:
        parts = [holder.held for held, holder in self.held if held is board]
        told = [part for part in parts if part is not None]
        return sum(told) if parts and len(told) == len(parts) else None


@frozen
class Word:
    """What was said of a service's GPUs, rather than seen."""

    wanted: Sequence[int | str] = ()
    """By the configuration: indexes and UUIDs."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """To the service, when it started."""
    own: str | None = None
    """To the exporter: its own `NVIDIA_VISIBLE_DEVICES`."""


def placed(rack: Rack, pids: Collection[int], word: Word) -> Placement:
    """On which GPUs of a machine a service runs; what is configured goes before what is seen."""
    suspects = rack.held(pids)
    ours = [each for each in suspects if each[1].name]
    seen = Placement(match=_matched(rack, pids, suspects, ours), held=ours)
    if word.wanted:
        found, known_by = _configured(rack.boards, word.wanted)
        return replace(seen, boards=found, known_by=known_by)
    if ours:
        return replace(seen, boards=distinct((board for board, _ in ours), rack.boards), known_by="processes")
    told = visible(word.environment, rack.boards, word.own)
    return seen if told is None else replace(seen, boards=told, known_by="environment")


def _matched(rack: Rack, pids: Collection[int], suspects: Held, ours: Held) -> Match:
    """Whether a service's processes are among those that hold a GPU's memory, and if not, why that may be."""
    answers = {
        Match.NOT_FOUND: not pids,
        Match.NOT_TOLD: any(holder.held is None for _, holder in ours),
        Match.MATCHED: bool(ours),
        Match.NOT_PERMITTED: bool(suspects),
        Match.OTHER_NAMESPACE: rack.foreign,
        Match.NOT_LISTED: not rack.listed,
        Match.HIDDEN: rack.hidden,
    }
    return next((match for match, holds in answers.items() if holds), Match.NONE_HELD)


def _configured(machine: Sequence[Board], wanted: Sequence[int | str]) -> tuple[tuple[Board, ...], str]:
    found = {str(each): named(str(each), machine, by_index(machine)) for each in wanted}
    missing = ", ".join(each for each, board in found.items() if board is None)
    return distinct(found.values(), machine), (
        f"configuration, of which {missing} is not here" if missing else "configuration"
    )


class Place:
    """Where one service runs, reckoned anew only when what that rests on has changed."""

    def __init__(self, machine: Machine, *, target: str, word: Word) -> None:
        self.latest: tuple[Reading, ...] = ()
        self._machine = machine
        self._target = target
        self._word = word
        self._known: tuple[object, ...] = ()
        self._placement = Placement()

    def look(self, process: Process | None) -> Sequence[Gpu]:
        """What the service's GPUs do, by its process as it was last seen."""
        rack = self._machine.rack()
        pids = process.pids if process else frozenset()
        environment = (process.environment if process else None) or {}
        known = (rack, pids, environment)
        if known != self._known:
            self._known = known
            now = placed(rack, pids, replace(self._word, environment=environment))
            boards = distinct((*now.boards, *self._lost(rack.boards)), rack.boards)
            self._placement = replace(now, boards=boards)
            self.latest = self._placement.readings(self._target) if rack.boards else ()
        return self._machine.activity(self._placement.boards)

    def _lost(self, machine: Iterable[Board]) -> Iterable[Board]:
        # Whose GPU it was is to be known above all when it no longer tells who uses it.
        before = {board.uuid for board in self._placement.boards}
        return (board for board in machine if board.uuid in before and not board.up)
