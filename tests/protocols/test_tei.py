"""TEI's own API: what is sent, and what is made of the answers of real and of odd servers."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.apart import JUDGED_HERE
from exporter.wire import Delta, Failed, Failure, Usage
from tests.protocols import PROMPT, fault, heard, heard_at_once
from tests.services.recorded import body, recorded
from tests.services.scripted import Service, Stage, reply

EMBED = "/embed"
# Not recorded: no TEI was at hand, and these answers are written as its source and documentation describe them.
WRITTEN = "tei-from-reference"
JSON = "Content-Type: application/json"


def embedding(stage: Stage, document: object, *fields: str) -> Service:
    return stage.serve({f"POST {EMBED}": reply(json.dumps(document), 200, JSON, *fields)})


def sent(service: Service) -> Any:  # noqa: ANN401  JSON, to be compared with what is expected
    """The document of the one request."""
    (request,) = service.requests
    return json.loads(request.body)


def test_a_text_is_embedded_with_the_nonce_first(stage: Stage) -> None:
    service = stage.serve(recorded(f"{WRITTEN}/embed"))

    heard("tei", service, replace(PROMPT, headers={"Authorization": "Bearer key"}))

    assert sent(service) == {"inputs": "0a1b2c3d Count."}
    assert service.requests[0].headers["authorization"] == "Bearer key"


def test_a_text_without_a_nonce_is_the_text_alone(stage: Stage) -> None:
    service = stage.serve(recorded(f"{WRITTEN}/embed"))

    heard("tei", service, replace(PROMPT, nonce=""))

    assert sent(service) == {"inputs": "Count."}


def test_further_fields_go_beside_ours_and_win_over_them(stage: Stage) -> None:
    service = embedding(stage, [[1, 2], [3, 4.5]])

    (answer,) = heard("tei", service, replace(PROMPT, body={"inputs": ["one", "two"], "truncate": True}))

    assert sent(service) == {"inputs": ["one", "two"], "truncate": True}
    assert answer.vectors == ((1.0, 2.0), (3.0, 4.5))


def test_another_path_may_be_asked(stage: Stage) -> None:
    service = stage.serve({"POST /": reply("[[0.5]]")})

    (answer,) = heard("tei", service, replace(PROMPT, path="/"))

    assert answer.vectors == ((0.5,),)


def test_a_vector_is_the_whole_answer_and_its_cost_stands_in_the_head(stage: Stage) -> None:
    (answer,) = heard("tei", stage.serve(recorded(f"{WRITTEN}/embed")))

    assert answer.vectors == ((0.5, -0.25, 0.0, 0.8125),)
    assert answer.usage == Usage(prompt=5)
    assert (answer.whole, answer.size) == (True, len(body(f"{WRITTEN}/embed")))


@pytest.mark.parametrize("tokens", ["", "-1", "1.5", "five", "9" * 5000, "²"])
def test_what_cannot_be_a_count_of_tokens_is_none(tokens: str, stage: Stage) -> None:
    (answer,) = heard("tei", embedding(stage, [[0.5]], f"x-compute-tokens: {tokens}"))

    assert answer.usage is None


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("embed_overloaded", Failure.RATE_LIMITED),
        ("embed_wrong_model", Failure.STATUS_5XX),
        ("embed_too_long", Failure.STATUS_4XX),
    ],
)
def test_a_refusal_has_its_reason(name: str, failure: Failure, stage: Stage) -> None:
    assert fault("tei", stage.serve(recorded(f"{WRITTEN}/{name}"))) is failure


@pytest.mark.parametrize("hole", [None, math.nan])
def test_a_hole_in_a_vector_is_not_a_number(hole: object, stage: Stage) -> None:
    (answer,) = heard("tei", embedding(stage, [[0.5, hole]]))

    assert answer.vectors[0][0] == 0.5
    assert math.isnan(answer.vectors[0][1])


@pytest.mark.parametrize(
    ("document", "failure"),
    [
        ([[]], Failure.EMPTY),
        ([0.5], Failure.INVALID),
        ([[[0.5]]], Failure.INVALID),
        ([["0.5"]], Failure.INVALID),
        ([[True]], Failure.INVALID),
        ([[10**400]], Failure.INVALID),
        ({"embeddings": [[0.5]]}, Failure.INVALID),
        (None, Failure.INVALID),
    ],
)
def test_what_is_no_vector_of_numbers_is_a_failure(document: object, failure: Failure, stage: Stage) -> None:
    assert fault("tei", embedding(stage, document)) is failure


def test_many_numbers_are_judged_apart_and_are_the_same(stage: Stage) -> None:
    long = [0.125] * (JUDGED_HERE // 5)

    (answer,) = heard("tei", embedding(stage, [long]))

    assert answer.size > JUDGED_HERE
    assert answer.vectors == (tuple(long),)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=10,
)
vectors = st.lists(st.lists(st.none() | st.integers() | st.floats() | st.text(max_size=2), max_size=3), max_size=3)
documents = (vectors | anything).map(lambda document: json.dumps(document).encode())


@settings(deadline=None)
@given(body=documents | st.binary(max_size=40))
def test_no_body_does_worse_than_fail(body: bytes) -> None:
    try:
        said = heard_at_once("tei", body, "application/json")
    except Failed:
        return
    assert all(isinstance(delta, Delta) for delta in said)
