"""The OpenAI dialect for pictures: what is sent, what is made of the answers, and what is never fetched."""

import json
from base64 import b64encode
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.wire import FAULTS, Delta, Failure, Prompt, Usage
from tests.protocols import fault, heard, heard_at_once
from tests.services.recorded import recorded
from tests.services.scripted import Answer, Service, Stage, in_turn, reply

PICTURE = b"\x89PNG a cat"
ENCODED = b64encode(PICTURE).decode()
IMAGES = "/v1/images/generations"
REFUSED = reply('{"error": {"message": "Unknown parameter"}}', 400)


def fresh() -> Prompt:
    """A prompt that remembers nothing of another test."""
    return Prompt(text="A cat.", nonce="ff1b2c3d", model="tiny")


def drawing(stage: Stage, *answers: Answer) -> Service:
    return stage.serve({f"POST {IMAGES}": in_turn(*answers)})


def picture(**entry: object) -> Answer:
    return reply(json.dumps({"created": 1, "data": [entry]}))


def sent(service: Service) -> list[dict[str, object]]:
    return [json.loads(request.body) for request in service.asked("POST")]


def test_a_small_picture_is_asked_for_with_a_seed_of_its_own(stage: Stage) -> None:
    service = drawing(stage, picture(b64_json=ENCODED))

    heard("openai-images", service, fresh())

    assert sent(service) == [
        {
            "model": "tiny",
            "prompt": "A cat.",
            "n": 1,
            "size": "256x256",
            "response_format": "b64_json",
            "seed": 0xFF1B2C3D % 2**31,
        }
    ]


def test_without_a_nonce_there_is_no_seed(stage: Stage) -> None:
    service = drawing(stage, picture(b64_json=ENCODED))

    heard("openai-images", service, replace(fresh(), nonce=""))

    assert "seed" not in sent(service)[0]


def test_the_operators_seed_and_size_are_sent(stage: Stage) -> None:
    service = drawing(stage, picture(b64_json=ENCODED))

    heard("openai-images", service, replace(fresh(), body={"seed": 7, "size": "64x64", "response_format": None}))

    assert sent(service) == [{"model": "tiny", "prompt": "A cat.", "n": 1, "size": "64x64", "seed": 7}]


def test_a_strict_server_is_asked_without_the_seed_and_then_with_the_least(stage: Stage) -> None:
    service = drawing(stage, REFUSED, REFUSED, picture(b64_json=ENCODED))

    (said,) = heard("openai-images", service, fresh())

    _fresh, small, bare = sent(service)
    assert said.images == (PICTURE,)
    assert small == {
        "model": "tiny",
        "prompt": "A cat.",
        "n": 1,
        "size": "256x256",
        "response_format": "b64_json",
    }
    assert bare == {"model": "tiny", "prompt": "A cat.", "n": 1}


def test_the_picture_of_a_real_service_is_heard(stage: Stage) -> None:
    service = stage.serve(recorded("fastapi-image/openai_images"))

    (said,) = heard("openai-images", service, fresh())

    (image,) = said.images
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    assert image.endswith(b"IEND\xaeB`\x82")
    assert said.size == len(image) == 12420
    assert said.whole
    assert said.spoken


@pytest.mark.parametrize(
    "entry",
    [
        {"b64_json": ENCODED},
        {"b64_json": ENCODED, "url": None},
        {"b64_json": f"data:image/png;base64,{ENCODED}"},
        {"url": f"data:image/png;base64,{ENCODED}", "b64_json": None},
    ],
    ids=str,
)
def test_a_picture_may_stand_in_the_answer(entry: dict[str, object], stage: Stage) -> None:
    (said,) = heard("openai-images", drawing(stage, picture(**entry)), fresh())

    assert (said.images, said.text, said.size) == ((PICTURE,), "", len(PICTURE))


def test_usage_is_heard(stage: Stage) -> None:
    answer = {"data": [{"b64_json": ENCODED}], "usage": {"prompt_tokens": 4, "completion_tokens": 64}}

    (said,) = heard("openai-images", drawing(stage, reply(json.dumps(answer))), fresh())

    assert said.usage == Usage(prompt=4, output=64)


@pytest.mark.parametrize("place", ["/files/1.png", "../../files/1.png", "{url}/files/1.png"])
def test_a_picture_at_the_same_origin_is_fetched_with_the_headers_of_the_service(place: str, stage: Stage) -> None:
    def answer(request: object) -> object:
        return picture(url=place.format(url=service.url))(request)  # type: ignore[arg-type]  # passed on

    service = stage.serve({f"POST {IMAGES}": answer, "GET /files/1.png": reply(PICTURE)})  # type: ignore[dict-item]  # passed on

    (said,) = heard("openai-images", service, replace(fresh(), headers={"Authorization": "Bearer key"}))

    (request,) = service.asked("GET")
    assert (said.images, said.text, said.size) == ((PICTURE,), "", len(PICTURE))
    assert request.headers["authorization"] == "Bearer key"


def test_a_picture_at_another_origin_is_told_by_its_address_and_never_fetched(stage: Stage) -> None:
    elsewhere = stage.serve({"GET /1.png": reply(PICTURE)})
    service = drawing(stage, picture(url=f"{elsewhere.url}/1.png"))

    (said,) = heard("openai-images", service, fresh())

    assert (said.images, said.text) == ((), f"{elsewhere.url}/1.png")
    assert said.spoken
    assert elsewhere.requests == []


def test_a_picture_that_leads_to_another_origin_is_not_followed(stage: Stage) -> None:
    elsewhere = stage.serve({"GET /1.png": reply(PICTURE)})
    leading = reply("", 302, f"Location: {elsewhere.url}/1.png")
    service = stage.serve({f"POST {IMAGES}": picture(url="/1.png"), "GET /1.png": leading})

    assert fault("openai-images", service, fresh()) is Failure.REDIRECTED
    assert elsewhere.requests == []


def test_a_picture_that_is_not_where_it_should_be_is_not_found(stage: Stage) -> None:
    assert fault("openai-images", drawing(stage, picture(url="/1.png")), fresh()) is Failure.NOT_FOUND


@pytest.mark.parametrize(
    "document",
    [{}, {"data": []}, {"data": [{}]}, {"data": [{"b64_json": "", "url": None}]}, {"data": [{"url": "data:,"}]}],
)
def test_an_answer_without_a_picture_says_nothing(document: object, stage: Stage) -> None:
    (said,) = heard("openai-images", drawing(stage, reply(json.dumps(document))), fresh())

    assert not said.spoken


@pytest.mark.parametrize(
    ("document", "failure"),
    [
        ({"error": "CUDA out of memory"}, Failure.STREAM_ERROR),
        ([{"error": "CUDA out of memory"}, 500], Failure.INVALID),
        ({"data": [{"b64_json": "a picture"}]}, Failure.INVALID),
        ({"data": [{"url": "http:////[%"}]}, Failure.INVALID),
        ({"data": [{"url": "http://x:port/"}]}, Failure.INVALID),
    ],
    ids=str,
)
def test_an_answer_of_another_make_has_its_reason(document: object, failure: Failure, stage: Stage) -> None:
    assert fault("openai-images", drawing(stage, reply(json.dumps(document))), fresh()) is failure


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
addresses = (
    st.text(st.sampled_from("htp:/[]@%#?.x1 \x00é\ud800"), max_size=12) | st.just("data:,") | st.just("//service")
)
entries = st.fixed_dictionaries({}, optional={"b64_json": scalars | st.just(ENCODED), "url": scalars | addresses})
documents = st.fixed_dictionaries({}, optional={"data": st.lists(entries | scalars, max_size=2), "usage": scalars})


@settings(deadline=None, max_examples=300)
@given(answer=(documents | scalars).map(lambda it: json.dumps(it).encode()) | st.binary(max_size=20))
def test_no_body_does_worse_than_fail(answer: bytes) -> None:
    try:
        said = heard_at_once("openai-images", answer, prompt=fresh())
    except FAULTS:
        return
    assert all(isinstance(delta, Delta) for delta in said)
