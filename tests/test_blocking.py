"""A watch whose looks block: made by their clock on a thread, given up where they take too long, and heard by few."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import pytest

from exporter.blocking import Blocking, BlockingWatch
from exporter.reading import Gauge, Reading, Reason, Unreadable
from exporter.threads import Thread
from exporter.watch import Clock, Collection
from tests.patience import GUARD, until

REASONS = (Reason.TIMEOUT, Reason.STUCK, Reason.ERROR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kettle(Reading):
    """What is read here."""

    PREFIX = "kettle"
    cups: Annotated[int, Gauge("Cups in it.")]


Look = Callable[[], Sequence[Reading]]


def watching(
    look: Look,
    *,
    thread: Thread | None = None,
    every: float = 0.01,
    timeout: float = GUARD,
    awaited: Callable[[Sequence[Reading]], object] | None = None,
) -> BlockingWatch:
    blocking = Blocking(look, thread or Thread("kettle"), *([awaited] if awaited else []))
    return BlockingWatch(blocking, Clock(every=lambda: every, timeout=timeout), source="kettle", reasons=REASONS)


def said(watch: BlockingWatch) -> list[Reading]:
    """Its readings of the source, without its own of the looking."""
    return [reading for reading in watch.latest if not isinstance(reading, Collection)]


def failures(watch: BlockingWatch) -> Mapping[str, int]:
    return {reason: times for reason, times in watch.collection.failures.items() if times}


def run(*watches: BlockingWatch, met: Callable[[], bool]) -> None:
    """Let them watch until this has come about."""

    async def watched() -> None:
        running = [asyncio.create_task(watch.run()) for watch in watches]
        try:
            await until(met)
        finally:
            for each in running:
                each.cancel()
            await asyncio.wait(running)

    asyncio.run(watched())


def in_turn(*looks: int | Exception) -> Look:
    """A source that says so many cups at each look, or fails, and the last of it for ever."""
    following = [*looks]

    def look() -> Sequence[Reading]:
        told = following.pop(0) if len(following) > 1 else following[0]
        if isinstance(told, Exception):
            raise told
        return [Kettle(cups=told)]

    return look


def test_looks_are_made_on_the_thread_one_after_another_and_the_last_is_kept() -> None:
    threads: list[str] = []

    def look() -> Sequence[Reading]:
        threads.append(threading.current_thread().name)
        return [Kettle(cups=len(threads))]

    watch = watching(look)

    run(watch, met=lambda: watch.collection.attempts >= 3 and watch.collection.up is True)

    assert set(threads) == {"kettle"}
    assert watch.collection.attempts == len(threads)
    assert said(watch) in ([Kettle(cups=len(threads))], [Kettle(cups=len(threads) - 1)])
    assert failures(watch) == {}


def test_a_look_that_fails_empties_the_readings_until_one_succeeds() -> None:
    seen: list[tuple[bool | None, int]] = []
    stuck = Unreadable(Reason.STUCK, "the lid is jammed")
    looks = in_turn(1, stuck, ValueError("a mistake of ours"), 2)

    def look() -> Sequence[Reading]:
        seen.append((watch.collection.up, len(said(watch))))
        return looks()

    watch = watching(look)

    run(watch, met=lambda: len(seen) > 4)

    assert seen[:5] == [(None, 0), (True, 1), (False, 0), (False, 0), (True, 1)]
    assert failures(watch) == {"stuck": 1, "error": 1}
    assert said(watch) == [Kettle(cups=2)]


def test_a_look_that_takes_too_long_is_given_up_and_not_listened_to_when_it_comes_back() -> None:
    free, begun = threading.Event(), [0]

    def look() -> Sequence[Reading]:
        begun[0] += 1
        if begun[0] == 1:
            free.wait(GUARD)
            return [Kettle(cups=1)]
        return [Kettle(cups=2)]

    watch = watching(look, timeout=0.05)
    heard: list[list[Reading]] = []

    async def watched() -> None:
        running = asyncio.create_task(watch.run())
        await until(lambda: failures(watch).get("stuck", 0) >= 2)
        heard.append(said(watch))
        told = dict(failures(watch))
        free.set()
        await until(lambda: watch.collection.up is True)
        heard.append(said(watch))
        running.cancel()
        assert told["timeout"] == 1
        assert watch.collection.attempts >= 1 + told["stuck"] + 1

    asyncio.run(watched())

    assert heard == [[], [Kettle(cups=2)]]


def test_a_look_that_waits_too_long_for_another_is_counted_too_and_made_in_the_end() -> None:
    thread, free = Thread("kettle"), threading.Event()

    def hanging() -> Sequence[Reading]:
        free.wait(GUARD)
        return ()

    first = watching(hanging, thread=thread)
    second = watching(in_turn(7), thread=thread, timeout=0.05)

    async def watched() -> None:
        running = [asyncio.create_task(each.run()) for each in (first, second)]
        await until(lambda: failures(second).get("stuck", 0) >= 1)
        free.set()
        await until(lambda: second.collection.up is True)
        for each in running:
            each.cancel()

    asyncio.run(watched())

    assert failures(second)["timeout"] == 1
    assert failures(first) == {}
    assert said(second) == [Kettle(cups=7)]


def test_where_the_loop_itself_was_held_up_no_look_is_given_up_for_it() -> None:
    free = threading.Event()

    def look() -> Sequence[Reading]:
        free.wait(GUARD)
        return [Kettle(cups=1)]

    watch = watching(look, every=60, timeout=0.5)

    async def held_up() -> None:
        running = asyncio.create_task(watch.run())
        await asyncio.sleep(0.1)
        time.sleep(4)  # noqa: ASYNC251  as where the whole machine stood still
        await asyncio.sleep(0.1)
        free.set()
        await until(lambda: watch.collection.up is True)
        running.cancel()

    asyncio.run(held_up())

    assert failures(watch) == {}
    assert said(watch) == [Kettle(cups=1)]


@pytest.mark.parametrize(
    ("looks", "news"),
    [
        pytest.param((1, 1, 1), [True, False, False], id="what is awaited stands still"),
        pytest.param((1, 11, 2), [True, False, True], id="it changes, beside what is not awaited"),
        pytest.param((1, ValueError(), ValueError()), [True, True, False], id="it cannot be read"),
    ],
)
def test_nobody_is_woken_but_for_what_is_awaited(looks: tuple[int | Exception, ...], news: list[bool]) -> None:
    def last_digits(readings: Sequence[Reading]) -> object:
        return [each.cups % 10 for each in readings if isinstance(each, Kettle)]

    watch = watching(in_turn(*looks), awaited=last_digits)
    woken: list[bool] = []

    async def watched() -> None:
        for _ in looks:
            watch.news.clear()
            await watch.once()
            woken.append(watch.news.is_set())

    asyncio.run(watched())

    assert woken == news


def test_who_waits_on_the_loop_is_woken_by_the_thread() -> None:
    watch = watching(in_turn(1), every=60)

    async def watched() -> None:
        running = asyncio.create_task(watch.run())
        async with asyncio.timeout(GUARD):
            await watch.news.wait()
        running.cancel()

    asyncio.run(watched())

    assert said(watch) == [Kettle(cups=1)]


def test_once_it_is_ended_it_looks_no_more() -> None:
    looks: list[None] = []

    def look() -> Sequence[Reading]:
        looks.append(None)
        return ()

    thread = Thread("kettle")
    watch = watching(look, thread=thread)
    run(watch, met=lambda: len(looks) > 1)

    async def later() -> int:
        made = len(looks)
        for _ in range(20):
            await thread.call(lambda: time.sleep(0.005))
        return made

    made = asyncio.run(later())

    assert len(looks) <= made + 1  # one may have been under way


def test_a_look_may_be_had_besides_those_by_the_clock() -> None:
    watch = watching(in_turn(1, 2, 3), every=60)

    async def watched() -> list[list[Reading]]:
        running = asyncio.create_task(watch.run())
        await until(lambda: watch.collection.up is True)
        heard = [said(watch)]
        await watch.once()
        heard.append(said(watch))
        running.cancel()
        return heard

    assert asyncio.run(watched()) == [[Kettle(cups=1)], [Kettle(cups=2)]]
    assert watch.collection.attempts == 2
