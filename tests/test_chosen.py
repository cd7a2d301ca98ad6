"""Processes that an operator has named, found among real ones."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter import units
from exporter.chosen import ByCommand, ByPidFile, ByUnit, Chosen, Way
from exporter.lookup import Entrance, Lookup, Neighbours
from exporter.pids import TICKS, Everyone, Pid
from exporter.reading import Reason, Unreadable
from exporter.sources.process import ServiceProcess
from exporter.units import Unit
from tests.cgroups import a_unit
from tests.daemon import started
from tests.ports import free_port
from tests.services.forking import ForkingServer, forking
from tests.services.loading import loading
from tests.sources.test_process import process, processes


def chosen(way: Way, port: int | None = None) -> Chosen:
    """A search that takes nothing for settled."""
    neighbours = Neighbours(recent=0, settled=0, counted=0)
    return Chosen(way, Entrance("127.0.0.1", port, neighbours), neighbours)


def watching(way: Way, port: int | None = None) -> ServiceProcess:
    """The source of a service whose processes are named so."""
    return ServiceProcess(
        target="chat", search=chosen(way, port), neighbours=Neighbours(recent=0, settled=0, counted=0)
    )


def grown_up() -> None:
    """Wait until who was begun just now is told from who is begun next: the kernel tells a start in whole ticks."""
    time.sleep(5 / TICKS)


def root(search: Chosen) -> int | None:
    """The topmost process, as the search finds it now."""
    search.look()
    return None if search.found.root is None else search.found.root.number


def command(pattern: str) -> ByCommand:
    """Processes with a command line like this."""
    return ByCommand(pattern, lambda line: re.search(pattern, line) is not None)


@contextmanager
def titled(title: str, workers: int = 0) -> Iterator[ForkingServer]:
    """A forking server with a word of its own in its command line."""
    with forking(workers=workers, command=(sys.executable, "-X", f"title={title}")) as server:
        yield server


@pytest.fixture
def word() -> str:
    """A word that stands in the command line of no other process."""
    return f"w{os.urandom(8).hex()}"


@pytest.fixture
def pid_file(tmp_path: Path) -> Path:
    return tmp_path / "model.pid"


def failure(search: Chosen) -> Unreadable:
    """Why the search cannot be made."""
    with pytest.raises(Unreadable) as raised:
        search.look()
    return raised.value


def test_a_process_is_found_by_its_pid_file_with_its_children(pid_file: Path) -> None:
    with forking(workers=2) as server:
        pid_file.write_text(f"{server.process.pid}\n")
        source = watching(ByPidFile(pid_file), server.port)

        seen = process(source)

        assert (seen.lookup["found"], seen.up, seen.restarts, seen.threads) == (True, True, 0, 3)
        assert (processes(source), seen.accept_queue, seen.connections) == (3, 0, 0)
        assert seen.resident_memory_bytes


def test_a_pid_file_is_read_again_when_it_changes(pid_file: Path) -> None:
    with forking() as one, forking() as other:
        pid_file.write_text(f"{one.process.pid}\nand more that other programs put there\n")
        search = chosen(ByPidFile(pid_file))
        before = root(search)
        pid_file.with_suffix(".new").write_text(str(other.process.pid))
        pid_file.with_suffix(".new").replace(pid_file)

        assert (before, root(search)) == (one.process.pid, other.process.pid)
        assert search.restarts == 1


def test_a_pid_that_another_process_has_got_since_is_not_believed(pid_file: Path) -> None:
    with forking() as server:
        pid_file.write_text(str(server.process.pid))
        written = pid_file.stat().st_mtime - 60
        os.utime(pid_file, (written, written))
        search = chosen(ByPidFile(pid_file))

        assert root(search) is None
        assert search.found.lookup is Lookup.NOT_FOUND


def test_a_service_that_ends_is_down_with_its_pid_file_and_without(pid_file: Path) -> None:
    with forking() as server:
        pid_file.write_text(str(server.process.pid))
        source = watching(ByPidFile(pid_file))
        process(source)
        server.kill()

        left = process(source)
        pid_file.unlink()
        taken = process(source)

    assert (left.up, left.lookup["not_found"], taken.up, taken.restarts) == (False, True, False, 0)


@pytest.mark.parametrize("text", ["", "\n", "999999999", "0"])
def test_a_pid_file_that_names_nobody_finds_nobody(pid_file: Path, text: str) -> None:
    pid_file.write_text(text)

    assert root(chosen(ByPidFile(pid_file))) is None


def test_what_is_wrong_with_a_pid_file_is_said(pid_file: Path) -> None:
    missing = failure(chosen(ByPidFile(pid_file)))
    pid_file.write_text("chat")
    wrong = failure(chosen(ByPidFile(pid_file)))
    pid_file.unlink()
    os.mkfifo(pid_file)
    pipe = failure(chosen(ByPidFile(pid_file)))

    assert (missing.reason, str(missing)) == (Reason.NOT_FOUND, f"there is no file {pid_file}")
    assert (wrong.reason, pipe.reason) == (Reason.INVALID, Reason.INVALID)
    assert str(wrong) == f"{pid_file} holds no pid"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may read less")
def test_a_pid_file_that_is_not_ours_to_read_is_not_permitted(pid_file: Path) -> None:
    pid_file.write_text("1")
    pid_file.chmod(0)
    os.seteuid(65534)
    try:
        reason = failure(chosen(ByPidFile(pid_file))).reason
    finally:
        os.seteuid(0)

    assert reason is Reason.NOT_PERMITTED


def test_processes_are_found_by_their_command_line_with_their_children(word: str) -> None:
    with titled(word, workers=2) as server, forking():
        source = watching(command(f"title={word} "), server.port)

        seen = process(source)

        assert (seen.up, processes(source), seen.threads, seen.accept_queue) == (True, 3, 3, 0)
        assert root(chosen(command(word))) == server.process.pid


def test_a_service_that_is_killed_and_started_again_has_restarted_once(word: str) -> None:
    with titled(word) as server:
        source = watching(command(word))
        process(source)
        server.kill()
        between = process(source)

    with titled(word):
        after = process(source)

    assert (between.up, between.restarts, after.up, after.restarts) == (False, 0, True, 1)


def test_a_worker_that_outlives_its_master_is_no_restart(word: str) -> None:
    with titled(word, workers=1) as server:
        search = chosen(command(word))
        grown_up()
        root(search)
        worker = server.order("burn")
        server.kill_master()

        assert root(search) == worker
        assert search.restarts == 0


def test_who_looks_is_not_found_nor_who_started_him(word: str) -> None:
    look = (
        "import os; from exporter.chosen import *; from exporter.lookup import Neighbours;"
        f"n = Neighbours(); s = Chosen(ByCommand('', lambda line: '{word}' in line), Entrance('', None, n), n);"
        "exec('try: s.look()\\nexcept Exception as error: print(error)')"
    )
    shell = f'"$0" -c "$1"; : {word}'

    said = subprocess.run(
        ["sh", "-c", shell, sys.executable, look],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )

    assert said.stdout == "no process has a command line like \n"


def test_a_command_line_that_no_process_ever_had_is_said(word: str) -> None:
    wrong = failure(chosen(command(word)))

    assert (wrong.reason, str(wrong)) == (Reason.NOT_FOUND, f"no process has a command line like {word}")


def of(unit: Path) -> ByUnit:
    """The processes of this unit."""
    return ByUnit(Unit.named(unit.name))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may see less")
def test_the_processes_of_a_unit_are_told_of_without_any_privilege() -> None:
    with a_unit() as unit, loading(free_port(), unit=unit) as server:
        server.fork()
        server.listen()
        os.seteuid(65534)
        try:
            source = watching(of(unit), server.port)
            seen, count = process(source), processes(source)
        finally:
            os.seteuid(0)

    assert (seen.lookup["found"], seen.up, seen.restarts, seen.threads, count) == (True, True, 0, 2, 2)
    assert seen.accept_queue is not None
    assert seen.cpu_seconds
    assert seen.resident_memory_bytes
    assert (seen.open_fds, seen.read_bytes, seen.unique_memory_bytes) == (None, None, None)


def test_a_process_that_its_parent_has_left_behind_is_still_the_unit_s() -> None:
    with a_unit() as unit, loading(free_port(), unit=unit) as server:
        child = server.fork()
        search = chosen(of(unit))
        grown_up()
        before = root(search)
        server.end()

        assert (before, root(search)) == (server.process.pid, child)
        assert search.restarts == 0


def test_a_unit_that_is_started_again_has_restarted_once() -> None:
    with a_unit() as unit:
        search = chosen(of(unit))
        with loading(free_port(), unit=unit) as first:
            root(search)
            first.end()
            between = root(search), search.found.lookup, search.restarts

        with loading(free_port(), unit=unit) as second:
            assert root(search) == root(search) == second.process.pid

    assert between == (None, Lookup.NOT_FOUND, 0)
    assert search.restarts == 1


def test_what_prepares_a_unit_is_no_restart_where_systemd_tells_one_run_from_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "RUNS", tmp_path)
    with a_unit() as unit:
        (tmp_path / f"invocation:{unit.name}").symlink_to("first")
        search = chosen(of(unit))
        restarts = []
        for run in ("first", "first", "second"):
            (tmp_path / f"invocation:{unit.name}").unlink()
            (tmp_path / f"invocation:{unit.name}").symlink_to(run)
            with loading(free_port(), run, unit=unit) as server:
                assert root(search) == server.process.pid
                restarts.append(search.restarts)

    assert restarts == [0, 0, 1]


def test_a_unit_that_there_is_not_is_said() -> None:
    wrong = failure(chosen(ByUnit(Unit.named("no-such-model"))))

    assert (wrong.reason, str(wrong)) == (Reason.NOT_FOUND, "there is no unit no-such-model.service")


def test_a_unit_that_there_is_and_that_does_not_run_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "FOLDERS", (tmp_path,))
    (tmp_path / "model.service").touch()

    seen = process(watching(ByUnit(Unit.named("model"))))

    assert (seen.lookup["not_found"], seen.up, seen.restarts) == (True, False, 0)


def test_of_units_of_one_name_the_system_s_goes_before_a_user_s() -> None:
    ours, theirs = Pid(os.getpid(), 1.0), Pid(os.getppid(), 1.0)
    everyone = Everyone({})
    everyone.cgroups = {
        "/user.slice/user-1000.slice/user@1000.service/app.slice/vllm.service": [theirs],
        "/system.slice/vllm.service/main": [ours],
    }

    assert ByUnit(Unit.named("vllm")).members(ours, everyone) == [ours]


HIDING = 'mount -t proc -o hidepid=2 proc /proc; exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"'
AMONG_HIDDEN = ("unshare", "--mount", "sh", "-ec", HIDING, "sh")


def able_to_hide() -> bool:
    """Whether the kernel hides processes of others from whoever is not to see them."""
    listed = subprocess.run([*AMONG_HIDDEN, "ls", "/proc"], check=False, capture_output=True, text=True)
    return listed.returncode == 0 and "1" not in listed.stdout.split()


@pytest.mark.skipif(not able_to_hide(), reason="processes cannot be hidden here, as /proc with hidepid does")
def test_where_processes_are_hidden_it_is_not_said_that_there_are_none() -> None:
    hidden = (
        "from exporter.chosen import *; from exporter.lookup import Neighbours;"
        "n = Neighbours(); s = Chosen(ByCommand('', lambda line: False), Entrance('', None, n), n);"
        "s.look(); print(s.found.lookup)"
    )

    said = subprocess.run(
        [*AMONG_HIDDEN, sys.executable, "-c", hidden],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )

    assert said.stdout.strip() == Lookup.NOT_PERMITTED


def test_a_service_without_a_port_has_processes_and_no_queue(word: str) -> None:
    with titled(word):
        seen = process(watching(command(word)))

    assert (seen.up, seen.accept_queue, seen.connections) == (True, None, None)


def configured(port: int, **named: str) -> Mapping[str, object]:
    """The program watches one service whose processes are named so."""
    off = {"enabled": False}
    every = dict.fromkeys(("health", "prompt", "server", "gpu"), off)
    service = {"name": "chat", "url": f"http://127.0.0.1:{port}", "process": named}
    return {**every, "targets": [service], "host": {"every": "500ms"}}


def test_the_program_finds_processes_as_they_are_named(tmp_path: Path, pid_file: Path, word: str) -> None:
    with titled(word, workers=1) as server:
        pid_file.write_text(str(server.process.pid))
        for named in ({"pid_file": str(pid_file)}, {"cmdline": f"title={word}\\b"}):
            with started(tmp_path, configured(server.port, **named)) as daemon:
                page = daemon.until(lambda page: page.value("model_processes", target="chat") == 2)

            assert page.value("model_process_up", target="chat") == 1
            assert page.value("model_process_accept_queue", target="chat") == 0


def test_the_program_says_that_there_is_no_such_unit(tmp_path: Path) -> None:
    with started(tmp_path, configured(free_port(), unit="no-such-model")) as daemon:
        page = daemon.until(
            lambda page: bool(page.by("reason", "model_sidecar_collection_failures_total", source="process"))
        )

    assert page.by("reason", "model_sidecar_collection_failures_total", source="process").keys() == {"not_found"}
    assert page.value("model_process_up", target="chat") is None
    assert "there is no unit no-such-model.service" in daemon.log
