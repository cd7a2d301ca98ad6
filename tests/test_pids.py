"""Who is whose child, of processes that come and go."""

import os
from pathlib import Path

import pytest

from exporter import pids
from exporter.pids import Census, Pid
from tests.services.forking import forking

KERNEL, USER = 0x00208040, 0x00400100


def process(proc: Path, number: int, *, flags: int, parent: int = 1, started: int = 100) -> Path:
    """The folder of a process, as the kernel shows it."""
    folder = proc / str(number)
    folder.mkdir()
    (folder / "stat").write_text(
        f"{number} (name) S {parent} 0 0 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 {started} 0 0 18446744073709551615 0\n"
    )
    return folder


def everyone(census: Census) -> set[int]:
    """The numbers of all that are counted."""
    return {child.number for children in census.children().values() for child in children}


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a first process and a thread of the kernel's."""
    monkeypatch.setattr(pids, "PROC", str(tmp_path))
    process(tmp_path, 1, flags=USER, parent=0)
    process(tmp_path, 2, flags=KERNEL, parent=0)
    (tmp_path / "net").mkdir()
    return tmp_path


def test_each_process_is_its_parents_child() -> None:
    with forking(workers=2) as server:
        found = Census().children()

        assert len(found[server.process.pid]) == 2
        assert server.process.pid in {child.number for child in found[os.getpid()]}
        assert os.getpid() in {child.number for child in found[os.getppid()]}


def test_the_kernels_own_threads_are_no_processes(proc: Path) -> None:
    census = Census()

    assert everyone(census) == everyone(census) == {1}


def test_a_child_of_the_second_process_of_a_container_is_one(proc: Path) -> None:
    process(proc, 7, flags=USER, parent=2)

    assert Census().children()[2] == [Pid(7, 1.0)]


def test_a_thread_of_the_kernels_is_looked_at_once(proc: Path) -> None:
    census = Census()
    census.children()
    (proc / "2" / "stat").write_text((proc / "1" / "stat").read_text())

    assert everyone(census) == {1}


def test_a_process_with_the_number_of_a_thread_of_the_kernels_that_has_ended_is_counted(proc: Path) -> None:
    census = Census()
    thread = process(proc, 7, flags=KERNEL)
    before = everyone(census)
    thread.rename(proc / "ended")
    process(proc, 7, flags=USER)

    assert before == {1}
    assert everyone(census) == {1, 7}


def test_who_comes_and_who_is_adopted_is_counted_at_once_and_who_ends_no_more(proc: Path) -> None:
    census = Census()
    process(proc, 7, flags=USER)
    process(proc, 8, flags=USER, parent=7)
    before = census.children()
    (proc / "7" / "stat").unlink()
    (proc / "8" / "stat").write_text((proc / "1" / "stat").read_text().replace(" S 0 ", " S 1 "))

    after = census.children()

    assert [child.number for child in before[7]] == [8]
    assert 7 not in after
    assert [child.number for child in after[1]] == [8]
