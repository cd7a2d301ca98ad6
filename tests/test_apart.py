"""Computations that would hold up everything, in a process of their own."""

import asyncio
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from exporter.apart import JUDGED_HERE, apart, judged
from exporter.reading import Unreadable
from exporter.response import parsed
from exporter.sources.health import Expectation, verdict
from exporter.wire import Failed, Failure
from tests.patience import GUARD, until

ROOT = Path(__file__).parent.parent


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
from exporter.apart import apart

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
