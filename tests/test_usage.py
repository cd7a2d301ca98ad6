"""What processes use, beside what psutil tells of the same ones."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from exporter.pids import Pid, stat
from exporter.usage import most_files, open_files, usage, usages
from tests.services.forking import forking, until

BUSY = """
import os, resource, sys, tempfile, threading, time
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 400))
threading.Thread(target=sys.stdin.read, daemon=True).start()
kept = [os.dup(1) for _ in range(40)]
with tempfile.TemporaryFile() as file:
    file.write(b"x" * 1000000)
    os.fsync(file.fileno())
while time.process_time() < 0.2:
    pass
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def busy() -> Iterator[Pid]:
    """A process that has used a little of everything, and does nothing more."""
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        found = stat(process.pid)
        assert found is not None
        try:
            yield found.pid
        finally:
            process.kill()


def test_a_process_uses_what_psutil_says() -> None:
    with busy() as pid:
        process = psutil.Process(pid.number)

        used = usage(pid)

        assert used is not None
        cpu, traffic = process.cpu_times(), process.io_counters()
        assert used.spent == {
            "user": cpu.user,
            "system": cpu.system,
            "read": traffic.read_bytes,
            "written": traffic.write_bytes,
        }
        assert (used.resident, used.threads) == (process.memory_info().rss, process.num_threads())
        assert (used.open_fds, used.max_fds) == (process.num_fds(), 300)


def test_open_files_are_counted_where_the_folder_has_no_size() -> None:
    # As that of open files was before Linux 6.2.
    assert os.stat("/proc/self/task").st_size == 0  # noqa: PTH116  a folder of the kernel's

    assert open_files("/proc/self/task") == len(os.listdir("/proc/self/task"))  # noqa: PTH208


@pytest.mark.parametrize(("told", "limit"), [("unlimited", None), ("1024", 1024)])
def test_a_process_that_may_open_any_number_of_files_has_no_limit(tmp_path: Path, told: str, limit: int | None) -> None:
    file = tmp_path / "limits"
    file.write_text(f"Max processes  15 15 processes\nMax open files  {told}  524288  files\nMax nice priority  0 0\n")

    assert most_files(str(file)) == limit


def test_a_process_that_has_ended_uses_nothing() -> None:
    with forking(workers=1) as server:
        worker = server.order("burn")
        found = stat(worker)
        assert found is not None
        server.order("leave")
        until(lambda: stat(worker) is None)

        assert usage(found.pid) is None
        assert usages([found.pid]) == {}


def test_a_number_that_another_process_got_is_not_taken_for_the_same_process() -> None:
    now = stat(os.getpid())

    assert now is not None
    assert usage(now.pid) is not None
    assert usage(Pid(os.getpid(), now.pid.started - 1)) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may see less")
def test_what_is_not_ours_to_know_is_missing_and_the_process_has_not_ended() -> None:
    with busy() as pid:
        os.seteuid(65534)
        try:
            used = usage(pid)
        finally:
            os.seteuid(0)

    assert used is not None
    assert used.spent.keys() == {"user", "system"}
    assert (used.open_fds, used.max_fds, used.crowding) == (None, None, 0.0)
    assert used.resident > 0
