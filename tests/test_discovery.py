"""Which services there are: files of targets as Prometheus writes them, and names with several addresses."""

import asyncio
import json
import os
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from exporter.discovery import Discovery, replicas
from exporter.lookup import Neighbours
from exporter.settings import Settings, Target, WrongSettings, load
from exporter.settings.groups import targets_in
from exporter.site import Site, health_of
from tests.services.scripted import Stage, reply

CERTIFICATE = Path(__file__).parent / "services" / "self-signed.pem"
GROUP = [{"targets": ["10.0.0.7:8000"], "labels": {"name": "chat"}}]


def given(**settings: object) -> Settings:
    """The settings that a file would give."""
    return load(settings, file=None, environ={})


def listed(folder: Path, document: object) -> Sequence[Target]:
    """What a file lists."""
    file = folder / "targets.json"
    file.write_text(json.dumps(document))
    return targets_in(file, given())


def refused(folder: Path, text: str, name: str = "targets.json") -> str:
    """What is said of a file with this text."""
    file = folder / name
    file.write_text(text)
    with pytest.raises(WrongSettings) as wrong:
        targets_in(file, given())
    return str(wrong.value).replace(f"{folder}/", "")


def names(found: Sequence[Target]) -> list[str]:
    return [target.name for target in found]


def written(file: Path, document: object) -> None:
    """A file as it is put in place, all at once."""
    beside = file.with_suffix(".new")
    beside.write_text(document if isinstance(document, str) else json.dumps(document))
    beside.rename(file)


def test_each_address_of_a_group_is_a_service(tmp_path: Path) -> None:
    found = listed(tmp_path, [{"targets": ["10.0.0.7:8000", "[2001:db8::7]:8000", "https://chat.example/v1"]}])

    assert [target.url for target in found] == [
        "http://10.0.0.7:8000",
        "http://[2001:db8::7]:8000",
        "https://chat.example",
    ]
    assert names(found) == ["10.0.0.7:8000", "2001:db8::7:8000", "chat.example:443"]


KEYS = {"MODEL_SIDECAR_API_KEY__CHAT": " secret ", "MODEL_SIDECAR_API_KEY__LISTED": "other"}
BESIDE = {"targets": [{"name": "listed", "url": "http://10.0.0.9:8000"}]}


def with_keys(folder: Path, document: object, environ: Mapping[str, str]) -> Sequence[tuple[str, str | None]]:
    """The names that a file lists beside a target of the settings, with their keys."""
    file = folder / "targets.json"
    file.write_text(json.dumps(document))
    found = targets_in(file, load({**BESIDE, "targets_files": str(file)}, file=None, environ=environ))
    keys = (None if each.api_key is None else each.api_key.secret.get_secret_value() for each in found)
    return list(zip(names(found), keys, strict=True))


def test_a_service_of_a_file_has_its_key_by_a_variable(tmp_path: Path) -> None:
    groups = [*GROUP, {"targets": ["10.0.0.8:8000"], "labels": {"name": "keyless"}}]

    assert with_keys(tmp_path, groups, KEYS) == [("chat", "secret"), ("keyless", None)]


def test_a_key_that_two_services_of_a_file_could_have_is_nobody_s(tmp_path: Path) -> None:
    groups = [{"targets": [f"10.0.0.{n}:8000"], "labels": {"name": name}} for n, name in enumerate(("a-b", "a.b"))]

    with pytest.raises(WrongSettings) as wrong:
        with_keys(tmp_path, groups, {"MODEL_SIDECAR_API_KEY__A_B": "secret"})

    assert str(wrong.value) == "MODEL_SIDECAR_API_KEY__A_B is for one service, expected one target, not 2"


def test_a_key_that_no_header_holds_is_refused_whoever_it_is_for(tmp_path: Path) -> None:
    with pytest.raises(WrongSettings) as wrong:
        with_keys(tmp_path, GROUP, {"MODEL_SIDECAR_API_KEY__CHAT": "schl\u00fcssel"})

    assert "MODEL_SIDECAR_API_KEY__CHAT" in str(wrong.value)
    assert "schl" not in str(wrong.value)


def test_keys_stand_in_no_file() -> None:
    with pytest.raises(WrongSettings):
        given(keys_of_files={"MODEL_SIDECAR_API_KEY__CHAT": "secret"})


def test_labels_say_what_a_service_is(tmp_path: Path) -> None:
    labels = {"name": "chat", "engine": "vllm", "model": "llama", "__scheme__": "https", "__metrics_path__": "/m"}

    (chat,) = listed(tmp_path, [{"targets": ["10.0.0.7:8000"], "labels": labels}])

    assert (chat.name, chat.url, chat.engine, chat.model) == ("chat", "https://10.0.0.7:8000", "vllm", "llama")
    assert chat.server.path == "/m"


def test_a_name_for_several_addresses_is_told_with_each(tmp_path: Path) -> None:
    found = listed(tmp_path, [{"targets": ["10.0.0.7:8000", "[::1]:9000"], "labels": {"name": "chat"}}])

    assert names(found) == ["chat-10.0.0.7:8000", "chat-::1:9000"]


def test_what_prometheus_alone_needs_is_left_to_it(tmp_path: Path) -> None:
    labels = {"team": "blue", "__meta_region": "eu", "__scrape_interval__": "15s"}

    (chat,) = listed(tmp_path, [{"targets": ["a:80"], "labels": labels}])

    assert chat == Target.model_validate({"url": "http://a:80"})


def test_what_holds_for_every_service_holds_for_those_of_files(tmp_path: Path) -> None:
    file = tmp_path / "targets.yml"
    file.write_text("- targets: [a:80]\n")

    (target,) = targets_in(file, given(prompt={"every": "7s"}, process="off"))

    assert target.prompt.every == 7
    assert target.process is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "targets.json is not valid JSON"),
        ('{"targets": ["a:80"]}', "targets.json is names and values, expected a list"),
        ('[{"targets": "a:80"}]', 'targets.json: [0].targets is "a:80", expected a list'),
        ('[{"target": ["a:80"]}]', "targets.json: [0].target is unknown"),
        ('[{"targets": ["a:80 b"]}]', 'targets.json: [0].url of "a:80 b" is "http://a:80 b", expected http://'),
        (
            '[{"targets": ["a"], "labels": {"engine": "vlm"}}]',
            'targets.json: [0].engine of "a" is "vlm", expected vllm, ',
        ),
        ('[{"targets": ["a"], "labels": {"name": "ü"}}]', 'targets.json: [0].name of "a" is "ü", expected a name'),
        ('[{"targets": ["ftp://a"]}]', 'targets.json: [0].url of "ftp://a" is "ftp://a", expected http://'),
    ],
)
def test_a_broken_file_is_told_by_the_words_of_the_settings(tmp_path: Path, text: str, said: str) -> None:
    assert refused(tmp_path, text).startswith(said)


@pytest.mark.parametrize("text", ["- targets: [a", "- {targets: [a]}\n\x00", "&a [*a]", "- targets: [" + "[" * 2000])
def test_yaml_that_is_none_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    assert "\n" not in refused(tmp_path, text, "targets.yml")


def test_a_file_without_end_is_refused_rather_than_read(tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    with file.open("wb") as opened:
        opened.truncate(1 << 40)

    with pytest.raises(WrongSettings, match="longer than 4 MiB"):
        targets_in(file, given())


def followed(settings: Settings, steps: Sequence[Mapping[Path, object]]) -> list[list[str]]:
    """The names of the services after each step, in which files are written, or removed."""

    async def life() -> list[list[str]]:
        here = Discovery(lambda: settings)
        told = []
        for step in steps:
            for file, document in step.items():
                if document is None:
                    file.unlink()
                else:
                    written(file, document)
            await here.look_at_files()
            told.append(names(here.found()))
        return told

    return asyncio.run(life())


def test_files_are_followed_and_a_broken_one_counts_for_what_it_said_before(tmp_path: Path) -> None:
    one, two = tmp_path / "a.json", tmp_path / "b.yml"
    settings = given(targets_files=[f"{tmp_path}/*.json", str(two)])

    told = followed(
        settings,
        [
            {},
            {one: GROUP},
            {one: "{", two: "- targets: [b:80]"},
            {one: [*GROUP, {"targets": ["c:80"]}]},
            {one: None, two: "[]"},
        ],
    )

    assert told == [[], ["chat"], ["chat", "b:80"], ["chat", "c:80", "b:80"], []]


def test_a_star_stands_for_anything_and_nothing_else_does(tmp_path: Path) -> None:
    files = ["a-1.json", "b-1.json", "a-1.yml", "a-[x].json"]

    told = followed(
        given(targets_files=f"{tmp_path}/a-*.json"), [{tmp_path / name: [{"targets": [name[:3]]}] for name in files}]
    )
    exact = followed(given(targets_files=f"{tmp_path}/a-[x].json"), [{}])

    assert (len(told[0]), len(exact[0])) == (1, 0)


def test_the_first_of_two_services_with_one_name_is_watched(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "a.json"
    settings = given(targets=[{"name": "chat", "url": "http://first"}], targets_files=str(file))

    told = followed(settings, [{file: GROUP}, {}])

    assert told == [["chat"], ["chat"]]
    assert caplog.text.count("has the name of another") == 1


def test_no_more_services_are_watched_than_the_program_can_bear(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    group = {"targets": [f"s{number}:80" for number in range(3000)]}

    (told,) = followed(given(targets_files=str(file)), [{file: [group] * 2 + [{"targets": ["a:80"] * 4000}]}])

    assert len(told) == 3000


def test_a_file_that_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    written(file, GROUP)
    before = file.stat()
    settings = given(targets_files=str(file))

    async def life() -> tuple[list[str], int]:
        here, changes = Discovery(lambda: settings), []

        async def changed() -> None:
            changes.append(1)

        here.then = changed
        await here.look_at_files()
        file.write_text(file.read_text().replace("chat", "chit"))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        await here.look_at_files()
        return names(here.found()), len(changes)

    assert asyncio.run(life()) == (["chat"], 1)


def test_each_address_of_a_name_is_a_service_of_that_name() -> None:
    (chat,) = given(targets=[{"name": "chat", "url": "dns+http://chat.svc:8000/v1"}]).targets

    found = list(replicas(chat, ("10.0.0.7", "2001:db8::7")))

    assert [(each.name, each.url, each.address) for each in found] == [
        ("chat-10.0.0.7", "http://chat.svc:8000", "10.0.0.7"),
        ("chat-2001:db8::7", "http://chat.svc:8000", "2001:db8::7"),
    ]


def test_a_service_with_a_long_name_stays_within_the_rule_for_names() -> None:
    (chat,) = given(targets=[{"name": "c" * 63, "url": "dns+http://chat"}]).targets

    (found,) = replicas(chat, ("2001:db8:1111:2222:3333:4444:5555:6666",))

    assert len(found.name) == 63
    assert found.name.endswith("-2001:db8:1111:2222:3333:4444:5555:6666")


def test_a_name_that_has_never_had_an_address_is_watched_as_one_service() -> None:
    settings = given(targets=[{"name": "chat", "url": "dns+http://nonexistent.invalid:8000"}])

    (found,) = asyncio.run(Discovery(lambda: settings).once())

    assert (found.name, found.url, found.address) == ("chat", "http://nonexistent.invalid:8000", None)


def test_a_name_is_followed_and_keeps_its_addresses_while_it_is_not_answered_for() -> None:
    settings = given(targets=[{"name": "chat", "url": "dns+http://chat.svc:8000"}])
    answers = iter([("10.0.0.7", "10.0.0.8"), ("10.0.0.8", "10.0.0.9"), None, ("10.0.0.9",)])

    def resolve(name: str) -> tuple[str, ...]:
        if (answer := next(answers)) is None:
            raise OSError(f"{name} is not answered for")
        return answer

    async def life() -> list[list[str]]:
        here = Discovery(lambda: settings, resolve)
        return [names(await here.once()) for _ in range(4)]

    assert asyncio.run(life()) == [
        ["chat-10.0.0.7", "chat-10.0.0.8"],
        ["chat-10.0.0.8", "chat-10.0.0.9"],
        ["chat-10.0.0.8", "chat-10.0.0.9"],
        ["chat-10.0.0.9"],
    ]


def test_a_name_that_hangs_holds_up_no_other() -> None:
    settings = given(targets=[{"name": name, "url": f"dns+http://{name}"} for name in ("hangs", "answers")])
    let_go = threading.Event()

    def resolve(name: str) -> tuple[str, ...]:
        if name == "hangs":
            let_go.wait()
        return ("10.0.0.7",)

    async def life() -> list[str]:
        here, found = Discovery(lambda: settings, resolve), asyncio.Event()

        async def changed() -> None:
            found.set()

        here.then = changed
        following = asyncio.create_task(here.follow_names())
        await found.wait()
        following.cancel()
        return names(here.found())

    try:
        assert asyncio.run(life()) == ["answers-10.0.0.7"]
    finally:
        let_go.set()


def test_a_name_that_is_new_is_asked_for_at_once() -> None:
    one, two = ({"name": name, "url": f"dns+http://{name}"} for name in ("one", "two"))
    settings = [given(targets=[]), given(targets=[one]), given(targets=[one, two])]

    async def life() -> list[list[str]]:
        here, told = Discovery(lambda: settings[0], lambda _: ("10.0.0.7",)), []
        found = asyncio.Event()

        async def changed() -> None:
            found.set()

        here.then = changed
        following = [asyncio.create_task(here.follow_names()), asyncio.create_task(here.follow_files())]
        async with asyncio.timeout(10):
            while len(settings) > 1:
                await asyncio.sleep(0)
                found.clear()
                del settings[0]
                await here.adopt()
                await found.wait()
                told.append(names(here.found()))
        for each in following:
            each.cancel()
        return told

    assert asyncio.run(life()) == [["one-10.0.0.7"], ["one-10.0.0.7", "two-10.0.0.7"]]


def test_files_are_followed_from_when_there_are_some(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    settings = [given(), given(targets_files=[str(file)])]

    async def life() -> list[str]:
        here, found = Discovery(lambda: settings[0]), asyncio.Event()

        async def changed() -> None:
            found.set()

        here.then = changed
        following = asyncio.create_task(here.follow_files())
        await asyncio.sleep(0)
        del settings[0]
        await here.adopt()
        await asyncio.sleep(0.1)
        written(file, [{"targets": ["http://chat:8000"]}])
        async with asyncio.timeout(30):
            await found.wait()
        following.cancel()
        return names(here.found())

    assert len(asyncio.run(life())) == 1


def test_a_service_at_one_address_is_told_its_name_and_asked_nowhere_else(stage: Stage) -> None:
    one = stage.serve({"GET /health": reply("ok")})
    port = int(one.url.rpartition(":")[2])
    other = stage.serve({"GET /health": reply("ok")}, sock=socket.create_server(("127.0.0.2", port)))
    settings = given(targets=[{"name": "chat", "url": f"dns+http://chat.svc:{port}"}])

    async def life() -> None:
        for target in await Discovery(lambda: settings, lambda _name: ("127.0.0.1", "127.0.0.2")).once():
            async for _ in health_of(Site(target, Neighbours())).read():
                pass

    asyncio.run(life())

    for service in (one, other):
        assert {request.headers["host"] for request in service.asked("GET", "/health")} == {f"chat.svc:{port}"}


def test_a_service_at_one_address_proves_its_name(stage: Stage) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    service = stage.serve({"GET /health": reply("ok")}, tls=tls)
    at = service.url.rpartition(":")[2]
    trusting = {"ca_file": str(CERTIFICATE)}
    settings = given(
        targets=[{"url": f"dns+https://{name}:{at}", "tls": trusting} for name in ("localhost", "elsewhere.test")]
    )

    async def life() -> list[bool | None]:
        found = await Discovery(lambda: settings, lambda _name: ("127.0.0.1",)).once()
        return [[said async for said in health_of(Site(target, Neighbours())).read()][-1][0].up for target in found]  # type: ignore[attr-defined]  # a Health

    assert asyncio.run(life()) == [True, False]
