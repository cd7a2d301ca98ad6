"""What the exporter says of itself, even of the loop that it runs on."""

import asyncio
import platform
import time
from collections.abc import Callable, Mapping

from exporter.sources.itself import BEAT, Build, Itself, Pulse

Requests = Mapping[tuple[str, str], int]


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


def test_a_loop_that_was_blocked_beats_late_and_says_so() -> None:
    beating = pulse()

    async def beat_late() -> tuple[Itself, Itself]:
        running = await begun(beating)
        before = said(beating)
        time.sleep(BEAT + 0.3)  # noqa: ASYNC251  the very thing to be noticed
        await asyncio.sleep(0.1)
        running.cancel()
        return before, said(beating)

    before, after = asyncio.run(beat_late())

    assert before.scheduler_lag_seconds == 0.0
    assert after.scheduler_lag_seconds >= 0.25
