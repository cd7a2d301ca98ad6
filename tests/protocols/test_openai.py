"""The OpenAI dialects: what is sent, and what is made of the answers of real and of odd servers."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.ask import Attempt, Limits, ask
from exporter.paths import Json
from exporter.protocols import PROTOCOLS
from exporter.wire import Delta, Failed, Failure, Prompt, Usage
from tests.protocols import PROMPT, fault, heard, heard_at_once, text
from tests.services.client import client
from tests.services.openai import CHAT, DONE, GOOD, ROLE, STOP, WORDS, frame, last, piece, spent
from tests.services.recorded import recorded
from tests.services.scripted import FOREVER, Answer, Service, Stage, head, in_turn, reply, script, stream

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


def test_further_fields_are_sent_and_win_over_ours(stage: Stage) -> None:
    service = chatting(stage, GOOD)
    further: Json = {
        "temperature": None,
        "max_tokens": 4,
        "logprobs": True,
        "stream_options": {"continuous_usage_stats": True},
        "chat_template_kwargs": {"enable_thinking": False},
    }

    heard("openai-chat", service, replace(PROMPT, body=further))

    assert sent(service) == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "0a1b2c3d Count."}],
        "max_tokens": 4,
        "logprobs": True,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "chat_template_kwargs": {"enable_thinking": False},
    }


def unknowing() -> Prompt:
    """A prompt that has learnt nothing of a service yet."""
    return Prompt(text="Count.", nonce="0a1b2c3d", model="tiny", max_tokens=8)


STRICT = reply('{"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]}', 422, JSON)


@pytest.mark.parametrize(("protocol", "path"), [("openai-chat", CHAT), ("openai-completions", COMPLETIONS)])
def test_a_strict_server_is_asked_without_stream_options_from_then_on(protocol: str, path: str, stage: Stage) -> None:
    service = stage.serve({f"POST {path}": in_turn(STRICT, GOOD)})
    prompt = unknowing()

    answers = [text(heard(protocol, service, prompt)) for _ in range(2)]

    first, *others = (json.loads(request.body) for request in service.requests)
    del first["stream_options"]
    assert answers[0] == answers[1]
    assert others == [first, first]


def test_a_model_without_a_chat_template_is_asked_once_more_and_has_failed(stage: Stage) -> None:
    missing = "As of transformers v4.44, default chat template is no longer allowed"
    refusal = reply(json.dumps({"error": {"message": missing, "type": "BadRequestError", "code": 400}}), 400, JSON)
    service = chatting(stage, refusal)

    assert fault("openai-chat", service, unknowing()) is Failure.STATUS_4XX
    assert len(service.requests) == 2


def test_a_strict_server_is_asked_twice_in_one_attempt(stage: Stage) -> None:
    service = chatting(stage, in_turn(STRICT, GOOD))

    attempt = asyncio.run(attempted(service))

    assert attempt.failed is None
    assert attempt.answer.text == "The answer is four."
    assert attempt.first_token is not None
    assert set(attempt.phases) == {"resolve", "connect", "send", "wait", "stream"}


def test_a_strict_server_that_says_nothing_the_second_time_is_late_by_the_one_deadline(stage: Stage) -> None:
    service = chatting(stage, in_turn(STRICT, script(FOREVER)))

    attempt = asyncio.run(attempted(service, first_token=0.3))

    assert attempt.failed is not None
    assert attempt.failed.failure is Failure.TIMEOUT_FIRST_TOKEN


async def attempted(service: Service, first_token: float = 20.0) -> Attempt:
    """One attempt at a service."""
    async with client(service.url) as asking:
        limits = Limits(first_token=first_token, stall=20.0, total=20.0)
        return await ask(PROTOCOLS["openai-chat"], asking, unknowing(), limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The answer of a real server, and what it holds."""

    name: str
    protocol: str = "openai-chat"
    text: str
    usage: Usage | None
    pieces: int


RECORDED = {
    "llama-server, its timings for want of usage": Recorded(
        name="llama-server-0.7.0/chat_stream",
        text="quihello prompt(Xhello prompt(XhelloA=PW brprom",
        usage=Usage(prompt=19, output=16, cached=0),
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
        usage=None,
        pieces=5,
    ),
    "litserve, not streamed": Recorded(
        name="litserve-openai-0.2.19/chat_nostream",
        text="hello from litserve streaming tokens ",
        usage=None,
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


@pytest.mark.parametrize(
    ("name", "protocol", "expected"),
    [
        ("chat_stream_logprobs", "openai-chat", [-0.7504943609, -0.5119159222, -0.6820061803, -0.0244806726]),
        (
            "completions_stream_logprobs",
            "openai-completions",
            [-0.0048696161, -0.0785978585, -0.2446178794, -0.4657768],
        ),
    ],
)
def test_how_probable_each_token_was_is_heard_where_a_real_server_tells_it(
    name: str, protocol: str, expected: list[float], stage: Stage
) -> None:
    service = stage.serve(recorded(f"llama-server-0.7.0/{name}"))

    said = heard(protocol, service)

    assert [logprob for delta in said for logprob in delta.logprobs] == pytest.approx(expected)


@pytest.mark.parametrize("none", [None, "high", True, float("nan"), float("-inf"), 10**400])
def test_what_is_no_probability_is_left_out(none: object, stage: Stage) -> None:
    told = {"tokens": ["fo", "ur"], "token_logprobs": [none, -0.5]}
    answer = stream(frame({"choices": [{"text": "four", "logprobs": told, "finish_reason": "stop"}]}))

    (said,) = heard("openai-completions", stage.serve({f"POST {COMPLETIONS}": answer}))

    assert said.logprobs == (-0.5,)


def test_an_answer_in_one_body_is_whole_and_a_piece_of_a_stream_is_not(stage: Stage) -> None:
    streamed = heard("openai-chat", chatting(stage, GOOD))
    at_once = heard("openai-chat", stage.serve(recorded("llama-server-0.7.0/chat_nostream")))

    assert [delta.whole for delta in at_once] == [True]
    assert not any(delta.whole for delta in streamed)


def test_a_role_alone_says_nothing(stage: Stage) -> None:
    said = heard("openai-chat", chatting(stage, GOOD))

    assert [delta.spoken for delta in said] == [False, True, True, True, False, False]


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content", "thinking"])
def test_a_thought_is_no_text(name: str, stage: Stage) -> None:
    (_role, thought, *_) = heard("openai-chat", saying(stage, piece(**{name: "hm"}), *WORDS))

    assert (thought.reasoning, thought.text, thought.spoken) == ("hm", "", True)


def test_a_thought_that_has_two_names_is_thought_once(stage: Stage) -> None:
    (_role, thought, *_) = heard("openai-chat", saying(stage, piece(reasoning="hm", reasoning_content="hm")))

    assert thought.reasoning == "hm"


def test_a_thought_may_be_a_part_of_the_content(stage: Stage) -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "four"}]

    (_role, said, *_) = heard("openai-chat", saying(stage, piece(content=parts)))

    assert (said.reasoning, said.text) == ("hm", "four")


def test_a_thought_aloud_is_left_in_the_text_for_whoever_hears_every_protocol(stage: Stage) -> None:
    said = heard("openai-chat", saying(stage, piece(content="<think>hm</think>"), piece(content="four")))

    assert text(said) == "<think>hm</think>four"


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
        pytest.param(frame({"error": "CUDA out of memory", "error_type": "generation"}), id="with its type"),
        pytest.param(b'data: {"error": "expected "}" here"}\n\n', id="in words that make it no JSON"),
        pytest.param(b'data: {"error": "CUDA out\nof memory"}\n\n', id="in two lines that make it no JSON"),
        pytest.param(b'{"error":"CUDA out of memory"}\n', id="in no event"),
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


@pytest.mark.parametrize("error", [{"error": {"message": "x"}}, {"error": "x"}, {"object": "error", "message": "x"}])
def test_an_error_in_one_body_is_its_failure(error: object, stage: Stage) -> None:
    assert fault("openai-chat", chatting(stage, reply(json.dumps(error), 200, JSON))) is Failure.STREAM_ERROR


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


def test_usage_may_come_with_every_piece_and_grows(stage: Stage) -> None:
    pieces = [piece(content=word, usage=spent(tokens)) for word, tokens in (("fo", 1), ("ur", 3))]

    said = heard("openai-chat", saying(stage, *pieces))

    assert usage(said) == Usage(prompt=9, output=3)


def test_usage_may_come_with_the_piece_that_ends_the_answer(stage: Stage) -> None:
    service = chatting(stage, stream(*WORDS, piece(finish="stop", usage=spent(3))))

    assert usage(heard("openai-chat", service)) == Usage(prompt=9, output=3)


@pytest.mark.parametrize("nothing", [None, {}, [], {"completion_tokens": None}, {"total_tokens": 12}])
def test_a_place_for_usage_without_any_leaves_what_was_told(nothing: object, stage: Stage) -> None:
    said = heard("openai-chat", saying(stage, last(7), frame({"choices": [], "usage": nothing})))

    assert usage(said) == Usage(prompt=9, output=7)


TIMINGS = {"prompt_n": 4, "cache_n": 15, "predicted_n": 8, "predicted_ms": 0.5}


def test_timings_are_usage_where_there_is_none(stage: Stage) -> None:
    said = heard("openai-chat", saying(stage, frame({"choices": [], "usage": None, "timings": TIMINGS})))

    assert usage(said) == Usage(prompt=19, output=8, cached=15)


def test_usage_is_believed_before_timings(stage: Stage) -> None:
    said = heard("openai-chat", saying(stage, frame({"choices": [], "usage": spent(7), "timings": TIMINGS})))

    assert usage(said) == Usage(prompt=9, output=7)


def test_timings_that_leave_the_cache_out_do_not_tell_the_prompt(stage: Stage) -> None:
    said = heard("openai-chat", saying(stage, frame({"timings": {"prompt_n": 4, "predicted_n": 8}})))

    assert usage(said) == Usage(output=8)


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
    *("thinking", "logprobs", "logprob", "token_logprobs", "timings", "prompt_n", "cache_n", "predicted_n"),
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
choices = st.fixed_dictionaries(
    {},
    optional={"delta": deltas | anything, "text": anything, "logprobs": anything, "finish_reason": scalars},
)
frames = st.fixed_dictionaries(
    {},
    optional={"choices": st.lists(choices | anything, max_size=2) | anything}
    | dict.fromkeys(("usage", "timings"), anything)
    | {"error": scalars},
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
