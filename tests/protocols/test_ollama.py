"""Ollama's own API: what is sent, and what is made of the answers of real and of odd servers."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.apart import JUDGED_HERE
from exporter.paths import Json
from exporter.response import FRAME_LIMIT
from exporter.wire import Delta, Failed, Failure, Usage
from tests.protocols import PROMPT, fault, heard, heard_at_once, text
from tests.services.recorded import body, recorded
from tests.services.scripted import FOREVER, Service, Stage, head, reply, script

CHAT = "/api/chat"
EMBED = "/api/embed"
# Not recorded: no Ollama was at hand, and these answers are written as its source and documentation describe them.
WRITTEN = "ollama-from-reference"
NDJSON = "application/x-ndjson"


def line(document: object) -> bytes:
    """One line that holds JSON."""
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"


def piece(content: str = "", **more: object) -> bytes:
    """The line of one piece of an answer."""
    return line({"model": "tiny", "message": {"role": "assistant", "content": content, **more}, "done": False})


def last(**more: object) -> bytes:
    """The line that ends an answer."""
    message = {"role": "assistant", "content": ""}
    return line({"model": "tiny", "message": message, "done": True, "done_reason": "stop", **more})


def chatting(stage: Stage, *steps: bytes | float) -> Service:
    """A service that says these lines and closes the connection."""
    return stage.serve({f"POST {CHAT}": script(head(200, f"Content-Type: {NDJSON}"), *steps)})


def embedding(stage: Stage, document: object) -> Service:
    return stage.serve({f"POST {EMBED}": reply(json.dumps(document), 200, "Content-Type: application/json")})


def sent(service: Service) -> Any:  # noqa: ANN401  JSON, to be compared with what is expected
    """The document of the one request."""
    (request,) = service.requests
    return json.loads(request.body)


def test_a_chat_is_one_message_of_the_user_and_leaves_the_models_residency_to_itself(stage: Stage) -> None:
    service = stage.serve(recorded(f"{WRITTEN}/chat"))

    heard("ollama", service)

    assert sent(service) == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "0a1b2c3d Count."}],
        "stream": True,
        "options": {"num_predict": 8, "temperature": 0},
    }


def test_a_text_is_embedded_with_the_nonce_first(stage: Stage) -> None:
    service = stage.serve(recorded(f"{WRITTEN}/embed"))

    heard("ollama-embed", service)

    assert sent(service) == {"model": "tiny", "input": "0a1b2c3d Count."}


@pytest.mark.parametrize(("protocol", "name"), [("ollama", "chat"), ("ollama-embed", "embed")])
def test_a_model_that_is_not_known_is_not_named_and_the_headers_are_the_services(
    protocol: str, name: str, stage: Stage
) -> None:
    service = stage.serve(recorded(f"{WRITTEN}/{name}"))

    heard(protocol, service, replace(PROMPT, model=None, headers={"Authorization": "Bearer key"}))

    assert "model" not in sent(service)
    assert service.requests[0].headers["authorization"] == "Bearer key"


def test_further_fields_go_beside_ours_and_win_over_them(stage: Stage) -> None:
    service = stage.serve(recorded(f"{WRITTEN}/chat"))
    further: Json = {"think": False, "keep_alive": "90s", "options": {"num_ctx": 8192, "temperature": None}}

    heard("ollama", service, replace(PROMPT, body=further))

    assert sent(service) == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "0a1b2c3d Count."}],
        "stream": True,
        "options": {"num_predict": 8, "temperature": None, "num_ctx": 8192},
        "think": False,
        "keep_alive": "90s",
    }


def test_another_path_may_be_asked(stage: Stage) -> None:
    service = stage.serve({"POST /ollama/api/chat": script(head(200), piece("four"), last())})

    assert text(heard("ollama", service, replace(PROMPT, path="/ollama/api/chat"))) == "four"


def test_an_answer_is_heard_line_by_line(stage: Stage) -> None:
    said = heard("ollama", stage.serve(recorded(f"{WRITTEN}/chat")))

    assert [delta.text for delta in said] == ["Hello", ",", " wörld", "!", ""]
    assert [delta.spoken for delta in said] == [True, True, True, True, False]
    assert not any(delta.whole for delta in said)
    assert (said[-1].finish, said[-1].usage) == ("stop", Usage(prompt=12, output=5))


def test_a_thought_is_no_text_and_a_count_that_is_left_out_is_not_known(stage: Stage) -> None:
    said = heard("ollama", stage.serve(recorded(f"{WRITTEN}/chat_thinking")))

    assert [delta.reasoning for delta in said] == ["The user", " greets.", "", "", ""]
    assert text(said) == "Hello!"
    assert (said[-1].finish, said[-1].usage) == ("length", Usage(output=5))


@pytest.mark.parametrize(
    ("name", "protocol", "failure"),
    [
        ("chat_busy", "ollama", Failure.BUSY),
        ("chat_missing", "ollama", Failure.NOT_FOUND),
        ("chat_broken", "ollama", Failure.STREAM_ERROR),
        ("embed_wrong_model", "ollama-embed", Failure.STATUS_4XX),
    ],
)
def test_a_refusal_has_its_reason(name: str, protocol: str, failure: Failure, stage: Stage) -> None:
    assert fault(protocol, stage.serve(recorded(f"{WRITTEN}/{name}"))) is failure


def test_an_answer_that_was_not_to_be_streamed_is_whole(stage: Stage) -> None:
    body = line({"message": {"content": "four"}, "done": True, "done_reason": "stop", "eval_count": 1})
    service = stage.serve({f"POST {CHAT}": reply(body, 200, "Content-Type: application/json; charset=utf-8")})

    (answer,) = heard("ollama", service, replace(PROMPT, body={"stream": False}))

    assert (answer.text, answer.whole, answer.finish, answer.usage) == ("four", True, "stop", Usage(output=1))


def test_the_call_of_a_tool_is_said_in_its_name(stage: Stage) -> None:
    calls = [{"function": {"name": "add", "arguments": {"a": 1}}}, {"function": None}, None]

    (called, _last) = heard("ollama", chatting(stage, piece(tool_calls=calls), last()))

    assert (called.tool, called.spoken) == ("add", True)


def test_a_line_may_come_in_pieces_that_split_a_character(stage: Stage) -> None:
    said = piece("čtyři")
    middle = said.index("č".encode()) + 1

    assert text(heard("ollama", chatting(stage, said[:middle], 0.01, said[middle:] + last()))) == "čtyři"


def test_the_answer_ends_where_it_says_so_although_the_connection_stays(stage: Stage) -> None:
    assert text(heard("ollama", chatting(stage, piece("four"), b"\n", last(), FOREVER))) == "four"


def test_an_old_server_does_not_say_why_it_is_done(stage: Stage) -> None:
    said = heard("ollama", chatting(stage, piece("four"), line({"done": True})))

    assert (text(said), said[-1].finish, said[-1].usage) == ("four", None, None)


@pytest.mark.parametrize("steps", [(), (piece("four"),), (piece("four"), b"\n\n")])
def test_an_answer_that_is_never_done_was_cut(steps: tuple[bytes, ...], stage: Stage) -> None:
    assert fault("ollama", chatting(stage, *steps)) is Failure.DISCONNECTED


@pytest.mark.parametrize("count", [-1, 1.5, "7", True, None, [], 10**400])
def test_what_cannot_be_a_count_of_tokens_is_none(count: object, stage: Stage) -> None:
    said = heard("ollama", chatting(stage, piece("four"), last(eval_count=count, prompt_eval_count=9)))

    assert said[-1].usage == Usage(prompt=9)


@pytest.mark.parametrize("broken", [b"<html>\n", b"[]\n", b"\xff\xff\n", b'{"message": "four"}\n', b"{\n"])
def test_a_line_that_is_no_piece_of_an_answer_is_invalid(broken: bytes, stage: Stage) -> None:
    assert fault("ollama", chatting(stage, piece("four"), broken)) is Failure.INVALID


def test_a_line_without_end_is_too_large(stage: Stage) -> None:
    assert fault("ollama", chatting(stage, b"x" * (FRAME_LIMIT + 1), FOREVER)) is Failure.TOO_LARGE


def test_a_vector_is_the_whole_answer(stage: Stage) -> None:
    (answer,) = heard("ollama-embed", stage.serve(recorded(f"{WRITTEN}/embed")))

    assert answer.vectors == ((0.5, -0.25, 0.0, 0.8125),)
    assert answer.usage == Usage(prompt=4)
    assert (answer.whole, answer.size) == (True, len(body(f"{WRITTEN}/embed")))


def test_several_texts_have_several_vectors(stage: Stage) -> None:
    service = embedding(stage, {"embeddings": [[1, 2], [3, 4.5]]})

    (answer,) = heard("ollama-embed", service, replace(PROMPT, body={"input": ["one", "two"]}))

    assert answer.vectors == ((1.0, 2.0), (3.0, 4.5))
    assert sent(service)["input"] == ["one", "two"]


@pytest.mark.parametrize("hole", [None, math.nan])
def test_a_hole_in_a_vector_is_not_a_number(hole: object, stage: Stage) -> None:
    (answer,) = heard("ollama-embed", embedding(stage, {"embeddings": [[0.5, hole]]}))

    assert answer.vectors[0][0] == 0.5
    assert math.isnan(answer.vectors[0][1])


@pytest.mark.parametrize(
    ("document", "failure"),
    [
        ({"embeddings": [[]]}, Failure.EMPTY),
        ({"embeddings": [0.5]}, Failure.INVALID),
        ({"embeddings": [["0.5"]]}, Failure.INVALID),
        ({"embeddings": [[True]]}, Failure.INVALID),
        ({"embeddings": [[10**400]]}, Failure.INVALID),
        ({"embedding": [0.5]}, Failure.INVALID),
        ([[0.5]], Failure.INVALID),
        ({"error": "out of memory"}, Failure.STREAM_ERROR),
    ],
)
def test_what_is_no_vector_of_numbers_is_a_failure(document: object, failure: Failure, stage: Stage) -> None:
    assert fault("ollama-embed", embedding(stage, document)) is failure


def test_many_numbers_are_judged_apart_and_are_the_same(stage: Stage) -> None:
    long = [0.125] * (JUDGED_HERE // 5)

    (answer,) = heard("ollama-embed", embedding(stage, {"embeddings": [long]}))

    assert answer.size > JUDGED_HERE
    assert answer.vectors == (tuple(long),)


NAMES = [
    *("message", "content", "thinking", "tool_calls", "function", "name", "arguments", "done", "done_reason"),
    *("error", "eval_count", "prompt_eval_count", "embeddings"),
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=6,
)
frames = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, anything))
documents = (frames | anything).map(lambda document: json.dumps(document).encode())
streams = st.lists(documents | st.binary(max_size=20), max_size=4).map(b"\n".join)
vectors = st.lists(st.lists(st.none() | st.integers() | st.floats() | st.text(max_size=2), max_size=3), max_size=3)
embedded = vectors.map(lambda them: json.dumps({"embeddings": them}).encode())


def endured(protocol: str, body: bytes, kind: str) -> None:
    """Hear an answer that may be anything; whatever it is, nothing but a failure may come of it."""
    try:
        said = heard_at_once(protocol, body, kind)
    except Failed:
        return
    assert all(isinstance(delta, Delta) for delta in said)


@settings(deadline=None)
@given(body=streams | st.binary(max_size=40), kind=st.sampled_from([NDJSON, "application/json"]))
def test_no_stream_does_worse_than_fail(body: bytes, kind: str) -> None:
    endured("ollama", body, kind)


@settings(deadline=None)
@given(body=documents | embedded | st.binary(max_size=40))
def test_no_body_does_worse_than_fail(body: bytes) -> None:
    endured("ollama-embed", body, "application/json")
