"""`model-sidecar demo`: everything at work on a machine with nothing, and a model that stays polite."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from exporter.commands import demo
from tests.daemon import Daemon, Page, started

ASK = {"model": demo.MODEL, "messages": [{"role": "user", "content": "Count."}], "stream": True}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The demo as a person starts it, once its first prompt has been answered."""
    with started(tmp_path_factory.mktemp("demo"), None, "demo") as daemon:
        daemon.until(lambda page: page.value("model_probe_up", target="demo") is not None)
        yield daemon


@pytest.fixture
def page(daemon: Daemon) -> Page:
    return daemon.scrape()


def test_its_model_answers_and_is_well(page: Page) -> None:
    assert page.value("model_probe_up", target="demo") == 1
    assert page.value("model_health_up", target="demo") == 1
    assert page.value("model_probe_output_tokens_total", target="demo")
    assert page.by("reason", "model_probe_failures_total", target="demo") == {}


def test_its_model_is_recognised_like_any_other(page: Page) -> None:
    (told,) = page.samples("model_info", target="demo")

    assert (told.labels["model"], told.labels["protocol"]) == (demo.MODEL, "openai-chat")


def test_its_first_token_comes_before_its_first_word_of_the_answer(page: Page) -> None:
    first = page.value("model_probe_last_first_token_seconds", target="demo")
    answer = page.value("model_probe_last_first_answer_token_seconds", target="demo")

    assert first is not None
    assert answer is not None
    assert 0 < first < answer


def test_its_own_process_is_found_by_the_port_it_serves(page: Page) -> None:
    assert page.value("model_process_up", target="demo") == 1


def test_it_says_where_to_look(daemon: Daemon) -> None:
    assert f"look at {daemon.url}/" in daemon.log


def asked(request: httpx.Request) -> httpx.Response:
    """What the scripted model answers."""

    async def exchange() -> httpx.Response:
        with closing(demo.listening()) as listening:
            request.url = request.url.copy_with(port=listening.getsockname()[1])
            async with demo.model(listening), httpx.AsyncClient(trust_env=False) as client:
                return await client.send(request)

    return asyncio.run(exchange())


def test_no_more_tokens_are_said_than_are_asked_for() -> None:
    response = asked(httpx.Request("POST", "http://127.0.0.1/v1/chat/completions", json={**ASK, "max_tokens": 2}))

    *_, last, done = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert done == "[DONE]"
    assert json.loads(last)["usage"] == {"prompt_tokens": 21, "completion_tokens": 2, "total_tokens": 23}
    assert response.text.count('"reasoning_content"') == 2


def test_a_path_it_does_not_have_is_not_found() -> None:
    response = asked(httpx.Request("GET", "http://127.0.0.1/nowhere"))

    assert response.status_code == 404


def test_whoever_makes_no_sense_does_not_disturb_it() -> None:
    async def disturbed() -> int:
        with closing(demo.listening()) as listening:
            port = listening.getsockname()[1]
            async with demo.model(listening), httpx.AsyncClient(trust_env=False) as client:
                for nonsense in (b"", b"SSH-2.0\r\n\r\n", b"POST /v1/chat/completions HTTP/1.1\r\n\r\n"):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.write(nonsense)
                    await writer.drain()
                    writer.close()
                    await writer.wait_closed()
                return (await client.get(f"http://127.0.0.1:{port}/health")).status_code

    assert asyncio.run(disturbed()) == 200
