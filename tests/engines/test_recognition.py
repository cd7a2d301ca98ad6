"""How a service is recognised from its URL alone, and what that takes."""

import asyncio
import json
from collections.abc import Iterator, Mapping

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import exporter.engines
from exporter.engines import ENGINES, recognised
from exporter.engines.signs import LONGEST, LONGEST_NAME
from exporter.wire import Recognition
from tests.engines.looking import HARMLESS, asked, replayed, seen
from tests.services.openai import models
from tests.services.scripted import FOREVER, Answer, Service, Stage, head, in_turn, reply, script

LLAMA = "the header Server: llama.cpp in its answer to GET /"
GRADIO = "the configuration of Gradio in its answer to GET /config"
TINY = "/srv/models/tiny.gguf"

REAL: Mapping[str, tuple[Recognition, list[str]]] = {
    "llama-server-0.7.0": (
        Recognition(engine="llama-server", version="b11669-Debian", model=TINY, protocol="openai-chat", evidence=LLAMA),
        ["/", "/v1/models", "/props"],
    ),
    "llama-server-0.7.0-asleep": (
        Recognition(engine="llama-server", version="b11669-Debian", model=TINY, protocol="openai-chat", evidence=LLAMA),
        ["/", "/v1/models", "/props"],
    ),
    "llama-server-0.7.0-router": (  # None of its models is loaded, and naming one would load it.
        Recognition(
            engine="llama-server", version="b11669-Debian", protocol="openai-chat", evidence=LLAMA, certain=False
        ),
        ["/", "/v1/models", "/props"],
    ),
    "llama-server-0.7.0-key": (
        Recognition(engine="llama-server", protocol="openai-chat", evidence=LLAMA, certain=False),
        ["/", "/v1/models", "/props"],
    ),
    "litserve-0.2.19": (
        Recognition(engine="litserve", evidence='"litserve running" in its answer to GET /'),
        ["/", "/openapi.json"],
    ),
    "litserve-openai-0.2.19": (
        Recognition(engine="litserve", protocol="openai-chat", evidence='"litserve running" in its answer to GET /'),
        ["/", "/openapi.json"],
    ),
    "litserve-0.2.19-key": (
        Recognition(engine="litserve", evidence="the routes of LitServe in its answer to GET /openapi.json"),
        ["/", "/openapi.json"],
    ),
    "bentoml-1.4.39": (
        Recognition(engine="bentoml", evidence="the routes of a BentoML service in its answer to GET /schema.json"),
        ["/", "/schema.json"],
    ),
    "gradio-6.31.0": (
        Recognition(engine="gradio", version="6.31.0", protocol="gradio", evidence=GRADIO),
        ["/", "/sdapi/v1/options", "/config"],
    ),
    "gradio-6.31.0-interface": (  # Its endpoint is called after its function.
        Recognition(engine="gradio", version="6.31.0", protocol="gradio", evidence=GRADIO),
        ["/", "/sdapi/v1/options", "/config"],
    ),
    "gradio-6.31.0-login": (
        Recognition(engine="gradio", evidence=GRADIO, certain=False),
        ["/", "/sdapi/v1/options", "/config"],
    ),
    "kserve-0.21.0": (
        Recognition(engine="kserve", evidence="live: true in its answer to GET /v2/health/live"),
        ["/", "/v2/health/live"],
    ),
    "mlserver-1.7.1": (
        Recognition(engine="mlserver", version="1.7.1", evidence='name "mlserver" in its answer to GET /v2'),
        ["/", "/v1/models", "/v2"],
    ),
    "triton-2.51": (
        Recognition(engine="triton", version="2.51.0", evidence='name "triton" in its answer to GET /v2'),
        ["/", "/v1/models", "/v2"],
    ),
    "ray-serve-2.60.0": (
        Recognition(engine="ray-serve", evidence="a reference to /-/routes in its answer to GET /"),
        ["/", "/v1/models", "/v2"],
    ),
    "ray-serve-2.60.0-app-at-root": (
        Recognition(engine="ray-serve", evidence='"success" in its answer to GET /-/healthz'),
        ["/", "/openapi.json", "/v1/models", "/v2", "/-/healthz"],
    ),
    "fastapi-image": (
        Recognition(
            engine="fastapi",
            protocol="openai-images",
            evidence="a description as FastAPI writes it in its answer to GET /openapi.json",
        ),
        ["/", "/v1/models", "/v2", "/-/healthz", "/openapi.json"],
    ),
    "flask-json": (
        Recognition(engine="flask", evidence="a refusal as Flask words it in its answer to GET /v1/models"),
        ["/", "/v1/models"],
    ),
}


def listing(stage: Stage, answer: Answer) -> Service:
    """A service that answers so when it is asked for its models."""
    return stage.serve({"GET /v1/models": answer})


@pytest.mark.parametrize("server", REAL)
def test_a_real_server_is_recognised_by_what_it_answers(server: str, stage: Stage) -> None:
    service = replayed(stage, server)
    expected, paths = REAL[server]

    found = seen(service.url)

    assert found == expected
    assert asked(service) == paths


def test_every_engine_that_was_tried_has_its_recording() -> None:
    recorded = {found.engine for found, _ in REAL.values()}

    assert recorded == {name for name, engine in ENGINES.items() if engine.tried}


def test_a_model_server_is_asked_in_its_protocol_once_the_operator_names_the_model(stage: Stage) -> None:
    service = replayed(stage, "triton-2.51")

    found = seen(service.url, model="double")

    assert found is not None
    assert (found.protocol, found.model) == ("kserve", "double")


def test_a_list_of_models_is_enough_to_be_asked_to_chat(stage: Stage) -> None:
    service = listing(stage, models("tiny", "large"))

    found = seen(service.url)

    assert found == Recognition(
        model="tiny", protocol="openai-chat", evidence="a list of models in its answer to GET /v1/models"
    )
    assert asked(service) == ["/", "/v1/models", "/-/healthz", "/openapi.json"]


def test_a_service_is_asked_with_its_key(stage: Stage) -> None:
    service = listing(stage, models("tiny"))

    seen(service.url)

    assert {it.headers["authorization"] for it in service.requests} == {"Bearer key"}


def test_a_model_that_was_set_is_the_one_that_is_asked(stage: Stage) -> None:
    service = listing(stage, models("tiny", "large"))

    found = seen(service.url, model="large")

    assert found is not None
    assert (found.protocol, found.model) == ("openai-chat", "large")


def test_a_service_whose_model_was_set_is_not_recognised_by_that_alone(stage: Stage) -> None:
    service = listing(stage, reply("", 404))

    assert seen(service.url, model="large") is None
    assert len(asked(service)) == 5


@pytest.mark.parametrize("protocol", ["openai-chat", "openai-completions"])
def test_a_protocol_that_was_set_is_spoken_with_the_model_that_is_listed(protocol: str, stage: Stage) -> None:
    service = listing(stage, models("tiny"))

    found = seen(service.url, protocol=protocol)

    assert found is not None
    assert (found.protocol, found.model, found.certain) == (protocol, "tiny", True)


@pytest.mark.parametrize(
    ("protocol", "model", "certain"),
    [("plain", None, True), ("openai-chat", "tiny", True), ("openai-chat", None, False)],
)
def test_a_protocol_that_was_set_is_spoken_with_whoever_is_there(
    protocol: str,
    model: str | None,
    certain: bool,  # noqa: FBT001  a column of the table
    stage: Stage,
) -> None:
    service = stage.serve({})

    found = seen(service.url, protocol=protocol, model=model)

    assert found == Recognition(protocol=protocol, model=model or "", evidence="the configuration", certain=certain)


def test_an_engine_that_answers_another_protocol_is_recognised_all_the_same(stage: Stage) -> None:
    service = replayed(stage, "flask-json")

    found = seen(service.url, protocol="plain")

    assert found is not None
    assert (found.engine, found.protocol) == ("flask", "plain")


def test_an_engine_that_was_set_is_not_guessed(stage: Stage) -> None:
    service = stage.serve({"GET /": reply("Ollama is running"), "GET /v1/models": models("tiny")})

    found = seen(service.url, engine="lmdeploy")

    assert found == Recognition(engine="lmdeploy", model="tiny", protocol="openai-chat", evidence="the configuration")
    assert asked(service) == ["/v1/models"]


def test_a_service_that_is_not_there_is_not_recognised(stage: Stage) -> None:
    assert seen(f"http://127.0.0.1:{stage.closed_port()}") is None


@pytest.mark.parametrize("named", [{"engine": "vllm", "model": "tiny"}, {"protocol": "plain"}], ids=str)
def test_what_was_set_for_a_service_that_is_not_there_is_looked_at_again(named: dict[str, str], stage: Stage) -> None:
    found = seen(f"http://127.0.0.1:{stage.closed_port()}", **named)

    assert found is not None
    assert not found.certain


def test_a_service_that_wants_a_key_is_told_from_one_that_is_unknown(stage: Stage) -> None:
    service = listing(stage, reply('{"detail": "no"}', 401))

    assert seen(service.url) == Recognition(evidence="GET /v1/models wants a key", certain=False)


def test_a_server_that_loads_is_recognised_and_looked_at_again(stage: Stage) -> None:
    loading = reply(
        '{"error":{"message":"Loading model","type":"unavailable_error","code":503}}', 503, "Server: llama.cpp"
    )
    service = stage.serve(dict.fromkeys(("GET /", "GET /v1/models", "GET /props"), loading))

    found = seen(service.url)

    assert found is not None
    assert (found.engine, found.model, found.certain) == ("llama-server", "", False)


def test_one_page_that_hangs_does_not_hide_the_others(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter.engines, "EACH", 0.3)
    service = stage.serve({"GET /": script(head(200), FOREVER), "GET /v1/models": models("tiny")})

    found = seen(service.url)

    assert found is not None
    assert (found.model, found.certain) == ("tiny", False)


def test_a_service_of_which_every_page_hangs_is_given_up(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter.engines, "PATIENCE", 0.5)
    service = stage.serve({"GET /": script(FOREVER)})

    assert seen(service.url) is None
    assert asked(service) == ["/"]


def test_no_redirect_is_followed(stage: Stage) -> None:
    service = stage.serve(
        {"GET /": reply("", 307, "Location: /docs"), "GET /v1/models": reply("", 307, "Location: /v")}
    )

    assert seen(service.url) is None
    assert len(asked(service)) == 5


def test_of_a_page_without_end_no_more_is_read_than_tells_something(stage: Stage) -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        yield head(200)
        while True:
            read += 2**14
            yield b" " * 2**14

    service = stage.serve({"GET /v1/models": lambda _request: endless()})

    assert seen(service.url) is None
    assert read < LONGEST + 16 * 2**20  # what the kernel holds between the two


def test_a_gateway_with_the_models_of_several_engines_is_none_of_them(stage: Stage) -> None:
    owners = [{"id": "one", "owned_by": "vllm"}, {"id": "other", "owned_by": "sglang"}]
    service = listing(stage, reply(json.dumps({"data": owners})))

    found = seen(service.url)

    assert found is not None
    assert (found.engine, found.protocol, found.model) == ("unknown", "openai-chat", "one")


def test_a_service_that_was_down_may_come_back_as_another(stage: Stage) -> None:
    service = stage.serve({"GET /": in_turn(reply("", 502), reply("Ollama is running"))})

    before, after = seen(service.url), seen(service.url)

    assert before is None
    assert after is not None
    assert after.engine == "ollama"


@pytest.mark.parametrize(
    "document",
    [
        {"data": []},
        {"data": {}},
        {"data": [{}]},
        {"data": ["tiny"]},
        {"data": [{"id": None}]},
        {"data": [{"id": 7}]},
        {"data": [{"id": "\ud800"}]},
        {"data": [{"id": "x" * (LONGEST_NAME + 1)}]},
        {"models": [{"name": "tiny"}]},
        [{"id": "tiny"}],
        "tiny",
    ],
    ids=lambda document: json.dumps(document)[:40],
)
def test_a_list_without_a_name_in_it_is_no_list_of_models(document: object, stage: Stage) -> None:
    service = listing(stage, reply(json.dumps(document)))

    assert seen(service.url) is None


KEYS = """data id owned_by created status value models name model details family model_type server error detail system
 is_generation capabilities task_type version live router extensions"""
WORDS = "vllm sglang llamacpp library infinity system triton mlserver alive ok success Healthy loaded T2I me"
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(WORDS.split()) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS.split()), inner, max_size=4),
    max_leaves=12,
)
BODIES = st.binary(max_size=64) | DOCUMENTS.map(lambda it: json.dumps(it).encode())
HEADS = st.sampled_from(
    [{}, {"server": "llama.cpp"}, {"server": "uvicorn", "x-request-id": "1"}, {"location": "/docs"}]
)
REPLIES = st.tuples(st.sampled_from([200, 200, 204, 307, 401, 404, 500, 503]), HEADS, BODIES)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(HARMLESS)), REPLIES), st.sampled_from([None, "tiny"]))
def test_whatever_is_answered_is_some_service_or_none(
    answers: dict[str, tuple[int, dict[str, str], bytes]], model: str | None
) -> None:
    paths: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        status, headers, body = answers.get(request.url.path, (404, {"server": "uvicorn"}, b'{"detail":"Not Found"}'))
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))

    async def look() -> Recognition | None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://service") as client:
            return await recognised(client, {}, protocol=None, model=model)

    found = asyncio.run(look())

    assert len(paths) == len(set(paths)) <= 5
    assert set(paths) <= HARMLESS
    assert found is None or found.protocol in ("", *ENGINES[found.engine].protocols)
