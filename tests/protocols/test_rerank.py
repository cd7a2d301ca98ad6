"""Reranking: what is sent, and what is made of the scores of real and of odd servers."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.wire import Failed, Failure, Prompt, Usage
from tests.protocols import fault, heard, heard_at_once
from tests.services.recorded import body, recorded
from tests.services.scripted import Answer, Service, Stage, in_turn, reply

DOCUMENTS = ("hi", "The giant panda is a bear.")
RERANK = "/v1/rerank"


def prompt(**other: object) -> Prompt:
    """A question of which the second document is the answer."""
    return Prompt(text="What is a panda?", nonce="0a1b2c3d", model="tiny", documents=DOCUMENTS, **other)  # type: ignore[arg-type]  # fields of Prompt


def ranking(stage: Stage, *answers: Answer) -> Service:
    return stage.serve({f"POST {RERANK}": in_turn(*answers)})


def scored(*results: object) -> Answer:
    return reply(json.dumps({"results": results}))


def test_the_documents_are_sent_with_the_text_and_no_nonce(stage: Stage) -> None:
    service = ranking(stage, scored({"index": 0, "relevance_score": 0.1}, {"index": 1, "relevance_score": 0.9}))

    heard("rerank", service, prompt())

    (request,) = service.requests
    assert json.loads(request.body) == {"model": "tiny", "query": "What is a panda?", "documents": list(DOCUMENTS)}


def test_tei_is_asked_with_its_own_name_for_documents(stage: Stage) -> None:
    missing = reply("Failed to deserialize the JSON body into the target type: missing field `texts`", 422)
    service = ranking(stage, missing, reply('[{"index": 1, "score": 0.9}, {"index": 0, "score": 0.1}]'))

    (said,) = heard("rerank", service, prompt())

    _refused, taken = service.requests
    assert json.loads(taken.body) == {"model": "tiny", "query": "What is a panda?", "texts": list(DOCUMENTS)}
    assert said.scores == (0.1, 0.9)


def test_further_fields_are_sent(stage: Stage) -> None:
    service = ranking(stage, scored({"index": 0, "relevance_score": 0.1}))

    heard("rerank", service, Prompt(body={"query": "x", "documents": ["a"], "return_documents": False}))

    (request,) = service.requests
    assert json.loads(request.body) == {"query": "x", "documents": ["a"], "return_documents": False}


@pytest.mark.parametrize(
    ("name", "usage"), [("rerank", Usage(prompt=45)), ("rerank_texts", None)], ids=["as Jina has it", "as TEI has it"]
)
def test_the_scores_of_a_real_server_are_heard(name: str, usage: Usage | None, stage: Stage) -> None:
    service = stage.serve(recorded(f"llama-server-0.7.0/{name}"))

    (said,) = heard("rerank", service, prompt())

    assert said.scores == (1.346186637878418, 0.7559093832969666)
    assert said.usage == usage
    assert said.size == len(body(f"llama-server-0.7.0/{name}"))
    assert said.whole
    assert said.spoken


def test_the_refusal_of_a_real_server_has_its_reason(stage: Stage) -> None:
    service = stage.serve(recorded("llama-server-0.7.0/rerank_off"))

    assert fault("rerank", service, prompt()) is Failure.STATUS_5XX


@pytest.mark.parametrize("name", ["relevance_score", "score"])
def test_scores_are_in_the_order_of_the_documents(name: str, stage: Stage) -> None:
    best_first = [{"index": 1, name: 0.9, "document": {"text": "…"}}, {"index": 0, name: 0.1}]

    (said,) = heard("rerank", ranking(stage, scored(*best_first)), prompt())

    assert said.scores == (0.1, 0.9)


def test_the_total_is_usage_where_nothing_else_is_told(stage: Stage) -> None:
    answer = {"results": [{"index": 0, "score": 1}, {"index": 1, "score": 2}], "usage": {"total_tokens": 56}}

    (said,) = heard("rerank", ranking(stage, reply(json.dumps(answer))), prompt())

    assert said.usage == Usage(prompt=56)


def test_a_score_that_is_no_number_is_nan(stage: Stage) -> None:
    service = ranking(stage, scored({"index": 0, "score": None}, {"index": 1, "score": 2}))

    (said,) = heard("rerank", service, prompt())

    assert math.isnan(said.scores[0])
    assert said.scores[1] == 2.0


@pytest.mark.parametrize(
    "results",
    [
        [],
        [{"index": 0, "score": 1}],
        [{"index": 0, "score": 1}, {"index": 0, "score": 2}],
        [{"index": 1, "score": 1}, {"index": 2, "score": 2}],
        [{"index": -1, "score": 1}, {"index": 0, "score": 2}],
        [{"index": "0", "score": 1}, {"index": "1", "score": 2}],
        [{"index": 0, "score": 1}, {"index": 1}],
        [{"index": [], "score": 1}, 7],
    ],
    ids=str,
)
def test_scores_that_are_not_of_the_documents_are_invalid(results: list[object], stage: Stage) -> None:
    assert fault("rerank", ranking(stage, scored(*results)), prompt()) is Failure.INVALID


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        ('{"error": "no reranker"}', Failure.STREAM_ERROR),
        ('"fine"', Failure.INVALID),
        ('{"results": 7}', Failure.INVALID),
        ("<html>", Failure.INVALID),
        ("[", Failure.INVALID),
    ],
)
def test_an_answer_of_another_make_has_its_reason(answer: str, failure: Failure, stage: Stage) -> None:
    assert fault("rerank", ranking(stage, reply(answer)), prompt()) is failure


scalars = st.none() | st.booleans() | st.integers(-1, 2) | st.integers() | st.floats() | st.text(max_size=3)
results = st.fixed_dictionaries({}, optional=dict.fromkeys(("index", "score", "relevance_score"), scalars))
listed = st.lists(results | scalars, max_size=3)
documents = st.fixed_dictionaries({}, optional={"results": listed | scalars, "usage": scalars | results})


@settings(deadline=None)
@given(answer=(documents | listed | scalars).map(lambda it: json.dumps(it).encode()) | st.binary(max_size=20))
def test_no_body_does_worse_than_fail(answer: bytes) -> None:
    try:
        said = heard_at_once("rerank", answer, prompt=prompt())
    except Failed:
        return
    assert all(len(delta.scores) == len(DOCUMENTS) for delta in said)
