"""TGI's own streaming: what is sent, and what is made of the answers of real and of odd servers."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.wire import Delta, Failed, Failure, Usage
from tests.protocols import PROMPT, fault, heard, heard_at_once, text
from tests.services.recorded import recorded
from tests.services.scripted import FOREVER, Answer, Service, Stage, head, reply, script, stream

GENERATE = "/generate_stream"
# Not recorded: no TGI was at hand, and these answers are written as its source and documentation describe them.
WRITTEN = "tgi-from-reference"
SSE = "text/event-stream"


def generating(stage: Stage, answer: Answer) -> Service:
    return stage.serve({f"POST {GENERATE}": answer})


def event(document: object) -> bytes:
    """One server-sent event that holds JSON, with no space before it."""
    return f"data:{json.dumps(document, ensure_ascii=False)}\n\n".encode()


def token(said: str = "four", *, special: bool = False, logprob: object = -0.5, **last: object) -> bytes:
    """The event of one token."""
    told = {"id": 1, "text": said, "logprob": logprob, "special": special}
    return event({"index": 1, "token": told, "generated_text": None, "details": None, **last})


def last(**details: object) -> bytes:
    """The event of the last token, which is none to be read."""
    return token("</s>", special=True, generated_text="four", details={"finish_reason": "eos_token", **details})


def sent(service: Service) -> Any:  # noqa: ANN401  JSON, to be compared with what is expected
    """The document of the one request."""
    (request,) = service.requests
    return json.loads(request.body)


def test_a_text_is_gone_on_from_with_the_nonce_first(stage: Stage) -> None:
    service = stage.serve(recorded(f"{WRITTEN}/generate_stream"))

    heard("tgi", service)

    assert sent(service) == {"inputs": "0a1b2c3d Count.", "parameters": {"max_new_tokens": 8, "details": True}}


def test_a_stream_is_asked_for_with_the_headers_of_the_service(stage: Stage) -> None:
    service = stage.serve(recorded(f"{WRITTEN}/generate_stream"))

    heard("tgi", service, replace(PROMPT, headers={"Authorization": "Bearer key"}))

    (request,) = service.requests
    assert request.headers["accept"] == SSE
    assert request.headers["authorization"] == "Bearer key"


def test_another_path_may_be_asked(stage: Stage) -> None:
    service = stage.serve({"POST /models/tiny": stream(token(), last())})

    assert text(heard("tgi", service, replace(PROMPT, path="/models/tiny"))) == "four"


def test_further_fields_go_beside_ours_and_win_over_them(stage: Stage) -> None:
    service = generating(stage, stream(token(), last()))

    heard("tgi", service, replace(PROMPT, body={"parameters": {"max_new_tokens": 2, "stop": ["."]}, "seed": None}))

    assert sent(service) == {
        "inputs": "0a1b2c3d Count.",
        "parameters": {"max_new_tokens": 2, "details": True, "stop": ["."]},
        "seed": None,
    }


def test_an_answer_is_heard_token_by_token_and_its_end_is_no_text(stage: Stage) -> None:
    said = heard("tgi", stage.serve(recorded(f"{WRITTEN}/generate_stream")))

    assert [delta.text for delta in said] == [" Hello", ",", " wörld", "!", ""]
    assert [delta.spoken for delta in said] == [True, True, True, True, False]
    assert [delta.logprobs for delta in said] == [(-0.34375,), (-0.109375,), (-1.25,), (-0.5,), ()]
    assert not any(delta.whole for delta in said)
    assert (said[-1].finish, said[-1].usage) == ("eos_token", Usage(prompt=5, output=5))


def test_the_last_token_is_text_where_the_answer_was_cut_short(stage: Stage) -> None:
    said = heard("tgi", stage.serve(recorded(f"{WRITTEN}/generate_stream_length")))

    assert text(said) == " Hello,"
    assert (said[-1].finish, said[-1].usage) == ("length", Usage(prompt=5, output=2))


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("overloaded", Failure.RATE_LIMITED),
        ("generate_stream_overloaded", Failure.RATE_LIMITED),
        ("generate_stream_too_long", Failure.STATUS_4XX),
        ("generate_stream_broken", Failure.STREAM_ERROR),
    ],
)
def test_a_refusal_has_its_reason_before_and_inside_the_stream(name: str, failure: Failure, stage: Stage) -> None:
    assert fault("tgi", stage.serve(recorded(f"{WRITTEN}/{name}"))) is failure


@pytest.mark.parametrize("kind", ["generation", "incomplete_generation", "", None, ["overloaded"]])
def test_any_other_error_inside_the_stream_is_the_streams(kind: object, stage: Stage) -> None:
    broken = event({"error": "CUDA out of memory", "error_type": kind})

    assert fault("tgi", generating(stage, stream(token(), broken))) is Failure.STREAM_ERROR


def test_a_space_after_data_makes_no_difference(stage: Stage) -> None:
    spaced = [it.replace(b"data:", b"data: ") for it in (token("two"), token(" four"), last())]

    assert text(heard("tgi", generating(stage, stream(*spaced)))) == "two four"


def test_an_event_may_come_in_pieces_that_split_a_character(stage: Stage) -> None:
    said = token("čtyři")
    middle = said.index("č".encode()) + 1

    assert text(heard("tgi", generating(stage, stream(said[:middle], 0.01, said[middle:], last())))) == "čtyři"


def test_the_answer_ends_with_its_last_event_although_the_connection_stays(stage: Stage) -> None:
    service = generating(stage, script(head(200, f"Content-Type: {SSE}"), token(), last(), FOREVER))

    assert text(heard("tgi", service)) == "four"


def test_an_answer_is_complete_with_its_text_where_details_were_not_asked_for(stage: Stage) -> None:
    said = heard("tgi", generating(stage, stream(token("four", generated_text="four"))))

    assert [(delta.text, delta.finish, delta.usage) for delta in said] == [("four", None, None)]


@pytest.mark.parametrize("steps", [(), (token(),), (token(), b":\n\n")])
def test_an_answer_without_its_last_event_was_cut(steps: tuple[bytes, ...], stage: Stage) -> None:
    assert fault("tgi", generating(stage, stream(*steps))) is Failure.DISCONNECTED


def test_the_prompt_is_counted_by_its_tokens_where_its_length_is_not_told(stage: Stage) -> None:
    said = heard("tgi", generating(stage, stream(token(), last(prefill=[{"id": 1}, {"id": 7}], generated_tokens=2))))

    assert said[-1].usage == Usage(prompt=2, output=2)


@pytest.mark.parametrize("count", [-1, 1.5, "7", True, None, [], 10**400])
def test_what_cannot_be_a_count_of_tokens_is_none(count: object, stage: Stage) -> None:
    said = heard("tgi", generating(stage, stream(token(), last(input_length=count, generated_tokens=3))))

    assert said[-1].usage == Usage(output=3)


@pytest.mark.parametrize("logprob", [1.0, None, "-0.5", float("nan"), float("-inf"), True])
def test_what_cannot_be_a_log_probability_is_none(logprob: object, stage: Stage) -> None:
    said = heard("tgi", generating(stage, stream(token(logprob=logprob), last())))

    assert [delta.logprobs for delta in said] == [(), ()]


def test_a_page_for_people_is_no_answer(stage: Stage) -> None:
    service = generating(stage, reply("<html>It works!</html>", 200, "Content-Type: Text/HTML"))

    assert fault("tgi", service) is Failure.INVALID


@pytest.mark.parametrize("broken", [b"data:{\n\n", b"data:[]\n\n", b"data:\xff\n\n"])
def test_an_event_that_is_no_object_is_invalid(broken: bytes, stage: Stage) -> None:
    assert fault("tgi", generating(stage, stream(token(), broken))) is Failure.INVALID


NAMES = [
    *("token", "text", "special", "logprob", "generated_text", "details", "error", "error_type"),
    *("finish_reason", "generated_tokens", "input_length", "prefill"),
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=10,
)
frames = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, anything))
documents = (frames | anything).map(lambda document: json.dumps(document).encode())
lines = (documents | st.binary(max_size=20)).map(lambda line: b"data:" + line + b"\n\n")


@settings(deadline=None, max_examples=200)
@given(body=st.lists(lines, max_size=4).map(b"".join) | st.binary(max_size=40))
def test_no_stream_does_worse_than_fail(body: bytes) -> None:
    try:
        said = heard_at_once("tgi", body, SSE)
    except Failed:
        return
    assert all(isinstance(delta, Delta) for delta in said)
