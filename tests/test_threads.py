"""Work that must not hold up the loop, nor the exit: on a thread that may get stuck, and in a process apart."""

import asyncio
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from exporter.reading import Reason, Unreadable
from exporter.response import parsed
from exporter.sources.health import Expectation, verdict
from exporter.threads import JUDGED_HERE, Thread, apart, judged
from exporter.wire import Failed, Failure

GUARD = 30.0
ROOT = Path(__file__).parent.parent


async def until(met: Callable[[], bool]) -> None:
    """Wait for what another thread or process is about to do."""
    async with asyncio.timeout(GUARD):
        while not met():  # noqa: ASYNC110  what happens elsewhere sets no event here
            await asyncio.sleep(0.01)


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


def test_apart_is_another_process() -> None:
    assert asyncio.run(apart(os.getpid)) != os.getpid()


def test_apart_gives_what_the_function_returns() -> None:
    assert asyncio.run(apart(math.hypot, 3.0, 4.0)) == 5.0


def test_apart_raises_what_the_function_raises() -> None:
    with pytest.raises(Failed) as raised:
        asyncio.run(apart(parsed, b"no JSON"))

    assert raised.value.failure is Failure.INVALID
    assert raised.value.detail == "not JSON: JSONDecodeError"


def test_apart_does_not_wait_for_a_computation_that_died() -> None:
    with pytest.raises(RuntimeError):
        asyncio.run(asyncio.wait_for(apart(os._exit, 3), timeout=GUARD))


# As a filter of system calls has it that a sandbox may bring: whoever asks to be less urgent is refused.
REFUSED = """
import asyncio, ctypes, errno, os, platform, struct, sys
from exporter.threads import apart

SETPRIORITY = {"x86_64": 141, "aarch64": 140}[platform.machine()]
LOAD, EQUAL, RETURN, ALLOWED, REFUSED = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050000
steps = [(LOAD, 0, 0, 0), (EQUAL, 0, 1, SETPRIORITY), (RETURN, 0, 0, REFUSED | errno.EPERM), (RETURN, 0, 0, ALLOWED)]
filtering = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(filtering)))
kernel, NO_NEW_PRIVS, SECCOMP, FILTER = ctypes.CDLL(None), 38, 22, 2
assert kernel.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert kernel.prctl(SECCOMP, FILTER, ctypes.c_void_p(ctypes.addressof(program))) == 0
try:
    os.nice(1)
except PermissionError:
    print("refused,", asyncio.run(apart(max, 3, 7)))
"""


def out_of_memory() -> None:
    raise MemoryError


def test_where_apart_is_out_of_memory_that_is_ours_and_not_the_services() -> None:
    with pytest.raises(Unreadable, match="no memory is left here"):
        asyncio.run(apart(out_of_memory))


def stands_back() -> tuple[str, int]:
    return Path("/proc/self/oom_score_adj").read_text().strip(), os.nice(0)


def test_what_is_computed_apart_is_the_first_to_go_without_memory_and_time() -> None:
    assert asyncio.run(apart(stands_back)) == ("1000", os.nice(0) + 10)


def test_apart_computes_where_it_may_not_be_made_less_urgent() -> None:
    alone = [sys.executable, "-c", REFUSED]
    ran = subprocess.run(alone, check=False, cwd=ROOT, capture_output=True, text=True, timeout=GUARD)

    assert (ran.stdout, ran.stderr) == ("refused, 7\n", "")


def children() -> set[int]:
    """The processes that were started here and run."""
    return {each.pid for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE}


def test_apart_leaves_no_process_behind() -> None:
    before = children()

    async def computed() -> None:
        await apart(math.sqrt, 2.0)
        await until(lambda: children() == before)

    asyncio.run(computed())

    assert children() == before


@pytest.mark.parametrize("well_under_way", [False, True], ids=["at its beginning", "well under way"])
def test_what_is_computed_apart_ends_with_whoever_waits_for_it(well_under_way: bool, tmp_path: Path) -> None:  # noqa: FBT001  pytest fills it
    before = children()
    file = tmp_path / "reached"

    async def given_up() -> None:
        computing = asyncio.create_task(apart(exec, f"open({str(file)!r}, 'w').close(); import time; time.sleep(3600)"))
        await until(lambda: file.exists() if well_under_way else children() != before)
        computing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await computing
        await until(lambda: children() == before)

    asyncio.run(given_up())

    assert children() == before


LARGE = json.dumps({"padding": [0.125] * 1_200_000, "cpu_usage": 7}).encode()


def test_the_loop_goes_on_while_8_mib_are_judged() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    async def judging() -> object:
        ticking = asyncio.create_task(tick())
        try:
            return await judged(verdict, LARGE, Expectation(values=("cpu_usage",)))
        finally:
            ticking.cancel()

    values = asyncio.run(judging())

    assert len(LARGE) > 8 * 10**6
    assert values == {"cpu_usage": 7.0}
    assert ticks > 10


def where(_body: bytes) -> int:
    return os.getpid()


def test_a_small_body_is_judged_here() -> None:
    assert asyncio.run(judged(where, bytes(JUDGED_HERE))) == os.getpid()
