import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from exporter.reading import Reading
from exporter.sources.host import (
    Disk,
    FileSystem,
    Group,
    Host,
    Hosts,
    Interface,
    Memory,
    Swap,
    disks,
    file_system,
    limits,
    memory,
    oom_kills,
    pressure,
    told,
    whole,
)

ROOT = Path(__file__).parent.parent.parent
R = TypeVar("R", bound=Reading)

IN_A_NAMESPACE = """
from exporter.sources.host import interfaces
print(*sorted(interface.device for interface in interfaces()))
"""


def readings(hosts: Hosts) -> Sequence[Reading]:
    """What the source says in one look."""
    return hosts.look()


def only(kind: type[R], paths: Sequence[str] = ()) -> Sequence[R]:
    """The readings of one kind."""
    return [reading for reading in readings(Hosts(paths)) if isinstance(reading, kind)]


def meminfo(name: str) -> int:
    """What the kernel says of memory, in bytes."""
    [line] = [line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


def test_memory_is_what_the_kernel_says() -> None:
    [memory] = only(Memory)

    assert memory.total_bytes == meminfo("MemTotal")
    assert memory.used_bytes + memory.available_bytes == memory.total_bytes
    assert 0 < memory.available_bytes < memory.total_bytes


@pytest.mark.parametrize("told_instead", ["", "MemAvailable: 0 kB\n", "MemAvailable: 99999999999999 kB\n"])
def test_where_the_kernel_says_nothing_or_nonsense_of_available_memory_it_is_reckoned(
    tmp_path: Path, told_instead: str
) -> None:
    lines = Path("/proc/meminfo").read_text().splitlines(keepends=True)
    doctored = tmp_path / "meminfo"
    doctored.write_text("".join(line for line in lines if not line.startswith("MemAvailable")) + told_instead)

    found, _ = memory(doctored)

    assert isinstance(found, Memory)
    assert 0 < found.available_bytes < found.total_bytes
    assert found.used_bytes + found.available_bytes == found.total_bytes


def test_what_the_kernel_does_not_say_of_memory_and_swap_is_absent(tmp_path: Path) -> None:
    (tmp_path / "memory").write_text("MemTotal: 100 kB\nMemAvailable: 40 kB\n")
    (tmp_path / "swap").write_text("SwapCached: 7 kB\nSwapTotal: 100 kB\nSwapFree: 40 kB\n")

    alone, swap = list(memory(tmp_path / "memory")), list(memory(tmp_path / "swap"))

    assert alone == [Memory(total_bytes=102400, available_bytes=40960, used_bytes=61440)]
    assert swap == [Swap(total_bytes=102400, used_bytes=61440)]


def test_swap_is_what_the_kernel_says_even_where_there_is_none() -> None:
    [swap] = only(Swap)

    assert swap.total_bytes == meminfo("SwapTotal")
    assert 0 <= swap.used_bytes <= swap.total_bytes


def test_the_modes_of_the_cpus_add_up_to_the_time_they_have_been_there() -> None:
    [host] = only(Host)

    assert host.cpu_seconds is not None
    assert set(host.cpu_seconds) == {"user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"}
    assert sum(host.cpu_seconds.values()) > 0
    assert host.cpus == os.sysconf("SC_NPROCESSORS_ONLN")


def test_each_mode_has_the_time_that_the_kernel_says() -> None:
    before = psutil.cpu_times()
    [host] = only(Host)
    after = psutil.cpu_times()

    for mode, seconds in (host.cpu_seconds or {}).items():
        assert getattr(before, mode) - 1 <= seconds <= getattr(after, mode) + 1


def test_a_kernel_that_tells_nothing_of_its_cpus_has_no_time_of_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.sources.host.STAT", Path("/proc/missing"))

    [host] = only(Host)

    assert (host.cpu_seconds, host.cpus, host.boot_timestamp_seconds) == (None, None, None)
    assert host.load


def test_cpu_time_grows_by_what_is_spent_and_never_falls() -> None:
    hosts = Hosts(())
    [before] = [reading for reading in readings(hosts) if isinstance(reading, Host)]
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass

    [after] = [reading for reading in readings(hosts) if isinstance(reading, Host)]

    assert before.cpu_seconds is not None
    assert after.cpu_seconds is not None
    assert sum(after.cpu_seconds.values()) > sum(before.cpu_seconds.values())
    assert all(after.cpu_seconds[mode] >= seconds for mode, seconds in before.cpu_seconds.items())


def test_load_is_told_for_three_periods() -> None:
    [host] = only(Host)

    assert host.load is not None
    assert list(host.load) == ["1m", "5m", "15m"]


def test_the_boot_was_as_long_ago_as_the_kernel_has_been_up() -> None:
    [host] = only(Host)

    assert host.boot_timestamp_seconds == pytest.approx(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME), abs=2)


def test_only_configured_paths_are_told_and_each_once(tmp_path: Path) -> None:
    room = os.statvfs(tmp_path)

    [system] = only(FileSystem, [str(tmp_path), str(tmp_path)])

    assert system.path == str(tmp_path)
    assert system.total_bytes == room.f_blocks * room.f_frsize
    assert system.free_bytes == pytest.approx(room.f_bavail * room.f_frsize, rel=0.1)


def test_a_path_that_is_not_there_is_absent_and_the_others_stay(tmp_path: Path) -> None:
    systems = only(FileSystem, [str(tmp_path / "missing"), "nul\0byte", str(tmp_path)])

    assert [system.path for system in systems] == [str(tmp_path)]


def test_disks_are_those_of_the_machine() -> None:
    disks = only(Disk)

    assert {disk.device for disk in disks} <= {path.name for path in Path("/sys/block").iterdir()}
    assert not [disk for disk in disks if disk.device.startswith(("loop", "ram", "zram"))]


def carried(device: str) -> tuple[int, int]:
    """What the kernel says that a disk has read and written by now."""
    words = Path(f"/sys/block/{device}/stat").read_text().split()
    return int(words[2]) * 512, int(words[6]) * 512


def test_what_a_disk_carried_is_what_the_kernel_says() -> None:
    before = {device.name: carried(device.name) for device in Path("/sys/block").iterdir()}
    disks = only(Disk)
    after = {disk.device: carried(disk.device) for disk in disks}

    for disk in disks:
        assert before[disk.device][0] <= disk.read_bytes <= after[disk.device][0]
        assert before[disk.device][1] <= disk.written_bytes <= after[disk.device][1]


def test_a_disk_that_has_not_been_used_is_absent(tmp_path: Path) -> None:
    devices = [device.name for device in Path("/sys/block").iterdir() if whole(device.name)]
    for name, count in (("used", "7"), ("unused", "0")):
        lines = (f"8 0 {device} 0 0 {count} 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n" for device in devices)
        (tmp_path / name).write_text("".join(lines))

    assert [disk.device for disk in disks(tmp_path / "used")] == devices
    assert list(disks(tmp_path / "unused")) == []


def test_a_partition_and_a_volume_are_no_disks_of_their_own(tmp_path: Path) -> None:
    for directory in ("sda/slaves", "cciss!c0d0/slaves", "dm-0/slaves/sda", "loop0/slaves", "ram0", "zram0", "nvme0n1"):
        (tmp_path / directory).mkdir(parents=True)

    kept = [
        device
        for device in ("sda", "sda1", "cciss/c0d0", "dm-0", "loop0", "ram0", "zram0", "nvme0n1", "nvme0n1p1")
        if whole(device, tmp_path)
    ]

    assert kept == ["sda", "cciss/c0d0", "nvme0n1"]


def test_what_an_interface_carried_is_what_the_kernel_says() -> None:
    interfaces = only(Interface)

    for interface in interfaces:
        said = Path(f"/sys/class/net/{interface.device}/statistics/rx_bytes").read_text()
        assert 0 <= interface.received_bytes <= int(said)


def test_what_an_interface_carried_lies_between_what_the_kernel_says_before_and_after() -> None:
    def through_loopback() -> tuple[int, int]:
        counts = Path("/sys/class/net/lo/statistics")
        return int((counts / "rx_bytes").read_text()), int((counts / "tx_bytes").read_text())

    before = through_loopback()
    [seen] = [interface for interface in only(Interface) if interface.device == "lo"]
    after = through_loopback()

    assert before[0] <= seen.received_bytes <= after[0]
    assert before[1] <= seen.transmitted_bytes <= after[1]


def able(command: str) -> bool:
    """Whether the machine has and permits what the command does."""
    words = command.split()
    return shutil.which(words[0]) is not None and not subprocess.run(words, check=False, capture_output=True).returncode


@pytest.mark.skipif(
    not able("unshare --net ip link add br-0 type bridge"), reason="network namespaces are not possible here"
)
def test_interfaces_of_containers_are_left_out() -> None:
    named = ("veth1a", "docker0", "br-5f", "cali1", "cni0", "ens5", "br0", "eth0")
    made = ";".join(f"ip link add {name} type bridge" for name in named)

    seen = subprocess.run(
        ["unshare", "--net", "sh", "-ec", f'{made}; "$@"', "sh", sys.executable, "-c", IN_A_NAMESPACE],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert seen.split() == ["br0", "ens5", "eth0", "lo"]


def test_pressure_is_told_in_seconds_by_resource_and_kind(tmp_path: Path) -> None:
    stalled = "some avg10=0.35 avg60=0.62 avg300=0.29 total=6813065\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    (tmp_path / "cpu").write_text(stalled)
    (tmp_path / "memory").write_text(stalled)
    (tmp_path / "irq").write_text("full avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\n")

    told_of = pressure(tmp_path)

    assert told_of == {
        ("cpu", "some"): 6.813065,
        ("memory", "some"): 6.813065,
        ("memory", "full"): 0.0,
        ("irq", "full"): 1.5,
    }


def test_a_kernel_without_pressure_tells_none(tmp_path: Path) -> None:
    assert pressure(tmp_path / "missing") == {}


def test_kills_for_want_of_memory_are_counted_by_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("nr_free_pages 12\noom_kill 3\noom_kill_other 9\n")
    (tmp_path / "old").write_text("nr_free_pages 12\n")

    assert oom_kills(tmp_path / "vmstat") == 3
    assert oom_kills(tmp_path / "old") is None


def files(where: Path, contents: dict[str, str]) -> Path:
    """A tree of files."""
    for name, text in contents.items():
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        (where / name).write_text(text)
    return where


@pytest.mark.parametrize(
    ("own", "tree", "expected"),
    [
        pytest.param(
            "0::/\n",
            {"memory.max": "4294967296\n", "memory.current": "104857600\n", "cpu.max": "150000 100000\n"},
            Group(memory_limit_bytes=4294967296, memory_used_bytes=104857600, cpu_limit_cores=1.5),
            id="a container of version 2",
        ),
        pytest.param(
            "0::/\n",
            {"memory.max": "max\n", "memory.current": "104857600\n", "cpu.max": "max 100000\n"},
            Group(),
            id="a container without limits",
        ),
        pytest.param("0::/\n", {"cgroup.procs": "1\n"}, Group(), id="no container at all"),
        pytest.param(
            "0::/a.slice/b.service\n",
            {
                "a.slice/memory.max": "1000\n",
                "a.slice/memory.current": "800\n",
                "a.slice/cpu.max": "400000 100000\n",
                "a.slice/b.service/memory.max": "2000\n",
                "a.slice/b.service/memory.current": "700\n",
                "a.slice/b.service/cpu.max": "max 100000\n",
            },
            Group(memory_limit_bytes=1000, memory_used_bytes=800, cpu_limit_cores=4.0),
            id="the tightest limit is that of the slice around",
        ),
        pytest.param(
            "12:memory:/docker/4f\n11:cpu,cpuacct:/docker/4f\n0::/docker/4f\n",
            {
                "memory/memory.limit_in_bytes": "536870912\n",
                "memory/memory.usage_in_bytes": "1048576\n",
                "cpu/cpu.cfs_quota_us": "50000\n",
                "cpu/cpu.cfs_period_us": "100000\n",
            },
            Group(memory_limit_bytes=536870912, memory_used_bytes=1048576, cpu_limit_cores=0.5),
            id="a container of version 1 that sees its own group as the root",
        ),
        pytest.param(
            "12:memory:/\n11:cpu,cpuacct:/\n0::/\n",
            {
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
                "memory/memory.usage_in_bytes": "1048576\n",
                "cpu/cpu.cfs_quota_us": "-1\n",
                "cpu/cpu.cfs_period_us": "100000\n",
            },
            Group(),
            id="version 1 without limits",
        ),
    ],
)
def test_a_container_knows_its_own_limits(tmp_path: Path, own: str, tree: dict[str, str], expected: Group) -> None:
    mounted = files(tmp_path / "cgroup", tree)
    groups = files(tmp_path, {"own": own}) / "own"

    assert limits(groups, mounted).now() == expected


def test_what_the_kernel_cannot_say_is_absent() -> None:
    assert told(Path("/proc/missing").read_text) is None
    assert told(lambda: file_system("/missing")) is None
