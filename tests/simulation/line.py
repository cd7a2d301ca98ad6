"""A line of requests before a service's slots: who waits, who is read and who is answered follows from who came."""

import heapq
import math
import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import NamedTuple

DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """How requests come to a service, and what they ask of it; all times are seconds."""

    slots: int = 4
    load: float = 0.7
    """The share of its slots that they take at the busiest hour of a usual day."""
    reading: float = 1.0
    """How long a prompt is read, on average."""
    writing: float = 20.0
    """How long an answer is written, on average."""
    longest: float = 180.0
    long: float = 0.0
    """The share of prompts that take the longest to read."""
    bursts: int = 12
    """How often in a day many come at once."""
    surge: float = 5.0
    """How many times as many come then."""
    lasts: float = 240.0
    """How long a burst lasts at most."""
    patience: float = 100.0
    """How long a wait makes people turn away."""
    slower: float = 0.0
    """By which share of what it took at first everything takes longer with each hour."""


class Turn(NamedTuple):
    """One request: when it came, when a slot began to read it and to write its answer, and when that ended."""

    came: float
    read: float
    written: float
    ended: float
    free: float
    """When a slot is free for whoever comes next."""


class Count(NamedTuple):
    """How many requests wait, are read and are answered, and what was done for all of them so far."""

    at: float = 0.0
    waiting: int = 0
    reading: int = 0
    writing: int = 0
    read: float = 0.0
    """Seconds that slots have read, one slot's after another's."""
    written: float = 0.0

    def then(self, change: "Change") -> "Count":
        """The count once that has come about."""
        passed = change.at - self.at
        return Count(
            at=change.at,
            waiting=self.waiting + change.waiting,
            reading=self.reading + change.reading,
            writing=self.writing + change.writing,
            read=self.read + self.reading * passed,
            written=self.written + self.writing * passed,
        )


class Change(NamedTuple):
    """What becomes of one request."""

    at: float
    waiting: int = 0
    reading: int = 0
    writing: int = 0


NOTHING = Count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The requests of a service's life, as they are at each moment."""

    came: Sequence[float]
    """When each came that stayed."""
    free: Sequence[float]
    """When a slot was free once it had come."""
    times: Sequence[float]
    counts: Sequence[Count]
    """From each of the times on."""

    def wait(self, now: float) -> float:
        """How long whoever comes now waits for a slot."""
        last = bisect_right(self.came, now)
        return max(self.free[last - 1] - now, 0.0) if last else 0.0

    def count(self, now: float) -> Count:
        """How things stand now."""
        last = bisect_right(self.times, now)
        return (self.counts[last - 1] if last else NOTHING).then(Change(now))

    @property
    def longest(self) -> float:
        """The longest wait of whoever might have come."""
        return max((free - came for came, free in zip(self.came, self.free, strict=True)), default=0.0)

    def starves(self, patience: float, until: float, step: float = 5.0) -> float:
        """The longest time for which whoever came waited longer than that."""
        longest = since = 0.0
        for look in range(int(until / step)):
            now = look * step
            if self.wait(now) <= patience:
                since = now
            longest = max(longest, now - since)
        return longest


def line(demand: Demand, until: float, chance: random.Random) -> Line:
    """A line as it may be for so many seconds."""
    turns = list(_turns(demand, until, chance))
    changes = sorted(chain.from_iterable(map(_changes, turns)))
    return Line(
        came=[turn.came for turn in turns],
        free=[turn.free for turn in turns],
        times=[change.at for change in changes],
        counts=list(accumulate(changes, Count.then, initial=NOTHING))[1:],
    )


def _changes(turn: Turn) -> Sequence[Change]:
    return (
        Change(turn.came, waiting=1),
        Change(turn.read, waiting=-1, reading=1),
        Change(turn.written, reading=-1, writing=1),
        Change(turn.ended, writing=-1),
    )


def _turns(demand: Demand, until: float, chance: random.Random) -> Iterator[Turn]:
    free = [0.0] * demand.slots
    for came in _arrivals(demand, until, chance):
        if free[0] - came > demand.patience:
            continue
        slower = 1 + demand.slower * came / 3600
        reading = demand.longest if chance.random() < demand.long else chance.expovariate(1 / demand.reading)
        read = max(came, free[0])
        written = read + slower * reading
        ended = written + slower * chance.expovariate(1 / demand.writing)
        heapq.heapreplace(free, ended)
        yield Turn(came=came, read=read, written=written, ended=ended, free=free[0])


def _arrivals(demand: Demand, until: float, chance: random.Random) -> Iterator[float]:
    """When requests come: by the hour of the day, and many at once now and then."""
    most = demand.load * demand.slots / (demand.reading + demand.writing)
    apart = DAY / max(demand.bursts, 1)
    bursts = [(number + chance.uniform(0, 0.5)) * apart for number in range(math.ceil(until / apart))]
    ends = [begins + chance.uniform(0.25, 1) * demand.lasts for begins in bursts]
    now = 0.0
    while (now := now + chance.expovariate(most * demand.surge)) < until:
        last = bisect_right(bursts, now)
        surges = demand.bursts and last and now < ends[last - 1]
        by_day = 0.6 - 0.4 * math.cos(2 * math.pi * now / DAY)
        if chance.random() * demand.surge < by_day * (demand.surge if surges else 1.0):
            yield now
