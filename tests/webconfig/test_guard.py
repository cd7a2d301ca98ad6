import logging
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import bcrypt
import pytest

from exporter.webconfig.document import WrongWebConfig
from exporter.webconfig.guard import Guard
from tests.daemon import Page, started
from tests.webconfig.asking import ask, basic, serving, trusting, written
from tests.webconfig.certificates import HASH, PASSWORD, Papers, papers

USERS = f"basic_auth_users: {{alice: {HASH}}}\n"
FRAMES = "http_server_config: {headers: {X-Frame-Options: deny}}\n"
SECURE = "tls_server_config: {cert_file: server.pem, key_file: server.pem}\n"
ALICE = basic("alice", PASSWORD)


@contextmanager
def guarded(folder: Path, text: str) -> Iterator[tuple[Guard, int]]:
    guard = Guard(written(folder, text))
    with serving(guard) as (_, port):
        yield guard, port


def replaced(file: Path, text: str) -> None:
    """As editors and orchestrators do it."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def serial(port: int, paper: Papers) -> str:
    """Which certificate the server shows."""
    context = trusting(paper.ca)
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        shown = client.getpeercert()
    assert shown is not None
    return str(shown["serialNumber"])


def patience() -> Iterator[None]:
    for _ in range(200):
        yield
        time.sleep(0.05)


@pytest.mark.parametrize("path", ["/metrics", "/-/healthy", "/-/ready", "/", "/nowhere"])
def test_nobody_unknown_is_let_in_at_any_path(tmp_path: Path, path: str) -> None:
    with guarded(tmp_path, USERS + FRAMES) as (_, port):
        told = ask(port, path)

    assert told.status == 401
    assert told.body == b"Unauthorized\n"
    assert told.headers["www-authenticate"] == "Basic"
    assert told.headers["content-type"] == "text/plain; charset=utf-8"
    assert told.headers["x-content-type-options"] == "nosniff"
    assert told.headers["x-frame-options"] == "deny"


def test_who_is_known_is_let_in(tmp_path: Path) -> None:
    with guarded(tmp_path, USERS + FRAMES) as (_, port):
        told = ask(port, headers=ALICE)

    assert (told.status, told.body) == (200, b"up 1\n")
    assert told.headers["x-frame-options"] == "deny"
    assert "www-authenticate" not in told.headers


def test_a_refusal_is_counted_at_its_path(tmp_path: Path) -> None:
    with serving(Guard(written(tmp_path, USERS))) as (server, port):
        ask(port)

        assert server.requests["/metrics", "401"] == 1


def test_more_than_the_rate_are_turned_away_before_anybody_asks_who_they_are(tmp_path: Path) -> None:
    with guarded(tmp_path, USERS + FRAMES + "rate_limit: {interval: 1h, burst: 2}") as (_, port):
        told = [ask(port, headers=ALICE) for _ in range(3)]

    assert [each.status for each in told] == [200, 200, 429]
    assert told[2].body == b"Too Many Requests\n"
    assert "x-frame-options" not in told[2].headers


def test_a_crowd_of_passwords_is_turned_away_rather_than_kept_waiting(tmp_path: Path) -> None:
    slow = bcrypt.hashpw(PASSWORD, bcrypt.gensalt(11)).decode()
    with guarded(tmp_path, f"basic_auth_users: {{alice: {slow}}}") as (_, port), ThreadPoolExecutor(30) as pool:
        asking = [pool.submit(ask, port, headers=basic("alice", str(number).encode())) for number in range(30)]
        statuses = {each.result().status for each in asking}

    assert statuses == {401, 503}


def test_a_change_is_in_force_for_the_next_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with guarded(tmp_path, USERS) as (guard, port):
        replaced(tmp_path / "web.yml", FRAMES)
        guard.look()
        told = ask(port)

    assert told.status == 200
    assert told.headers["x-frame-options"] == "deny"
    assert [record.levelname for record in caplog.records if "in force" in record.message] == ["INFO"]


def test_a_change_is_found_by_itself(tmp_path: Path) -> None:
    with guarded(tmp_path, USERS) as (guard, port), guard.followed():
        replaced(tmp_path / "web.yml", FRAMES)

        assert any(ask(port).status == 200 for _ in patience())


def test_a_broken_file_leaves_the_old_one_in_force_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with guarded(tmp_path, USERS) as (guard, port):
        replaced(tmp_path / "web.yml", "basic_auth_users: {alice: plain}")
        for _ in range(4):
            guard.look()
        told = ask(port), ask(port, headers=ALICE)

    assert [each.status for each in told] == [401, 200]
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        (
            "the web configuration stays as it was: "
            f"{tmp_path}/web.yml:1: basic_auth_users.alice is not a hash of bcrypt, such as htpasswd -nB gives"
        )
    ]


def test_a_file_that_is_gone_leaves_the_old_one_in_force_until_there_is_one_again(tmp_path: Path) -> None:
    with guarded(tmp_path, USERS) as (guard, port):
        (tmp_path / "web.yml").unlink()
        guard.look()
        without = ask(port)
        written(tmp_path, FRAMES)
        guard.look()
        again = ask(port)

    assert (without.status, again.status) == (401, 200)


def test_a_mistake_that_is_mended_before_the_next_look_is_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with guarded(tmp_path, USERS) as (guard, _):
        replaced(tmp_path / "web.yml", "[")
        guard.look()
        replaced(tmp_path / "web.yml", USERS)
        guard.look()
        guard.look()

    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_certificates_rotate_without_a_restart(tmp_path: Path) -> None:
    paper = papers(tmp_path)
    with guarded(tmp_path, SECURE) as (guard, port):
        first = serial(port, paper)
        paper.issue("server.pem", "localhost")
        guard.look()
        second = serial(port, paper)

    assert first != second


def test_certificates_rotate_behind_links(tmp_path: Path) -> None:
    paper = papers(tmp_path)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        paper.issue(f"{folder}/server.pem", "localhost")
    (tmp_path / "now").symlink_to("one")
    with guarded(tmp_path, SECURE.replace("server.pem", "now/server.pem")) as (guard, port):
        first = serial(port, paper)
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").rename(tmp_path / "now")
        guard.look()
        second = serial(port, paper)

    assert first != second


def test_a_certificate_without_its_key_leaves_the_old_one_in_force(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paper = papers(tmp_path)
    with guarded(tmp_path, SECURE) as (guard, port):
        first = serial(port, paper)
        (tmp_path / "server.pem").write_bytes(paper.ca.read_bytes())
        guard.look()
        guard.look()
        second = serial(port, paper)

    assert first == second
    assert "is no private key of tls_server_config.cert_file" in caplog.text


def test_whether_there_is_tls_stays_as_it_was_at_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paper = papers(tmp_path)
    with guarded(tmp_path, SECURE) as (guard, port):
        replaced(tmp_path / "web.yml", FRAMES)
        guard.look()
        guard.look()
        told = ask(port, tls=trusting(paper.ca))

    assert told.status == 200
    assert "TLS begins and ends only with a restart" in caplog.text


def test_a_right_password_is_not_hashed_again_after_a_rotation(tmp_path: Path) -> None:
    with guarded(tmp_path, USERS) as (guard, _):
        users = guard._rules.users
        replaced(tmp_path / "web.yml", USERS + FRAMES)
        guard.look()

        assert guard._rules.users is users


def test_a_wrong_file_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(WrongWebConfig, match=r"cert_file .*server\.pem is not readable"):
        Guard(written(tmp_path, SECURE))


def sound(page: Page) -> float | None:
    """Whether the file was valid when it was read last, as the page tells it."""
    return page.value("model_sidecar_web_config_last_reload_successful")


def test_the_page_tells_that_the_file_is_broken_until_it_is_mended(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text(FRAMES)
    with started(
        tmp_path, {"gpu": {"enabled": False}, "host": {"enabled": False}}, f"--web.config.file={file}"
    ) as daemon:
        first = sound(daemon.scrape())
        replaced(file, "basic_auth_users: {alice: plain}")
        broken = sound(daemon.until(lambda page: sound(page) == 0))
        replaced(file, FRAMES)
        mended = sound(daemon.until(lambda page: sound(page) == 1))

    assert (first, broken, mended) == (1, 0, 1)


def test_without_such_a_file_nothing_is_told_of_it(tmp_path: Path) -> None:
    with started(tmp_path, {"gpu": {"enabled": False}, "host": {"enabled": False}}) as daemon:
        assert sound(daemon.scrape()) is None
