"""A watch: when it looks, what it keeps, and what becomes of a look that fails."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import pytest

from exporter.reading import Gauge, Reading, Reason, Unreadable
from exporter.watch import SOMETIME, Clock, Collection, Read, Watch, reason_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Kettle(Reading):
    """What is read here."""

    PREFIX = "kettle"
    cups: Annotated[int, Gauge("Cups in it.")]


Saying = AsyncGenerator[Sequence[Reading], None]
STUCK = Unreadable(Reason.STUCK, "the lid is jammed")


def watching(read: Read, *, timeout: float = 10.0, source: str = "kettle") -> Watch:
    return Watch(read, Clock(every=lambda: 60.0, timeout=timeout), source=source)


def in_turn(*looks: int | Exception) -> Read:
    """A source that says so many cups at each look, or fails."""
    following = iter(looks)

    async def read() -> Saying:
        look = next(following)
        if isinstance(look, Exception):
            raise look
        yield [Kettle(cups=look)]

    return read


def looked(watch: Watch, times: int) -> None:
    """Let it look so many times."""

    async def look() -> None:
        for _ in range(times):
            await watch.once()

    asyncio.run(look())


def said(watch: Watch) -> list[Reading]:
    """Its readings of the source, without its own of the looking."""
    return [reading for reading in watch.latest if not isinstance(reading, Collection)]


def collection(watch: Watch) -> Collection:
    """What is published of the looking."""
    (found,) = [reading for reading in watch.latest if isinstance(reading, Collection)]
    return found


def failures(watch: Watch) -> Mapping[str, int]:
    return {reason: times for reason, times in collection(watch).failures.items() if times}


def test_before_the_first_look_nothing_is_known_and_failures_stand_at_zero() -> None:
    watch = watching(in_turn())

    assert watch.latest == (Collection(source="kettle", failures={"timeout": 0, "error": 0}),)


def test_a_look_that_succeeds_is_kept_and_counted() -> None:
    watch = watching(in_turn(1, 2))
    before = time.time()

    looked(watch, 2)

    assert said(watch) == [Kettle(cups=2)]
    assert collection(watch).up is True
    assert collection(watch).attempts == 2
    assert (collection(watch).last_success_timestamp_seconds or 0) >= before
    assert failures(watch) == {}


def test_what_is_said_midway_is_visible_at_once() -> None:
    seen: list[list[Reading]] = []

    async def read() -> Saying:
        yield [Kettle(cups=1)]
        seen.append(said(watch))
        yield [Kettle(cups=2)]
        seen.append(said(watch))

    watch = watching(read)

    looked(watch, 1)

    assert seen == [[Kettle(cups=1)], [Kettle(cups=2)]]


def test_a_look_is_counted_when_it_begins_even_if_it_never_says_anything() -> None:
    seen: list[int] = []

    async def read() -> Saying:
        seen.append(collection(watch).attempts)
        await asyncio.sleep(0)
        yield []

    watch = watching(read)

    looked(watch, 2)

    assert seen == [1, 2]


def test_the_last_readings_stand_until_the_next_look_says_something() -> None:
    seen: list[list[Reading]] = []

    async def read() -> Saying:
        seen.append(said(watch))
        yield [Kettle(cups=1)]

    watch = watching(read)

    looked(watch, 2)

    assert seen == [[], [Kettle(cups=1)]]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (STUCK, Reason.STUCK),
        (Unreadable(Reason.VERSION_MISMATCH, "another lid"), Reason.VERSION_MISMATCH),
        (TimeoutError(), Reason.TIMEOUT),
        (PermissionError(13, "Permission denied"), Reason.NOT_PERMITTED),
        (FileNotFoundError(2, "No such file"), Reason.ERROR),
        (ZeroDivisionError("a mistake of ours"), Reason.ERROR),
        (ExceptionGroup("several", [ValueError()]), Reason.ERROR),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, Exception) else str(given),
)
def test_a_look_that_fails_empties_the_readings_and_counts_its_reason(error: Exception, reason: Reason) -> None:
    watch = watching(in_turn(1, error))

    looked(watch, 2)

    assert said(watch) == []
    assert collection(watch).up is False
    assert collection(watch).attempts == 2
    assert failures(watch) == {reason: 1}
    assert reason_of(error) is reason


def test_a_look_that_fails_takes_back_what_it_said_midway() -> None:
    async def read() -> Saying:
        yield [Kettle(cups=1)]
        raise STUCK

    watch = watching(read)

    looked(watch, 1)

    assert said(watch) == []


def test_a_look_over_its_time_is_ended_and_may_clean_up() -> None:
    ended: list[str] = []

    async def read() -> Saying:
        yield [Kettle(cups=1)]
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    watch = watching(read, timeout=0.01)

    looked(watch, 1)

    assert ended == ["ended"]
    assert said(watch) == []
    assert failures(watch) == {"timeout": 1}


def test_a_source_that_recovers_is_up_again_and_its_failures_stay_counted() -> None:
    watch = watching(in_turn(1, STUCK, STUCK, 4))

    looked(watch, 4)

    assert said(watch) == [Kettle(cups=4)]
    assert collection(watch).up is True
    assert failures(watch) == {"stuck": 2}


def test_the_time_of_the_last_success_stands_still_while_looks_fail() -> None:
    watch = watching(in_turn(1, STUCK))
    looked(watch, 1)
    succeeded = collection(watch).last_success_timestamp_seconds

    looked(watch, 1)

    assert collection(watch).last_success_timestamp_seconds == succeeded


def test_every_look_tells_how_long_it_took() -> None:
    async def read() -> Saying:
        await asyncio.sleep(0.02)
        yield []

    watch = watching(read)

    looked(watch, 1)

    assert (collection(watch).duration_seconds or 0) >= 0.02


def test_a_reading_once_said_is_not_changed_by_what_follows() -> None:
    watch = watching(in_turn(1, STUCK, 2))
    looked(watch, 1)
    scraped = watch.latest

    looked(watch, 2)

    kept, how = scraped
    assert kept == Kettle(cups=1)
    assert isinstance(how, Collection)
    assert (how.attempts, dict(how.failures)) == (1, {"timeout": 0, "error": 0})


def test_the_log_tells_changes_and_nothing_twice(caplog: pytest.LogCaptureFixture) -> None:
    watch = watching(in_turn(1, STUCK, STUCK, STUCK, PermissionError("keep out"), PermissionError(), 2, 3))

    with caplog.at_level(logging.INFO, "exporter.watch"):
        looked(watch, 8)

    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "cannot be read (stuck): the lid is jammed"),
        ("WARNING", "cannot be read (not_permitted): keep out"),
        ("INFO", "can be read again"),
    ]
    assert {vars(record)["source"] for record in caplog.records} == {"kettle"}


def test_a_traceback_is_told_at_debug_alone(caplog: pytest.LogCaptureFixture) -> None:
    watch = watching(in_turn(ZeroDivisionError("a mistake of ours")))

    with caplog.at_level(logging.DEBUG, "exporter.watch"):
        looked(watch, 1)

    assert [record.levelname for record in caplog.records if record.exc_info] == ["DEBUG"]


def test_two_sources_fail_apart() -> None:
    good, bad = watching(in_turn(1)), watching(in_turn(STUCK), source="lid")

    looked(good, 1)
    looked(bad, 1)

    assert collection(good).up is True
    assert said(good) == [Kettle(cups=1)]
    assert collection(bad).up is False


@dataclass(frozen=True, slots=True)
class Look:
    """When one look began and ended."""

    began: float
    ended: float


async def looks(clock: Clock, number: int, seconds: Callable[[], float] = lambda: 0.0) -> list[Look]:
    """So many looks of a running watch, each taking so long."""
    seen: list[Look] = []
    enough = asyncio.Event()

    async def read() -> Saying:
        began = time.monotonic()
        await asyncio.sleep(seconds())
        seen.append(Look(began, time.monotonic()))
        if len(seen) == number:
            enough.set()
        yield []

    running = asyncio.create_task(Watch(read, clock, source="kettle").run())
    await asyncio.wait_for(enough.wait(), timeout=30)
    running.cancel()
    return seen


def test_the_first_look_is_made_at_its_turn() -> None:
    began = time.monotonic()

    (first,) = asyncio.run(looks(Clock(every=lambda: 60.0, timeout=1.0, first_after=0.1), 1))

    assert first.began >= began + 0.1


def test_looks_begin_an_interval_apart_however_long_they_take() -> None:
    seen = asyncio.run(looks(Clock(every=lambda: 0.3, timeout=9.0), 3, lambda: 0.25))

    # An interval after each look, rather than from one to the next, would make 1.1 s of it.
    assert 0.55 < seen[-1].began - seen[0].began < 1.0


def test_the_interval_is_asked_for_before_every_look() -> None:
    intervals = iter([0.01, 0.2, 60.0])

    first, second, third = asyncio.run(looks(Clock(every=lambda: next(intervals), timeout=1.0), 3))

    assert second.began - first.began >= 0.01
    assert third.began - second.began >= 0.15


def test_a_look_longer_than_the_interval_is_followed_at_once_and_never_overlaps() -> None:
    seen = asyncio.run(looks(Clock(every=lambda: 0.08, timeout=1.0), 4, lambda: 0.1))

    pauses = [after.began - before.ended for before, after in pairwise(seen)]
    assert min(pauses) >= 0
    assert min(pauses) < 0.05


def test_intervals_that_were_missed_are_not_made_up_for() -> None:
    held_up = iter([0.35, 0.0, 0.0])

    first, second, third = asyncio.run(looks(Clock(every=lambda: 0.1, timeout=9.0), 3, lambda: next(held_up)))

    assert second.began - first.began >= 0.35
    assert third.began - second.began >= 0.09


def test_jitter_makes_intervals_shorter_and_longer() -> None:
    seen = asyncio.run(looks(Clock(every=lambda: 0.02, timeout=1.0, jitter=0.9), 60))

    intervals = [after.began - before.began for before, after in pairwise(seen)]
    assert min(intervals) < 0.01
    assert max(intervals) > 0.025


def test_a_watch_outlives_every_failure_of_its_source() -> None:
    said_something = asyncio.Event()
    looks = iter([RuntimeError("whatever"), STUCK, TimeoutError()])

    async def read() -> Saying:
        for error in looks:
            raise error
        yield [Kettle(cups=4)]
        said_something.set()

    async def watched() -> Watch:
        watch = Watch(read, Clock(every=lambda: 0.001, timeout=9.0), source="kettle")
        running = asyncio.create_task(watch.run())
        await asyncio.wait_for(said_something.wait(), timeout=30)
        running.cancel()
        return watch

    watch = asyncio.run(watched())

    assert said(watch) == [Kettle(cups=4)]
    assert failures(watch) == {"error": 1, "stuck": 1, "timeout": 1}


def told(*looks: Sequence[Reading] | Exception) -> list[bool]:
    """Whether each of these looks told something that was not known."""
    following = iter(looks)

    async def read() -> Saying:
        look = next(following)
        if isinstance(look, Exception):
            raise look
        yield look

    watch = watching(read)

    async def look_on() -> list[bool]:
        news = []
        for _ in looks:
            watch.news.clear()
            await watch.once()
            news.append(watch.news.is_set())
        return news

    return asyncio.run(look_on())


def test_whoever_waits_for_news_is_woken_by_nothing_else() -> None:
    some: Sequence[Reading] = [Kettle(cups=1)]

    assert told(some, some, [Kettle(cups=1)], STUCK, STUCK, (), some) == [True, False, True, True, False, True, True]


def test_a_watch_outlives_not_knowing_when_to_look_next(caplog: pytest.LogCaptureFixture) -> None:
    intervals = iter([ZeroDivisionError("a mistake of ours"), ZeroDivisionError("the same")])

    def every() -> float:
        raise next(intervals)

    watch = Watch(in_turn(1, 2, 3), Clock(every=every, timeout=9.0), source="kettle")
    waits: list[float] = []

    async def watched() -> None:
        for _ in range(2):
            await watch.once()
            waits.append(watch.interval())

    asyncio.run(watched())

    assert waits == [SOMETIME, SOMETIME]
    assert failures(watch) == {"error": 2}
    assert said(watch) == [Kettle(cups=2)]
    assert [record.exc_info is not None for record in caplog.records if record.levelname == "ERROR"] == [True]
