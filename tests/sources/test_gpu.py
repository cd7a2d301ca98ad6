"""The GPUs: which are there, which are lost, who uses their memory, and what a driver that hangs cannot hold up."""

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from exporter.sources.gpu import Gpu, GpuDevices, GpuDriver, GpuIdentity, GpuPresence
from exporter.watch import Collection
from tests.nvml.driver import Driver, Readings, looking, of, require_compiler

require_compiler()

PATIENCE = 30.0
FIRST = "GPU-00000000-0000-0000-0000-000000000000"
SECOND = "GPU-00000001-0000-0000-0000-000000000001"
HOST = "pid:[4026531836]"
CONTAINER = "pid:[4026532999]"


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path)


def presence(readings: Readings) -> list[tuple[str, str, bool]]:
    return [(each.gpu, each.uuid, each.up) for each in of(GpuPresence, readings)]


def proc(folder: Path, names: Mapping[int, str], *, namespace: str = HOST) -> Path:
    """A /proc of some processes, all of which hold a file open."""
    place = folder / "proc"
    (place / "self/ns").mkdir(parents=True)
    (place / "self/ns/pid").symlink_to(namespace)
    for pid, name in names.items():
        (place / str(pid) / "fd").mkdir(parents=True)
        (place / str(pid) / "fd/0").symlink_to("/dev/null")
        (place / str(pid) / "comm").write_text(f"{name}\n")
    return place


def process_memory(driver: Driver, place: Path) -> Mapping[str, int]:
    return of(Gpu, driver.look("--proc", str(place)))[0].process_memory_bytes


def test_a_gpu_says_what_it_is(driver: Driver) -> None:
    readings = driver.look()

    assert of(GpuDriver, readings) == [GpuDriver(driver="580.105.08", cuda="13.0", nvml="13.580.105.08")]
    assert of(GpuIdentity, readings) == [
        GpuIdentity(
            gpu="0",
            uuid=FIRST,
            name="NVIDIA H100 80GB HBM3",
            pci_bus_id="00000000:18:00.0",
            serial="1650000000001",
            vbios="96.00.99.00.01",
            architecture="Hopper",
            compute_capability="9.0",
        )
    ]


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

    gpu = of(Gpu, driver.look())[0]

    assert gpu.memory_total_bytes is gpu.memory_used_bytes is gpu.memory_free_bytes is gpu.memory_reserved_bytes is None
    assert gpu.power_watts == 69.85
    assert sum(gpu.process_memory_bytes.values()) == 1024


def test_processes_of_one_name_are_added_up(driver: Driver, tmp_path: Path) -> None:
    driver.script({"gpu.0.processes": "11:1000,12:2000,13:400"})

    memory = process_memory(driver, proc(tmp_path, {11: "vllm", 12: "vllm", 13: "python3"}))

    assert memory == {"vllm": 3000, "python3": 400}


def test_a_process_that_shares_a_gpu_with_others_through_mps_is_counted_once(driver: Driver, tmp_path: Path) -> None:
    driver.script({"gpu.0.processes": "11:1000", "gpu.0.mps_processes": "11:1000,12:50"})

    memory = process_memory(driver, proc(tmp_path, {11: "vllm", 12: "vllm"}))

    assert memory == {"vllm": 1050}


def test_the_largest_twenty_names_are_told_and_the_rest_together(driver: Driver, tmp_path: Path) -> None:
    names = {pid: f"server-{pid}" for pid in range(1, 31)}
    driver.script({"gpu.0.processes": ",".join(f"{pid}:{1000 * pid}" for pid in names)})

    memory = process_memory(driver, proc(tmp_path, names))

    assert memory == {f"server-{pid}": 1000 * pid for pid in range(11, 31)} | {"other": 1000 * sum(range(1, 11))}


def test_a_process_that_has_ended_is_counted_without_its_name(driver: Driver, tmp_path: Path) -> None:
    driver.script({"gpu.0.processes": "11:1000,12:50"})

    assert process_memory(driver, proc(tmp_path, {11: "vllm"})) == {"vllm": 1000, "other": 50}


def test_in_a_container_only_a_process_that_holds_a_gpu_gives_its_name(driver: Driver, tmp_path: Path) -> None:
    driver.script({"gpu.0.processes": "11:1000,12:50"})
    place = proc(tmp_path, {11: "vllm", 12: "postgres"}, namespace=CONTAINER)
    (place / "11/fd/1").symlink_to("/dev/nvidia0")

    assert process_memory(driver, place) == {"vllm": 1000, "other": 50}


def test_a_process_whose_memory_is_not_told_is_left_out(driver: Driver, tmp_path: Path) -> None:
    driver.script({"gpu.0.processes": "11:1000,12:N/A"})

    assert process_memory(driver, proc(tmp_path, {11: "vllm", 12: "python3"})) == {"vllm": 1000}


def test_a_list_of_processes_that_cannot_be_is_not_believed(driver: Driver, tmp_path: Path) -> None:
    impossible = ["0:1000", "4194305:1000", "12:85520809985"]
    driver.script({f"gpu.{gpu}.processes": f"11:1000,{process}" for gpu, process in enumerate(impossible)})
    driver.script({"gpus": len(impossible)})

    readings = driver.look("--proc", str(proc(tmp_path, {11: "vllm", 12: "python3"})))

    assert [gpu.process_memory_bytes for gpu in of(Gpu, readings)] == [{}, {}, {}]


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


def test_one_thread_which_is_not_the_loops_makes_every_call(driver: Driver) -> None:
    driver.script({"gpus": 2})

    with looking(driver.environment) as look:
        look()
        driver.script({"driver.generation": 2})
        look()
        look()

    calls = driver.calls()
    assert {call.process for call in calls}.isdisjoint({call.thread for call in calls})
    assert len({call.thread for call in calls}) == 1


def test_the_call_that_blocks_is_never_made(driver: Driver) -> None:
    driver.script({"gpus": 2})

    driver.look()

    assert "nvmlDeviceGetPcieThroughput" not in {call.function for call in driver.calls()}
