"""The OpenAI dialects: what is sent, and what is made of the answers of real and of odd servers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.wire import Delta, Failed, Failure, Usage
from tests.protocols import PROMPT, fault, heard, heard_at_once, text
from tests.services.openai import CHAT, DONE, GOOD, ROLE, STOP, WORDS, frame, last, piece
from tests.services.recorded import recorded
from tests.services.scripted import FOREVER, Answer, Service, Stage, head, reply, script, stream

COMPLETIONS = "/v1/completions"
JSON = "Content-Type: application/json"
SSE = "text/event-stream"


def chatting(stage: Stage, answer: Answer) -> Service:
    return stage.serve({f"POST {CHAT}": answer})


def saying(stage: Stage, *events: bytes) -> Service:
    """A service that streams these events after its role, and ends well."""
    return chatting(stage, stream(ROLE, *events, STOP, DONE))


def usage(deltas: Sequence[Delta]) -> Usage | None:
    """The last word on usage."""
    return next((delta.usage for delta in reversed(deltas) if delta.usage is not None), None)


def sent(service: Service) -> Any:  # noqa: ANN401  JSON, to be compared with what is expected
    """The document of the one request."""
    (request,) = service.requests
    return json.loads(request.body)


def test_a_chat_is_one_message_of_the_user_with_the_nonce_first(stage: Stage) -> None:
    service = chatting(stage, GOOD)

    heard("openai-chat", service)

    assert sent(service) == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "0a1b2c3d Count."}],
        "max_tokens": 8,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_completion_goes_on_from_a_text_with_the_nonce_first(stage: Stage) -> None:
    service = stage.serve({f"POST {COMPLETIONS}": stream(frame({"choices": [{"text": "2"}]}), DONE)})

    heard("openai-completions", service)

    assert sent(service) == {
        "model": "tiny",
        "prompt": "0a1b2c3d Count.",
        "max_tokens": 8,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_stream_is_asked_for_with_the_headers_of_the_service(stage: Stage) -> None:
    service = chatting(stage, GOOD)

    heard("openai-chat", service, replace(PROMPT, headers={"Authorization": "Bearer key"}))

    (request,) = service.requests
    assert request.headers["accept"] == SSE
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == "Bearer key"


def test_a_model_that_is_not_known_is_not_named(stage: Stage) -> None:
    service = chatting(stage, GOOD)

    heard("openai-chat", service, replace(PROMPT, model=None))

    assert "model" not in sent(service)


def test_another_path_may_be_asked(stage: Stage) -> None:
    service = stage.serve({"POST /openai/deployments/tiny": GOOD})

    said = heard("openai-chat", service, replace(PROMPT, path="/openai/deployments/tiny"))

    assert text(said) == "The answer is four."


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The answer of a real server, and what it holds."""

    name: str
    protocol: str = "openai-chat"
    text: str
    usage: Usage | None
    pieces: int


RECORDED = {
    "llama-server, without usage": Recorded(
        name="llama-server-0.7.0/chat_stream",
        text="quihello prompt(Xhello prompt(XhelloA=PW brprom",
        usage=None,
        pieces=16,
    ),
    "llama-server, usage last": Recorded(
        name="llama-server-0.7.0/chat_stream_usage",
        text="Fquihello the servser pr f",
        usage=Usage(prompt=19, output=8, cached=18),
        pieces=8,
    ),
    "llama-server, completed": Recorded(
        name="llama-server-0.7.0/completions_stream",
        protocol="openai-completions",
        text=" the servserquqW the serv",
        usage=Usage(prompt=1, output=8, cached=0),
        pieces=8,
    ),
    "llama-server, not streamed": Recorded(
        name="llama-server-0.7.0/chat_nostream",
        text="FquihelloA=PW0",
        usage=Usage(prompt=19, output=8, cached=18),
        pieces=1,
    ),
    "litserve, a role with every piece": Recorded(
        name="litserve-openai-0.2.19/chat_stream_usage",
        text="hello from litserve streaming tokens ",
        usage=Usage(prompt=0, output=0),
        pieces=5,
    ),
    "litserve, not streamed": Recorded(
        name="litserve-openai-0.2.19/chat_nostream",
        text="hello from litserve streaming tokens ",
        usage=Usage(prompt=0, output=0),
        pieces=1,
    ),
}


@pytest.mark.parametrize("answer", RECORDED.values(), ids=RECORDED)
def test_the_answer_of_a_real_server_is_heard(answer: Recorded, stage: Stage) -> None:
    service = stage.serve(recorded(answer.name))

    said = heard(answer.protocol, service)

    assert text(said) == answer.text
    assert usage(said) == answer.usage
    assert sum(delta.spoken for delta in said) == answer.pieces


@pytest.mark.parametrize(
    ("name", "protocol", "failure"),
    [
        ("llama-server-0.7.0/chat_too_long", "openai-chat", Failure.STATUS_4XX),
        ("litserve-openai-0.2.19/completions_stream", "openai-completions", Failure.NOT_FOUND),
    ],
)
def test_the_refusal_of_a_real_server_has_its_reason(name: str, protocol: str, failure: Failure, stage: Stage) -> None:
    service = stage.serve(recorded(name))

    assert fault(protocol, service) is failure


def test_an_answer_in_one_body_is_whole_and_a_piece_of_a_stream_is_not(stage: Stage) -> None:
    streamed = heard("openai-chat", chatting(stage, GOOD))
    at_once = heard("openai-chat", stage.serve(recorded("llama-server-0.7.0/chat_nostream")))

    assert [delta.whole for delta in at_once] == [True]
    assert not any(delta.whole for delta in streamed)


def test_a_role_alone_says_nothing(stage: Stage) -> None:
    said = heard("openai-chat", chatting(stage, GOOD))

    assert [delta.spoken for delta in said] == [False, True, True, True, False, False]


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_a_thought_is_no_text(name: str, stage: Stage) -> None:
    (_role, thought, *_) = heard("openai-chat", saying(stage, piece(**{name: "hm"}), *WORDS))

    assert (thought.reasoning, thought.text, thought.spoken) == ("hm", "", True)


def test_the_call_of_a_tool_is_said_in_its_name_and_its_arguments(stage: Stage) -> None:
    named = piece(tool_calls=[{"index": 0, "function": {"name": "add", "arguments": ""}}])
    filled = piece(tool_calls=[{"index": 0, "function": {"arguments": '{"a": 1}'}}])

    (_role, *said) = heard("openai-chat", saying(stage, named, filled))

    assert [(delta.tool, delta.spoken) for delta in said[:2]] == [("add", True), ('{"a": 1}', True)]


def test_text_in_parts_is_text(stage: Stage) -> None:
    parts = [{"type": "text", "text": "four"}, {"type": "reference", "reference_ids": [1]}]

    said = heard("openai-chat", saying(stage, piece(content=parts)))

    assert text(said) == "four"


def test_the_answer_ends_where_it_says_so(stage: Stage) -> None:
    service = chatting(stage, script(head(200, f"Content-Type: {SSE}"), *WORDS, DONE, piece(content="more"), FOREVER))

    said = heard("openai-chat", service)

    assert text(said) == "The answer is four."


def test_an_answer_without_its_end_was_cut(stage: Stage) -> None:
    assert fault("openai-chat", chatting(stage, stream(ROLE, *WORDS))) is Failure.DISCONNECTED


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(frame({"error": {"message": "CUDA out of memory"}}), id="in an object"),
        pytest.param(frame({"error": "CUDA out of memory"}), id="in a text"),
        pytest.param(frame({"error": {}}), id="in nothing"),
        pytest.param(frame({"object": "error", "message": "CUDA out of memory"}), id="flat"),
        pytest.param(b'event: error\ndata: {"message": "CUDA out of memory"}\n\n', id="by its name"),
        pytest.param(b"event: error\ndata: CUDA out of memory\n\n", id="by its name, in words"),
    ],
)
def test_an_error_inside_an_answer_is_its_failure(event: bytes, stage: Stage) -> None:
    assert fault("openai-chat", saying(stage, *WORDS, event)) is Failure.STREAM_ERROR


@pytest.mark.parametrize(
    "document",
    [[1], "four", 7, None, {"choices": 7}, {"choices": [None]}, {"choices": [{"delta": "four"}]}, {"choices": [[]]}],
    ids=str,
)
def test_a_frame_of_another_make_is_invalid(document: object, stage: Stage) -> None:
    assert fault("openai-chat", saying(stage, frame(document))) is Failure.INVALID


@pytest.mark.parametrize("none", [None, "", False])
def test_a_place_for_errors_without_one_is_no_error(none: object, stage: Stage) -> None:
    said = heard("openai-chat", saying(stage, frame({"error": none, "choices": [{"delta": {"content": "four"}}]})))

    assert text(said) == "four"


@pytest.mark.parametrize("count", [-1, 1.5, "7", True, None, [], 10**400])
def test_what_cannot_be_a_count_of_tokens_is_none(count: object, stage: Stage) -> None:
    told = {"prompt_tokens": 9, "completion_tokens": count, "prompt_tokens_details": {"cached_tokens": count}}

    said = heard("openai-chat", saying(stage, frame({"choices": [], "usage": told})))

    assert usage(said) == Usage(prompt=9)


def test_the_last_usage_may_come_with_no_choice_and_after_others(stage: Stage) -> None:
    said = heard("openai-chat", saying(stage, piece(usage=None, content="four"), last(7)))

    assert usage(said) == Usage(prompt=9, output=7)


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "Text/HTML"])
def test_a_page_for_people_is_no_answer(kind: str, stage: Stage) -> None:
    service = chatting(stage, reply("<html>It works!</html>", 200, f"Content-Type: {kind}"))

    assert fault("openai-chat", service) is Failure.INVALID


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_json_is_an_answer_in_one_body(kind: str, stage: Stage) -> None:
    whole = json.dumps({"choices": [{"message": {"content": "four"}, "finish_reason": "stop"}]})
    service = chatting(stage, reply(whole, 200, f"Content-Type: {kind}"))

    assert text(heard("openai-chat", service)) == "four"


def test_a_long_answer_in_one_body_is_judged_apart_and_the_same(stage: Stage) -> None:
    long = "four " * 100_000
    service = chatting(stage, reply(json.dumps({"choices": [{"message": {"content": long}}]}), 200, JSON))

    assert text(heard("openai-chat", service)) == long


NAMES = [
    *("choices", "delta", "message", "content", "text", "reasoning", "reasoning_content", "finish_reason"),
    *("tool_calls", "function", "name", "arguments", "error", "object"),
    *("usage", "prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens"),
]
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=10,
)
deltas = st.fixed_dictionaries({}, optional=dict.fromkeys(("content", "reasoning", "tool_calls"), anything))
choices = st.fixed_dictionaries({}, optional={"delta": deltas | anything, "text": anything, "finish_reason": scalars})
frames = st.fixed_dictionaries(
    {}, optional={"choices": st.lists(choices | anything, max_size=2) | anything, "usage": anything, "error": scalars}
)
documents = (frames | anything).map(lambda document: json.dumps(document).encode())
lines = (documents | st.binary(max_size=20) | st.just(b"[DONE]")).map(lambda line: b"data: " + line + b"\n\n")


def endured(body: bytes, kind: str) -> None:
    """Hear an answer that may be anything; whatever it is, nothing but a failure may come of it."""
    try:
        said = heard_at_once("openai-chat", body, kind)
    except Failed:
        return
    assert all(isinstance(delta, Delta) for delta in said)


@settings(deadline=None)
@given(body=st.lists(lines, max_size=4).map(b"".join))
def test_no_stream_does_worse_than_fail(body: bytes) -> None:
    endured(body, SSE)


@settings(deadline=None, max_examples=50)
@given(body=documents | st.binary(max_size=40))
def test_no_body_does_worse_than_fail(body: bytes) -> None:
    endured(body, "application/json")
