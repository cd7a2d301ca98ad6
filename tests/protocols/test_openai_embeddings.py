"""The OpenAI dialect for embeddings: what is sent, and what is made of the vectors of real and of odd servers."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.apart import JUDGED_HERE
from exporter.protocols.openai_embeddings import MOST_NUMBERS
from exporter.wire import Delta, Failed, Failure, Prompt, Usage
from tests.protocols import PROMPT, fault, heard, heard_at_once
from tests.services.recorded import body, recorded
from tests.services.scripted import Service, Stage, reply

EMBEDDINGS = "/v1/embeddings"


def embedding(stage: Stage, document: object) -> Service:
    return stage.serve({f"POST {EMBEDDINGS}": reply(json.dumps(document))})


def vectors(*listed: object) -> object:
    return {"data": [{"index": place, "embedding": vector} for place, vector in enumerate(listed)]}


@pytest.mark.parametrize(("nonce", "text"), [("0a1b2c3d", "0a1b2c3d Count."), ("", "Count.")])
def test_the_text_is_sent_with_a_nonce_where_there_is_one(nonce: str, text: str, stage: Stage) -> None:
    service = embedding(stage, vectors([0.5]))

    heard("openai-embeddings", service, replace(PROMPT, nonce=nonce))

    (request,) = service.requests
    assert json.loads(request.body) == {"model": "tiny", "input": text}


def test_further_fields_are_sent(stage: Stage) -> None:
    service = embedding(stage, vectors([0.5]))

    heard("openai-embeddings", service, Prompt(text="Count.", body={"dimensions": 8}))

    (request,) = service.requests
    assert json.loads(request.body) == {"input": "Count.", "dimensions": 8}


def test_the_vector_of_a_real_server_is_heard(stage: Stage) -> None:
    service = stage.serve(recorded("llama-server-0.7.0/embeddings"))

    (said,) = heard("openai-embeddings", service)

    (vector,) = said.vectors
    assert len(vector) == 64
    assert vector[:2] == (-0.07671535015106201, 0.17477881908416748)
    assert math.hypot(*vector) == pytest.approx(1)
    assert said.usage == Usage(prompt=1)
    assert said.size == len(body("llama-server-0.7.0/embeddings"))
    assert said.whole
    assert said.spoken


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("llama-server-0.7.0/embeddings_off", Failure.STATUS_5XX),
        ("litserve-openai-0.2.19/embeddings", Failure.NOT_FOUND),
    ],
)
def test_the_refusal_of_a_real_server_has_its_reason(name: str, failure: Failure, stage: Stage) -> None:
    assert fault("openai-embeddings", stage.serve(recorded(name))) is failure


def test_each_text_has_its_vector(stage: Stage) -> None:
    (said,) = heard("openai-embeddings", embedding(stage, vectors([1, 0], [0, 0.5])))

    assert said.vectors == ((1.0, 0.0), (0.0, 0.5))


@pytest.mark.parametrize("none", [None, math.nan, math.inf, "0.5", True, [0.5], 10**400])
def test_what_is_no_number_is_nan(none: object, stage: Stage) -> None:
    (said,) = heard("openai-embeddings", embedding(stage, vectors([0.5, none])))

    ((half, nothing),) = said.vectors
    assert half == 0.5
    assert math.isnan(nothing)


@pytest.mark.parametrize("document", [{"data": []}, {"data": None}, {}, vectors([])], ids=str)
def test_an_answer_without_a_number_says_nothing(document: object, stage: Stage) -> None:
    (said,) = heard("openai-embeddings", embedding(stage, document))

    assert not said.spoken


@pytest.mark.parametrize(
    ("document", "failure"),
    [
        ({"error": {"message": "CUDA out of memory"}}, Failure.STREAM_ERROR),
        ({"object": "error", "message": "CUDA out of memory"}, Failure.STREAM_ERROR),
        ([{"error": "CUDA out of memory"}, 500], Failure.INVALID),
        ({"data": [{"embedding": "AAAAPw=="}]}, Failure.INVALID),
        ({"data": [{}]}, Failure.INVALID),
    ],
    ids=str,
)
def test_an_answer_of_another_make_has_its_reason(document: object, failure: Failure, stage: Stage) -> None:
    assert fault("openai-embeddings", embedding(stage, document)) is failure


def test_a_long_vector_is_judged_apart_and_the_same(stage: Stage) -> None:
    long = [0.123456789] * (JUDGED_HERE // 12)

    (said,) = heard("openai-embeddings", embedding(stage, vectors(long)))

    assert said.size > JUDGED_HERE
    assert said.vectors == (tuple(long),)


def test_more_numbers_than_any_model_gives_are_too_large(stage: Stage) -> None:
    service = embedding(stage, vectors([0] * MOST_NUMBERS, [0]))

    assert fault("openai-embeddings", service) is Failure.TOO_LARGE


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
entries = st.fixed_dictionaries({}, optional={"embedding": st.lists(scalars, max_size=3) | scalars})
documents = st.fixed_dictionaries({}, optional={"data": st.lists(entries | scalars, max_size=3), "usage": scalars})


@settings(deadline=None)
@given(answer=(documents | entries | scalars).map(lambda it: json.dumps(it).encode()) | st.binary(max_size=20))
def test_no_body_does_worse_than_fail(answer: bytes) -> None:
    try:
        said = heard_at_once("openai-embeddings", answer)
    except Failed:
        return
    assert all(isinstance(delta, Delta) for delta in said)
