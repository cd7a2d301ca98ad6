"""A planted key and a planted header, looked for wherever the program says anything, whatever its services say back."""

import json
import os
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.keys import key_in
from exporter.lookup import Neighbours
from exporter.settings import WrongSettings, load
from exporter.site import Site, prompt_of
from exporter.wire import Prompt
from tests.daemon import Daemon, Page, ended, started
from tests.services.openai import CHAT, DONE, GOOD, ROLE, STOP, frame, models, piece
from tests.services.scripted import STREAM_HEAD, Answer, Request, Service, Stage, Step, chunks, head, reply

KEY = "sk-planted-0123456789abcdef"
HEADER = "planted-in-a-header-0123456789"
SECRETS = (KEY, HEADER)
JSON = "Content-Type: application/json"


def said(request: Request) -> str:
    """Everything secret that a request came with."""
    return f"{request.headers.get('authorization', '')} {request.headers.get('x-key', '')}"


def everywhere(status: int) -> Answer:
    """An answer that repeats them in its status, its headers and its body."""

    def answer(request: Request) -> Iterator[Step]:
        fields = f"HTTP/1.1 {status} {said(request)}\r\nX-Sent: {said(request)}\r\nServer: {said(request)}\r\n"
        yield f"{fields}WWW-Authenticate: {said(request)}\r\nConnection: close\r\n\r\n".encode()
        yield json.dumps({"error": {"message": said(request), "type": said(request), "code": said(request)}}).encode()

    return answer


def naming(request: Request) -> Iterator[Step]:
    """Models that are called so."""
    document = {"object": "list", "data": [{"id": said(request), "owned_by": "vllm", "root": said(request)}]}
    return iter(reply(json.dumps(document), 200, JSON)(request))


def counting(request: Request) -> Iterator[Step]:
    """An engine's own figures, of models that are called so."""
    page = f'# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{model_name="{said(request)}"}} 1\n'
    return iter(reply(page, 200, "Content-Type: text/plain; version=0.0.4")(request))


def streaming(request: Request) -> Iterator[Step]:
    """An answer that says them, and ends for a reason that is called so."""
    yield STREAM_HEAD
    yield from chunks(ROLE, piece(content=said(request)), piece(finish=said(request)), STOP, DONE)


def broken_off(request: Request) -> Iterator[Step]:
    """An error in the middle of an answer that says them."""
    yield STREAM_HEAD
    yield from chunks(ROLE, frame({"error": {"message": said(request), "type": said(request)}}))


def leading(place: str) -> Answer:
    """A redirect whose place holds them."""

    def answer(request: Request) -> Iterator[Step]:
        here, key = request.headers["host"], request.headers["authorization"].removeprefix("Bearer ")
        return iter(reply(said(request), 307, f"Location: {place.format(here=here, key=key)}")(request))

    return answer


def torn(request: Request) -> Iterator[Step]:
    """A header that no one may send, with the key in it."""
    yield f"HTTP/1.1 200 OK\r\n{said(request)} \x00\r\n\r\n".encode()


def no_json(request: Request) -> Iterator[Step]:
    """What is no JSON, though it says so."""
    return iter(reply(f'{{"{said(request)}', 200, JSON)(request))


def events(request: Request) -> Iterator[Step]:
    """What is no event of this protocol."""
    yield head(200, "Content-Type: text/event-stream")
    yield f"data: {said(request)}\n\n".encode()


ANSWERS: Mapping[str, Answer] = {
    "good": GOOD,
    **{f"status-{status}": everywhere(status) for status in (200, 400, 401, 404, 429, 500, 503)},
    "streaming": streaming,
    "broken-off": broken_off,
    "leading-away": leading("http://127.0.0.1:9/{key}?{key}#{key}"),
    "leading-to-a-host": leading("http://{key}.invalid/"),
    "leading-round": leading("http://{here}/{key}"),
    "leading-nowhere": leading("//[::1%{key}]"),
    "torn": torn,
    "no-json": no_json,
    "no-event": events,
}


BRIEF = {"streaming", "status-401", "leading-to-a-host", "torn"}


def serving(stage: Stage, answer: Answer) -> Service:
    """A service that names its models and figures so, and says one thing to all else."""
    return stage.serve(
        {
            "GET /health": answer,
            "GET /v1/models": naming if answer is not GOOD else models("tiny"),
            "GET /version": answer,
            "GET /metrics": counting,
            f"POST {CHAT}": answer,
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The program and what it watches."""

    daemon: Daemon
    brief: Path
    """A configuration with some of the services."""
    services: Mapping[str, Service]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The program beside services that repeat all they were sent, at the level of logs that tells most."""
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "key").write_text(f"{KEY}\n")
    with ExitStack() as stack:
        stage = stack.enter_context(Stage())
        services = {name: serving(stage, answer) for name, answer in ANSWERS.items()}
        config: dict[str, Any] = {
            "targets": [
                {"name": name, "url": it.url, "api_key_file": "${KEYS}/key", "headers": {"X-Key": HEADER}}
                for name, it in services.items()
            ],
            "prompt": {"protocol": "openai-chat", "every": "1s", "timeout": "5s"},
            "health": {"every": "1s"},
            "server": {"every": "1s", "publish": "all"},
            "gpu": {"enabled": False},
        }
        environment = {"KEYS": str(folder)}
        daemon = stack.enter_context(started(folder, config, "--log.level=debug", environment=environment))
        daemon.until(lambda page: all(_asked(page, name) for name in ANSWERS))
        some = [it for it in config["targets"] if it["name"] in BRIEF]
        (folder / "brief.yml").write_text(yaml.safe_dump({**config, "targets": some}))
        yield Scene(daemon=daemon, brief=folder / "brief.yml", services=services)


def _asked(page: Page, name: str) -> bool:
    """Whether a service has answered in every way."""
    return all(page.value(f"{what}_up", target=name) is not None for what in ("model_health", "model_probe"))


def found(text: str) -> list[str]:
    """The lines that hold a secret, in whatever case."""
    return [line for line in text.splitlines() if any(secret in line.lower() for secret in SECRETS)]


def test_every_service_was_told_the_key_and_said_it_back(scene: Scene) -> None:
    for name, service in scene.services.items():
        assert {it.headers["authorization"] for it in service.requests} == {f"Bearer {KEY}"}, name
        assert {it.headers["x-key"] for it in service.requests} == {HEADER}, name
        assert service.asked("POST", CHAT), name


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/ready", "/nowhere"])
@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text;version=1.0.0"])
def test_no_page_tells_a_secret(path: str, accept: str, scene: Scene) -> None:
    page = scene.daemon.get(path, Accept=accept)

    assert found(page.text + str(page.headers)) == []


def test_the_page_shows_that_something_was_kept_back(scene: Scene) -> None:
    page = scene.daemon.scrape()

    assert {sample.labels["model"] for sample in page.samples("model_info", target="streaming")} == {"Bearer *** ***"}


def test_the_log_tells_no_secret_at_debug_level(scene: Scene) -> None:
    log = scene.daemon.log

    assert "level=warning" in log
    assert found(log) == []


def test_neither_the_command_line_nor_the_environment_of_the_program_holds_a_secret(scene: Scene) -> None:
    process = Path(f"/proc/{scene.daemon.process.pid}")

    assert found((process / "cmdline").read_text() + (process / "environ").read_text()) == []


@pytest.mark.parametrize(
    "command",
    [
        ("config", "check"),
        ("check",),
        ("check", "--json"),
        ("baseline", "--prompts=1"),
    ],
    ids=" ".join,
)
def test_no_command_tells_a_secret(command: tuple[str, ...], scene: Scene) -> None:
    end = ended(*command, f"--config.file={scene.brief}", environment={"KEYS": str(scene.brief.parent)})

    assert end.returncode in {0, 1}
    assert end.stdout
    assert found(end.stdout + end.stderr) == []


def test_the_settings_that_are_printed_say_where_the_key_is_and_that_there_is_a_header(scene: Scene) -> None:
    end = ended("config", "print", f"--config.file={scene.brief}", environment={"KEYS": str(scene.brief.parent)})

    assert found(end.stdout + end.stderr) == []
    target = yaml.safe_load(end.stdout)["targets"][0]
    assert target["api_key_file"] == "${KEYS}/key"
    assert set(target["headers"]["X-Key"]) == {"*"}


def wrong_file(content: bytes) -> Callable[[Path], dict[str, str]]:
    """A file in which the key does not stand alone."""

    def given(folder: Path) -> dict[str, str]:
        (folder / "key").write_bytes(content)
        return {"MODEL_SIDECAR_URL": "http://127.0.0.1:9", "MODEL_SIDECAR_API_KEY_FILE": f"{folder}/key"}

    return given


def variables(**given: str) -> Callable[[Path], dict[str, str]]:
    """Variables in which the key stands wrong."""
    return lambda _: {"MODEL_SIDECAR_URL": "http://127.0.0.1:9", **given}


@pytest.mark.parametrize(
    "given",
    [
        wrong_file(f"{KEY}\n{KEY}\n".encode()),
        wrong_file(KEY.encode() + b"\xff"),
        variables(MODEL_SIDECAR_API_KEY=f"{KEY}\n{KEY}"),
        variables(MODEL_SIDECAR_API_KEY__OTHER=KEY),
        variables(MODEL_SIDECAR_URL=f"http://me:{KEY}@127.0.0.1:9"),
        variables(MODEL_SIDECAR_URL=f"http://127.0.0.1:9/?key={KEY}"),
        variables(MODEL_SIDECAR_TARGETS=json.dumps([{"url": "http://a", "api_key": KEY}]), MODEL_SIDECAR_URL=""),
        variables(
            MODEL_SIDECAR_TARGETS=json.dumps([{"url": "http://a", "headers": {"X-Key": f"{KEY}\n"}}]),
            MODEL_SIDECAR_URL="",
        ),
        variables(
            MODEL_SIDECAR_TARGETS=json.dumps([{"url": "http://a", "headers": {"X-Key": [KEY]}}]), MODEL_SIDECAR_URL=""
        ),
    ],
)
def test_a_mistake_about_a_secret_does_not_tell_it(given: Callable[[Path], dict[str, str]], tmp_path: Path) -> None:
    with pytest.raises(WrongSettings) as raised:
        load({}, file=None, environ=given(tmp_path))

    assert found("".join(map(str, raised.value.mistakes)) + repr(raised.value)) == []


def test_there_is_no_flag_for_a_key_and_what_was_typed_for_one_is_not_repeated() -> None:
    end = ended("http://127.0.0.1:9", f"--api-key={KEY}")

    assert end.returncode == 2
    assert end.stderr.startswith("model-sidecar: unknown argument --api-key")
    assert found(end.stdout + end.stderr) == []


def test_what_holds_a_secret_does_not_show_it() -> None:
    settings = load(
        {"targets": [{"url": "http://127.0.0.1:9", "headers": {"X-Key": HEADER}}]},
        file=None,
        environ={"MODEL_SIDECAR_API_KEY": KEY},
    )
    (target,) = settings.targets
    site = Site(target, Neighbours())
    prompt = Prompt(headers=site.headers)
    held = (settings, target, target.api_key, site, site.client, site.client.headers, site.client.auth, prompt)

    shown = "\n".join(f"{it!r} {it}" for it in (*held, site.server, prompt_of(site)))

    assert "X-Key" in shown
    assert found(shown) == []
    assert found(settings.model_dump_json() + str(settings.model_dump())) == []


@pytest.mark.parametrize("content", [f"{KEY}\n{KEY}".encode(), KEY.encode() + b"\xff"])
def test_an_error_about_a_key_does_not_hold_it(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)

    with pytest.raises(ValueError, match=r"one line|a file of text") as raised:
        key_in(file)

    told = "".join(traceback.format_exception(raised.value))
    assert found(told + repr(raised.value)) == []


SURROUNDED = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


def test_no_proxy_and_no_password_of_the_environment_is_used(stage: Stage, tmp_path: Path) -> None:
    proxy = stage.serve({})
    service = stage.serve({"GET /health": reply("ok"), "GET /v1/models": models("tiny"), f"POST {CHAT}": GOOD})
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login me password {KEY}\n")
    (tmp_path / "netrc").chmod(0o600)
    environment = {
        **dict.fromkeys(SURROUNDED, proxy.url),
        "NO_PROXY": "",
        "no_proxy": "",
        "NETRC": str(tmp_path / "netrc"),
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
    }

    end = ended("check", service.url, environment=environment)

    assert end.returncode == 0, end.stdout + end.stderr
    assert proxy.requests == []
    assert service.asked("POST", CHAT)
    assert [it for it in service.requests if "authorization" in it.headers] == []


def test_nothing_in_the_repository_looks_like_a_key() -> None:
    root = Path(__file__).parent.parent

    keys = re.compile(r"sk-[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}")

    sources = [*root.glob("exporter/**/*.py"), *root.glob("deploy/**/*"), root / "README.md", root / "CHANGELOG.md"]
    texts = [it for it in sources if it.is_file() and "__pycache__" not in it.parts]
    assert [it.name for it in texts if keys.search(it.read_text())] == []
