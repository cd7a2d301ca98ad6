"""A question in its wordings, and what of an answer in JSON can be believed."""

import asyncio
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.exchange import Fields, Question, answering, count, fresh, merged, number, objects, sound, string, usage
from exporter.paths import Json
from exporter.response import whole
from exporter.wire import Failed, Failure, Memory, Prompt, Usage
from tests.services.client import client
from tests.services.scripted import Answer, Service, Stage, in_turn, reply

ASK = "/ask"
LONG: Fields = {"text": "four?", "usage": True}
SHORT: Fields = {"text": "four?"}
QUESTION = Question(path=ASK, wordings=(LONG, SHORT))
TAKEN = reply("four")
REFUSED = reply("what is usage?", 400)


def answering_service(stage: Stage, *answers: Answer) -> Service:
    """A service that gives these answers in turn."""
    return stage.serve({f"POST {ASK}": in_turn(*answers)})


def answer(service: Service, prompt: Prompt) -> bytes:
    """What a service says to the question."""
    return asyncio.run(_answer(service, prompt))


async def _answer(service: Service, prompt: Prompt) -> bytes:
    async with asyncio.timeout(20), client(service.url) as asking, answering(asking, prompt, QUESTION) as response:
        return await whole(response)


def sent(service: Service) -> Sequence[Json]:
    """What the service was asked, request by request."""
    return [json.loads(request.body) for request in service.requests]


def test_the_first_wording_that_is_taken_is_the_only_one(stage: Stage) -> None:
    service = answering_service(stage, TAKEN)

    said = answer(service, Prompt())

    assert said == b"four"
    assert sent(service) == [LONG]


@pytest.mark.parametrize("status", [400, 422])
def test_what_is_refused_is_asked_once_more_in_other_words(status: int, stage: Stage) -> None:
    service = answering_service(stage, reply("what is usage?", status), TAKEN)

    said = answer(service, Prompt())

    assert said == b"four"
    assert sent(service) == [LONG, SHORT]


def test_what_was_taken_is_asked_first_from_then_on(stage: Stage) -> None:
    service = answering_service(stage, REFUSED, TAKEN)
    prompt = Prompt(nonce="0a")

    for nonce in ("0a", "0b", "0c"):
        answer(service, replace(prompt, nonce=nonce))

    assert sent(service) == [LONG, SHORT, SHORT, SHORT]


def test_what_was_taken_once_and_is_refused_now_is_forgotten(stage: Stage) -> None:
    service = answering_service(stage, REFUSED, TAKEN, REFUSED, TAKEN)
    prompt = Prompt()

    for _ in range(3):
        answer(service, prompt)

    assert sent(service) == [LONG, SHORT, SHORT, LONG, LONG]


def test_a_refusal_of_every_wording_teaches_nothing(stage: Stage) -> None:
    service = answering_service(stage, REFUSED)
    prompt = Prompt()

    for _ in range(2):
        with pytest.raises(Failed) as refused:
            answer(service, prompt)
        assert refused.value.failure is Failure.STATUS_4XX

    assert sent(service) == [LONG, SHORT, LONG, SHORT]


@pytest.mark.parametrize("status", [401, 403, 404, 413, 429, 500, 501, 503])
def test_what_fails_for_another_reason_is_not_asked_again(status: int, stage: Stage) -> None:
    service = answering_service(stage, reply("no", status), TAKEN)

    with pytest.raises(Failed):
        answer(service, Prompt())

    assert sent(service) == [LONG]


def test_wordings_that_the_operator_makes_alike_are_one(stage: Stage) -> None:
    service = answering_service(stage, REFUSED)

    with pytest.raises(Failed):
        answer(service, Prompt(body={"usage": False}))

    assert sent(service) == [{"text": "four?", "usage": False}]


def test_a_service_that_is_taught_nothing_shares_no_memory_with_another() -> None:
    assert Prompt().memory is not Prompt().memory
    assert replace(prompt := Prompt(memory=Memory(wording=1)), nonce="0a").memory is prompt.memory


def test_the_model_is_named_where_it_is_known_and_the_headers_of_the_service_are_sent(stage: Stage) -> None:
    service = answering_service(stage, TAKEN)

    answer(service, Prompt(model="tiny", headers={"Authorization": "Bearer key"}))

    (request,) = service.requests
    assert json.loads(request.body) == {"model": "tiny", **LONG}
    assert request.headers["authorization"] == "Bearer key"
    assert request.headers["accept"] == "application/json"


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": "b"}, None, {"a": "b"}),
        ({"a": "b"}, ["c"], {"a": "b"}),
    ],
)
def test_the_operators_fields_are_merged_as_rfc_7396_has_it(ours: Fields, theirs: Json, expected: Fields) -> None:
    assert merged(ours, theirs) == expected


def test_merging_leaves_what_it_is_given_alone() -> None:
    ours: Fields = {"a": {"b": "c"}}

    merged(ours, {"a": {"b": "d"}})

    assert ours == {"a": {"b": "c"}}


@pytest.mark.parametrize(
    ("nonce", "text", "expected"), [("0a", "Count.", "0a Count."), ("", "Count.", "Count."), ("0a", "", "0a")]
)
def test_a_fresh_text_begins_with_its_nonce(nonce: str, text: str, expected: str) -> None:
    assert fresh(Prompt(nonce=nonce, text=text)) == expected


@pytest.mark.parametrize(("value", "expected"), [(1, 1.0), (-0.5, -0.5), (0, 0.0), (2**63, 2.0**63)])
def test_a_number_is_one(value: Json, expected: float) -> None:
    assert number(value) == expected


@pytest.mark.parametrize("value", [None, True, "1", [], {}, math.nan, math.inf, -math.inf, 10**400])
def test_what_is_no_finite_number_is_nan(value: Json) -> None:
    assert math.isnan(number(value))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 0}, Usage(prompt=9, output=0)),
        ({"prompt_tokens": 0, "completion_tokens": 7}, Usage(output=7)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, None),
        ({"prompt_tokens": 9, "prompt_tokens_details": None}, Usage(prompt=9)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}, Usage(prompt=9, cached=4)),
        ({"total_tokens": 9}, None),
        (None, None),
        ([], None),
    ],
)
def test_usage_is_what_can_be_believed_of_it(told: Json, expected: Usage | None) -> None:
    assert usage(told) == expected


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "object", "prompt_tokens", "completion_tokens"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(value=anything)
def test_whatever_a_document_holds_is_believed_or_not(value: Json) -> None:
    with suppress(Failed):
        assert sound(value) is value

    assert all(isinstance(each, dict) for each in objects(value))
    assert isinstance(string(value), str)
    assert isinstance(number(value), float)
    assert count(value) is None or isinstance(value, int)
    assert usage(value) is None or isinstance(value, dict)
