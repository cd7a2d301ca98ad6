"""How a service is recognised from its URL alone, and what that takes."""

import asyncio
import json

import pytest

from exporter.engines import LONGEST_NAME, recognised
from exporter.wire import Recognition
from tests.services.client import client
from tests.services.openai import models
from tests.services.recorded import recorded
from tests.services.scripted import Answer, Service, Stage, reply


def listing(stage: Stage, answer: Answer) -> Service:
    """A service that answers so when it is asked for its models."""
    return stage.serve({"GET /v1/models": answer})


def seen(url: str, *, protocol: str | None = None, model: str | None = None) -> Recognition | None:
    """What a service is recognised as, where that was set for it."""

    async def look() -> Recognition | None:
        async with client(url) as asking:
            return await recognised(asking, {"Authorization": "Bearer key"}, protocol=protocol, model=model)

    return asyncio.run(look())


def test_a_real_llama_server_is_recognised_by_its_models(stage: Stage) -> None:
    service = stage.serve(recorded("llama-server-0.7.0/get_v1_models"))

    found = seen(service.url)

    assert found == Recognition(
        protocol="openai-chat", model="/srv/models/served/models/tiny.gguf", evidence="its answer to GET /v1/models"
    )


def test_a_real_litserve_that_lists_no_models_is_not_recognised(stage: Stage) -> None:
    service = stage.serve(recorded("litserve-openai-0.2.19/get_v1_models"))

    assert seen(service.url) is None


def test_the_first_of_several_models_is_asked(stage: Stage) -> None:
    service = listing(stage, models("tiny", "large"))

    found = seen(service.url)

    assert found is not None
    assert found.model == "tiny"


def test_a_service_is_asked_for_its_models_once_and_with_its_key(stage: Stage) -> None:
    service = listing(stage, models("tiny"))

    seen(service.url)

    assert [(it.method, it.path) for it in service.requests] == [("GET", "/v1/models")]
    assert service.requests[0].headers["authorization"] == "Bearer key"


def test_a_model_that_was_set_is_the_one_that_is_asked(stage: Stage) -> None:
    service = listing(stage, models("tiny", "large"))

    found = seen(service.url, model="large")

    assert found is not None
    assert (found.protocol, found.model) == ("openai-chat", "large")


def test_a_service_whose_model_was_set_is_not_recognised_by_that_alone(stage: Stage) -> None:
    service = listing(stage, reply("", 404))

    assert seen(service.url, model="large") is None


@pytest.mark.parametrize("protocol", ["openai-chat", "openai-completions"])
def test_a_protocol_that_was_set_is_spoken_with_the_model_that_is_listed(protocol: str, stage: Stage) -> None:
    service = listing(stage, models("tiny"))

    found = seen(service.url, protocol=protocol)

    assert found == Recognition(protocol=protocol, model="tiny", evidence="the configuration")


def test_a_protocol_that_was_set_is_spoken_though_no_model_is_listed_yet(stage: Stage) -> None:
    service = listing(stage, reply('{"error": {"message": "Loading model"}}', 503))

    found = seen(service.url, protocol="openai-chat")

    assert found == Recognition(protocol="openai-chat", evidence="the configuration", certain=False)


def test_a_service_that_wants_a_key_is_known_by_that_alone(stage: Stage) -> None:
    service = listing(stage, reply("", 401))

    found = seen(service.url)

    assert found == Recognition(evidence="GET /v1/models wants a key", certain=False)


def test_a_protocol_that_was_set_is_spoken_though_a_key_is_wanted(stage: Stage) -> None:
    service = listing(stage, reply("", 401))

    found = seen(service.url, protocol="openai-chat")

    assert found is not None
    assert (found.protocol, found.certain) == ("openai-chat", False)


@pytest.mark.parametrize(("protocol", "model"), [("plain", None), ("plain", "tiny"), ("openai-chat", "tiny")])
def test_a_service_of_which_enough_is_known_is_not_looked_at(protocol: str, model: str | None, stage: Stage) -> None:
    service = listing(stage, models("another"))

    found = seen(service.url, protocol=protocol, model=model)

    assert found == Recognition(protocol=protocol, model=model or "", evidence="the configuration")
    assert service.requests == []


def test_a_service_that_is_not_there_is_not_recognised(stage: Stage) -> None:
    assert seen(f"http://127.0.0.1:{stage.closed_port()}") is None


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
