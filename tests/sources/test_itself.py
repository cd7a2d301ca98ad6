"""What the exporter says of itself, even of the loop that it runs on."""

import asyncio
import platform
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

from exporter.reading import Reading
from exporter.sources.itself import BEAT, REST, Build, Itself, Pulse

Requests = Mapping[tuple[str, str], int]
BUILD = Build(version="1.2.3", python=platform.python_version())


def pulse(requests: Callable[[], Requests] = dict) -> Pulse:
    return Pulse(version="1.2.3", targets=lambda: 2, requests=requests, dropped=lambda: {"server": 0})


def said(beating: Pulse) -> Itself:
    """What it said last of how it is doing."""
    (itself,) = [reading for reading in beating.latest if isinstance(reading, Itself)]
    return itself


async def begun(beating: Pulse) -> asyncio.Task[None]:
    """A pulse that beats from now on."""
    running = asyncio.create_task(beating.run())
    await asyncio.sleep(0.01)
    return running


def test_before_the_first_beat_it_says_which_exporter_it_is() -> None:
    assert pulse().latest == (Build(version="1.2.3", python=platform.python_version()),)


def test_it_says_how_many_services_there_are_and_who_had_asked_by_then() -> None:
    counts = {("/metrics", "200"): 1}
    beating = pulse(lambda: counts)

    async def beat() -> Itself:
        running = await begun(beating)
        running.cancel()
        return said(beating)

    itself = asyncio.run(beat())
    counts["/metrics", "200"] = 5

    assert itself == Itself(
        targets=2, series_dropped={"server": 0}, scheduler_lag_seconds=0.0, http_requests={("/metrics", "200"): 1}
    )


async def asleep() -> AsyncGenerator[Sequence[Reading], None]:
    """A source of which nothing is ever said."""
    await asyncio.Event().wait()
    yield ()


async def blocked(beating: Pulse) -> tuple[Itself, Itself]:
    """What it said before and after the loop was blocked for more than a beat."""
    running = await begun(beating)
    before = said(beating)
    time.sleep(BEAT + 0.8)  # noqa: ASYNC251  the very thing to be noticed
    await asyncio.sleep(0.1)
    running.cancel()
    return before, said(beating)


def test_a_loop_that_was_blocked_while_something_is_timed_beats_late_and_says_so() -> None:
    beating = pulse()

    async def timing() -> tuple[Itself, Itself]:
        timed = asyncio.ensure_future(anext(beating.during(asleep)()))
        told = await blocked(beating)
        timed.cancel()
        return told

    before, after = asyncio.run(timing())

    assert before.scheduler_lag_seconds == 0.0
    assert after.scheduler_lag_seconds >= 0.25


def test_it_beats_sooner_once_something_is_timed_than_it_had_in_mind() -> None:
    beating = pulse()

    async def timing() -> bool:
        running = await begun(beating)
        began = time.monotonic()
        timed = asyncio.ensure_future(anext(beating.during(asleep)()))
        await asyncio.sleep(0.01)
        time.sleep(REST / 2)  # noqa: ASYNC251  long before it would have beaten
        await asyncio.sleep(0.1)
        late = beating.late(began)
        timed.cancel()
        running.cancel()
        return late

    assert asyncio.run(timing())


def test_what_was_read_while_it_beat_is_said_as_it_came() -> None:
    async def saying() -> AsyncGenerator[Sequence[Reading], None]:
        yield [BUILD]
        yield [BUILD, BUILD]

    async def read() -> list[Sequence[Reading]]:
        return [each async for each in pulse().during(saying)()]

    assert asyncio.run(read()) == [[BUILD], [BUILD, BUILD]]
