"""Gradio: the endpoint that is called, and what its events add up to."""

import asyncio
import json
from collections.abc import Mapping, Sequence

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.protocols.gradio import gradio
from exporter.wire import FAULTS, Delta, Failure, Prompt, Step, failed
from tests.protocols import fault, heard, text
from tests.services.recorded import recorded
from tests.services.scripted import Answer, Service, Stage, reply, stream

RECORDED = "gradio-6.31.0"
CALLED = {"POST /gradio_api/call/chat": reply('{"event_id": "c0ffee"}')}
CHAT = Prompt(text="hello", nonce="0a1b2c3d", path="chat", body={"data": ["${text}"]})
INFO = "GET /gradio_api/info"


def real(*names: str) -> Mapping[str, Answer]:
    """What a real Gradio said to these requests."""
    return {asked: answer for name in names for asked, answer in recorded(f"{RECORDED}/{name}").items()}


def event(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def streaming(stage: Stage, *frames: bytes) -> Service:
    """A service of which the endpoint chat says these frames."""
    return stage.serve({**CALLED, "GET /gradio_api/call/chat/c0ffee": stream(*frames)})


def said(stage: Stage, *frames: bytes) -> str:
    return text(heard("gradio", streaming(stage, *frames), CHAT))


def parameter(kind: object = "string", **more: object) -> dict[str, object]:
    """A parameter of an endpoint, as Gradio describes it."""
    return {"parameter_has_default": False, "parameter_default": None, "type": {"type": kind}} | more


def info(**endpoints: Sequence[object]) -> Answer:
    """The list of endpoints with these parameters."""
    named = {f"/{name}": {"parameters": parameters} for name, parameters in endpoints.items()}
    return reply(json.dumps({"named_endpoints": named, "unnamed_endpoints": {}}))


def data(service: Service) -> object:
    (request,) = service.asked("POST")
    return json.loads(request.body)["data"]


def test_the_answer_of_a_streaming_chat_comes_in_its_pieces(stage: Stage) -> None:
    service = stage.serve(real("call_chat_post", "call_chat_get"))

    pieces = heard("gradio", service, CHAT)

    assert [piece.text for piece in pieces] == ["you ", "said ", "hello ", "and ", "here ", "are ", "some ", "tokens "]
    assert not any(piece.whole for piece in pieces)


def test_the_chat_is_called_where_no_endpoint_is_named(stage: Stage) -> None:
    service = stage.serve(real("get_gradio_api_info", "call_chat_post", "call_chat_get"))

    pieces = heard("gradio", service, Prompt(text="hello"))

    assert text(pieces) == "you said hello and here are some tokens "
    assert data(service) == ["hello"]


@pytest.mark.parametrize("path", ["upper", "/upper", "/upper/"])
def test_an_endpoint_is_named_with_or_without_a_slash(path: str, stage: Stage) -> None:
    service = stage.serve(real("get_gradio_api_info", "call_upper_post", "call_upper_get"))

    assert text(heard("gradio", service, Prompt(text="hello", path=path))) == "HELLO"


def test_an_answer_that_comes_only_when_it_is_complete_is_whole(stage: Stage) -> None:
    service = stage.serve(real("call_upper_post", "call_upper_get"))

    pieces = heard("gradio", service, Prompt(text="hello", path="upper", body={"data": ["${text}"]}))

    assert pieces == [Delta(text="HELLO", whole=True)]


def test_thoughts_are_told_apart_from_the_answer_and_further_parameters_get_their_defaults(stage: Stage) -> None:
    service = stage.serve(real("get_gradio_api_info_thinking", "call_thinking_post", "call_thinking_get"))

    pieces = heard("gradio", service, Prompt(text="hello", path="chat"))

    assert "".join(piece.reasoning for piece in pieces) == "two and two "
    assert text(pieces) == "it is 4 "
    assert data(service) == ["hello", "You are kind", 0.5]


@pytest.mark.parametrize(
    ("names", "path", "failure"),
    [
        (["call_boom_post", "call_boom_get"], "chat", Failure.STREAM_ERROR),
        (["call_gr-error_post", "call_gr-error_get"], "chat", Failure.STREAM_ERROR),
        (["call_bad_json"], "upper", Failure.STATUS_4XX),
        (["call_wrong_api"], "nope", Failure.STATUS_5XX),
        (["call_full_post"], "slow", Failure.BUSY),
        (["call_auth_post"], "chat", Failure.UNAUTHORIZED),
    ],
)
def test_the_failure_of_a_real_service_has_its_reason(
    names: Sequence[str], path: str, failure: Failure, stage: Stage
) -> None:
    service = stage.serve(real(*names))

    assert fault("gradio", service, Prompt(text="x", path=path, body={"data": ["${text}"]})) is failure


def test_a_call_that_a_real_service_does_not_know_is_an_error(stage: Stage) -> None:
    called = {"POST /gradio_api/call/upper": reply('{"event_id": "deadbeef"}')}
    service = stage.serve({**called, **real("call_bad_event")})

    assert fault("gradio", service, Prompt(path="upper", body={"data": ["x"]})) is Failure.STREAM_ERROR


def test_a_real_service_that_wants_a_password_keeps_its_endpoints_to_itself(stage: Stage) -> None:
    service = stage.serve(real("get_gradio_api_info_auth"))

    assert fault("gradio", service, Prompt()) is Failure.UNAUTHORIZED


def test_a_name_that_no_endpoint_has_is_not_found_and_nothing_is_called(stage: Stage) -> None:
    service = stage.serve(real("get_gradio_api_info", "call_wrong_api"))

    assert fault("gradio", service, Prompt(path="nope")) is Failure.NOT_FOUND
    assert service.asked("POST") == []


@pytest.mark.parametrize(
    ("endpoints", "called"),
    [
        ({"ask": [parameter()], "draw": [parameter("number")]}, "ask"),
        ({"ask": [parameter()], "chat": [parameter()]}, "chat"),
        ({"ask": [parameter()], "pick": [parameter(type={"type": "string", "enum": ["a"]})]}, "ask"),
        ({"ask": [parameter()], "chat": [parameter(), parameter()]}, "ask"),
        ({"ask": [parameter(), parameter("number", parameter_has_default=True)], "clear": []}, "ask"),
    ],
)
def test_of_several_endpoints_the_one_that_takes_a_text_is_called(
    endpoints: Mapping[str, Sequence[object]], called: str, stage: Stage
) -> None:
    service = stage.serve({INFO: info(**endpoints), f"POST /gradio_api/call/{called}": reply(status=429)})

    assert fault("gradio", service, Prompt(text="x")) is Failure.RATE_LIMITED


@pytest.mark.parametrize(
    "endpoints", [{}, {"clear": []}, {"ask": [parameter()], "tell": [parameter()]}, {"ask": "nothing"}, {"ask": [None]}]
)
def test_where_it_is_open_which_endpoint_to_call_none_is(
    endpoints: Mapping[str, Sequence[object]], stage: Stage
) -> None:
    service = stage.serve({INFO: info(**endpoints)})

    assert fault("gradio", service, Prompt(text="x")) is Failure.NOT_FOUND
    assert service.asked("POST") == []


def test_an_endpoint_that_takes_more_than_a_text_wants_a_body(stage: Stage) -> None:
    service = stage.serve({INFO: info(chat=[parameter(), parameter("number")]), **CALLED})

    assert fault("gradio", service, Prompt(text="x", path="chat")) is Failure.UNEXPECTED
    assert service.asked("POST") == []


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (Prompt(text="hi", body={"data": ["${text}", "${nonce}", None]}), {"data": ["hi", "7", None]}),
        (Prompt(text="hi ${nonce}", body={"data": ["${text}"]}), {"data": ["hi 7"]}),
        (Prompt(text="hi"), {"data": ["hi"]}),
        (Prompt(text="hi ${nonce}"), {"data": ["hi 7"]}),
        (Prompt(text="hi", body={"session_hash": "${nonce}"}), {"session_hash": "7", "data": ["hi"]}),
    ],
)
def test_the_nonce_stands_only_where_its_mark_does(prompt: Prompt, expected: object, stage: Stage) -> None:
    service = stage.serve({INFO: info(chat=[parameter()]), **CALLED})
    asked = Prompt(text=prompt.text, body=prompt.body, path="chat", nonce="7", headers={"X-Key": "key"})

    fault("gradio", service, asked)

    (request,) = service.asked("POST")
    assert json.loads(request.body) == expected
    assert request.headers["content-type"] == "application/json"
    assert {it.headers["x-key"] for it in service.requests} == {"key"}


def test_a_gradio_of_before_the_prefix_is_called_without(stage: Stage) -> None:
    answers = {"GET /info": info(chat=[parameter()]), "POST /call/chat": reply('{"event_id": "c0ffee"}')}
    service = stage.serve({**answers, "GET /call/chat/c0ffee": stream(event("complete", ["four"]))})

    assert text(heard("gradio", service, Prompt(text="hi"))) == "four"


def messages(*contents: object, role: str = "assistant") -> list[dict[str, object]]:
    return [{"role": role, "content": content} for content in contents]


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (["four", None], "four"),
        (["", "four"], "four"),
        ([None, messages("four")], "four"),
        ([messages("four")[0]], "four"),
        ([messages("2+2?", role="user") + messages("fo", "ur")], "four"),
        ([messages("five") + messages("2+2?", role="user") + messages("four")], "four"),
        ([messages([{"type": "text", "text": "fo"}, {"path": "a.png"}, "ur"])], "four"),
        ([[["1+1?", "two"], ["2+2?", "four"]]], "four"),
        ([{"__type__": "update", "interactive": False}, "four"], "four"),
        ([{"__type__": "update", "value": "four"}], "four"),
        ([4], "4"),
        ([0], "0"),
        ([{"label": "four"}], '{"label": "four"}'),
        ([None, [], {}, ""], ""),
    ],
)
def test_the_answer_is_the_first_output_that_says_something(outputs: object, expected: str, stage: Stage) -> None:
    assert said(stage, event("complete", outputs)) == expected


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (["a", "ab", "ab"], ["a", "b"]),
        (["a", "abc", "abd"], ["a", "bc", "d"]),
        (["a b ", "a b"], ["a b "]),
        ([None, "", "a"], ["a"]),
    ],
)
def test_only_what_an_event_adds_is_a_piece(outputs: Sequence[object], expected: Sequence[str], stage: Stage) -> None:
    frames = [event("generating", [output]) for output in outputs[:-1]]
    service = streaming(stage, *frames, event("complete", [outputs[-1]]))

    assert [piece.text for piece in heard("gradio", service, CHAT)] == expected


def test_a_heartbeat_says_nothing(stage: Stage) -> None:
    frames = event("heartbeat", None), event("generating", ["fo"]), event("heartbeat", None)

    assert said(stage, *frames, event("complete", ["four"])) == "four"


@pytest.mark.parametrize(
    ("frame", "failure"),
    [
        (event("error", None), Failure.STREAM_ERROR),
        (event("error", {"error": "boom"}), Failure.STREAM_ERROR),
        (event("generating", ["fo"]), Failure.DISCONNECTED),
        (event("complete", None), Failure.INVALID),
        (event("complete", {}), Failure.INVALID),
        (b"event: complete\ndata: [\n\n", Failure.INVALID),
        (b"data: four\n\n", Failure.DISCONNECTED),
        (b"", Failure.DISCONNECTED),
    ],
)
def test_an_answer_that_is_not_completed_is_a_failure(frame: bytes, failure: Failure, stage: Stage) -> None:
    frames = [frame] if frame else []

    assert fault("gradio", streaming(stage, *frames), CHAT) is failure


@pytest.mark.parametrize("called", ["", "[]", "{}", '{"event_id": 7}', '{"event_id": ""}', '{"event_id": "../info"}'])
def test_a_call_without_an_identifier_is_invalid(called: str, stage: Stage) -> None:
    service = stage.serve({"POST /gradio_api/call/chat": reply(called)})

    assert fault("gradio", service, CHAT) is Failure.INVALID


def test_the_answer_is_timed_from_the_call_and_not_from_the_second_request(stage: Stage) -> None:
    service = stage.serve(real("call_chat_post", "call_chat_get"))
    told = []

    def trace(step: Step, _over: object) -> None:
        told.append(step)

    heard("gradio", service, Prompt(text="hello", path="chat", body={"data": ["hello"]}, trace=trace))

    assert told.count(Step.CONNECTED) == 2
    assert told.count(Step.WRITTEN) == 1


async def _heard(known: bytes, called: bytes, streamed: bytes, prompt: Prompt) -> Sequence[Delta]:
    def answered(request: httpx.Request) -> httpx.Response:
        body = known if request.url.path.endswith("/info") else called if request.method == "POST" else streamed
        return httpx.Response(200, stream=httpx.ByteStream(body))

    async with httpx.AsyncClient(transport=httpx.MockTransport(answered), base_url="http://service") as asking:
        return [delta async for delta in gradio(asking, prompt)]


def outcome(
    *,
    known: bytes = b"{}",
    called: bytes = b'{"event_id": "c0ffee"}',
    streamed: bytes = b"event: complete\ndata: []\n\n",
    prompt: Prompt = CHAT,
) -> Failure | None:
    """What a conversation comes to, for when many are looked at and none is worth a network."""
    try:
        asyncio.run(_heard(known, called, streamed, prompt))
    except FAULTS as error:
        return failed(error).failure
    return None


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "metadata", "title", "text", "__type__", "value", "parameters", "type", "event_id"]
            ),
            inner,
            max_size=4,
        )
        | st.fixed_dictionaries({"named_endpoints": st.dictionaries(st.sampled_from(["/chat", "é/\ud800"]), inner)})
        | st.fixed_dictionaries({"parameters": st.lists(inner | st.just(parameter()), max_size=2)})
        | st.fixed_dictionaries({"parameter_has_default": st.just(value=True), "parameter_default": inner})
        | st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": inner, "metadata": inner})
    ),
    max_leaves=12,
)
bodies = anything.map(lambda document: json.dumps(document).encode()) | st.binary(max_size=20)
frames = st.tuples(st.sampled_from([b"generating", b"complete", b"error", b"heartbeat", b""]), bodies)
streams = st.lists(frames.map(lambda it: b"event: %b\ndata: %b\n\n" % it), max_size=4).map(b"".join) | st.binary()


@settings(deadline=None)
@given(known=bodies, called=bodies, streamed=streams, prompt=st.sampled_from([CHAT, Prompt(), Prompt(path="chat")]))
def test_no_answer_does_worse_than_fail(known: bytes, called: bytes, streamed: bytes, prompt: Prompt) -> None:
    assert outcome(known=known, prompt=prompt) in {None, *Failure}
    assert outcome(called=called) in {None, *Failure}
    assert outcome(streamed=streamed) in {None, *Failure}


@pytest.mark.parametrize("depth", range(860, 1010, 3))
def test_no_depth_of_nesting_does_worse_than_fail(depth: int) -> None:
    nested = b"[" * depth + b"1" + b"]" * depth
    parameters = b'{"parameter_has_default": true, "parameter_default": %b}, {"type": {"type": "string"}}' % nested

    known = b'{"named_endpoints": {"/chat": {"parameters": [%b]}}}' % parameters

    assert outcome(streamed=b"event: complete\ndata: %b\n\n" % nested) in {None, Failure.INVALID}
    assert outcome(known=known, prompt=Prompt(text="x")) in {None, Failure.INVALID}


def test_a_default_that_is_no_json_number_is_sent_as_it_was_told() -> None:
    parameters = '{"parameter_has_default": true, "parameter_default": NaN}, {"type": {"type": "string"}}'
    known = '{"named_endpoints": {"/chat": {"parameters": [%s]}}}' % parameters  # noqa: UP031  full of braces

    assert outcome(known=known.encode(), prompt=Prompt(text="x")) is None
