"""Who holds a GPU's memory: by name, by number, by instance, and what is not believed."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from exporter.gpus.processes import GpuProcesses, Holder, Processes
from tests.nvml.driver import require_compiler
from tests.nvml.opened import first, opened

require_compiler()

HOST = "pid:[4026531836]"
CONTAINER = "pid:[4026532999]"
BOTH_LISTS = ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetMPSComputeRunningProcesses_v3")

Told = Callable[..., GpuProcesses]


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


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """What the first GPU of a driver that says this tells of its processes, of which these are to be seen."""

    def told(
        place: Mapping[int, str] | Path,
        said: Mapping[str, object],
        *,
        pids: bool = False,
        board: str = "h100",
        lacks: Sequence[str] = (),
    ) -> GpuProcesses:
        scripted, nvml = opened(tmp_path, monkeypatch, board=board, lacks=lacks)
        scripted.script({f"gpu.0.{word}": value for word, value in said.items()})
        there = place if isinstance(place, Path) else proc(tmp_path, place)
        return Processes(nvml, pids=pids, proc=there).read(first(nvml), "0", "GPU-1")

    return told


def test_processes_of_one_name_are_added_up(told: Told) -> None:
    seen = told({11: "vllm", 12: "vllm", 13: "python3"}, {"processes": "11:1000,12:2000,13:400"})

    assert seen.process_memory_bytes == {"vllm": 3000, "python3": 400}
    assert seen.holders == (
        Holder(pid=11, name="vllm", held=1000),
        Holder(pid=12, name="vllm", held=2000),
        Holder(pid=13, name="python3", held=400),
    )


def test_each_process_by_itself_where_that_is_wanted(told: Told) -> None:
    seen = told({11: "vllm", 12: "vllm"}, {"processes": "11:1000,12:2000,13:400"}, pids=True)

    assert seen.process_memory_bytes == {"vllm:11": 1000, "vllm:12": 2000, "13": 400}


def test_a_process_that_shares_a_gpu_with_others_through_mps_is_counted_once(told: Told) -> None:
    seen = told({11: "vllm", 12: "vllm"}, {"processes": "11:1000", "mps_processes": "11:1000,12:50"})

    assert seen.process_memory_bytes == {"vllm": 1050}


@pytest.mark.parametrize("pids", [False, True])
def test_the_largest_twenty_are_told_and_the_rest_together(told: Told, *, pids: bool) -> None:
    names = {pid: f"server-{pid}" for pid in range(1, 31)}

    seen = told(names, {"processes": ",".join(f"{pid}:{1000 * pid}" for pid in names)}, pids=pids)

    largest = {f"server-{pid}:{pid}" if pids else f"server-{pid}": 1000 * pid for pid in range(11, 31)}
    assert seen.process_memory_bytes == largest | {"other": 1000 * sum(range(1, 11))}
    assert len(seen.holders or ()) == 30


def test_a_process_that_has_ended_is_counted_without_its_name(told: Told) -> None:
    assert told({11: "vllm"}, {"processes": "11:1000,12:50"}).process_memory_bytes == {"vllm": 1000, "other": 50}


def test_in_a_container_only_a_process_that_holds_a_gpu_gives_its_name(told: Told, tmp_path: Path) -> None:
    place = proc(tmp_path, {11: "vllm", 12: "postgres"}, namespace=CONTAINER)
    (place / "11/fd/1").symlink_to("/dev/nvidia0")

    seen = told(place, {"processes": "11:1000,12:50"})

    assert seen.process_memory_bytes == {"vllm": 1000, "other": 50}
    assert [holder.name for holder in seen.holders or ()] == ["vllm", ""]


def test_a_process_whose_memory_is_not_told_holds_some_all_the_same(told: Told) -> None:
    seen = told({11: "vllm", 12: "python3"}, {"processes": "11:1000,12:N/A"})

    assert seen.process_memory_bytes == {"vllm": 1000}
    assert Holder(pid=12, name="python3", held=None) in (seen.holders or ())


@pytest.mark.parametrize("impossible", ["0:1000", "4194305:1000", "12:85520809985", "4294967295:24"])
def test_a_list_of_processes_that_cannot_be_is_not_believed(told: Told, impossible: str) -> None:
    seen = told({11: "vllm", 12: "python3"}, {"processes": f"11:1000,{impossible}"})

    assert seen.process_memory_bytes == {}
    assert seen.holders is None


def test_a_board_that_shares_the_hosts_memory_sets_no_bound(told: Told) -> None:
    seen = told({11: "vllm"}, {"memory_total": "N/A", "processes": "11:1099511627776"})

    assert seen.process_memory_bytes == {"vllm": 1 << 40}


def test_a_driver_that_lists_nobody_is_told_from_one_that_has_no_list(told: Told) -> None:
    nobody = told({}, {})

    assert nobody.holders == ()


def test_a_driver_that_has_no_list_says_nothing(told: Told) -> None:
    seen = told({}, {"processes": "!3", "mps_processes": "!3"})

    assert seen.holders is None
    assert seen.process_memory_bytes == {}


def test_a_driver_without_the_newer_functions_is_asked_by_the_older(told: Told) -> None:
    seen = told({11: "vllm"}, {"processes": "11:1000"}, lacks=BOTH_LISTS)

    assert seen.process_memory_bytes == {"vllm": 1000}


def test_a_process_on_several_instances_is_added_up_and_told_apart(told: Told) -> None:
    seen = told({11: "vllm"}, {"mig.0.processes": "11:1000", "mig.1.processes": "11:500"}, board="h100-mig")

    assert seen.process_memory_bytes == {"vllm": 1500}
    assert seen.holders == (
        Holder(pid=11, name="vllm", held=1000, instance=1),
        Holder(pid=11, name="vllm", held=500, instance=5),
    )


def test_where_the_whole_of_a_split_gpu_is_hidden_its_instances_are_asked(told: Told) -> None:
    hidden = {"processes": "!4", "mps_processes": "!4", "mig.*.mps_processes": "", "mig.*.processes": ""}

    seen = told({11: "vllm"}, {**hidden, "mig.0.processes": "11:1000"}, board="h100-mig")

    assert seen.process_memory_bytes == {"vllm": 1000}


def test_the_graphics_list_is_never_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)

    Processes(nvml).read(first(nvml), "0", "GPU-1")

    assert not [call.function for call in driver.calls() if "Graphics" in call.function]
