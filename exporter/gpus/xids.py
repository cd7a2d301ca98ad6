"""The Xids of each GPU, by which its driver says that something went wrong: waited for and counted on a thread."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from threading import Condition, Thread
from typing import Annotated

from exporter.frozen import frozen
from exporter.nvml.events import Event, Events, Unheard
from exporter.reading import Counter, Gauge, Label, Reading, counted

EXPECTED = (13, 31, 43, 45, 48, 62, 63, 64, 74, 79, 92, 94, 95, 119, 120)
"""Those that stand at 0 from the start, since only then the first one is an increase."""

MOST_LEFT = 10_000

log = logging.getLogger(__name__)


@frozen
class GpuXids(Reading):
    """What a GPU's driver said went wrong."""

    PREFIX = "gpu"
    gpu: Annotated[str, Label("Index on this host.")]
    uuid: Annotated[str, Label("UUID, the same across restarts.")]
    xid_errors: Annotated[
        Mapping[str, int],
        Counter(
            "Xids since the exporter started, none from before; absent where the driver does not tell them.", by="xid"
        ),
    ]
    xid_last: Annotated[int | None, Gauge("Which Xid came last; absent before the first.")] = None
    xid_last_timestamp_seconds: Annotated[float | None, Gauge("When the last Xid came; absent before the first.")] = (
        None
    )


@frozen
class Pace:
    """How long each thing takes, in seconds."""

    wait: float = 5.0
    """For the next Xid; letting go takes this long at most."""
    rest: float = 1.0
    """After a wait that failed, as it does at once while a GPU is lost; twice as long after each further one."""
    longest_rest: float = 30.0
    """At most, and until a GPU that could not be watched is tried again."""
    silence: float = 10.0
    """After which a thread that does not come back from the driver is taken to watch nothing."""


UNHURRIED = Pace()


class Xids:
    """Counts the Xids of the GPUs that it is told of, for as long as the exporter lives.

    It takes the driver up when it is first told of a GPU, and lets go of it when it is told to. What was counted
    stays whatever becomes of the GPU, since most are lost right after their last Xid.
    """

    def __init__(self, events: Events, pace: Pace = UNHURRIED) -> None:
        self._events = events
        self._pace = pace
        self._thread: Thread | None = None
        self._changed = Condition()  # guards what follows
        self._here: Mapping[str, int] = {}
        self._times_changed = 0
        self._holding = False
        self._watched: frozenset[str] = frozenset()
        self._heard_at = 0.0
        self._readings: dict[str, GpuXids] = {}

    def watch(self, gpus: Mapping[str, int]) -> None:
        """These GPUs are there now: the index of each by its UUID."""
        with self._changed:
            # One that went is waited for as long as that can be: what befell it may be told a moment later.
            if gpus.keys() - self._here.keys():
                self._change()
            self._here = dict(gpus)
            for uuid, index in gpus.items():
                known = self._readings.get(uuid) or _nothing(uuid)
                if known.gpu != str(index):
                    self._readings[uuid] = replace(known, gpu=str(index))
            if gpus and not (self._thread and self._thread.is_alive()):
                self._thread = Thread(target=self._attend, name="xids", daemon=True)
                self._thread.start()

    def readings(self) -> Sequence[GpuXids]:
        """What was counted so far, of the GPUs that are watched and of those that had any."""
        with self._changed:
            stuck = time.monotonic() > self._heard_at + self._pace.silence
            watched = frozenset() if stuck else self._watched & self._here.keys()
            return [each for uuid, each in self._readings.items() if uuid in watched or each.xid_last is not None]

    def release(self, within: float = 6.0) -> bool:
        """Let go of the driver until GPUs are told again; whether it has by then."""
        with self._changed:
            self._here, self._watched = {}, frozenset()
            self._change()
            return self._changed.wait_for(lambda: not self._holding, within)

    def _change(self) -> None:
        self._times_changed += 1
        self._changed.notify_all()

    def _attend(self) -> None:
        rest = self._pace.rest
        while True:
            change = self._taken_up()
            try:
                self._events.open()
                for _ in self._waits(change):
                    rest = self._pace.rest
            except Unheard:
                if rest > self._pace.rest:
                    self._watch_none()
                # The GPUs stay registered meanwhile, so that what happens to the others is told afterwards.
                self._sleep(change, rest)
                rest = min(2 * rest, self._pace.longest_rest)
            self._let_go()

    def _taken_up(self) -> int:
        """By which change the GPUs came to be there, once there are any."""
        with self._changed:
            self._changed.wait_for(lambda: self._here)
            self._holding = True
            return self._times_changed

    def _waits(self, change: int) -> Iterator[None]:
        """One wait after another that went well, until others are to be watched; raises Unheard."""
        registered: frozenset[str] = frozenset()
        again_at = 0.0
        while change == self._times_changed:
            if time.monotonic() >= again_at:
                registered |= self._registered(registered)
                again_at = time.monotonic() + self._pace.longest_rest
                if registered:  # A wait of no length shows whether there is one.
                    self._count(self._events.next(0))
                self._watched_now(registered, change)
            if registered:
                self._count(self._events.next(self._pace.wait))
                self._watched_now(registered, change)
            else:
                self._sleep(change, self._pace.longest_rest)
            yield

    def _registered(self, already: frozenset[str]) -> frozenset[str]:
        missing = [(uuid, index) for uuid, index in self._here.items() if uuid not in already]
        return frozenset(uuid for uuid, index in missing if self._events.register(uuid, index))

    def _watched_now(self, registered: frozenset[str], change: int) -> None:
        with self._changed:
            if change == self._times_changed:
                self._watched, self._heard_at = registered, time.monotonic()

    def _watch_none(self) -> None:
        with self._changed:
            self._watched = frozenset()

    def _sleep(self, change: int, seconds: float) -> None:
        """Rest, but not when others are to be watched."""
        with self._changed:
            self._changed.wait_for(lambda: change != self._times_changed, seconds)

    def _let_go(self) -> None:
        with suppress(Unheard):
            for _ in range(MOST_LEFT):
                if not self._count(self._events.next(0)):
                    break
        self._events.close()
        with self._changed:
            self._holding = False
            self._changed.notify_all()

    def _count(self, event: Event | None) -> bool:
        """Whether there was anything to count."""
        if event is None:
            return False
        xid = str(event.xid)
        with self._changed:
            known = self._readings[event.uuid]
            self._readings[event.uuid] = replace(
                known,
                xid_errors=counted(known.xid_errors, xid),
                xid_last=event.xid,
                xid_last_timestamp_seconds=time.time(),
            )
        if not known.xid_errors.get(xid):
            log.warning("GPU %s tells of Xid %s; any more of it are counted, and not told here", known.gpu, xid)
        return True


def _nothing(uuid: str) -> GpuXids:
    return GpuXids(gpu="", uuid=uuid, xid_errors={str(xid): 0 for xid in EXPECTED})
