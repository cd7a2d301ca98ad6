"""Where everything meets: what is sent where, in whose name, and that every reading has a place on the page."""

import asyncio
import importlib
import inspect
import os
import pkgutil
import socket
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import pytest
import trustme

import exporter
from exporter import __version__
from exporter.commands.line import COMMANDS as TYPED
from exporter.exposition import own
from exporter.lookup import Neighbours
from exporter.machine import watches
from exporter.nvml import Nvml
from exporter.program import COMMANDS
from exporter.reading import Reading
from exporter.services import CATALOG, watches_of
from exporter.settings import Settings, load
from exporter.site import Site, health_of, process_of, prompt_of
from exporter.sources.health import Certificate, Health
from exporter.sources.process import Process
from exporter.sources.prompt import Answers, Service
from exporter.trust import trust
from exporter.watch import Collection, Watch
from exporter.wire import Failure
from tests.services.openai import CHAT, GOOD, models
from tests.services.scripted import Service as Scripted
from tests.services.scripted import Stage, reply

CERTIFICATE = Path(__file__).parent / "services" / "self-signed.pem"
KEY = "sk-of-this-service-alone"
R = TypeVar("R", bound=Reading)
Saying = AsyncGenerator[Sequence[Reading], None]
UNSET: Mapping[str, str] = {}


def given(*targets: Mapping[str, object], environ: Mapping[str, str] = UNSET, **shared: object) -> Settings:
    """The settings that a file with these targets would give."""
    return load({"targets": list(targets), **shared}, file=None, environ=environ)


def site(target: Mapping[str, object], environ: Mapping[str, str] = UNSET) -> Site:
    (only,) = given(target, environ=environ).targets
    return Site(only, Neighbours())


def read(saying: Saying) -> Sequence[Reading]:
    """What one look says last."""

    async def last() -> Sequence[Reading]:
        return [said async for said in saying][-1]

    return asyncio.run(last())


def of(kind: type[R], readings: Sequence[Reading]) -> R:
    (found,) = [reading for reading in readings if isinstance(reading, kind)]
    return found


@pytest.fixture
def service(stage: Stage) -> Scripted:
    """A model server like many."""
    return stage.serve({"GET /health": reply("ok"), "GET /v1/models": models("tiny"), f"POST {CHAT}": GOOD})


def test_every_request_to_a_service_carries_its_key_its_headers_and_who_asks(service: Scripted) -> None:
    here = site({"url": service.url, "headers": {"X-Team": "blue"}}, {"MODEL_SIDECAR_API_KEY": KEY})

    read(health_of(here).read())
    read(prompt_of(here).read())

    assert {"/health", "/v1/models", CHAT} <= {request.path for request in service.requests}
    for name, value in {
        "authorization": f"Bearer {KEY}",
        "x-team": "blue",
        "user-agent": f"model-sidecar/{__version__}",
        "accept-encoding": "identity",
        "connection": "close",
    }.items():
        assert {request.headers.get(name) for request in service.requests} == {value}, name


def test_a_health_endpoint_of_another_origin_is_told_no_secret(service: Scripted, stage: Stage) -> None:
    elsewhere = stage.serve({"GET /state": reply("ok")})
    here = site(
        {"url": service.url, "headers": {"X-Team": "blue"}, "health": {"url": elsewhere.url, "path": "/state"}},
        {"MODEL_SIDECAR_API_KEY": KEY},
    )

    health = of(Health, read(health_of(here).read()))

    (request,) = elsewhere.requests
    assert health.up is True
    assert service.asked("GET", "/state") == []
    assert KEY not in str(request.headers)
    assert "x-team" not in request.headers
    assert request.headers["user-agent"] == f"model-sidecar/{__version__}"


def test_the_key_goes_to_a_health_endpoint_that_is_named_in_full_at_the_service_itself(service: Scripted) -> None:
    health = {"url": service.url, "path": "/state"}
    here = site({"url": service.url, "health": health}, {"MODEL_SIDECAR_API_KEY": KEY})

    read(health_of(here).read())

    (request,) = service.asked("GET", "/state")
    assert request.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({}, "/health"),
        ({"path": "/ping?deep=1"}, "/ping?deep=1"),
        ({"url": "{url}/monitor"}, "/monitor/health"),
        ({"url": "{url}/monitor", "path": "/state"}, "/monitor/state"),
    ],
    ids=str,
)
def test_health_is_asked_for_where_the_settings_say(settings: Mapping[str, str], path: str, service: Scripted) -> None:
    health = {name: value.format(url=service.url) for name, value in settings.items()}

    read(health_of(site({"url": service.url, "health": health})).read())

    assert service.requests[-1].path == path


def test_a_service_at_a_unix_socket_is_watched_like_any_other(stage: Stage) -> None:
    with TemporaryDirectory(dir="/tmp") as folder:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(f"{folder}/chat.sock")
        listening.listen()
        answers = {"GET /health": reply("ok"), "GET /v1/models": models("tiny"), f"POST {CHAT}": GOOD}
        service = stage.serve(answers, sock=listening)
        here = site({"url": service.url}, {"MODEL_SIDECAR_API_KEY": KEY})

        health, prompts = (read(it(here).read()) for it in (health_of, prompt_of))
        process = process_of(here).look()

    assert service.url == f"unix://{folder}/chat.sock"
    assert of(Health, health).up is True
    assert of(Answers, prompts).up is True
    assert of(Process, process).lookup["off"] is True
    assert {request.headers["authorization"] for request in service.requests} == {f"Bearer {KEY}"}


def test_a_service_behind_a_prefix_is_asked_beneath_it(stage: Stage) -> None:
    service = stage.serve(
        {"GET /a/b/health": reply("ok"), "GET /a/b/v1/models": models("tiny"), f"POST /a/b{CHAT}": GOOD}
    )
    here = site({"url": f"{service.url}/a/b/v1/"})

    health = of(Health, read(health_of(here).read()))
    answers = of(Answers, read(prompt_of(here).read()))

    assert (health.up, answers.up) == (True, True)


def test_a_service_is_asked_for_the_model_and_by_the_protocol_of_the_settings(stage: Stage) -> None:
    service = stage.serve({"POST /deep/chat": GOOD})
    here = site({"url": service.url, "model": "large", "prompt": {"protocol": "openai-chat", "path": "/deep/chat"}})

    readings = read(prompt_of(here).read())

    (found,) = [reading for reading in readings if isinstance(reading, Service)]
    assert (found.model, found.protocol) == ("large", "openai-chat")
    (request,) = service.asked("POST")
    assert request.path == "/deep/chat"
    assert b'"large"' in request.body


def test_cases_are_asked_in_turn_with_what_they_leave_out_taken_from_all(stage: Stage) -> None:
    service = stage.serve({"POST /parse": reply('{"city": "Paris", "street": "Rue"}')})
    prompt = {
        "protocol": "plain",
        "path": "/parse",
        "body": {"text": "${text}"},
        "answer": "city",
        "cases": [{"text": "one"}, {"text": "two", "answer": "street"}, {"body": {"raw": True}}],
    }
    asking = prompt_of(site({"url": service.url, "prompt": prompt}))

    for _ in range(4):
        read(asking.read())

    bodies = [request.body for request in service.asked("POST")]
    assert bodies == [b'{"text": "one"}', b'{"text": "two"}', b'{"raw": true}', b'{"text": "one"}']


@pytest.fixture
def secured(stage: Stage) -> tuple[Scripted, list[str | None]]:
    """A service with a certificate of its own making, and the names it was called by."""
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(CERTIFICATE)
    names: list[str | None] = []
    ours.sni_callback = lambda _socket, name, _context: names.append(name)
    return stage.serve({"GET /health": reply("ok"), f"POST {CHAT}": GOOD}, tls=ours), names


def test_a_certificate_that_is_known_is_accepted_and_its_end_is_told(
    secured: tuple[Scripted, list[str | None]],
) -> None:
    service, _ = secured
    here = site({"url": service.url, "tls": {"ca_file": str(CERTIFICATE)}})

    readings = read(health_of(here).read())

    assert of(Health, readings).up is True
    assert of(Certificate, readings).expiry_timestamp_seconds == ssl.cert_time_to_seconds("Jan  1 00:00:00 2120 GMT")


@pytest.fixture
def renewed(stage: Stage, tmp_path: Path) -> tuple[Scripted, Path]:
    """A service whose certificate a new authority has issued, and the file that still holds the old one's."""
    authority = trustme.CA()
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    authority.cert_pem.write_to_path(tmp_path / "new.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    return stage.serve({"GET /health": reply("ok")}, tls=ours), tmp_path / "ca.pem"


def ups_around(change: Callable[[], object], here: Site, *, until: bool) -> tuple[bool | None, bool | None]:
    """Whether it was up before a change, and after one that has had its time, or once it is as expected."""

    async def up() -> bool | None:
        return of(Health, [said async for said in health_of(here).read()][-1]).up

    async def ups() -> tuple[bool | None, bool | None]:
        before = await up()
        change()
        for _ in range(100 if until != before else 15):
            await asyncio.sleep(0.1)
            if (after := await up()) is until and until != before:
                break
        return before, after

    return asyncio.run(ups())


@pytest.mark.parametrize("way", ["rewritten", "replaced"])
def test_an_authority_whose_file_changes_is_believed_from_the_next_connection_on(
    way: str, renewed: tuple[Scripted, Path]
) -> None:
    service, file = renewed
    here = site({"url": service.url, "tls": {"ca_file": str(file)}})
    new = file.with_name("new.pem")

    def change() -> None:
        file.write_bytes(new.read_bytes()) if way == "rewritten" else new.rename(file)

    assert ups_around(change, here, until=True) == (False, True)


def test_an_authority_that_is_no_longer_in_the_file_is_believed_no_more(renewed: tuple[Scripted, Path]) -> None:
    service, file = renewed
    new = file.with_name("new.pem")
    here = site({"url": service.url, "tls": {"ca_file": str(new)}})

    assert ups_around(lambda: file.rename(new), here, until=False) == (True, False)


def gone(file: Path) -> None:
    file.unlink()


def emptied(file: Path) -> None:
    file.write_text("")


def garbled(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:200])


def hanging(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)  # Who opens it waits until somebody writes.


@pytest.mark.parametrize("change", [gone, emptied, garbled, hanging])
def test_a_file_without_certificates_leaves_those_it_held_and_that_is_said_once(
    change: Callable[[Path], None], renewed: tuple[Scripted, Path], caplog: pytest.LogCaptureFixture
) -> None:
    service, file = renewed
    new = file.with_name("new.pem")
    here = site({"url": service.url, "tls": {"ca_file": str(new)}})

    ups = ups_around(lambda: change(new), here, until=True)

    assert ups == (True, True)
    told = [record.getMessage().partition(",")[0] for record in caplog.records]
    assert told == ["tls.ca_file is no longer of use"]


def test_services_with_the_same_authority_share_what_is_made_of_its_file(renewed: tuple[Scripted, Path]) -> None:
    _, file = renewed

    async def contexts() -> list[ssl.SSLContext]:
        return [await trust(str(file), insecure=False)() for _ in range(2)]

    one, other = asyncio.run(contexts())

    assert one is other


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_service_is_called_by_the_name_that_is_set(name: str, secured: tuple[Scripted, list[str | None]]) -> None:
    service, names = secured
    tls = {"ca_file": str(CERTIFICATE), "server_name": name}
    prompt = {"protocol": "openai-chat"}

    here = site({"url": service.url, "model": "tiny", "tls": tls, "prompt": prompt})
    health = of(Health, read(health_of(here).read()))
    answers = of(Answers, read(prompt_of(here).read()))

    assert (health.up, answers.up) == (True, True)
    assert set(names) == ({name} if name == "localhost" else {None})


def test_a_certificate_for_another_name_is_refused(secured: tuple[Scripted, list[str | None]]) -> None:
    service, _ = secured
    here = site({"url": service.url, "tls": {"ca_file": str(CERTIFICATE), "server_name": "elsewhere"}})

    health = of(Health, read(health_of(here).read()))

    assert health.last is not None
    assert health.last.failed is not None
    assert health.last.failed.failure is Failure.TLS
    assert service.asked("GET", "/state") == []


def test_a_certificate_is_taken_unseen_where_that_is_set(secured: tuple[Scripted, list[str | None]]) -> None:
    service, _ = secured
    here = site({"url": service.url, "tls": {"insecure_skip_verify": True}})

    assert of(Health, read(health_of(here).read())).up is True


def test_a_health_endpoint_may_be_encrypted_where_the_service_is_not(
    secured: tuple[Scripted, list[str | None]], stage: Stage
) -> None:
    elsewhere, _ = secured
    plain = stage.serve({})
    here = site({"url": plain.url, "health": {"url": elsewhere.url}, "tls": {"ca_file": str(CERTIFICATE)}})

    assert of(Health, read(health_of(here).read())).up is True


def kinds() -> Iterator[type[Reading]]:
    """Every kind of reading that any module declares."""
    for each in pkgutil.walk_packages(exporter.__path__, "exporter."):
        if each.name.endswith("__main__"):
            continue
        for _, kind in inspect.getmembers(importlib.import_module(each.name), inspect.isclass):
            if issubclass(kind, Reading) and kind is not Reading and kind.__module__ == each.name:
                yield kind


def test_every_reading_is_in_the_catalog_once() -> None:
    declared = Counter(kinds())

    # What prometheus_client's collectors tell of every program's process is on every page, and no metric of ours.
    assert declared == Counter([*CATALOG.columns, *own.KINDS])
    assert Collection in declared


def test_every_metric_has_its_words() -> None:
    entries = list(CATALOG.reference())

    assert len(entries) > 80
    assert [entry.name for entry in entries if not entry.help.endswith(".")] == []


def watched(settings: Settings) -> Sequence[Watch]:
    """Everything that is watched with these settings."""

    def now() -> Settings:
        return settings

    share = 1 / max(len(settings.targets), 1)
    here = (Site(target, Neighbours(), share=number * share) for number, target in enumerate(settings.targets))
    return [*watches(now, Nvml()), *chain.from_iterable(watches_of(site, now) for site in here)]


def collections(watching: Sequence[Watch]) -> Counter[tuple[str, str]]:
    return Counter((each.collection.source, each.collection.target) for each in watching)


def test_what_is_switched_off_is_not_read() -> None:
    off = {"enabled": False}
    quiet = {"name": "quiet", "url": "http://a", "health": off, "prompt": off, "server": off}

    watching = tuple(watched(given(quiet, {"name": "loud", "url": "http://b"}, gpu=off, host=off)))

    assert collections(watching) == Counter(
        [("process", "quiet"), ("prompt", "loud"), ("health", "loud"), ("server", "loud"), ("process", "loud")]
    )


def test_gpus_and_host_are_read_once_however_many_services_there_are() -> None:
    watching = tuple(watched(given(*({"name": str(number), "url": f"http://s{number}"} for number in range(100)))))

    assert len(watching) == 2 + 4 * 100
    assert collections(watching)["gpu", ""] == collections(watching)["host", ""] == 1


def test_the_turns_of_all_services_are_spread_over_each_round() -> None:
    targets = [{"name": str(number), "url": f"http://s{number}", "health": {"every": 10}} for number in range(4)]

    turns = [each.clock.first_after for each in watched(given(*targets)) if each.collection.source == "health"]

    assert turns == [0.0, 2.5, 5.0, 7.5]


def test_only_prompts_are_jittered_so_that_everything_else_is_regular() -> None:
    watching = tuple(watched(given({"url": "http://a", "prompt": {"jitter": 0.3}})))

    jitters = {each.collection.source: each.clock.jitter for each in watching}

    assert jitters == {"gpu": 0, "host": 0, "health": 0, "process": 0, "server": 0, "prompt": 0.3}


def test_no_look_is_ended_before_its_own_deadlines() -> None:
    slow = {"url": "http://a", "health": {"timeout": "90s"}, "prompt": {"timeout": "10m"}}

    timeouts = {each.collection.source: each.clock.timeout for each in watched(given(slow))}

    assert timeouts["health"] > 90
    assert timeouts["prompt"] > 600


def test_a_process_that_is_not_to_be_looked_for_says_so() -> None:
    here = site({"url": "http://127.0.0.1:8000", "process": "off"})

    process = of(Process, process_of(here).look())

    assert [lookup for lookup, is_so in process.lookup.items() if is_so] == ["off"]


def test_every_command_that_is_named_can_be_typed() -> None:
    assert set(TYPED) == set(COMMANDS)
