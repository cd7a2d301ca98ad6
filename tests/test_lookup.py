import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.lookup import Lookup, Neighbours, Search
from exporter.pids import TICKS, Census, Pid, stat, tree, unit
from exporter.reading import Reason, Unreadable
from tests.cgroups import a_unit
from tests.ports import free_port
from tests.services.forking import forking, until
from tests.services.loading import LoadingServer, loading

ROOT = Path(__file__).parent.parent
LOOK = """
import sys
from exporter.lookup import Neighbours, Search
search = Search(sys.argv[1], int(sys.argv[2]), Neighbours())
search.look()
print(search.found.lookup, sum(listener.waiting for listener in search.listeners))
"""


def search(port: int, host: str = "127.0.0.1") -> Search:
    """A search that shares nothing and remembers no look."""
    return Search(host, port, Neighbours(recent=0, settled=0))


def looked(port: int, host: str = "127.0.0.1") -> Search:
    """A search that has looked once."""
    once = search(port, host)
    once.look()
    return once


def seen_by(command: Sequence[str], port: int, host: str = "127.0.0.1") -> str:
    """What a search finds that is made by a process of its own."""
    return subprocess.run(
        [*command, sys.executable, "-c", LOOK, host, str(port)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def permitted(command: str) -> pytest.MarkDecorator:
    """Skips a test where the machine has not, or does not permit, what the command does."""
    words = command.split()
    able = shutil.which(words[0]) and subprocess.run(words, check=False, capture_output=True).returncode == 0
    return pytest.mark.skipif(not able, reason=f"not possible here: {command}")


@contextmanager
def as_nobody() -> Iterator[None]:
    """For a while, a user who may not see what others do."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def named(name: str, where: Path) -> Sequence[str]:
    """A command that runs Python under another name."""
    command = where / name
    command.symlink_to(Path(sys.executable).resolve())
    return [str(command)]


@contextmanager
def watched_until_it_ended(unit: Path | None = None) -> Iterator[tuple[Search, LoadingServer]]:
    """A search that has seen a server at work, which has ended since."""
    watched = search(free_port())
    with loading(watched._port, unit=unit) as server:
        server.listen()
        watched.look()
        assert watched.found.lookup is Lookup.FOUND
        server.end()
        yield watched, server


def root(watched: Search) -> int | None:
    """The process that a search finds now."""
    watched.look()
    return None if watched.found.root is None else watched.found.root.number


def test_the_master_of_a_forking_server_is_found() -> None:
    with forking(workers=2) as server:
        found = looked(server.port).found

        assert found.lookup is Lookup.FOUND
        assert found.root is not None
        assert found.root.number == server.process.pid


def test_a_service_is_found_by_name() -> None:
    with forking() as server:
        assert looked(server.port, "localhost").found.lookup is Lookup.FOUND


def test_two_services_on_one_port_of_two_addresses_are_told_apart() -> None:
    with forking() as one, forking(address="127.0.0.2", port=one.port) as other:
        first, second = looked(one.port, "127.0.0.1").found.root, looked(one.port, "127.0.0.2").found.root

        assert (first and first.number, second and second.number) == (one.process.pid, other.process.pid)


def test_a_process_that_is_kept_waiting_for_its_parent_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-IS", "-c", ""]) as child:
        until(lambda: stat(child.pid) is None)

        assert child.returncode is None


def test_a_number_that_another_process_got_is_not_the_same_process() -> None:
    now = stat(os.getpid())

    assert now is not None
    assert now.pid.running
    assert not Pid(os.getpid(), now.pid.started - 1).running


def test_a_name_with_spaces_and_brackets_is_read(tmp_path: Path) -> None:
    with forking(command=named("a) S 1 (b", tmp_path)) as server:
        now = stat(server.process.pid)

        assert now is not None
        assert (now.name, now.parent) == ("a) S 1 (b", os.getpid())


@pytest.mark.parametrize(
    ("cgroups", "belongs"),
    [
        pytest.param("0::/system.slice/vllm.service\n", "/system.slice/vllm.service", id="version 2"),
        pytest.param(
            "2:cpu:/cpu.service\n1:name=systemd:/system.slice/vllm.service\n0::/\n",
            "/system.slice/vllm.service",
            id="version 1",
        ),
        pytest.param(
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/vllm.service\n",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/vllm.service",
            id="a user's service",
        ),
        pytest.param("0::/user.slice/user-1000.slice/session-3.scope\n", None, id="a session"),
        pytest.param("0::/user.slice/user-1000.slice/user@1000.service/app.slice/term.scope\n", None, id="a terminal"),
        pytest.param("0::/system.slice/docker-3f2a.scope\n", None, id="a container"),
        pytest.param("0::/system.slice/vllm.service/libpod-payload-3f2a\n", None, id="a container of a service"),
        pytest.param("0::/\n", None, id="none"),
        pytest.param("", None, id="a kernel without"),
    ],
)
def test_a_process_belongs_to_a_unit_where_systemd_runs_it_as_a_service(cgroups: str, belongs: str | None) -> None:
    assert unit(cgroups) == belongs


def test_a_tree_holds_all_descendants_and_nobody_else() -> None:
    with forking(workers=2) as server, forking(workers=1):
        root = stat(server.process.pid)
        assert root is not None

        members = tree(root.pid, Census().children())

        assert len(members) == 3
        assert members[0] == root.pid


def test_a_server_killed_and_started_again_has_restarted_once() -> None:
    with forking(workers=1) as server:
        watched = search(server.port)
        watched.look()
        server.kill()
        watched.look()
        gone = watched.found.lookup

    with forking(workers=1, port=server.port):
        watched.look()
        watched.look()

        assert gone is Lookup.NOT_FOUND
        assert watched.found.lookup is Lookup.FOUND
        assert watched.restarts == 1


def test_workers_that_outlive_their_master_are_found() -> None:
    with forking(workers=1) as server:
        watched = search(server.port)
        watched.look()
        worker = server.order("burn")
        server.kill_master()

        watched.look()

        assert watched.found.root is not None
        assert watched.found.root.number == worker


def test_a_server_that_listens_no_more_is_still_found_while_it_runs() -> None:
    with forking() as server:
        watched = search(server.port)
        watched.look()
        server.drain()

        watched.look()

        assert watched.found.lookup is Lookup.FOUND
        assert not watched.listeners


def test_a_server_that_loads_again_is_found_before_it_listens_and_has_restarted_once() -> None:
    with watched_until_it_ended() as (watched, first), loading(first.port) as second:
        loads, since, restarts = root(watched), watched.found.since, watched.restarts
        second.listen()

        serves = root(watched)

        assert loads == serves == second.process.pid
        assert restarts == watched.restarts == 1
        assert watched.found.since == since


def test_a_server_that_is_not_started_again_at_once_is_not_found_until_it_is() -> None:
    with watched_until_it_ended() as (watched, first):
        between = [root(watched), root(watched)]

        with loading(first.port) as second:
            assert between == [None, None]
            assert root(watched) == second.process.pid


def test_each_start_of_a_server_that_ends_while_it_loads_is_a_restart() -> None:
    with watched_until_it_ended() as (watched, first):
        for count in (1, 2, 3):
            with loading(first.port) as again:
                assert root(watched) == again.process.pid
                assert watched.restarts == count
                again.end()
                assert root(watched) is None


def test_a_server_that_leaves_the_listening_to_its_child_has_restarted_once() -> None:
    with watched_until_it_ended() as (watched, first), loading(first.port) as second:
        loads = root(watched)
        child = second.fork()
        os.kill(child, signal.SIGUSR1)
        until(second.listens)

        serves = root(watched)

        assert (loads, serves) == (second.process.pid, child)
        assert watched.restarts == 1


def test_a_child_that_outlives_its_parent_does_not_take_its_place() -> None:
    watched = search(free_port())
    with loading(watched._port) as server:
        server.fork()
        time.sleep(2 / TICKS)  # A start is told in ticks, so that the child is to be older than the one of the look.
        server.listen()
        watched.look()
        server.end()

        assert root(watched) is None


def test_another_command_does_not_take_a_server_s_place() -> None:
    with watched_until_it_ended() as (watched, first), loading(first.port, "another"):
        assert root(watched) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start what another user runs")
def test_another_user_s_process_does_not_take_a_server_s_place() -> None:
    with watched_until_it_ended() as (watched, first), loading(first.port, user=65534):
        assert root(watched) is None


def test_the_like_of_a_server_that_ran_beside_it_does_not_take_its_place() -> None:
    watched = search(free_port())
    with loading(watched._port) as server, loading(free_port()):
        server.listen()
        watched.look()
        server.end()

        assert root(watched) is None


def test_a_process_that_turns_out_to_serve_another_port_is_let_go() -> None:
    neighbours = Neighbours(recent=0, settled=0)
    one, other = (Search("127.0.0.1", free_port(), neighbours) for _ in range(2))
    with loading(one._port) as first:
        first.listen()
        one.look()
        first.end()

    with loading(other._port) as second, loading(one._port) as third:
        mistaken = root(one)
        second.listen()
        other.look()

        assert mistaken == second.process.pid
        assert root(one) == third.process.pid
        assert one.restarts == 1


def test_a_process_that_becomes_the_same_command_takes_a_server_s_place() -> None:
    watched = search(free_port())
    with loading(watched._port) as server:
        server.rename()
        server.listen()
        watched.look()
        server.end()

    with loading(watched._port) as second:
        before = root(watched)
        second.rename()

        assert before is None
        assert root(watched) == second.process.pid


def test_in_a_unit_another_command_takes_a_server_s_place_and_has_restarted_once_it_listens() -> None:
    with (
        a_unit() as place,
        watched_until_it_ended(unit=place) as (watched, first),
        loading(first.port, "another", unit=place) as second,
    ):
        loads, since, restarts = root(watched), watched.found.since, watched.restarts
        second.listen()

        assert loads == root(watched) == second.process.pid
        assert (restarts, watched.restarts) == (0, 1)
        assert watched.found.since == since


def test_what_prepares_a_unit_for_its_server_is_no_restart() -> None:
    with (
        a_unit() as place,
        watched_until_it_ended(unit=place) as (watched, first),
        loading(first.port, "prepare", unit=place) as prepares,
    ):
        before = root(watched)
        prepares.end()

        with loading(first.port, unit=place) as second:
            assert before == prepares.process.pid
            assert root(watched) == second.process.pid
            assert watched.restarts == 1


def test_the_server_that_a_unit_s_first_process_starts_is_found_as_soon_as_it_runs() -> None:
    with (
        a_unit() as place,
        watched_until_it_ended(unit=place) as (watched, first),
        loading(first.port, "starter", unit=place) as starter,
    ):
        before = root(watched)

        with loading(first.port, unit=place) as second:
            assert before == starter.process.pid
            assert root(watched) == second.process.pid
            assert watched.restarts == 1


def test_where_a_unit_runs_more_than_the_server_only_the_command_tells() -> None:
    with (
        a_unit() as place,
        loading(free_port(), "supervisor", unit=place),
        watched_until_it_ended(unit=place) as (watched, first),
        loading(first.port, "another", unit=place),
    ):
        other = root(watched)

        with loading(first.port, unit=place) as second:
            assert other is None
            assert root(watched) == second.process.pid


def test_the_same_command_in_another_unit_does_not_take_a_server_s_place() -> None:
    with (
        a_unit() as place,
        a_unit("other") as other,
        watched_until_it_ended(unit=place) as (watched, first),
        loading(first.port, unit=other),
    ):
        assert root(watched) is None


def test_a_port_where_nothing_listens_has_no_process() -> None:
    with forking() as server:
        server.kill()

    assert looked(server.port).found.lookup is Lookup.NOT_FOUND


def test_another_machine_has_no_process_here() -> None:
    assert looked(8000, "192.0.2.1").found.lookup is Lookup.NOT_LOCAL


@permitted("unshare --net ip link add veth0 type veth peer name veth1")
def test_nothing_is_sent_to_another_machine() -> None:
    link = (
        "ip link add veth0 type veth peer name veth1; ip addr add 192.0.2.2/24 dev veth0;"
        'ip link set veth0 up; ip link set veth1 up; "$@"; cat /proc/net/arp'
    )

    seen = seen_by(["unshare", "--net", "sh", "-ec", link, "sh"], 8000, "192.0.2.1")

    assert seen.splitlines()[0] == "not_local 0"
    assert "192.0.2.1" not in seen


def test_a_name_that_cannot_be_resolved_is_a_search_that_cannot_be_made() -> None:
    with pytest.raises(Unreadable) as raised:
        looked(8000, "a..b")

    assert raised.value.reason is Reason.NOT_FOUND


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may see less")
def test_a_process_of_another_user_is_not_ours_to_find() -> None:
    with forking() as server, as_nobody():
        watched = looked(server.port)

    assert watched.found.lookup is Lookup.NOT_PERMITTED
    assert watched.listeners


@permitted("unshare --net true")
def test_a_server_in_another_network_namespace_is_not_found_here() -> None:
    with socket.socket() as ours:
        ours.bind(("127.0.0.1", 0))  # so that nobody else listens on its port here
        port = ours.getsockname()[1]

        with forking(command=["unshare", "--net", sys.executable], port=port):
            assert looked(port).found.lookup is Lookup.NOT_FOUND


@permitted("unshare --pid --fork --mount-proc true")
def test_beside_a_server_in_another_container_of_the_pod_its_backlog_is_seen_and_its_process_is_not() -> None:
    with forking() as server:
        seen = seen_by(["unshare", "--pid", "--fork", "--mount-proc"], server.port)

    assert seen == "other_namespace 0"


@permitted("unshare --net nft list ruleset")
def test_a_port_that_the_kernel_forwards_belongs_to_another_namespace() -> None:
    published = (
        "ip link set lo up; nft add table ip nat;"
        "nft 'add chain ip nat output { type nat hook output priority -100; }';"
        'nft add rule ip nat output tcp dport 8000 redirect to :8001; "$0" -IS "$1" 127.0.0.1 8001 0 & shift;'
        'until grep -q :1F41 /proc/net/tcp; do sleep 0.02; done; "$@"; kill $!'
    )
    server = [sys.executable, str(ROOT / "tests/services/forking.py")]

    seen = seen_by(["unshare", "--net", "sh", "-ec", published, *server], 8000)

    assert seen.splitlines()[-1] == "other_namespace 0"


def test_a_container_engine_s_proxy_is_not_the_service(tmp_path: Path) -> None:
    with forking(command=named("docker-proxy", tmp_path)) as server:
        found = looked(server.port).found

    assert found.lookup is Lookup.OTHER_NAMESPACE
    assert found.forwarded


def test_who_only_holds_a_port_until_somebody_calls_is_not_the_service(tmp_path: Path) -> None:
    with forking(command=named("systemd", tmp_path)) as server:
        assert looked(server.port).found.lookup is Lookup.NOT_FOUND


def test_a_service_that_comes_is_found_although_the_others_were_looked_at_a_moment_ago() -> None:
    neighbours = Neighbours(recent=600, settled=600)
    with forking() as one, forking() as other:
        first = Search("127.0.0.1", one.port, neighbours)
        first.look()

        second = Search("127.0.0.1", other.port, neighbours)
        second.look()
        first.look()

        assert (first.found.lookup, second.found.lookup) == (Lookup.FOUND, Lookup.FOUND)
        assert first.restarts == 0


def test_services_that_came_together_share_one_look_at_all_of_their_ports() -> None:
    neighbours = Neighbours(recent=600, settled=600)
    with forking() as one, forking() as other:
        both = [Search("127.0.0.1", server.port, neighbours) for server in (one, other)]
        both[0].look()
        shared = neighbours.sockets()
        both[1].look()

        assert neighbours.sockets() is shared
        assert [found.listeners != [] for found in both] == [True, True]
