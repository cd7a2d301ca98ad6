"""Blocking calls that hold up neither the loop nor the exit, on a thread that may get stuck."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.reading import Reason, Unreadable
from exporter.threads import Thread
from tests.patience import GUARD, until

ROOT = Path(__file__).parent.parent


def test_a_call_is_made_on_the_thread_and_gives_what_it_returns() -> None:
    thread = Thread("kettle")

    name = asyncio.run(thread.call(lambda: threading.current_thread().name))

    assert name == "kettle"


def test_every_call_is_made_on_the_same_thread() -> None:
    async def called() -> set[int]:
        thread = Thread("kettle")
        return {await thread.call(threading.get_ident) for _ in range(3)}

    idents = asyncio.run(called())

    assert len(idents) == 1
    assert threading.get_ident() not in idents


def test_calls_that_come_together_are_made_one_after_another() -> None:
    under_way: list[int] = []
    most: list[int] = []

    def work(number: int) -> int:
        under_way.append(number)
        most.append(len(under_way))
        threading.Event().wait(0.01)
        under_way.remove(number)
        return number

    async def called() -> list[int]:
        thread = Thread("kettle")
        return await asyncio.gather(*(thread.call(lambda number=number: work(number)) for number in range(5)))  # type: ignore[misc]  # mypy cannot infer the default's type

    answers = asyncio.run(called())

    assert answers == [0, 1, 2, 3, 4]
    assert max(most) == 1


@pytest.mark.parametrize("error", [ZeroDivisionError("nought"), SystemExit(3)], ids=repr)
def test_what_a_call_raises_reaches_its_caller(error: BaseException) -> None:
    def fails() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        asyncio.run(Thread("kettle").call(fails))

    assert raised.value is error


def test_a_thread_goes_on_after_a_call_that_raised() -> None:
    async def called() -> int:
        thread = Thread("kettle")
        with pytest.raises(ValueError, match="invalid literal"):
            await thread.call(lambda: int("seven"))
        return await thread.call(lambda: 7)

    assert asyncio.run(called()) == 7


def test_while_a_call_that_was_given_up_goes_on_the_next_is_told_so_at_once() -> None:
    free = threading.Event()

    async def called() -> list[Reason]:
        thread = Thread("kettle")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(thread.call(lambda: free.wait(GUARD)), timeout=0.01)
        reasons = []
        for _ in range(2):
            with pytest.raises(Unreadable, match="kettle") as stuck:
                await thread.call(lambda: 7)
            reasons.append(stuck.value.reason)
        free.set()
        return reasons

    assert asyncio.run(called()) == [Reason.STUCK, Reason.STUCK]


def test_one_that_waited_its_turn_behind_a_stuck_call_is_told_so_too() -> None:
    free = threading.Event()

    async def called() -> Reason:
        thread = Thread("kettle")
        stuck = asyncio.create_task(thread.call(lambda: free.wait(GUARD)))
        await until(lambda: thread.busy)
        waiting = asyncio.create_task(thread.call(lambda: 7))
        await asyncio.sleep(0)
        stuck.cancel()
        with pytest.raises(Unreadable) as told:
            await waiting
        free.set()
        return told.value.reason

    assert asyncio.run(called()) is Reason.STUCK


def test_a_thread_is_free_again_once_its_stuck_call_has_returned() -> None:
    free = threading.Event()

    async def called() -> int:
        thread = Thread("kettle")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(thread.call(lambda: free.wait(GUARD)), timeout=0.01)
        free.set()
        await until(lambda: not thread.busy)
        return await thread.call(lambda: 7)

    assert asyncio.run(called()) == 7


def test_a_call_that_returns_after_its_loop_has_gone_harms_nobody() -> None:
    free, returned = threading.Event(), threading.Event()

    def late() -> None:
        free.wait(GUARD)
        returned.set()

    async def called(thread: Thread) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(thread.call(late), timeout=0.01)

    thread = Thread("kettle")
    asyncio.run(called(thread))

    free.set()

    assert returned.wait(GUARD)
    asyncio.run(until(lambda: not thread.busy))


def test_a_thread_costs_nothing_before_its_first_call() -> None:
    before = threading.active_count()

    Thread("kettle")

    assert threading.active_count() == before


STUCK_FOR_EVER = """
import asyncio, time
from exporter.threads import Thread

async def main():
    async with asyncio.timeout(0.1):
        await Thread("stuck").call(lambda: time.sleep(3600))

try:
    asyncio.run(main())
except TimeoutError:
    print("given up")
"""


def test_a_stuck_call_does_not_hold_up_the_exit() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", STUCK_FOR_EVER], cwd=ROOT, capture_output=True, text=True, check=True, timeout=GUARD
    )

    assert ended.stdout == "given up\n"
    assert ended.stderr == ""


def test_a_call_may_be_waited_for_by_another_thread() -> None:
    thread = Thread("kettle")

    begun = thread.begin(lambda: threading.current_thread().name)

    assert begun.result(GUARD) == "kettle"


def test_no_call_is_begun_while_another_is_stuck() -> None:
    thread, free = Thread("kettle"), threading.Event()
    hanging = thread.begin(lambda: free.wait(GUARD))

    with pytest.raises(Unreadable, match="kettle") as stuck:
        thread.begin(lambda: 7)
    free.set()
    hanging.result(GUARD)

    assert stuck.value.reason is Reason.STUCK
    assert thread.begin(lambda: 7).result(GUARD) == 7


def test_turns_are_taken_when_they_are_due_and_calls_between_them() -> None:
    thread, done = Thread("kettle"), threading.Event()
    taken: list[str] = []

    def turning(name: str, times: int) -> Callable[[], float | None]:
        def turn() -> float | None:
            taken.append(name)
            if taken.count(name) < times:
                return time.monotonic() + 0.02
            done.set()
            return None

        return turn

    thread.attend(turning("later", 2), time.monotonic() + 1.0)
    thread.attend(turning("soon", 3), time.monotonic() - 1.0)
    assert thread.begin(lambda: 7).result(GUARD) == 7
    while taken.count("later") < 2:
        assert done.wait(GUARD)
        done.clear()

    assert taken == ["soon", "soon", "soon", "later", "later"]


def test_a_thread_ends_once_it_has_no_turn_and_nobody_can_call_it() -> None:
    thread, taken = Thread("short-lived"), threading.Event()

    thread.attend(taken.set, time.monotonic())
    assert taken.wait(GUARD)
    del thread

    asyncio.run(until(lambda: "short-lived" not in {each.name for each in threading.enumerate()}))
