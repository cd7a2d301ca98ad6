"""What a machine may do to the program: what is lost is named, the rest goes on, and a signal still ends it."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from exporter.lookup import Neighbours, Search
from exporter.sources.process import Process, ServiceProcess, Tree
from tests.daemon import PATIENCE, Daemon, Page, begun
from tests.services.forking import forking
from tests.services.openai import CHAT, GOOD
from tests.services.scripted import Request, Service, Stage, Step, reply
from tests.sources.test_process import process, readings

SOON = 2.0  # Seconds within which a supervisor sees the end after its signal.
HERE = Path(__file__).parent
COMPILER = shutil.which("cc")
needs_a_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler, with which the fault is built")


def compiled(source: str, *options: str, into: Path) -> Path:
    """What the C compiler makes of a source beside this file."""
    assert COMPILER is not None
    built = into / Path(source).stem
    subprocess.run([COMPILER, *options, "-o", built, HERE / source], check=True)
    return built


@pytest.fixture
def faulty(tmp_path: Path) -> dict[str, str]:
    """The environment of a program to which the machine does what `tests/faults.c` says."""
    library = compiled("faults.c", "-shared", "-fPIC", into=tmp_path)
    (tmp_path / "hung").mkdir()
    return {"LD_PRELOAD": str(library), "FAULTS": str(tmp_path)}


def good(stage: Stage) -> Service:
    """A service that is well."""
    return stage.serve({"GET /health": reply("ok"), f"POST {CHAT}": thoughtful})


def thoughtful(request: Request) -> Iterator[Step]:
    """A good answer, after as long as the kernel takes until it stamps what comes."""
    yield 0.05
    yield from GOOD(request)


def watching(*services: Service, paths: Sequence[Path] = ()) -> dict[str, object]:
    """Settings by which services and the host are looked at twice a second."""
    return {
        "targets": [{"name": f"service-{n}", "url": each.url, "model": "tiny"} for n, each in enumerate(services)],
        "prompt": {"protocol": "openai-chat", "every": "500ms", "jitter": 0},
        "health": {"every": "500ms"},
        "server": {"enabled": False},
        "host": {"every": "500ms", "paths": [str(path) for path in paths]},
        "gpu": {"enabled": False},
    }


def ends_soon(daemon: Daemon) -> bool:
    """Whether a signal ends it well in time."""
    daemon.process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        daemon.process.wait(timeout=SOON)
    return daemon.process.returncode == 0


def more(daemon: Daemon, of: Callable[[Page], float], by: int = 4) -> Page:
    """The page once something has been counted so much further, or the last one before patience ran out."""
    least = of(daemon.scrape()) + by
    return daemon.until(lambda page: of(page) >= least)


def answered(page: Page) -> float:
    """How many prompts the first service has answered well."""
    return page.succeeded("service-0")


@needs_a_compiler
def test_a_file_system_that_hangs_is_left_out_by_its_name_and_the_rest_goes_on(
    tmp_path: Path, faulty: dict[str, str], stage: Stage
) -> None:
    hung, well = str(tmp_path / "hung"), "/"
    with begun(tmp_path, watching(good(stage), paths=[Path(hung), Path(well)]), environment=faulty) as daemon:
        before = daemon.until(lambda page: len(page.samples("host_disk_total_bytes")) == 2)
        (tmp_path / "hang").touch()
        left = daemon.until(lambda page: not page.samples("host_disk_total_bytes", path=hung))
        during = more(daemon, answered)
        (tmp_path / "hang").unlink()
        after = daemon.until(lambda page: bool(page.samples("host_disk_total_bytes", path=hung)))
        (tmp_path / "hang").touch()
        daemon.until(lambda page: not page.samples("host_disk_total_bytes", path=hung))
        ended = ends_soon(daemon)

    assert before.value("host_disk_total_bytes", path=hung)
    assert {it.labels["path"] for it in left.samples("host_disk_total_bytes")} == {well}
    assert during.value("host_memory_available_bytes") is not None
    assert during.value("model_sidecar_collection_up", source="host") == 1
    assert during.value("model_probe_up", target="service-0") == 1
    assert after.value("host_disk_total_bytes", path=hung)
    told = [line for line in daemon.log.splitlines() if "file system" in line]
    assert [f"path={hung}" in line for line in told] == [True, True, True]
    assert ended


def beside_one_that_hangs(folder: Path) -> list[str]:
    """A command whose program finds a file system there that never answers; it is gone once the program is."""
    command = ["unshare", "--mount", sys.executable, str(HERE / "hung.py"), str(folder)]
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here with FUSE, which is to hang")
    return command


def test_a_file_system_that_never_answers_holds_up_neither_the_rest_nor_the_end(tmp_path: Path, stage: Stage) -> None:
    hung = tmp_path / "hung"
    hung.mkdir()
    settings = watching(good(stage), paths=[hung, Path("/")])
    with begun(tmp_path, settings, within=beside_one_that_hangs(hung)) as daemon:
        daemon.until(lambda page: bool(page.samples("host_disk_total_bytes", path="/")))
        page = more(daemon, answered, by=2)
        log = daemon.log
        stuck = threads_asking_fuse(daemon)
        ended = ends_soon(daemon)

    assert stuck == 1
    assert {it.labels["path"] for it in page.samples("host_disk_total_bytes")} == {"/"}
    assert page.value("model_sidecar_collection_up", source="host") == 1
    assert page.value("model_probe_up", target="service-0") == 1
    assert [f"path={hung}" in line for line in log.splitlines() if "file system" in line] == [True]
    assert ended


def threads_asking_fuse(daemon: Daemon) -> int:
    """How many of its threads wait in the kernel for a file system to answer."""
    tasks = Path(f"/proc/{daemon.process.pid}/task").iterdir()
    return sum("fuse" in (task / "stack").read_text() for task in tasks)


@needs_a_compiler
@pytest.mark.parametrize("seconds", [86400 * 400, -86400 * 400], ids=["forward", "back"])
def test_a_clock_that_is_set_changes_the_stamps_and_nothing_else(
    seconds: int, tmp_path: Path, faulty: dict[str, str], stage: Stage
) -> None:
    with begun(tmp_path, watching(good(stage)), environment=faulty) as daemon:
        before = more(daemon, answered)
        (tmp_path / "clock").write_text(str(seconds))
        after = more(daemon, answered)
        log = daemon.log
        ended = ends_soon(daemon)

    stamps = [page.value("model_probe_last_success_timestamp_seconds", target="service-0") for page in (before, after)]
    assert abs((stamps[1] or 0) - (stamps[0] or 0) - seconds) < PATIENCE
    assert after.failures("service-0") == {}
    assert after.by("source", "model_sidecar_collection_failures_total") == {}
    assert [after.by("state", "model_state", target="service-0")] == [{"ok": 1}]
    durations = [
        after.value(f"model_probe_last_{what}_seconds", target="service-0") for what in ("duration", "first_token")
    ]
    assert all(0 <= (duration or -1) < PATIENCE for duration in durations)
    # What the kernel says is by the clock as it was not set here, and so is of no use.
    methods = [page.by("method", "model_probe_clock_info", target="service-0") for page in (before, after)]
    assert methods == [{"kernel": 1}, {"user": 1}]
    assert "level=warning" not in log
    assert "level=error" not in log
    assert ended


def other_time(seconds: int) -> list[str]:
    """A command whose program finds the machine to have run so much longer, or shorter, than it has."""
    command = ["unshare", "--time", f"--monotonic={seconds}", f"--boottime={seconds}"]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no time namespace can be made here")
    return command


@pytest.mark.parametrize("seconds", [86400 * 400, -600], ids=["longer", "shorter"])
def test_where_a_container_has_a_time_of_its_own_everything_is_told_as_elsewhere(
    seconds: int, tmp_path: Path, stage: Stage
) -> None:
    with begun(tmp_path, watching(good(stage)), within=other_time(seconds)) as daemon:
        page = more(daemon, answered)
        log = daemon.log
        ended = ends_soon(daemon)

    began = page.value("model_process_start_timestamp_seconds", target="service-0")
    assert page.value("model_process_up", target="service-0") == 1
    assert abs((began or 0) - psutil.Process().create_time()) < PATIENCE
    assert page.failures("service-0") == {}
    assert page.by("state", "model_state", target="service-0") == {"ok": 1}
    assert "level=warning" not in log
    assert ended


def test_a_disk_that_is_full_takes_the_log_and_nothing_else(tmp_path: Path, stage: Stage) -> None:
    refused = f"http://127.0.0.1:{stage.closed_port()}"
    settings = watching(good(stage))
    targets = [*settings["targets"], {"name": "refused", "url": refused, "model": "tiny"}]  # type: ignore[misc]  # a list
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with begun(tmp_path, {**settings, "targets": targets}, log_to=full) as daemon:
            page = more(daemon, answered)
            failed = daemon.until(lambda page: bool(page.failures("refused"))).failures("refused")
            ended = ends_soon(daemon)
    finally:
        os.close(full)

    assert page.value("model_probe_up", target="service-0") == 1
    assert set(failed) == {"refused"}
    assert ended


# The folder becomes a file system of 128 kB with what was in it, and the log goes there too.
SMALL = """
folder=$1 settings=$(cat "$1/config.yml"); shift
mount -t tmpfs -o size=128k tmpfs "$folder"
printf %s "$settings" >"$folder/config.yml"
exec "$@" >>"$folder/log" 2>&1
"""


@contextmanager
def on_a_small_disk(folder: Path, *services: Service) -> Iterator[tuple[Daemon, Path]]:
    """The program whose settings and log are on a disk with little room, and that folder as the program sees it."""
    mounted = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", str(folder)]
    if subprocess.run(mounted, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here, which is to be full")
    within = ["unshare", "--mount", "sh", "-ec", SMALL, "sh", str(folder)]
    with begun(folder, watching(*services), within=within) as daemon:
        yield daemon, Path(f"/proc/{daemon.process.pid}/root{folder}")


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """No byte more has room on this disk meanwhile."""
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
    # What is left of the log's last page is room too.
    with (disk / "log").open("ab", buffering=0) as log, suppress(OSError):
        while True:
            log.write(b"\n")
    yield
    (disk / "filler").unlink()


RELOADS = "model_sidecar_config_last_reload_successful"
READ_AT = "model_sidecar_config_last_reload_success_timestamp_seconds"


def test_a_log_on_a_disk_that_is_full_goes_on_once_there_is_room(tmp_path: Path, stage: Stage) -> None:
    with on_a_small_disk(tmp_path, good(stage)) as (daemon, disk):
        more(daemon, answered, by=1)
        with filled(disk):
            daemon.process.send_signal(signal.SIGHUP)
            during = more(daemon, answered, by=2)
            lost = (disk / "log").read_text()
        read = during.value(READ_AT) or 0
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until(lambda page: (page.value(READ_AT) or 0) > read)
        told = (disk / "log").read_text().removeprefix(lost)
        ended = ends_soon(daemon)

    assert during.value("model_probe_up", target="service-0") == 1
    assert "the settings were read anew" not in lost
    # Once more, where what could not be written then was kept.
    assert told.count("the settings were read anew") in {1, 2}
    assert "Logging error" not in told
    assert ended


def test_settings_that_a_full_disk_has_cut_short_are_refused_and_those_before_stay(
    tmp_path: Path, stage: Stage
) -> None:
    kept, added = good(stage), good(stage)
    # In one piece, so that wherever it is cut the rest is no settings.
    new = json.dumps({**watching(kept, added), "targets": [*padded(kept, added)]})
    with on_a_small_disk(tmp_path, kept) as (daemon, disk):
        with filled(disk), suppress(OSError):
            (disk / "config.yml").write_text(new)
        cut = (disk / "config.yml").stat().st_size
        daemon.process.send_signal(signal.SIGHUP)
        refused = daemon.until(lambda page: page.value(RELOADS) == 0)
        after = more(daemon, answered, by=2)
        log = (disk / "log").read_text()
        (disk / "config.yml").write_text(new)
        daemon.process.send_signal(signal.SIGHUP)
        taken = daemon.until(lambda page: page.value("model_sidecar_targets") == 2)
        ended = ends_soon(daemon)

    assert 0 < cut < len(new)
    assert (refused.value(RELOADS), after.value("model_sidecar_targets")) == (0, 1)
    assert after.value("model_probe_up", target="service-0") == 1
    assert "the settings stay as they were" in log
    assert (taken.value(RELOADS), taken.value("model_sidecar_targets")) == (1, 2)
    assert ended


def padded(*services: Service) -> Iterator[dict[str, object]]:
    """Services whose settings are longer than a page of memory."""
    for number, each in enumerate(services):
        yield {"name": f"service-{number}", "url": each.url, "model": "tiny", "headers": {"X-Long": "x" * 6000}}


def looks(page: Page) -> dict[str, float]:
    """Which looks at the first service succeeded when they were made last."""
    return page.by("source", "model_sidecar_collection_up", target="service-0")


@contextmanager
def without_files(daemon: Daemon) -> Iterator[None]:
    """The program may open no further file meanwhile."""
    usual = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (3, usual[1]))
    try:
        yield
    finally:
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, usual)


def test_without_files_nothing_is_held_against_a_service_and_all_comes_back(tmp_path: Path, stage: Stage) -> None:
    with begun(tmp_path, watching(good(stage))) as daemon:
        more(daemon, answered)
        with without_files(daemon):
            time.sleep(4)
        during = daemon.scrape()
        after = daemon.until(lambda page: looks(page) == {"prompt": 1, "health": 1, "process": 1})
        log = daemon.log
        ended = ends_soon(daemon)

    assert during.failures("service-0") == {}
    assert during.by("reason", "model_health_failures_total") == {}
    assert set(during.by("source", "model_sidecar_collection_failures_total")) == {"prompt", "health", "process"}
    assert after.value("model_probe_up", target="service-0") == 1
    assert looks(after) == {"prompt": 1, "health": 1, "process": 1}
    assert "Too many open files" in log
    assert len(log.splitlines()) < 60
    assert ended


def looked_at(port: int) -> ServiceProcess:
    """The source of the processes behind a port, which looks anew each time."""
    neighbours = Neighbours(recent=0, settled=0)
    return ServiceProcess(target="chat", search=Search("127.0.0.1", port, neighbours), neighbours=neighbours)


CHURN = "while :; do /bin/true & /bin/true & /bin/true & wait; done"


def test_processes_that_come_and_go_by_the_hundred_spoil_no_look() -> None:
    with forking() as server:
        source = looked_at(server.port)
        crowd = [subprocess.Popen(["/bin/sh", "-c", CHURN], start_new_session=True) for _ in range(2)]
        try:
            first, end = _last_pid(), time.monotonic() + 4
            seen = []
            while time.monotonic() < end:
                seen.append(process(source))
            came = _last_pid() - first
        finally:
            for each in crowd:
                os.killpg(each.pid, signal.SIGKILL)
                each.wait()

    assert came > 500 or came < 0  # the numbers have begun again
    assert {look.up for look in seen} == {True}
    assert {look.restarts for look in seen} == {0}


def _last_pid() -> int:
    return int(Path("/proc/loadavg").read_text().split()[-1])


@needs_a_compiler
def test_a_process_of_many_thousand_threads_is_told_of_like_any_other(tmp_path: Path) -> None:
    # Each thread takes a number of those that all processes of the machine share.
    room = int(Path("/proc/sys/kernel/pid_max").read_text()) - _tasks()
    wanted = min(50_000, room // 3)
    with subprocess.Popen(
        [compiled("threads.c", "-pthread", into=tmp_path), str(wanted)], stdout=subprocess.PIPE
    ) as many:
        try:
            assert many.stdout is not None
            port, got = map(int, many.stdout.readline().split())
            said = readings(looked_at(port))
        finally:
            many.kill()

    [seen] = [reading for reading in said if isinstance(reading, Process)]
    [tree] = [reading for reading in said if isinstance(reading, Tree)]
    assert got > 1000
    assert (seen.up, seen.threads, tree.processes) == (True, got, 1)
    assert seen.resident_memory_bytes


def _tasks() -> int:
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])


OWN_GROUP = Path("/proc/self/cgroup")
LIMIT = 64 * 2**20


@contextmanager
def confined() -> Iterator[Callable[[], None]]:
    """What is started has 64 MB, in a control group below our own, until the tests have left it."""
    paths = {names: path for _, names, path in (line.split(":", 2) for line in OWN_GROUP.read_text().splitlines())}
    old = "memory" in paths
    own = Path(f"/sys/fs/cgroup/{'memory' if old else ''}{paths['memory' if old else '']}")
    group = own / f"model-sidecar-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(LIMIT))
        (group / "cgroup.procs").write_text(str(os.getpid()))
    except (OSError, KeyError):
        _emptied(group)
        pytest.skip("no control group with a limit of memory can be made here")

    def leave() -> None:
        (own / "cgroup.procs").write_text(str(os.getpid()))

    try:
        yield leave
    finally:
        leave()
        _emptied(group)


def _emptied(group: Path) -> None:
    for _ in range(100):
        with suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.05)


@pytest.mark.parametrize("lists", [100_000, 400_000, 2_600_000], ids=["300 kB", "1.2 MB", "7.8 MB"])
@pytest.mark.parametrize("asked", ["health", "prompt"])
def test_in_64_mb_services_that_answer_too_much_cost_their_own_looks_alone(
    lists: int, asked: str, tmp_path: Path, stage: Stage
) -> None:
    heavy = reply(b'{"data": [' + b"[]," * lists + b"[]]}", 200, "Content-Type: application/json")
    answers = {"GET /health": reply("{}"), f"POST {CHAT}": GOOD}
    answers["GET /health" if asked == "health" else f"POST {CHAT}"] = heavy
    wide = {f"wide-{n}": stage.serve(answers).url for n in range(3)}
    settings = watching(good(stage))
    told = [{"name": name, "url": url, "model": "tiny", "health": {"values": ["data"]}} for name, url in wide.items()]
    targets = [*settings["targets"], *told]  # type: ignore[misc]  # a list
    with confined() as leave, begun(tmp_path, {**settings, "targets": targets}) as daemon:
        leave()
        page = daemon.until(lambda page: len(page.by("target", "model_sidecar_collection_failures_total")) == len(wide))
        after = more(daemon, answered)
        log = daemon.log
        ended = ends_soon(daemon)

    assert page.by("target", "model_sidecar_collection_failures_total").keys() == wide.keys()
    assert after.value("model_probe_up", target="service-0") == 1
    named = [line for line in log.splitlines() if "no memory is left here" in line or "that was to compute" in line]
    assert {name for name in wide if any(f"target={name}" in line for line in named)} == wide.keys()
    assert ended
