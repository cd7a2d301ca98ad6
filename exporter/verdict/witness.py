"""What else tells whether a service generates: its own counters, its processes' CPU time, its GPUs' power."""

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Self

from exporter.frozen import frozen
from exporter.gpus.activity import Gpu
from exporter.sources.process import Process
from exporter.sources.server import Progress, Server

HOUR = 3600.0
HOURS = 24
SPREAD = 0.15
"""The share of what lies between the lowest power and the limit within which a GPU idles."""
BUSY = 0.9
BUSY_FOR = 30.0
LOOKS = 6
WORKING = 0.1  # Of one core: what waits for requests takes less, what computes takes more.


@frozen
class Meter:
    """A figure that moves while something goes on."""

    value: float
    since: float
    """When it was first heard."""
    heard: float
    """When it was last heard."""
    moved: float | None = None
    """When it was last heard to have moved."""

    def plus(self, value: float, at: float) -> Self:
        """This meter after one more look."""
        return replace(self, value=value, heard=at, moved=self.moved if value == self.value else at)


def read(meter: Meter | None, value: float | None, at: float) -> Meter | None:
    """A meter after one more look, at which it told this or nothing."""
    if value is None:
        return meter
    return Meter(value=value, since=at, heard=at) if meter is None else meter.plus(value, at)


def advancing(meter: Meter | None, after: float) -> bool:
    """Whether a figure has moved since that time."""
    return meter is not None and meter.moved is not None and meter.moved > after


@frozen
class Power:
    """What a service's GPUs draw together, against the lowest and the highest of the last day."""

    watts: float
    limit: float | None
    """What they keep to; None where a board does not tell, such as GB10."""
    hours: Mapping[int, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, gpus: Sequence[Gpu], before: "Power | None", at: float) -> "Power | None":
        """The power now; None where one of them does not tell it."""
        watts = [gpu.power_watts for gpu in gpus]
        if not watts or None in watts:
            return None
        now, hour = sum(filter(None, watts)), int(at // HOUR)
        low, high = before.hours.get(hour, (now, now)) if before else (now, now)
        hours = {**(before.hours if before else {}), hour: (min(low, now), max(high, now))}
        kept = {each: span for each, span in hours.items() if each > hour - HOURS}
        limits = [gpu.power_limit_watts.get("enforced") for gpu in gpus]
        return cls(watts=now, limit=None if None in limits else sum(filter(None, limits)), hours=kept)

    @property
    def idle(self) -> bool:
        """Whether they draw about the least they ever did; unknown, so no, before they were seen at work."""
        lowest = min(low for low, _ in self.hours.values())
        highest = max(high for _, high in self.hours.values())
        near = lowest + SPREAD * ((highest if self.limit is None else self.limit) - lowest)
        return self.watts < near < highest


@frozen
class Witnesses:
    """Everything that can tell of a service's progress, as last heard."""

    generating: Meter | None = None
    prefilling: Meter | None = None
    ended: Meter | None = None
    served: Meter | None = None
    """Requests that the service ended beyond our own."""
    beyond: tuple[float, ...] = ()
    """The same at each of the last looks."""
    waiting: float = 0.0
    held: bool = False
    """Whether it works on requests, or lets them wait, beyond our own."""
    silent: bool = False
    """Whether it let the last look at its figures wait in vain."""
    cpu: Meter | None = None
    working: bool = False
    power: Power | None = None
    busy_since: float | None = None

    def looked(self, progress: Progress | None, told: Sequence[Server], *, ours: int, asking: bool, at: float) -> Self:
        """These witnesses after a look at the service's own figures, of which so many requests were ours."""
        running = sum(each.requests_running or 0.0 for each in told)
        waiting = sum(each.requests_waiting or 0.0 for each in told)
        now = replace(self, waiting=waiting, held=running + waiting > asking, silent=False)
        if progress is None:
            return now
        now = replace(
            now,
            generating=read(self.generating, progress.generating, at),
            prefilling=read(self.prefilling, progress.prefilling, at),
            ended=read(self.ended, progress.ended, at),
            silent=progress.silent,
        )
        return now if progress.answered is None else now._answered(progress.answered - ours, at)

    def _answered(self, beyond: float, at: float) -> Self:
        # What it ends late of ours is no progress, so more is wanted than at any of the last looks.
        more = bool(self.beyond) and beyond > max(self.beyond)
        known = self.served or Meter(value=beyond, since=at, heard=at)
        served = replace(known, value=beyond, heard=at, moved=at if more else known.moved)
        return replace(self, served=served, beyond=(*self.beyond, beyond)[-LOOKS:])

    def ran(self, process: Process, at: float) -> Self:
        """These witnesses after a look at the service's processes."""
        spent = None if process.cpu_seconds is None else sum(process.cpu_seconds.values())
        before = self.cpu
        if spent is None or before is None or at <= before.heard:
            return replace(self, cpu=read(before, spent, at), working=False)
        return replace(self, cpu=before.plus(spent, at), working=(spent - before.value) / (at - before.heard) > WORKING)

    def drew(self, gpus: Sequence[Gpu], at: float) -> Self:
        """These witnesses after a look at the service's GPUs."""
        busy = max((gpu.utilization_ratio or 0.0 for gpu in gpus), default=0.0) >= BUSY
        since = (self.busy_since if self.busy_since is not None else at) if busy else None
        return replace(self, power=Power.of(gpus, self.power, at), busy_since=since)

    def strong(self, now: float, patience: float) -> Meter | None:
        """What counts tokens while they are generated, where it can be heard; silent for an hour, it stands still."""
        meter = self.generating
        heard = meter is not None and now - meter.heard <= (HOUR if self.silent else patience)
        return meter if heard else None

    def progress(self, now: float, window: float, patience: float) -> bool:
        """Whether anything was generated within that many seconds, for all that can be heard."""
        # What counts at the end of a request proves nothing while it stands.
        meters = (self.strong(now, patience) or self.served, self.ended)
        return any(advancing(meter, now - window) for meter in meters)

    @property
    def moved(self) -> float | None:
        """When anything that proves progress last moved."""
        meters = (self.generating, self.served, self.ended)
        return max((meter.moved for meter in meters if meter and meter.moved is not None), default=None)

    def busy_long(self, now: float) -> bool:
        """Whether a GPU has said to be busy all the while."""
        return self.busy_since is not None and now - self.busy_since >= BUSY_FOR
