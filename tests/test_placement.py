"""On which GPUs a service runs: who says so, how much of them it holds, and why that may not be known."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.boards import Board, Machine, Rack, boards, visible
from exporter.gpus.mig import MigIdentity
from exporter.gpus.processes import GpuProcesses, Holder
from exporter.pids import stat
from exporter.placement import (
    WHY,
    Match,
    Place,
    ServiceGpu,
    ServiceGpuMemory,
    ServiceGpus,
    Word,
    placed,
)
from exporter.reading import Reading
from exporter.sources.gpu import GpuPresence
from exporter.sources.process import Process, environment
from tests.daemon import started
from tests.nvml.driver import Driver, require_compiler
from tests.services.forking import forking

MODEL = "NVIDIA H100 80GB HBM3"
PCI = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
OURS = frozenset({100, 101})


def board(index: int, *holders: Holder, model: str = MODEL) -> Board:
    return Board(gpu=str(index), uuid=f"GPU-{index}aaa", model=model, holders=holders)


def holder(pid: int, held: int | None = 1000, name: str = "vllm") -> Holder:
    return Holder(pid=pid, name=name, held=held)


def machine(count: int = 4, *, model: str = MODEL) -> list[Board]:
    return [board(index, model=model) for index in range(count)]


MIXED = [board(0, model="NVIDIA T4"), board(1), board(2)]


def indexes(found: Iterable[Board] | None) -> str | None:
    return None if found is None else "".join(each.gpu for each in found)


@pytest.mark.parametrize(
    ("chosen", "here"),
    [
        ("0", "0"),
        ("2,1", "12"),
        (" 1 , 3 ", "13"),
        ("1,1", "1"),
        ("", ""),
        ("-1", ""),
        ("1,-1,2", "1"),
        ("none", ""),
        ("NoDevFiles", ""),
        ("9", ""),
        ("GPU-2aaa", "2"),
        ("GPU-2", "2"),
        ("GPU-", ""),
        ("GPU-2aaa,3", "23"),
        ("MIG-5555-6", "3"),
        ("MIG-GPU-1aaa/1/0", "1"),
        ("MIG-9", ""),
    ],
)
def test_cuda_names_the_gpus_that_a_process_may_see(chosen: str, here: str) -> None:
    split = replace(board(3), instances=frozenset({"MIG-5555-6666"}))

    assert indexes(visible({"CUDA_VISIBLE_DEVICES": chosen}, [*machine(3), split])) == here


@pytest.mark.parametrize(
    ("environment", "here"),
    [
        ({"CUDA_VISIBLE_DEVICES": "1"}, None),
        ({"CUDA_VISIBLE_DEVICES": "1", **PCI}, "1"),
        ({"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, None),
        ({"CUDA_VISIBLE_DEVICES": "0,1,2"}, "012"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-1"}, "1"),
    ],
)
def test_an_index_among_unlike_gpus_is_believed_where_they_are_counted_by_their_place(
    environment: Mapping[str, str], here: str | None
) -> None:
    assert indexes(visible(environment, MIXED)) == here


def test_an_index_is_not_believed_before_it_is_known_what_the_gpus_are() -> None:
    assert visible({"CUDA_VISIBLE_DEVICES": "1"}, machine(model="")) is None


@pytest.mark.parametrize(
    ("given", "chosen", "own", "here"),
    [
        (None, None, None, None),
        ("all", None, None, None),
        ("", None, "all", None),
        ("none", None, None, ""),
        ("void", None, None, None),
        ("void", "0", None, None),
        ("void", "GPU-2", None, "2"),
        ("2,3", None, None, "23"),
        ("GPU-3,GPU-1", None, None, "13"),
        ("nvidia.com/gpu=0", None, None, None),
        ("2,3", "1", None, "3"),
        ("3", "0", "all", "3"),
        ("all", "1", "all", "1"),
        (None, "1", "GPU-3", None),
        ("2", None, "GPU-3", None),
        ("GPU-3", "0", "GPU-3", "3"),
    ],
)
def test_what_a_container_was_given_is_counted_by_cuda_from_0(
    given: str | None, chosen: str | None, own: str | None, here: str | None
) -> None:
    said = {"NVIDIA_VISIBLE_DEVICES": given, "CUDA_VISIBLE_DEVICES": chosen}
    environment = {name: word for name, word in said.items() if word is not None}

    assert indexes(visible(environment, machine(), own)) == here


@pytest.mark.parametrize(
    ("wanted", "here", "known_by"),
    [
        ([1], "1", "configuration"),
        ([3, "GPU-3aaa", 3], "3", "configuration"),
        (["GPU-2aaa", 0], "02", "configuration"),
        (["MIG-GPU-1aaa/7/0"], "1", "configuration"),
        ([0, 7], "0", "configuration, of which 7 is not here"),
    ],
)
def test_what_is_configured_goes_before_all_else(wanted: Sequence[int | str], here: str, known_by: str) -> None:
    gpus = [*machine(3), board(3, holder(100))]

    found = placed(Rack(boards=tuple(gpus)), OURS, Word(wanted=wanted, environment={"CUDA_VISIBLE_DEVICES": "2"}))

    assert (indexes(found.boards), found.known_by) == (here, known_by)


def test_what_processes_do_goes_before_what_they_were_told() -> None:
    gpus = [board(0), board(1, holder(101)), board(2, holder(7)), board(3, holder(100), holder(7))]

    found = placed(Rack(boards=tuple(gpus)), OURS, Word(environment={"CUDA_VISIBLE_DEVICES": "2"}))

    assert (indexes(found.boards), found.known_by) == ("13", "processes")


def test_a_service_that_holds_nothing_yet_is_where_its_environment_says() -> None:
    found = placed(Rack(boards=tuple(machine())), OURS, Word(environment={"CUDA_VISIBLE_DEVICES": "2"}))

    assert (indexes(found.boards), found.known_by) == ("2", "environment")


def test_a_service_of_which_nothing_is_said_is_nowhere() -> None:
    found = placed(Rack(boards=tuple(machine())), OURS, Word())

    assert (found.boards, found.known_by) == ((), "unknown")


@pytest.mark.parametrize(
    ("gpus", "pids", "match"),
    [
        ([board(0, holder(100))], OURS, Match.MATCHED),
        ([board(0, holder(100, None))], OURS, Match.NOT_TOLD),
        ([board(0, holder(100))], frozenset[int](), Match.NOT_FOUND),
        ([board(0, holder(100, name=""))], OURS, Match.NOT_PERMITTED),
        ([board(0, holder(9999, name=""))], OURS, Match.OTHER_NAMESPACE),
        ([replace(board(0), holders=None, occupied=True)], OURS, Match.NOT_LISTED),
        ([replace(board(0), occupied=True)], OURS, Match.HIDDEN),
        ([replace(board(0, holder(7)), occupied=True)], OURS, Match.NONE_HELD),
        ([board(0)], OURS, Match.NONE_HELD),
    ],
)
def test_why_a_services_processes_are_not_found_on_a_gpu_is_said(
    gpus: Sequence[Board], pids: frozenset[int], match: Match
) -> None:
    assert placed(Rack(boards=tuple(gpus)), pids, Word()).match is match


def test_every_reason_has_its_words() -> None:
    assert {match for match in Match if not WHY[match]} == {Match.MATCHED}


def said(*gpus: tuple[int, bool, Sequence[Holder] | None]) -> tuple[Reading, ...]:
    """What a driver says of GPUs: which, whether they are up, and by whom they are held."""
    readings: list[Reading] = []
    for index, up, holders in gpus:
        label = {"gpu": str(index), "uuid": f"GPU-{index}aaa"}
        readings.append(GpuPresence(**label, up=up))
        if holders is not None:
            readings.append(GpuProcesses(**label, process_memory_bytes={}, holders=tuple(holders)))
    return tuple(readings)


def process(*pids: int, **environment: str) -> Process:
    return Process(target="chat", lookup={}, pids=frozenset(pids), environment=environment)


def test_a_service_is_published_with_what_it_holds_of_each_gpu() -> None:
    driver = said((0, True, [holder(100), holder(101, 24), holder(7, 5)]), (1, True, [holder(101, None)]))
    place = Place(Machine(lambda: driver), target="chat", word=Word())

    place.look(process(100, 101))

    assert place.latest == (
        ServiceGpu(target="chat", gpu="0", uuid="GPU-0aaa"),
        ServiceGpuMemory(target="chat", gpu="0", uuid="GPU-0aaa", memory_bytes=1024),
        ServiceGpu(target="chat", gpu="1", uuid="GPU-1aaa"),
        ServiceGpus(target="chat", known_by="processes", memory_unknown=WHY[Match.NOT_TOLD]),
    )


def test_nothing_is_published_where_there_is_no_gpu() -> None:
    place = Place(Machine(tuple), target="chat", word=Word(wanted=[0]))

    assert place.look(process(100)) == ()
    assert place.latest == ()


def test_a_gpu_that_is_lost_is_still_the_services() -> None:
    driver = [said((0, True, [holder(100)]), (1, True, [])), said((0, False, None), (1, True, []))]
    place = Place(Machine(lambda: driver[0]), target="chat", word=Word())
    place.look(process(100))

    driver.pop(0)
    place.look(None)

    assert ServiceGpu(target="chat", gpu="0", uuid="GPU-0aaa") in place.latest
    assert not any(isinstance(each, ServiceGpuMemory) for each in place.latest)


def test_a_gpu_that_is_back_and_held_by_others_is_not() -> None:
    driver = [said((0, True, [holder(100)])), said((0, False, None)), said((0, True, [holder(7)]))]
    place = Place(Machine(lambda: driver[0]), target="chat", word=Word())
    for _ in range(2):
        place.look(process(100))
        driver.pop(0)

    place.look(process(100))

    assert not any(isinstance(each, ServiceGpu) for each in place.latest)


def test_nothing_is_reckoned_anew_while_nothing_has_changed() -> None:
    driver = [said((0, True, [holder(100)])), said((0, True, [holder(100)]))]
    gpus = Machine(lambda: driver[0])
    place = Place(gpus, target="chat", word=Word())
    place.look(process(100))
    before, known = place.latest, gpus.rack()

    driver.pop(0)
    place.look(process(100))

    assert place.latest is before
    assert gpus.rack() is known


def test_gpus_are_in_the_drivers_order_with_the_instances_they_are_split_into() -> None:
    part = MigIdentity(gpu="2", uuid="GPU-2aaa", gpu_instance="1", profile="3g.40gb", mig_uuid="MIG-7777")

    found = boards([*said((10, True, []), (2, True, [])), part])

    assert [each.gpu for each in found] == ["2", "10"]
    assert found[0].instances == {"MIG-7777"}


def test_of_an_environment_only_what_tells_of_gpus_is_read() -> None:
    said = {"CUDA_VISIBLE_DEVICES": "1,2", "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "SECRET": "sesame"}
    with forking(command=("env", *(f"{name}={word}" for name, word in said.items()), sys.executable)) as server:
        service = stat(server.process.pid)
        assert service is not None

        read = environment(service.pid)

    assert {name: word for name, word in said.items() if name != "SECRET"}.items() <= (read or {}).items()
    assert "SECRET" not in (read or {})
    assert environment(service.pid) is None


def configured(port: int) -> Mapping[str, object]:
    off = {"enabled": False}
    return {
        "targets": [
            {"name": "chat", "url": f"http://127.0.0.1:{port}", **dict.fromkeys(("health", "prompt", "server"), off)}
        ],
        "host": {"every": "500ms"},
        "gpu": {"every": "500ms"},
    }


def test_the_program_finds_a_service_whose_worker_holds_a_gpu(tmp_path: Path) -> None:
    require_compiler()
    driver = Driver(tmp_path)
    with forking(workers=1, command=("env", "CUDA_VISIBLE_DEVICES=1", sys.executable)) as server:
        worker = server.order("burn")
        driver.script({"gpus": 3, "gpu.2.processes": f"{worker}:1048576,{os.getpid()}:4096"})

        with started(tmp_path, configured(server.port), environment=driver.environment) as daemon:
            page = daemon.until(lambda page: bool(page.samples("model_process_gpu_memory_bytes")))

    assert page.by("gpu", "model_process_gpu_memory_bytes", target="chat") == {"2": 1048576}
    assert page.by("gpu", "model_gpu_info", target="chat") == {"2": 1}


def test_the_program_reads_the_environment_of_a_service_that_holds_none(tmp_path: Path) -> None:
    require_compiler()
    driver = Driver(tmp_path)
    driver.script({"gpus": 3})
    with (
        forking(command=("env", "CUDA_VISIBLE_DEVICES=1", sys.executable)) as server,
        started(tmp_path, configured(server.port), environment=driver.environment) as daemon,
    ):
        page = daemon.until(lambda page: bool(page.samples("model_gpu_info")))
        status = daemon.get("/").text

    assert page.by("gpu", "model_gpu_info", target="chat") == {"1": 1}
    assert not page.samples("model_process_gpu_memory_bytes")
    assert WHY[Match.NONE_HELD] in status
