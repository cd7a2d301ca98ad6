"""What `model-sidecar healthcheck` says of an exporter beside it, which is a real one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from exporter.commands.healthcheck import DEFAULT, VARIABLE, healthcheck
from exporter.listening import bind
from exporter.messages import plain
from exporter.settings.environment import variables
from exporter.settings.model import Web
from exporter.web import Server
from exporter.webconfig.guard import Guard
from tests.daemon import PATIENCE, ROOT, Daemon, begun, ended
from tests.services.scripted import Stage, reply
from tests.webconfig.asking import serving, written
from tests.webconfig.certificates import HASH, papers

QUIET: Mapping[str, object] = {"gpu": {"enabled": False}, "host": {"enabled": False}}
# What a container's engine runs is the script that pip makes of this.
ENTRY = "import sys; from exporter.entry import main; status = main(); {then}; sys.exit(status)"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with begun(tmp_path_factory.mktemp("daemon"), QUIET) as daemon:
        yield daemon


@pytest.fixture
def address(daemon: Daemon) -> str:
    return daemon.url.removeprefix("http://")


@pytest.fixture
def closed() -> Iterator[str]:
    """An address at which nobody listens."""
    with Stage() as stage:
        yield f"127.0.0.1:{stage.closed_port()}"


def entered(*arguments: str, then: str = "pass") -> subprocess.CompletedProcess[str]:
    """The health check as an engine runs it."""
    command = [sys.executable, "-c", ENTRY.format(then=then), "healthcheck", *arguments]
    kept = {name: value for name, value in os.environ.items() if name != VARIABLE}
    return subprocess.run(command, cwd=ROOT, env=kept, capture_output=True, text=True, check=False, timeout=PATIENCE)


def test_it_ends_with_0_where_the_exporter_answers_and_with_1_where_nobody_does(address: str, closed: str) -> None:
    well, ill = entered(f"--web.listen-address={address}"), entered("--web.listen-address", closed)

    assert (well.returncode, well.stdout) == (0, f"{address} answers\n")
    assert (ill.returncode, ill.stdout) == (1, f"{closed} does not answer: [Errno 111] Connection refused\n")
    assert (well.stderr, ill.stderr) == ("", "")


def test_it_can_be_run_as_a_module_too(address: str) -> None:
    run = ended("healthcheck", f"--web.listen-address={address}")

    assert (run.returncode, run.stdout) == (0, f"{address} answers\n")


def test_it_loads_neither_the_exporter_nor_what_that_is_made_of(address: str) -> None:
    run = entered(f"--web.listen-address={address}", then="print(*sys.modules)")

    loaded = set(run.stdout.splitlines()[1].split())
    assert {name for name in loaded if name.startswith("exporter")} == {
        *("exporter", "exporter.entry", "exporter.commands", "exporter.commands.healthcheck")
    }
    assert not loaded & {"argparse", "asyncio", "encodings.idna", "json", "pydantic", "ssl", "uvloop", "yaml"}


def test_every_other_command_goes_the_usual_way() -> None:
    command = [sys.executable, "-c", ENTRY.format(then="pass"), "--version"]

    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert run.stdout.startswith("model-sidecar ")


def test_an_exporter_that_no_longer_answers_is_not_healthy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with begun(tmp_path, QUIET) as frozen:
        address = frozen.url.removeprefix("http://")
        frozen.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, frozen.process.pid, os.WSTOPPED | os.WNOWAIT)

        status = healthcheck([f"--web.listen-address={address}"], {})

    assert status == 1
    assert capsys.readouterr().out == f"{address} does not answer: timed out\n"


KEYS = "cert_file: server.pem, key_file: server.pem"
CLIENTS = "client_ca_file: ca.pem, client_auth_type: RequireAndVerifyClientCert"


@pytest.mark.parametrize(
    ("config", "told"),
    [
        pytest.param(f"tls_server_config: {{{KEYS}}}", "answers, and wants TLS", id="TLS"),
        pytest.param(f"tls_server_config: {{{KEYS}, {CLIENTS}}}", "answers, and wants TLS", id="certificates"),
        pytest.param(f"basic_auth_users: {{prometheus: {HASH}}}", "answers, and wants a password", id="passwords"),
    ],
)
def test_one_that_lets_in_nobody_unknown_is_healthy(
    tmp_path: Path, config: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    papers(tmp_path)
    with serving(Guard(written(tmp_path, config))) as (_, port):
        status = healthcheck([f"--web.listen-address=127.0.0.1:{port}"], {})

    assert (status, capsys.readouterr().out) == (0, f"127.0.0.1:{port} {told}\n")


def test_one_that_is_asked_too_often_is_healthy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Guard(written(tmp_path, "rate_limit: {interval: 1h, burst: 1}"))) as (_, port):
        flag = f"--web.listen-address=127.0.0.1:{port}"
        healthcheck([flag], {})
        capsys.readouterr()

        status = healthcheck([flag], {})

    assert (status, capsys.readouterr().out) == (0, f"127.0.0.1:{port} answers, and limits how often\n")


@pytest.mark.parametrize("body", ["ok", "model-sidecar is healthy, or so"])
def test_another_program_in_its_place_is_not_taken_for_it(
    stage: Stage, body: str, capsys: pytest.CaptureFixture[str]
) -> None:
    address = stage.serve({"GET /-/healthy": reply(body)}).url.removeprefix("http://")

    status = healthcheck([f"--web.listen-address={address}"], {})

    assert status == 1
    assert "answers otherwise than model-sidecar" in capsys.readouterr().out


@pytest.mark.parametrize(
    "told",
    [
        "web: {{listen_address: '{0}'}}",
        "web: {{listen_address: ['{0}']}}",
        "targets: []\nweb:\n  listen_address:\n  - '{0}'\n",
    ],
)
def test_the_address_is_found_in_the_file_of_settings(tmp_path: Path, address: str, told: str) -> None:
    file = tmp_path / "sidecar.yml"
    file.write_text(told.format(address))

    assert healthcheck(["--config.file", str(file)], {}) == 0
    assert healthcheck([f"--config.file={file}"], {}) == 0


@pytest.mark.parametrize("told", ["{0}", '["{0}"]', '["{0}", "{0}"]'])
def test_the_address_is_found_in_the_environment(address: str, told: str) -> None:
    assert healthcheck([], {VARIABLE: told.format(address)}) == 0
    assert healthcheck([], {VARIABLE.lower(): told.format(address)}) == 0


def test_a_flag_goes_before_the_environment_and_that_before_the_file(tmp_path: Path, address: str, closed: str) -> None:
    file = tmp_path / "sidecar.yml"
    file.write_text(f"web: {{listen_address: '{closed}'}}")

    assert healthcheck([f"--config.file={file}"], {VARIABLE: address}) == 0
    assert healthcheck([f"--config.file={file}", f"--web.listen-address={address}"], {VARIABLE: closed}) == 0
    assert healthcheck([f"--config.file={file}"], {VARIABLE: ""}) == 1


def test_each_address_is_asked_and_one_that_does_not_answer_is_enough(
    address: str, closed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = healthcheck([f"--web.listen-address={closed}", "--web.listen-address", address], {})

    assert status == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{closed} does not answer: [Errno 111] Connection refused",
        f"{address} answers",
    ]


@pytest.mark.parametrize("listening", [":{0}", "0.0.0.0:{0}", "localhost:{0}", "[::]:{0}", "[::1]:{0}"])
def test_an_exporter_is_reached_however_its_address_was_typed(listening: str) -> None:
    sockets = bind([listening.format(0)])
    server = Server({"/-/healthy": lambda _: plain(200, "model-sidecar is healthy.")}, sockets)
    server.start()

    status = healthcheck(["--web.listen-address", listening.format(sockets[0].getsockname()[1])], {})

    server.stop()
    assert status == 0


# As the first process of a container: its words are those of the exporter, and what it does is the health check.
FIRST = "import sys; from exporter.entry import main; sys.argv[1:] = ['healthcheck']; sys.exit(main())"
ALONE = ("unshare", "--map-root-user", "--pid", "--fork", "--mount-proc")


@pytest.mark.parametrize("words", [["demo", "--web.listen-address={0}"], ["http://a", "--web.listen-address", "{0}"]])
def test_what_the_first_process_of_a_container_was_given_holds_for_it_too(
    tmp_path: Path, address: str, words: list[str]
) -> None:
    program = tmp_path / "model-sidecar"
    program.write_text(FIRST)
    if subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("unshare may make no namespaces here, in which a process would be the first")
    command = [*ALONE, sys.executable, str(program), *(word.format(address) for word in words)]

    run = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)

    assert (run.returncode, run.stdout) == (0, f"{address} answers\n"), run.stderr


def test_without_a_word_it_looks_where_the_exporter_listens_by_default() -> None:
    assert Web().listen_address == (DEFAULT,)
    assert variables()[VARIABLE] == ("web", "listen_address")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--web.listen-adress=:1"], "--web.listen-adress=:1 is no argument"),
        (["http://localhost:8000"], "http://localhost:8000 is no argument"),
        (["--web.listen-address"], "--web.listen-address has no value"),
        (["--config.file="], "--config.file has no value"),
    ],
)
def test_what_it_does_not_know_is_not_healthy_by_mistake(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = healthcheck(arguments, {})

    assert status == 1
    assert capsys.readouterr().err == (f"model-sidecar healthcheck: {told}; see model-sidecar healthcheck --help\n")


@pytest.mark.parametrize("address", ["10068", ":", "127.0.0.1:port", "nowhere.invalid:1"])
def test_an_address_that_is_none_is_told(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = healthcheck([f"--web.listen-address={address}"], {})

    assert status == 1
    assert capsys.readouterr().out.startswith(f"{address} does not answer: ")


def test_help_says_how_the_address_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    status = healthcheck(["--help"], {})

    assert status == 0
    assert VARIABLE in capsys.readouterr().out
