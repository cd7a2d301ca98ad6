"""A service's key: read anew when its file changes, kept when the file is of no use, and told to nobody else."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from exporter.client import Client
from exporter.clock import Transport
from exporter.credentials import Credentials, Key
from exporter.response import opened, whole
from exporter.settings import load
from exporter.wire import Failed, Failure, failed
from tests.services.scripted import Request, Service, Stage, Step, reply

OLD, NEW = "sk-of-yesterday", "sk-of-tomorrow"


@pytest.fixture
def service(stage: Stage) -> Service:
    """A service that takes any key."""
    return stage.serve({"GET /": reply("ok")})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that holds a key."""
    file = tmp_path / "key"
    file.write_text(f"{OLD}\n")
    return file


@asynccontextmanager
async def asking(service: Service, key: Key | None, *headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client that tells the service its key."""
    credentials = Credentials(httpx.URL(service.url), key, headers)
    client = Client(Transport(), base_url=service.url, connect=5.0, credentials=credentials)
    async with asyncio.timeout(30), client as asking:
        yield asking


def told(service: Service) -> str | None:
    """What the service was told last."""
    return service.requests[-1].headers.get("authorization")


def after(change: Callable[[], object], service: Service, file: Path, *, until: str | None = None) -> str | None:
    """What a service is told that was asked before and after a change; again, until it is told that key."""

    async def asked() -> str | None:
        async with asking(service, Key(OLD, file=file, target="chat")) as client:
            await client.get("/")
            change()
            for _ in range(50 if until else 12):
                await asyncio.sleep(0.1)
                await client.get("/")
                if told(service) == f"Bearer {until}":
                    break
            return told(service)

    return asyncio.run(asked())


def test_a_key_that_is_rewritten_is_read_anew(service: Service, file: Path) -> None:
    assert after(lambda: file.write_text(NEW), service, file, until=NEW) == f"Bearer {NEW}"


def test_a_key_that_another_file_takes_the_place_of_is_read_anew(service: Service, file: Path) -> None:
    def rotate() -> None:
        following = file.with_name("following")
        following.write_text(NEW)
        following.rename(file)

    assert after(rotate, service, file, until=NEW) == f"Bearer {NEW}"


def test_a_key_whose_link_leads_elsewhere_is_read_anew(service: Service, tmp_path: Path) -> None:
    for name, key in (("first", OLD), ("second", NEW)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "key").write_text(key)
    (tmp_path / "now").symlink_to("first")

    def rotate() -> None:
        # As Kubernetes changes a secret.
        (tmp_path / "following").symlink_to("second")
        (tmp_path / "following").rename(tmp_path / "now")

    assert after(rotate, service, tmp_path / "now" / "key", until=NEW) == f"Bearer {NEW}"


def vanish(file: Path) -> None:
    file.unlink()


def emptied(file: Path) -> None:
    file.write_text("")


def of_several_lines(file: Path) -> None:
    file.write_text(f"{NEW}\n{NEW}\n")


def of_no_text(file: Path) -> None:
    file.write_bytes(b"\xff" + NEW.encode())


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def hanging(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)  # Who opens it waits until somebody writes.


@pytest.mark.parametrize("change", [vanish, emptied, of_several_lines, of_no_text, a_folder, hanging])
def test_a_file_that_holds_no_key_leaves_the_last_one_and_that_is_said_once(
    change: Callable[[Path], None], service: Service, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last = after(lambda: change(file), service, file)

    assert last == f"Bearer {OLD}"
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == ["api_key_file is no longer of use"]
    assert NEW not in caplog.text


def test_a_file_that_holds_a_key_again_is_used_again(service: Service, file: Path) -> None:
    def rewrite() -> None:
        file.write_text(NEW)

    async def asked() -> list[str | None]:
        async with asking(service, Key(OLD, file=file, target="chat")) as client:
            await client.get("/")
            lost = told(service)
            rewrite()
            while told(service) == lost:
                await asyncio.sleep(0.1)
                await client.get("/")
            return [lost, told(service)]

    file.unlink()

    assert asyncio.run(asked()) == [f"Bearer {OLD}", f"Bearer {NEW}"]


def test_a_request_to_another_origin_has_no_key_though_the_client_is_the_service_s(
    service: Service, stage: Stage
) -> None:
    elsewhere = stage.serve({"GET /": reply("ok")})

    async def asked() -> None:
        async with asking(service, Key(OLD, file=None, target="chat")) as client:
            await client.get(elsewhere.url)

    asyncio.run(asked())

    assert OLD not in str(elsewhere.requests[0].headers)


def test_a_redirect_to_another_origin_is_not_followed_and_its_host_tells_no_key(stage: Stage) -> None:
    def leading_away(request: Request) -> Iterable[Step]:
        return reply("", 307, f"Location: http://{request.headers['authorization'][7:]}.example/")(request)

    service = stage.serve({"GET /": leading_away})

    async def asked() -> Failed:
        async with asking(service, Key(OLD.upper(), file=None, target="chat")) as client:
            try:
                async with opened(client, client.build_request("GET", "/"), None):
                    raise AssertionError("it was followed")
            except Failed as error:
                return failed(error)

    failure = asyncio.run(asked())

    assert failure.failure is Failure.REDIRECTED
    assert OLD not in str(failure).lower()
    assert str(failure) == "redirected (status 307 leads to ***.example)"


def heard(service: Service, key: Key | None, *headers: str) -> bytes:
    """What is made of its answer."""

    async def asked() -> bytes:
        async with (
            asking(service, key, *headers) as client,
            opened(client, client.build_request("GET", "/"), None) as response,
        ):
            return await whole(response)

    return asyncio.run(asked())


def test_what_a_service_repeats_of_its_secrets_is_not_read(stage: Stage) -> None:
    header = "in-a-header-of-ours"
    service = stage.serve({"GET /": reply(f'{{"id": "Bearer {OLD}", "by": "{header}"}}')})

    assert heard(service, Key(OLD, file=None, target="chat"), header) == b'{"id": "Bearer ***", "by": "***"}'


def test_a_short_header_is_no_secret_that_is_cut_out_of_answers(stage: Stage) -> None:
    service = stage.serve({"GET /": reply('{"id": "blue-whale"}')})

    assert heard(service, None, "blue") == b'{"id": "blue-whale"}'


def test_a_target_is_the_same_whatever_its_file_holds(file: Path) -> None:
    settings = {"targets": [{"url": "http://a", "api_key_file": str(file)}]}

    before = load(settings, file=None, environ={})
    file.write_text(NEW)
    since = load(settings, file=None, environ={})

    assert before == since
    assert [it.targets[0].api_key and it.targets[0].api_key.secret.get_secret_value() for it in (before, since)] == [
        OLD,
        NEW,
    ]
