"""Any JSON over HTTP: the template that is filled in, and the answer that is found."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.apart import JUDGED_HERE
from exporter.protocols.plain import TEXT_LIMIT
from exporter.wire import Delta, Failed, Failure, Prompt
from tests.protocols import fault, heard, heard_at_once, text
from tests.services.recorded import body, recorded
from tests.services.scripted import Answer, Service, Stage, head, reply, script

PROMPT = Prompt(text="Count.", nonce="0a1b2c3d", path="/ask", body={})


def answering(stage: Stage, answer: Answer, method: str = "POST") -> Service:
    return stage.serve({f"{method} /ask": answer})


def found(stage: Stage, document: object, answer: str | None) -> str:
    """What stands in a document at a place, as the answer of a service."""
    service = answering(stage, reply(json.dumps(document)))
    return text(heard("plain", service, Prompt(path="/ask", body={}, answer=answer)))


def test_the_body_is_sent_as_json_with_the_headers_of_the_service(stage: Stage) -> None:
    service = answering(stage, reply("four"))

    heard("plain", service, Prompt(path="/ask", text="čtyři", body=["${text}"], headers={"X-Key": "key"}))

    (request,) = service.requests
    assert json.loads(request.body) == ["čtyři"]
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-key"] == "key"


def test_a_get_has_no_body_and_its_path_may_hold_the_nonce(stage: Stage) -> None:
    service = stage.serve({"GET /ask?seed=0a1b2c3d": reply("four")})

    said = heard("plain", service, Prompt(method="GET", path="/ask?seed=${nonce}", nonce="0a1b2c3d"))

    (request,) = service.requests
    assert text(said) == "four"
    assert request.body == b""
    assert "content-type" not in request.headers
    assert "content-length" not in request.headers


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_the_method_is_the_one_that_was_set(method: str, stage: Stage) -> None:
    service = answering(stage, reply("four"), method)

    said = heard("plain", service, Prompt(method=method, path="/ask", body={}))

    assert text(said) == "four"


def test_the_path_is_the_root_where_none_was_set(stage: Stage) -> None:
    service = stage.serve({"POST /": reply("four")})

    assert text(heard("plain", service, Prompt(body={}))) == "four"


@pytest.mark.parametrize(
    ("document", "answer", "expected"),
    [
        ({"data": [{"text": "four"}]}, "data.0.text", "four"),
        ({"data": [{"text": "four"}]}, "$.data[0].text", "four"),
        ({"score": 0.5}, "score", "0.5"),
        ({"score": 0}, "score", "0"),
        ({"ok": False}, "ok", "false"),
        ({"box": {"x": 1}}, "box", '{"x": 1}'),
        ({"data": [1, 2]}, "$.data[*]", "1"),
        ({"label": ""}, "label", ""),
        ({"label": None}, "label", ""),
        ({"label": []}, "label", ""),
        ({"label": {}}, "label", ""),
        ({"label": "four"}, None, '{"label": "four"}'),
        (0, "$", "0"),
    ],
)
def test_the_answer_stands_where_its_path_says(
    document: object, answer: str | None, expected: str, stage: Stage
) -> None:
    assert found(stage, document, answer) == expected


@pytest.mark.parametrize("answer", ["score", "data.1", "$.score", "label.0"])
def test_a_body_without_its_answer_is_unexpected(answer: str, stage: Stage) -> None:
    service = answering(stage, reply('{"label": "four", "data": [1]}'))

    assert fault("plain", service, Prompt(path="/ask", body={}, answer=answer)) is Failure.UNEXPECTED


@pytest.mark.parametrize(
    ("document", "answer"),
    [("not JSON inside", "$.label"), ("[1]", "$[1]"), (json.loads("[" * 300 + "]" * 300), "$..label")],
)
def test_a_document_in_which_nothing_can_be_found_is_unexpected(document: object, answer: str, stage: Stage) -> None:
    service = answering(stage, reply(json.dumps(document)))

    assert fault("plain", service, Prompt(path="/ask", body={}, answer=answer)) is Failure.UNEXPECTED


def test_a_body_without_an_answer_in_it_may_be_of_any_kind(stage: Stage) -> None:
    service = stage.serve(recorded("fastapi-image/generate"))

    (image,) = heard("plain", service, Prompt(path="/generate", body={"prompt": "${text}"}, text="a cat"))

    assert image.size == len(body("fastapi-image/generate")) == 12420
    assert image.images == (body("fastapi-image/generate"),)
    assert image.spoken
    assert image.whole
    assert sent(service) == {"prompt": "a cat"}


def sent(service: Service) -> object:
    (request,) = service.requests
    return json.loads(request.body)


def test_an_image_inside_json_is_found_by_its_path(stage: Stage) -> None:
    service = stage.serve(recorded("fastapi-image/openai_images"))

    said = heard("plain", service, Prompt(path="/v1/images/generations", body={}, answer="data.0.b64_json"))

    assert said[0].images[0].startswith(b"\x89PNG")
    assert [delta.size for delta in said] == [len(body("fastapi-image/openai_images"))]


def test_text_that_comes_in_chunks_is_one_answer(stage: Stage) -> None:
    service = stage.serve(recorded("flask-json/stream"))

    (answer,) = heard("plain", service, Prompt(path="/stream", body={}))

    assert answer.text == "plain text streamed without any framing "


@pytest.mark.parametrize(
    ("name", "path", "failure"),
    [
        ("flask-json/predict_bad", "/predict", Failure.STATUS_4XX),
        ("flask-json/predict_missing", "/predict", Failure.STATUS_5XX),
        ("fastapi-image/generate_bad", "/generate", Failure.STATUS_4XX),
    ],
)
def test_the_refusal_of_a_real_service_has_its_reason(name: str, path: str, failure: Failure, stage: Stage) -> None:
    service = stage.serve(recorded(name))

    assert fault("plain", service, Prompt(path=path, body={})) is failure


def test_of_a_long_body_the_beginning_is_kept(stage: Stage) -> None:
    service = answering(stage, reply(b"x" * (TEXT_LIMIT + 1)))

    (answer,) = heard("plain", service, PROMPT)

    assert len(answer.text) == TEXT_LIMIT
    assert answer.size == TEXT_LIMIT + 1


LONG = JUDGED_HERE + 1


@pytest.mark.parametrize(("ending", "expected"), [('"label": "four"}', "four"), ('"score": 1}', Failure.UNEXPECTED)])
def test_a_body_that_is_judged_apart_comes_to_the_same_as_a_short_one(
    ending: str, expected: str | Failure, stage: Stage
) -> None:
    outcomes = []
    for padding in ("x", "x" * LONG):
        service = answering(stage, reply(f'{{"padding": "{padding}", {ending}'))
        prompt = Prompt(path="/ask", body={}, answer="label")
        outcomes.append(
            fault("plain", service, prompt) if isinstance(expected, Failure) else text(heard("plain", service, prompt))
        )

    assert outcomes == [expected, expected]


def test_a_body_that_ends_before_its_end_is_a_failure(stage: Stage) -> None:
    service = answering(stage, script(head(200, "Content-Length: 100"), b'{"label": '))

    assert fault("plain", service, PROMPT) is Failure.DISCONNECTED


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab0"), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=50)
@given(
    body=anything.map(lambda document: json.dumps(document).encode()) | st.binary(max_size=20),
    answer=st.sampled_from([None, "a", "a.0", "b.-1", "$", "$.a", "$..b", "$[?@.a]"]),
)
def test_no_body_does_worse_than_fail(body: bytes, answer: str | None) -> None:
    try:
        said = heard_at_once("plain", body, prompt=Prompt(path="/ask", body={}, answer=answer))
    except Failed:
        return
    assert all(isinstance(delta, Delta) for delta in said)
