import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from exporter.lookup import Lookup, Neighbours, Search
from exporter.reading import Reading, Reason, Unreadable
from exporter.sockets import Listener
from exporter.sources.process import Process, ServiceProcess, Tree, any_full, summed
from tests.ports import free_port
from tests.services.forking import ForkingServer, forking, until
from tests.services.loading import loading


def watching(port: int | None, host: str = "127.0.0.1") -> ServiceProcess:
    """The source of one service, which takes nothing for settled."""
    neighbours = Neighbours(recent=0, settled=0, counted=0)
    search = None if port is None else Search(host, port, neighbours)
    return ServiceProcess(target="chat", search=search, neighbours=neighbours)


def readings(source: ServiceProcess) -> Sequence[Reading]:
    """What the source says in one look."""
    return source.look()


def process(source: ServiceProcess) -> Process:
    """The process, as the source sees it now."""
    [found] = [reading for reading in readings(source) if isinstance(reading, Process)]
    return found


def processes(source: ServiceProcess) -> int | None:
    """How many processes the source sees now; None where it does not say."""
    return next((reading.processes for reading in readings(source) if isinstance(reading, Tree)), None)


def cpu(source: ServiceProcess) -> float:
    """What the service has spent by now."""
    spent = process(source).cpu_seconds
    assert spent is not None
    return sum(spent.values())


def result(seen: Process) -> str:
    """The one result of the lookup."""
    [result] = [result for result, is_so in seen.lookup.items() if is_so]
    return result


def gone(pid: int) -> bool:
    """Whether a process has ended and been reaped."""
    return not Path(f"/proc/{pid}").exists()


def forked(server: ForkingServer) -> int:
    """The process of a worker that was not there before."""
    server.fork()
    return server.order("burn")


@contextmanager
def clients(port: int, count: int) -> Iterator[None]:
    """Connections that stay open."""
    with ExitStack() as kept:
        for _ in range(count):
            kept.enter_context(socket.create_connection(("127.0.0.1", port)))
        yield


def written(pids: Sequence[int]) -> int:
    """What the kernel says that these processes have written to disks."""
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/io").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def test_a_forking_server_is_added_up_over_its_tree() -> None:
    with forking(workers=2) as server:
        source = watching(server.port)

        seen = process(source)

        assert (result(seen), seen.up, seen.restarts, seen.threads) == ("found", True, 0, 3)
        assert processes(source) == 3


def test_memory_is_that_of_the_whole_tree() -> None:
    with forking() as alone, forking(workers=3) as server:
        one, four = process(watching(alone.port)), process(watching(server.port))

        assert one.resident_memory_bytes
        assert four.resident_memory_bytes
        assert four.resident_memory_bytes > 2 * one.resident_memory_bytes
        assert one.unique_memory_bytes
        assert four.unique_memory_bytes
        assert one.unique_memory_bytes < one.resident_memory_bytes


def test_cpu_time_does_not_fall_when_a_worker_leaves() -> None:
    with forking(workers=1) as server:
        source = watching(server.port)
        before = cpu(source)
        worker = server.order("burn")
        burnt = cpu(source)
        server.order("leave")
        until(lambda: gone(worker))

        after = cpu(source)

        assert burnt >= before + 0.2
        assert after >= burnt
        assert processes(source) == 1


def test_a_tree_that_has_lost_a_member_is_looked_at_again_at_once() -> None:
    with forking(workers=1) as server:
        neighbours = Neighbours(recent=0, settled=600)
        search = Search("127.0.0.1", server.port, neighbours)
        source = ServiceProcess(target="chat", search=search, neighbours=neighbours)
        processes(source)
        first = server.order("leave")
        until(lambda: gone(first))
        forked(server)

        assert processes(source) == 2
        forked(server)
        assert processes(source) == 2


def test_a_worker_that_was_born_unseen_counts_from_its_birth() -> None:
    with forking() as server:
        source = watching(server.port)
        before = cpu(source)
        forked(server)

        after = cpu(source)

        assert after >= before + 0.2
        assert processes(source) == 2


def test_what_was_spent_before_anyone_looked_is_not_counted() -> None:
    with forking(workers=1) as server:
        server.order("burn")

        assert cpu(watching(server.port)) == 0


def test_what_a_service_spends_from_its_start_is_counted_when_it_started_after_the_exporter() -> None:
    with forking() as first:
        first.kill()
        source = watching(first.port)
        process(source)

        with forking(workers=1, port=first.port) as server:
            server.order("burn")

            assert cpu(source) >= 0.2


def test_a_restart_is_seen_counted_and_no_reset() -> None:
    with forking(workers=1) as server:
        source = watching(server.port)
        process(source)
        server.order("burn")
        burnt, first = cpu(source), process(source)
        server.kill()
        between = process(source)

    with forking(workers=1, port=server.port):
        after = process(source)

        assert (between.up, between.restarts, between.cpu_seconds) == (False, 0, None)
        assert (after.up, after.restarts) == (True, 1)
        assert cpu(source) >= burnt
        assert after.start_timestamp_seconds
        assert first.start_timestamp_seconds
        assert after.start_timestamp_seconds > first.start_timestamp_seconds


def test_a_service_that_loads_again_runs_before_it_listens() -> None:
    port = free_port()
    source = watching(port)
    with loading(port) as server:
        server.listen()
        first = process(source)
        server.end()
        between = process(source)

    with loading(port) as second:
        loads = process(source)
        second.listen()
        serves = process(source)

    assert (between.up, loads.up, serves.up) == (False, True, True)
    assert (result(between), result(loads)) == ("not_found", "found")
    assert (between.restarts, loads.restarts, serves.restarts) == (0, 1, 1)
    assert loads.start_timestamp_seconds == serves.start_timestamp_seconds
    assert loads.start_timestamp_seconds != first.start_timestamp_seconds
    assert (loads.accept_queue, loads.accept_queue_full) == (None, None)
    assert loads.resident_memory_bytes


def test_a_service_started_when_the_kernel_says() -> None:
    with forking() as server:
        born = Path(f"/proc/{server.process.pid}").stat().st_mtime

        started = process(watching(server.port)).start_timestamp_seconds

        assert started == pytest.approx(born, abs=1)


def test_connections_that_nobody_accepts_are_counted() -> None:
    with forking() as server, clients(server.port, 3):
        seen = process(watching(server.port))

        assert (seen.accept_queue, seen.connections) == (3, 3)


def test_what_listens_is_looked_at_more_often_than_connections_are_counted() -> None:
    neighbours = Neighbours(recent=0, settled=0, counted=3600)
    with forking() as server:
        search = Search("127.0.0.1", server.port, neighbours)
        source = ServiceProcess(target="chat", search=search, neighbours=neighbours)
        with clients(server.port, 2):
            counted = process(source)
            with clients(server.port, 1):
                again = process(source)

    assert (counted.accept_queue, counted.connections) == (2, 2)
    assert (again.accept_queue, again.connections) == (3, 2)


def test_a_backlog_that_takes_no_further_connection_is_full() -> None:
    with loading(free_port()) as server:
        server.listen()
        source = watching(server.port)

        with clients(server.port, 2):  # beside the one that listen() made
            room = process(source)
            with clients(server.port, 1):
                full = process(source)

    assert (room.accept_queue, room.accept_queue_full) == (3, False)
    assert (full.accept_queue, full.accept_queue_full) == (4, True)


@pytest.mark.parametrize(
    ("limits", "full"),
    [([3], True), ([4], False), ([None], None), ([], False), ([None, 3], True), ([None, 4], None), ([3, 4], True)],
)
def test_of_several_backlogs_one_that_is_full_is_enough(limits: Sequence[int | None], full: bool | None) -> None:  # noqa: FBT001  a row of the table
    listeners = [Listener(address=ip_address("::1"), inode=1, waiting=4, limit=limit) for limit in limits]

    assert any_full(listeners) is full


def test_connections_that_were_accepted_wait_no_more() -> None:
    with forking(workers=2) as server, clients(server.port, 2):
        source = watching(server.port)
        until(lambda: process(source).accept_queue == 0)

        assert process(source).connections == 2


def test_the_process_nearest_to_its_limit_of_files_is_the_one_told_of() -> None:
    with forking(workers=1) as server:
        server.order("crowd")

        seen = process(watching(server.port))

        assert seen.max_fds == 64
        assert seen.open_fds is not None
        assert 40 < seen.open_fds <= 64


def test_what_is_written_is_what_the_kernel_says() -> None:
    with forking(workers=1) as server:
        source = watching(server.port)
        worker = server.order("burn")
        process(source)
        before = written([server.process.pid, worker])
        server.order("write")

        seen = process(source)

        assert seen.written_bytes == written([server.process.pid, worker]) - before
        assert seen.read_bytes is not None


def test_unique_memory_is_read_at_most_once_a_minute() -> None:
    with forking(workers=1) as server:
        source = watching(server.port)
        before = process(source)
        server.order("hold")

        after = process(source)

        assert before.resident_memory_bytes
        assert after.resident_memory_bytes
        assert after.resident_memory_bytes > before.resident_memory_bytes + (1 << 24)
        assert after.unique_memory_bytes == before.unique_memory_bytes


def test_the_unique_memory_of_a_process_that_is_gone_is_not_told_for_the_next() -> None:
    with forking() as server:
        source = watching(server.port)
        before = process(source)
        server.kill()

    with forking(port=server.port):
        after = process(source)

        assert before.unique_memory_bytes
        assert after.unique_memory_bytes is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may see less")
def test_what_is_not_ours_to_know_is_absent_and_the_rest_stays() -> None:
    with forking() as server:
        source = watching(server.port)
        process(source)
        os.seteuid(65534)
        try:
            seen = process(source)
        finally:
            os.seteuid(0)

    assert (seen.up, seen.threads) == (True, 1)
    assert seen.cpu_seconds
    assert seen.resident_memory_bytes
    assert (seen.open_fds, seen.read_bytes, seen.written_bytes) == (None, None, None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may see less")
def test_the_backlog_of_a_process_that_is_not_ours_to_see_is_seen() -> None:
    with forking() as server, clients(server.port, 2):
        os.seteuid(65534)
        try:
            seen = process(watching(server.port))
        finally:
            os.seteuid(0)

    assert (result(seen), seen.accept_queue, seen.connections) == ("not_permitted", 2, 2)
    assert (seen.up, seen.restarts, seen.cpu_seconds) == (None, None, None)


def test_a_service_that_is_not_there_is_down_and_no_failure() -> None:
    with forking() as server:
        server.kill()

    seen = process(watching(server.port))

    assert (result(seen), seen.up, seen.restarts) == ("not_found", False, 0)
    assert (seen.accept_queue, seen.connections, seen.threads) == (None, None, None)


@pytest.mark.parametrize(("host", "port", "expected"), [("192.0.2.1", 8000, "not_local"), ("127.0.0.1", None, "off")])
def test_where_there_is_nothing_to_see_nothing_is_said_but_why(host: str, port: int | None, expected: str) -> None:
    [seen] = readings(watching(port, host))

    assert seen == Process(target="chat", lookup={result: result == expected for result in Lookup})


def test_a_name_that_cannot_be_resolved_is_a_failure_of_the_source() -> None:
    with pytest.raises(Unreadable) as raised:
        readings(watching(8000, "a..b"))

    assert raised.value.reason is Reason.NOT_FOUND


def test_a_hundred_services_share_one_look_at_the_machine() -> None:
    with forking(workers=1) as server:
        neighbours = Neighbours(recent=600, settled=600)
        sources = [
            ServiceProcess(
                target=str(number), search=Search("127.0.0.1", server.port, neighbours), neighbours=neighbours
            )
            for number in range(100)
        ]
        first = processes(sources[0])
        looks = (neighbours.sockets(), neighbours.everyone(changed=True))

        others = {processes(source) for source in sources[1:]}

        assert (first, others) == (2, {2})
        assert neighbours.sockets() is looks[0]
        assert neighbours.everyone(changed=True) is looks[1]


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    assert (summed([1, 2]), summed([1, None]), summed([])) == (3, None, 0)
