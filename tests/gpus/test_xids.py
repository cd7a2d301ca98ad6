"""Xids as they are counted: what stands at 0, what stays, and what a wait that fails, hangs or is released does."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pynvml
import pytest

from exporter.exposition import Catalog, Exposition
from exporter.gpus.xids import EXPECTED, GpuXids, Pace, Xids
from exporter.nvml.events import NvmlEvents
from tests.nvml.driver import Call, Driver, require_compiler
from tests.nvml.opened import load

require_compiler()

PATIENCE = 30.0
FIRST = "GPU-00000000-0000-0000-0000-000000000000"
SECOND = "GPU-00000001-0000-0000-0000-000000000001"
BOTH: Mapping[str, int] = {FIRST: 0, SECOND: 1}
QUICK = Pace(wait=0.02, rest=0.02, longest_rest=0.16)
PATIENT = Pace(wait=0.02, rest=0.02, longest_rest=3600.0)

HUNG = """
import sys
from exporter.gpus.xids import Xids
from exporter.nvml.events import NvmlEvents
xids = Xids(NvmlEvents())
xids.watch({sys.argv[1]: 0})
print(xids.release(within=0.2) if sys.stdin.readline() else None, flush=True)
"""

Start = Callable[..., tuple[Driver, Xids]]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """A driver of two GPUs, whose library the source of the GPUs has opened, and who waits for its Xids."""
    every: list[tuple[Driver, Xids]] = []

    def start(said: Mapping[str, object] | None = None, *, pace: Pace = QUICK) -> tuple[Driver, Xids]:
        driver = Driver(tmp_path)
        driver.script({"gpus": 2} | dict(said or {}))
        load(driver, monkeypatch)
        pynvml.nvmlInitWithFlags(pynvml.NVML_INIT_FLAG_NO_GPUS)
        every.append((driver, Xids(NvmlEvents(), pace)))
        return every[-1]

    yield start
    for driver, xids in every:
        driver.script({"hang.nvmlEventSetWait_v2": None})
        assert xids.release(PATIENCE)


def until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not met():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.005)


def watched(xids: Xids, gpus: Mapping[str, int] = BOTH) -> Sequence[GpuXids]:
    """What is read once all these are watched."""
    xids.watch(gpus)
    until(lambda: len(xids.readings()) == len(gpus))
    return xids.readings()


def count(xids: Xids, uuid: str, xid: int) -> int:
    """How often an Xid befell a GPU; -1 where that is not told."""
    return next((each.xid_errors.get(str(xid), 0) for each in xids.readings() if each.uuid == uuid), -1)


def calls(driver: Driver, function: str) -> list[Call]:
    return [call for call in driver.calls() if call.function == function]


def fall_again(driver: Driver, xids: Xids, xid: int, uuid: str = FIRST) -> None:
    """Let one befall a GPU that is waited for, however often it must be, since none from before is told."""
    number, before = 1, count(xids, uuid, xid)

    def counted() -> bool:
        nonlocal number
        number += 1
        driver.script({f"xid.{number}": f"{BOTH[uuid]}:{xid}"})
        time.sleep(0.05)
        return count(xids, uuid, xid) > max(before, 0)

    until(counted)


def test_the_expected_ones_stand_at_0_from_the_start_and_no_last_one_is_told(start: Start) -> None:
    _, xids = start()

    first, second = watched(xids)

    assert first == GpuXids(gpu="0", uuid=FIRST, xid_errors={str(xid): 0 for xid in EXPECTED})
    assert (second.gpu, second.uuid) == ("1", SECOND)


def test_the_series_are_named_as_promised(start: Start) -> None:
    driver, xids = start()
    watched(xids)
    driver.script({"xid.1": "1:154"})
    until(lambda: count(xids, SECOND, 154) == 1)

    body, _ = Exposition(Catalog((GpuXids,)), xids.readings).page("text/plain")
    page = body.decode()

    assert f'gpu_xid_errors_total{{gpu="0",uuid="{FIRST}",xid="79"}} 0.0' in page
    assert f'gpu_xid_errors_total{{gpu="1",uuid="{SECOND}",xid="154"}} 1.0' in page
    assert f'gpu_xid_last{{gpu="1",uuid="{SECOND}"}} 154.0' in page
    assert f'gpu_xid_last_timestamp_seconds{{gpu="1",uuid="{SECOND}"}}' in page
    assert 'gpu_xid_last{gpu="0"' not in page


def test_the_last_one_is_told_with_the_moment_it_came(start: Start) -> None:
    driver, xids = start()
    watched(xids)
    before = time.time()

    driver.script({"xid.1": "0:31", "xid.2": "0:43"})
    until(lambda: count(xids, FIRST, 43) == 1)

    first, second = xids.readings()
    assert first.xid_last == 43
    assert before <= (first.xid_last_timestamp_seconds or 0) <= time.time()
    assert second.xid_last is second.xid_last_timestamp_seconds is None


def test_every_one_of_a_burst_is_counted(start: Start) -> None:
    driver, xids = start()
    watched(xids)

    driver.script({f"xid.{number}": f"{number % 2}:{31 if number % 4 else 13}" for number in range(1, 201)})
    until(lambda: count(xids, SECOND, 31) == 100)

    assert count(xids, FIRST, 31) == count(xids, FIRST, 13) == 50


def test_the_log_tells_the_first_of_each_alone(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    driver, xids = start()
    watched(xids)

    driver.script({f"xid.{number}": "0:31" for number in range(1, 51)})
    until(lambda: count(xids, FIRST, 31) == 50)

    assert [record.getMessage()[:23] for record in caplog.records] == ["GPU 0 tells of Xid 31; "]


@pytest.mark.parametrize(
    ("word", "answer", "asked"),
    [
        ("gpu.*.events", 0, "nvmlDeviceGetSupportedEventTypes"),
        ("result.nvmlDeviceRegisterEvents", 4, "nvmlDeviceRegisterEvents"),
        ("result.nvmlEventSetCreate", 3, "nvmlEventSetCreate"),
    ],
)
def test_where_nobody_watches_nothing_is_told_rather_than_0(start: Start, word: str, answer: int, asked: str) -> None:
    driver, xids = start({word: answer})

    xids.watch(BOTH)
    until(lambda: len(calls(driver, asked)) > 2)

    assert xids.readings() == []
    assert not calls(driver, "nvmlEventSetWait_v2")


def test_a_gpu_that_cannot_be_watched_is_tried_again_while_the_others_are_waited_for(start: Start) -> None:
    driver, xids = start({"result.1.nvmlDeviceRegisterEvents": 4})
    watched_at_first = watched(xids, {FIRST: 0})
    xids.watch(BOTH)
    until(lambda: any(call.result == 4 for call in calls(driver, "nvmlDeviceRegisterEvents")))

    refused = [each.uuid for each in xids.readings()]
    driver.script({"result.1.nvmlDeviceRegisterEvents": None})
    until(lambda: len(xids.readings()) == 2)

    assert len(watched_at_first) == 1
    assert refused == [FIRST]


@pytest.mark.parametrize("code", [6, 15, 999])
def test_waits_that_fail_at_once_and_for_ever_are_ever_rarer(start: Start, code: int) -> None:
    driver, xids = start({"result.nvmlEventSetWait_v2": code}, pace=PATIENT)

    xids.watch(BOTH)
    until(lambda: len(calls(driver, "nvmlEventSetCreate")) == 6)

    begun = [call.at for call in calls(driver, "nvmlEventSetCreate")]
    rests = [later - earlier for earlier, later in pairwise(begun)]
    assert all(rest >= PATIENT.rest * 2**times for times, rest in enumerate(rests))
    # One that shows whether there is a wait at all, and one for what was left when it was given up.
    assert len(calls(driver, "nvmlEventSetWait_v2")) <= 2 * len(begun)
    assert xids.readings() == []


def test_the_longest_rest_is_the_longest(start: Start) -> None:
    driver, xids = start({"result.nvmlEventSetWait_v2": 15}, pace=Pace(wait=0.01, rest=0.01, longest_rest=0.04))

    xids.watch(BOTH)
    until(lambda: len(calls(driver, "nvmlEventSetCreate")) > 20)
    driver.script({"result.nvmlEventSetWait_v2": None})

    until(lambda: len(xids.readings()) == 2)


def test_a_gpu_that_is_lost_after_its_xid_keeps_its_count_while_the_others_go_on(start: Start) -> None:
    driver, xids = start()
    watched(xids)

    driver.script({"xid.1": "1:79", "gpu.1.lost": 1})
    until(lambda: count(xids, SECOND, 79) == 1)
    xids.watch({FIRST: 0})
    fall_again(driver, xids, 48)

    assert count(xids, SECOND, 79) == 1
    assert [each.gpu for each in xids.readings()] == ["0", "1"]


def test_a_gpu_that_is_lost_without_a_word_is_told_no_more(start: Start) -> None:
    driver, xids = start()
    watched(xids)

    driver.script({"gpu.1.lost": 1})
    xids.watch({FIRST: 0})

    assert [each.uuid for each in xids.readings()] == [FIRST]


def test_what_befell_a_gpu_is_counted_even_if_its_loss_was_seen_first(start: Start) -> None:
    driver, xids = start()
    watched(xids)

    xids.watch({FIRST: 0})
    driver.forget_calls()
    until(lambda: len(calls(driver, "nvmlEventSetWait_v2")) > 2)
    driver.script({"xid.1": "1:79", "gpu.1.lost": 1})

    until(lambda: count(xids, SECOND, 79) == 1)


def test_a_gpu_that_comes_back_is_waited_for_again(start: Start) -> None:
    driver, xids = start({"gpu.1.lost": 1})
    watched(xids, {FIRST: 0})
    driver.script({"gpu.1.lost": 0})

    watched(xids)
    fall_again(driver, xids, 119, SECOND)

    assert count(xids, FIRST, 119) == 0


def test_a_gpu_that_has_another_index_now_keeps_its_count(start: Start) -> None:
    driver, xids = start()
    watched(xids)
    driver.script({"xid.1": "0:48"})
    until(lambda: count(xids, FIRST, 48) == 1)

    xids.watch({FIRST: 7, SECOND: 1})

    assert [(each.gpu, each.xid_last) for each in xids.readings()] == [("7", 48), ("1", None)]


def test_a_driver_that_is_loaded_anew_is_taken_up_and_what_was_counted_stays(start: Start) -> None:
    driver, xids = start()
    watched(xids)
    driver.script({"xid.1": "0:48"})
    until(lambda: count(xids, FIRST, 48) == 1)

    driver.script({"driver.generation": 2})
    fall_again(driver, xids, 31)

    assert count(xids, FIRST, 48) == 1


def test_a_driver_that_is_unloaded_is_waited_for(start: Start) -> None:
    driver, xids = start()
    watched(xids)

    driver.script({"driver.loaded": 0})
    until(lambda: xids.readings() == [])
    driver.script({"driver.loaded": 1, "driver.generation": 2})

    until(lambda: len(xids.readings()) == 2)


def test_a_release_counts_what_is_left_frees_the_set_and_lets_go_of_the_library(start: Start) -> None:
    driver, xids = start(pace=Pace(wait=0.2))
    watched(xids)
    driver.script({f"xid.{number}": "0:31" for number in range(1, 21)})

    released = xids.release(PATIENCE)
    until(lambda: count(xids, FIRST, 31) == 20)

    assert released
    assert [call.function for call in driver.calls()][-2:] == ["nvmlEventSetFree", "nvmlShutdown"]
    # Only what the source of the GPUs took up itself is left.
    pynvml.nvmlShutdown()
    with pytest.raises(pynvml.NVMLError):
        pynvml.nvmlDeviceGetCount()


def test_a_release_outlasts_a_wait_that_has_just_begun(start: Start) -> None:
    _, xids = start(pace=Pace())
    watched(xids)

    assert xids.release()


def test_a_release_does_not_wait_for_the_end_of_a_rest(start: Start) -> None:
    driver, xids = start({"result.nvmlEventSetWait_v2": 15}, pace=Pace(rest=3600.0))
    xids.watch(BOTH)
    until(lambda: bool(calls(driver, "nvmlEventSetWait_v2")))

    released = xids.release(PATIENCE)

    assert released
    assert calls(driver, "nvmlShutdown")


def test_after_a_release_nothing_is_asked_until_gpus_are_told_again(start: Start) -> None:
    driver, xids = start()
    watched(xids)
    xids.release(PATIENCE)
    driver.forget_calls()

    xids.watch({})
    quiet = driver.calls()
    watched(xids)
    fall_again(driver, xids, 95)

    assert quiet == []


def test_a_release_without_anything_taken_up_is_one_at_once(start: Start) -> None:
    driver, xids = start()
    driver.forget_calls()

    assert xids.release(0)
    assert driver.calls() == []


def test_a_wait_that_hangs_is_not_released_and_soon_watches_nothing(start: Start) -> None:
    driver, xids = start(pace=Pace(wait=0.02, rest=0.02, silence=0.5))
    watched(xids)

    driver.script({"hang.nvmlEventSetWait_v2": "forever"})
    until(lambda: bool(driver.hanging()))
    until(lambda: xids.readings() == [])

    assert not xids.release(0.05)


def test_a_wait_that_hangs_for_ever_does_not_hold_up_the_end(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    driver.script({"hang.nvmlEventSetWait_v2": "forever"})
    command = [sys.executable, "-c", HUNG, FIRST]

    with subprocess.Popen(
        command, env=driver.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        until(lambda: bool(driver.hanging()))
        try:
            said, _ = process.communicate("\n", timeout=PATIENCE)
        finally:
            process.kill()

    assert said == "False\n"
    assert process.returncode == 0
