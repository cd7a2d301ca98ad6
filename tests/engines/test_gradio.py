"""A Gradio app is asked where it is a chat for certain, whatever its endpoint is called, and nowhere else."""

import asyncio
import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.engines.row import Reply
from exporter.engines.told import by_endpoints, chat_endpoint
from exporter.protocols import PROTOCOLS
from exporter.wire import Delta, Prompt
from tests.engines.looking import replayed, seen
from tests.protocols import text
from tests.services.client import client
from tests.services.recorded import body
from tests.services.scripted import Stage, reply, stream

INTERFACE = "recognised/gradio-6.31.0-interface/get_config"
BLOCKS = "recognised/gradio-6.31.0/get_config"
LOGIN = "recognised/gradio-6.31.0-login/get_config"


def endpoint(config: object) -> str:
    """The endpoint of a chat that this configuration tells."""
    return chat_endpoint({"/config": Reply(status=200, document=json.loads(json.dumps(config)))})


def real(name: str = INTERFACE) -> Any:  # noqa: ANN401  JSON, to be changed
    """The configuration of a real app."""
    return json.loads(body(name))


@pytest.mark.parametrize(("name", "called"), [(INTERFACE, "respond"), (BLOCKS, "chat")])
def test_the_chat_of_a_real_app_is_found_under_the_name_of_its_function(name: str, called: str) -> None:
    assert endpoint(real(name)) == called


def test_an_app_that_wants_a_password_tells_of_no_chat() -> None:
    assert endpoint(real(LOGIN)) == ""


@pytest.mark.parametrize(("server", "path"), [("gradio-6.31.0-interface", "respond"), ("gradio-6.31.0", "chat")])
def test_an_app_is_asked_where_its_chat_is(server: str, path: str, stage: Stage) -> None:
    found = seen(replayed(stage, server).url)

    assert found is not None
    assert (found.protocol, found.path) == ("gradio", path)


def test_an_app_is_asked_where_its_chat_is_though_the_operator_says_how(stage: Stage) -> None:
    found = seen(replayed(stage, "gradio-6.31.0-interface").url, protocol="gradio")

    assert found is not None
    assert found.path == "respond"


def hidden(config: Any, api: Any) -> None:  # noqa: ANN401  JSON
    api["api_visibility"] = "undocumented"


def unshown(config: Any, api: Any) -> None:  # noqa: ANN401  JSON
    api["show_api"] = False


def nameless(config: Any, api: Any) -> None:  # noqa: ANN401  JSON
    api["api_name"] = False


def on_the_page(config: Any, api: Any) -> None:  # noqa: ANN401  JSON
    button(config, api)["props"]["visible"] = True


def called_otherwise(config: Any, api: Any) -> None:  # noqa: ANN401  JSON
    button(config, api)["props"]["value"] = "Delete everything"


def without_a_chat(config: Any, api: Any) -> None:  # noqa: ANN401  JSON
    api["outputs"] = api["outputs"][:1]


def keeping_another(config: Any, api: Any) -> None:  # noqa: ANN401  JSON
    api["outputs"][1] = api["inputs"][0]


def button(config: Any, api: Any) -> Any:  # noqa: ANN401  JSON
    return next(part for part in config["components"] if part["id"] == api["targets"][0][0])


@pytest.mark.parametrize(
    "changed", [hidden, unshown, nameless, on_the_page, called_otherwise, without_a_chat, keeping_another]
)
def test_what_is_not_a_chat_for_certain_is_none(changed: Callable[[Any, Any], None]) -> None:
    config = real()
    changed(config, next(it for it in config["dependencies"] if it["api_name"] == "respond"))

    assert endpoint(config) == ""
    assert by_endpoints({"/config": Reply(status=200, document=config)}) == ""


def test_a_function_is_no_chat_for_being_called_so() -> None:
    config = real(BLOCKS)
    config["dependencies"] = [it for it in config["dependencies"] if it["api_name"] == "upper"]
    config["dependencies"][0]["api_name"] = "chat"

    assert endpoint(config) == ""


def test_an_app_of_before_version_6_has_its_endpoint_shown() -> None:
    config = real()
    for dependency in config["dependencies"]:
        dependency["show_api"] = dependency.pop("api_visibility") == "public"

    assert endpoint(config) == "respond"


INFO: Mapping[str, object] = {
    "named_endpoints": {
        name: {"parameters": [{"parameter_has_default": False, "type": {"type": "string"}}]}
        for name in ("/respond", "/delete")
    }
}


def test_only_the_endpoint_of_the_chat_is_called(stage: Stage) -> None:
    service = stage.serve(
        {
            "GET /": reply("<title>Gradio</title>"),
            "GET /config": reply(json.dumps(real()), 200, "Content-Type: application/json"),
            "GET /gradio_api/info": reply(json.dumps(INFO)),
            "POST /gradio_api/call/respond": reply('{"event_id": "c0ffee"}'),
            "GET /gradio_api/call/respond/c0ffee": stream(b'event: complete\ndata: ["four"]\n\n'),
        }
    )
    found = seen(service.url)
    assert found is not None

    async def heard() -> list[Delta]:
        async with client(service.url) as asking:
            prompt = Prompt(text="2+2?", path=found.path)
            return [delta async for delta in PROTOCOLS[found.protocol].ask(asking, prompt)]

    assert text(asyncio.run(heard())) == "four"
    assert [it.path for it in service.asked("POST")] == ["/gradio_api/call/respond"]


places = st.sampled_from(["components", "dependencies"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers(0, 12) | st.sampled_from(["click", "button", "state", "Fake API"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["id", "type", "props", "targets", "inputs", "outputs", "api_name"]), inner)
    ),
    max_leaves=8,
)


@given(st.dictionaries(places, anything), st.sampled_from(["targets", "inputs", "outputs", "api_name"]), anything)
def test_any_configuration_has_a_chat_or_none(config: dict[str, object], key: str, value: object) -> None:
    spoilt = copy.deepcopy(REAL)
    for dependency in spoilt["dependencies"]:
        dependency[key] = value

    assert isinstance(endpoint(config), str)
    assert isinstance(endpoint(spoilt), str)


REAL = real()
