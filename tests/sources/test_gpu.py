"""The GPUs: which are there, which are lost, who uses their memory, and what a driver that hangs cannot hold up."""

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from exporter.gpus.activity import Gpu
from exporter.gpus.heat import GpuHeat
from exporter.gpus.identity import GpuIdentity
from exporter.gpus.links import GpuLinks
from exporter.gpus.processes import GpuProcesses
from exporter.gpus.xids import GpuXids
from exporter.reading import Reading, declarations
from exporter.sources.gpu import GpuDevices, GpuPresence
from exporter.watch import Collection
from tests.nvml.boards import NAMES, words
from tests.nvml.driver import Driver, Look, Readings, looking, of, require_compiler, until_heard

require_compiler()

PATIENCE = 30.0
MOST_FAST_CALLS = 12
# Of which another is asked where the usual one does not answer.
INSTEAD = {"nvmlDeviceGetTemperatureV", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetCurrentClocksThrottleReasons"}
FIRST = "GPU-00000000-0000-0000-0000-000000000000"
SECOND = "GPU-00000001-0000-0000-0000-000000000001"


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path)


def presence(readings: Readings) -> list[tuple[str, str, bool]]:
    return [(each.gpu, each.uuid, each.up) for each in of(GpuPresence, readings)]


def test_a_driver_without_gpus_is_read_and_counts_none(driver: Driver) -> None:
    driver.script({"gpus": 0})

    readings = driver.look()

    assert of(GpuDevices, readings)[0].devices == 0
    assert not of(GpuPresence, readings)
    assert of(Collection, readings)[0].up


def test_a_lost_gpu_says_so_alone_while_the_others_go_on(driver: Driver) -> None:
    driver.script({"gpus": 3})

    with looking(driver.environment) as look:
        look()
        driver.script({"gpu.1.lost": 1, "gpu.2.temperature": 66})
        readings = look()

    assert ("1", SECOND, False) in presence(readings)
    assert [(gpu.gpu, gpu.temperature_celsius) for gpu in of(Gpu, readings)] == [("0", 41), ("2", 66)]
    assert [each.gpu for each in of(GpuIdentity, readings)] == ["0", "2"]
    assert of(GpuDevices, readings)[0].devices == 3
    assert of(Collection, readings)[0].up


def test_a_gpu_that_comes_back_is_read_again(driver: Driver) -> None:
    with looking(driver.environment) as look:
        look()
        driver.script({"gpu.0.lost": 1})
        lost = look()
        driver.script({"gpu.0.lost": 0})
        back = look()

    assert presence(lost) == [("0", FIRST, False)]
    assert presence(back) == [("0", FIRST, True)]
    assert len(of(Gpu, back)) == 1


@pytest.mark.parametrize("code", [15, 16])
def test_a_gpu_that_is_lost_amid_a_look_says_nothing_by_halves(driver: Driver, code: int) -> None:
    driver.script({"result.0.nvmlDeviceGetPerformanceState": code})

    readings = driver.look()

    assert presence(readings) == [("0", FIRST, False)]
    assert not of(Gpu, readings)
    assert not of(GpuIdentity, readings)


def asked_again(driver: Driver, look: Look, *, gpu: int) -> set[str]:
    """The functions by which one GPU is asked at a second look."""
    look()
    driver.forget_calls()
    look()
    return {call.function for call in driver.calls() if call.gpu == gpu}


def test_a_gpu_that_answers_nothing_any_more_is_lost_whatever_its_driver_calls_that(driver: Driver) -> None:
    driver.script({"gpus": 2})

    with looking(driver.environment, "--medium", "600", "--slow", "600") as look:
        asked = asked_again(driver, look, gpu=1) | INSTEAD | {"nvmlDeviceGetUUID"}
        driver.script({f"result.1.{function}": 999 for function in asked})
        silent = look()
        driver.script({f"result.1.{function}": None for function in asked})
        back = look()

    assert presence(silent) == [("0", FIRST, True), ("1", SECOND, False)]
    assert kinds(of_gpu(SECOND, silent)) == {GpuPresence}
    assert presence(back) == [("0", FIRST, True), ("1", SECOND, True)]


def test_a_gpu_that_tells_nothing_but_who_it_is_is_there(driver: Driver) -> None:
    with looking(driver.environment, "--medium", "600", "--slow", "600") as look:
        asked = asked_again(driver, look, gpu=0) | INSTEAD
        driver.script({f"result.0.{function}": 999 for function in asked})
        silent = look()

    assert presence(silent) == [("0", FIRST, True)]
    assert of(Gpu, silent)[0].silent


def test_a_gpu_that_was_lost_before_it_could_tell_its_uuid_is_known_by_its_index(driver: Driver) -> None:
    driver.script({"gpus": 2, "gpu.1.lost": 1})

    assert presence(driver.look()) == [("0", FIRST, True), ("1", "", False)]


def test_a_gpu_that_the_driver_struck_from_its_list_is_not_forgotten(driver: Driver) -> None:
    driver.script({"gpus": 2})

    with looking(driver.environment) as look:
        look()
        driver.script({"gpus": 1, "gpu.0.uuid": SECOND})
        readings = look()

    assert presence(readings) == [("0", SECOND, True), ("0", FIRST, False)]


def test_a_gpu_keeps_its_uuid_where_its_index_changes(driver: Driver) -> None:
    driver.script({"gpus": 2})

    with looking(driver.environment) as look:
        look()
        driver.script({"gpu.0.uuid": SECOND, "gpu.1.uuid": FIRST, "driver.generation": 2})
        look()
        readings = look()

    assert presence(readings) == [("0", SECOND, True), ("1", FIRST, True)]


def test_a_gpu_that_belongs_to_others_is_not_called_lost(driver: Driver) -> None:
    driver.script({"gpus": 2, "result.1.nvmlDeviceGetHandleByIndex_v2": 4})

    assert presence(driver.look()) == [("0", FIRST, True)]


def test_memory_that_is_the_hosts_is_absent_and_the_rest_is_told(driver: Driver) -> None:
    driver.script({"gpu.0.memory_total": "N/A", "gpu.0.processes": "7:1024"})

    readings = driver.look()

    gpu = of(Gpu, readings)[0]
    assert gpu.memory_total_bytes is gpu.memory_used_bytes is gpu.memory_free_bytes is gpu.memory_reserved_bytes is None
    assert gpu.power_watts == 69.85
    assert sum(of(GpuProcesses, readings)[0].process_memory_bytes.values()) == 1024


def test_a_hung_driver_call_costs_one_thread_and_holds_up_neither_the_loop_nor_the_exit(driver: Driver) -> None:
    driver.script({"hang.nvmlDeviceGetPowerUsage": 40_000})

    with looking(driver.environment, "--timeout", "0.3") as look:
        readings = [look(), look(), look()]

    collection = of(Collection, readings[-1])[0]
    assert collection.failures["timeout"] == 1
    assert collection.failures["stuck"] == 2
    assert len(readings[-1]) == 1
    assert len({call.thread for call in driver.calls()}) == 1


def test_a_driver_that_hung_for_a_while_is_read_again(driver: Driver) -> None:
    driver.script({"hang.nvmlDeviceGetPowerUsage": 1000})

    with looking(driver.environment, "--timeout", "0.3") as look:
        hung = look()
        driver.script({"hang.nvmlDeviceGetPowerUsage": 0})
        deadline = time.monotonic() + PATIENCE
        readings = look()
        while not of(Gpu, readings) and time.monotonic() < deadline:
            time.sleep(0.05)
            readings = look()

    assert not of(Gpu, hung)
    assert len(of(Gpu, readings)) == 1


def test_one_thread_which_is_not_the_loops_makes_every_call_but_those_that_wait_for_xids(driver: Driver) -> None:
    driver.script({"gpus": 2})

    with looking(driver.environment) as look:
        look()
        driver.script({"driver.generation": 2})
        look()
        look()

    calls = driver.calls()
    waiting = {call.thread for call in calls if call.function == "nvmlEventSetWait_v2"}
    assert {call.process for call in calls}.isdisjoint({call.thread for call in calls})
    assert len({call.thread for call in calls} - waiting) == 1


def test_the_call_that_blocks_is_never_made(driver: Driver) -> None:
    driver.script({"gpus": 2})

    driver.look()

    assert "nvmlDeviceGetPcieThroughput" not in {call.function for call in driver.calls()}


def of_gpu(uuid: str, readings: Readings) -> list[Reading]:
    """Everything that is told of one GPU."""
    return [each for each in readings if getattr(each, "uuid", None) == uuid]


def test_one_lost_of_eight_says_nothing_but_that_and_the_others_say_what_they_said(driver: Driver) -> None:
    driver.script({"gpus": 8, "gpu.*.energy_mj": 600_000})

    with looking(driver.environment, "--medium", "600", "--slow", "600") as look:
        before = look()
        driver.script({"gpu.3.lost": 1})
        after = look()

    lost = presence(before)[3][1]
    assert of_gpu(lost, after) == [GpuPresence(gpu="3", uuid=lost, up=False)]
    others = [uuid for _, uuid, up in presence(after) if up]
    assert len(others) == 7
    assert all(kinds(of_gpu(uuid, after)) >= kinds(of_gpu(uuid, before)) for uuid in others)


def kinds(readings: list[Reading]) -> set[type[Reading]]:
    """What kinds of readings there are, but for those that come in their own time."""
    return {type(each) for each in readings} - {GpuXids}


def test_a_gpu_that_is_lost_is_left_alone_for_longer_and_longer(driver: Driver) -> None:
    driver.script({"gpus": 2, "gpu.1.lost": 1})

    with looking(driver.environment) as look:
        for _ in range(20):
            look()

    looked_up = [call for call in driver.calls() if call.function == "nvmlDeviceGetHandleByIndex_v2" and call.gpu == 1]
    assert 2 <= len(looked_up) < 10


def test_what_moves_slowly_is_told_at_every_look_and_asked_at_few(driver: Driver) -> None:
    driver.script({"gpus": 2})

    with looking(driver.environment, "--medium", "600", "--slow", "600") as look:
        first = look()
        driver.forget_calls()
        second = look()

    asked = {call.function for call in driver.calls()}
    assert asked.isdisjoint({"nvmlDeviceGetFieldValues", "nvmlDeviceGetName", "nvmlDeviceGetEnforcedPowerLimit"})
    assert of(GpuIdentity, first) == of(GpuIdentity, second)
    assert of(GpuHeat, first) == of(GpuHeat, second)
    assert of(Gpu, second)[0].power_limit_watts["enforced"] == 700


def test_each_tier_is_asked_again_in_its_own_time(driver: Driver) -> None:
    with looking(driver.environment, "--medium", "0.2", "--slow", "600") as look:
        for _ in range(3):
            look()
            time.sleep(0.25)

    functions = [call.function for call in driver.calls()]
    assert functions.count("nvmlDeviceGetPowerUsage") == 3
    assert functions.count("nvmlDeviceGetEnforcedPowerLimit") == 3
    assert functions.count("nvmlDeviceGetName") == 1


def test_a_look_at_what_moves_fast_takes_few_calls_and_looks_no_gpu_up(driver: Driver) -> None:
    driver.script({"gpus": 8})

    with looking(driver.environment, "--medium", "600", "--slow", "600") as look:
        look()
        driver.forget_calls()
        look()

    calls = [call for call in driver.calls() if call.thread in askers(driver)]
    assert len(calls) <= 8 * MOST_FAST_CALLS + 1
    assert "nvmlDeviceGetHandleByIndex_v2" not in {call.function for call in calls}


def askers(driver: Driver) -> set[int]:
    """The threads that ask what GPUs do, rather than wait for their Xids."""
    return {call.thread for call in driver.calls() if call.function == "nvmlDeviceGetPowerUsage"}


def test_of_other_gpus_than_those_that_are_wanted_nothing_is_asked(driver: Driver) -> None:
    driver.script({"gpus": 3})

    with looking(driver.environment, "--devices", "1") as look:
        readings = look()

    assert presence(readings) == [("1", SECOND, True)]
    assert {gpu.gpu for gpu in of(Gpu, readings)} == {"1"}
    assert {call.gpu for call in driver.calls()} == {-1, 1}
    assert of(GpuDevices, readings)[0].devices == 3


def test_a_gpu_may_be_wanted_by_its_uuid(driver: Driver) -> None:
    driver.script({"gpus": 3})

    assert presence(driver.look("--devices", SECOND)) == [("1", SECOND, True)]


def test_a_wanted_gpu_that_is_lost_before_it_could_tell_its_uuid_is_not_overlooked(driver: Driver) -> None:
    driver.script({"gpus": 2, "gpu.1.lost": 1})

    assert presence(driver.look("--devices", SECOND)) == [("1", "", False)]
    assert presence(driver.look("--devices", FIRST)) == [("0", FIRST, True)]


def pci(folder: Path, status: str) -> Path:
    """A /sys/bus/pci/devices of the first GPU, which the machine has put to sleep or not."""
    power = folder / "pci/0000:18:00.0/power"
    power.mkdir(parents=True, exist_ok=True)
    (power / "runtime_status").write_text(f"{status}\n")
    return folder / "pci"


def test_a_gpu_that_is_suspended_is_not_woken_and_tells_nothing_but_that_it_is_there(
    driver: Driver, tmp_path: Path
) -> None:
    driver.script({"gpus": 2})

    with looking(driver.environment, "--pci", str(pci(tmp_path, "active"))) as look:
        until_heard(look)
        pci(tmp_path, "suspended")
        driver.forget_calls()
        asleep = look()
        asked = {call.gpu for call in driver.calls()}
        pci(tmp_path, "active")
        awake = look()

    assert asked == {-1, 1}
    assert presence(asleep) == [("0", FIRST, True), ("1", SECOND, True)]
    assert kinds(of_gpu(FIRST, asleep)) == {GpuPresence}
    assert [gpu.gpu for gpu in of(Gpu, asleep)] == ["1"]
    assert [gpu.gpu for gpu in of(Gpu, awake)] == ["0", "1"]


def test_a_gpu_that_mig_splits_no_more_says_how_busy_it_is_at_once(tmp_path: Path) -> None:
    driver = Driver(tmp_path, board="h100-mig")

    with looking(driver.environment) as look:
        split = [look(), look()][-1]
        driver.script({"gpu.*.mig_mode": 0, "gpu.*.utilization": 40})
        whole = [look(), look()][-1]

    assert of(Gpu, split)[0].utilization_ratio is None
    assert of(Gpu, whole)[0].utilization_ratio == 0.4


def test_bytes_over_pcie_are_made_up_of_rates_where_the_driver_does_not_count_them(driver: Driver) -> None:
    driver.script({"driver.fields": 190, "gpu.0.gpm.20": 100, "gpu.0.gpm.21": 10})

    with looking(driver.environment) as look:
        for _ in range(3):
            readings = look()
            time.sleep(0.15)

    links = of(GpuLinks, readings)[0]
    assert (links.pcie_transmitted_bytes or 0) > (links.pcie_received_bytes or 0) > 0


@pytest.mark.parametrize("load", [False, True], ids=["at rest", "at work"])
@pytest.mark.parametrize("board", NAMES)
def test_no_board_tells_a_number_that_cannot_be(tmp_path: Path, board: str, *, load: bool) -> None:
    driver = Driver(tmp_path, board=board)
    if load:
        driver.script(words(board, load=True))

    readings = driver.look()

    numbers = [number for each in readings for number in told_by(each)]
    assert all(math.isfinite(number) and abs(number) < 1 << 62 for number in numbers)
    assert all(number != 0xFFFFFFFF for number in numbers)
    assert len(of(Gpu, readings)) == 1


def told_by(reading: Reading) -> Iterator[float]:
    """Every number that a reading holds."""
    for name in declarations(type(reading)):
        value = getattr(reading, name)
        yield from (each for each in (value.values() if isinstance(value, Mapping) else (value,)) if is_number(each))


def is_number(value: object) -> bool:
    return isinstance(value, int | float)


GARBAGE = (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF, "nan")


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_that_a_driver_calls_a_success_reaches_nobody(tmp_path: Path, garbage: object) -> None:
    driver = Driver(tmp_path)
    told = [word.removeprefix("gpu.*.") for word in words("h100")]
    names = {"name", "serial", "vbios", "uuid", "bus_id", "part", "gsp"}
    driver.script({f"gpu.0.{word}": garbage for word in told if word not in names})

    readings = driver.look()

    numbers = [number for each in readings if not isinstance(each, Collection) for number in told_by(each)]
    assert all(math.isfinite(number) and abs(number) < 0xFFFFFFFF for number in numbers)
    assert presence(readings) == [("0", FIRST, True)]


def test_a_driver_that_keeps_everything_from_this_user_tells_which_gpus_there_are(driver: Driver) -> None:
    told = {"nvmlDeviceGetCount_v2", "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID", "nvmlInitWithFlags"}
    with looking(driver.environment) as look:
        look()
        functions = {call.function for call in driver.calls()} - told
        driver.script({f"result.0.{function}": 4 for function in functions})
        readings = look()

    assert presence(readings) == [("0", FIRST, True)]
    assert of(Gpu, readings)[0].utilization_ratio is None
    assert of(Collection, readings)[0].up
