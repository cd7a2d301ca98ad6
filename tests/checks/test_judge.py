"""One answer against all that is asked of it: the reasons told apart, the figures for metrics, and what it costs."""

import asyncio
import io
import os
import subprocess
import sys
from math import inf, nan
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from exporter.checks import judge as judging
from exporter.checks.canary import Canary, Sum, Trust
from exporter.checks.images import Picture
from exporter.checks.judge import Checks, Judgement, judge
from exporter.checks.numbers import Range
from exporter.wire import Answer, Delta, Failure, Usage

ROOT = Path(__file__).parent.parent.parent
DEFAULT = Checks()


def judged(
    answer: Answer, checks: Checks = DEFAULT, usage: Usage | None = None, canary: Sum | None = None
) -> Judgement:
    return asyncio.run(judge(answer, usage or Usage(), checks, canary))


def reason(answer: Answer, checks: Checks = DEFAULT, usage: Usage | None = None) -> Failure | None:
    """Why an answer is no good."""
    failed = judged(answer, checks, usage).failed
    return None if failed is None else failed.failure


def image(colour: str | None = None, size: tuple[int, int] = (32, 32)) -> bytes:
    file = io.BytesIO()
    shown = Image.new("RGB", size, colour) if colour else Image.linear_gradient("L").resize(size)
    shown.save(file, "PNG")
    return file.getvalue()


JSON = '{"service_status": "active", "score": 0.93}'
NORMAL = (0.6, 0.8)
SCHEMA = Checks(json_schema={"required": ["score"], "properties": {"score": {"maximum": 1}}})


@pytest.mark.parametrize(
    ("answer", "checks"),
    [
        pytest.param(Answer(text="Yes."), DEFAULT, id="a short answer, by default"),
        pytest.param(Answer(thought=True, finish="tool_calls"), DEFAULT, id="a tool called, by default"),
        pytest.param(Answer(text="The capital is Paris."), Checks(contains="Paris"), id="an expected text"),
        pytest.param(Answer(text="PARIS"), Checks(matches="(?i)paris"), id="a pattern"),
        pytest.param(Answer(text="It is 1,042."), Checks(number=Range(min=1042, max=1042)), id="a number"),
        pytest.param(Answer(text=JSON), Checks(json={"score": Range(min=0.9)}), id="a value in its range"),
        pytest.param(Answer(text=JSON), Checks(json={"$.service_status": "active"}), id="a value"),
        pytest.param(Answer(text=JSON), SCHEMA, id="a schema"),
        pytest.param(Answer(text="4", finish="stop"), Checks(finish="stop"), id="a finish reason"),
        pytest.param(Answer(text="aaaaaaaaaaaaaaaa"), Checks(repetition=False), id="repetition that is allowed"),
        pytest.param(
            Answer(vectors=(NORMAL,)), Checks(dimensions=2, norm=Range(min=0.99, max=1.01)), id="an embedding"
        ),
        pytest.param(Answer(vectors=(NORMAL,)), Checks(golden=(0.61, 0.79)), id="the golden vector, nearly"),
        pytest.param(Answer(vectors=((0.0, 0.0),)), Checks(flat=True), id="zeros of a model that embeds nothing"),
        pytest.param(Answer(scores=(0.9, 0.1)), Checks(ranked=(0, 1), scores=Range(min=0, max=1)), id="a ranking"),
        pytest.param(Answer(images=(image(),)), Checks(image=Picture(width=32, height=32)), id="an image"),
        pytest.param(Answer(images=(b"no image",)), Checks(image=None), id="an image that is not looked at"),
    ],
)
def test_a_good_answer_has_no_fault(answer: Answer, checks: Checks) -> None:
    assert judged(answer, checks).failed is None


@pytest.mark.parametrize(
    ("answer", "checks", "failure"),
    [
        pytest.param(Answer(), DEFAULT, Failure.EMPTY, id="nothing"),
        pytest.param(Answer(text=" \n\t\u3000"), DEFAULT, Failure.EMPTY, id="blanks"),
        pytest.param(Answer(text="\u200b\ufeff\u200b"), DEFAULT, Failure.EMPTY, id="characters of no width"),
        pytest.param(Answer(text="!!!!!!!!!!!!!!!!"), DEFAULT, Failure.REPETITIVE, id="NaN in the logits"),
        pytest.param(Answer(text="Lyon"), Checks(contains="Paris"), Failure.UNEXPECTED, id="another text"),
        pytest.param(Answer(text="Lyon"), Checks(matches="Pa.is"), Failure.UNEXPECTED, id="no match"),
        pytest.param(Answer(text="1043"), Checks(number=Range(max=1042)), Failure.UNEXPECTED, id="another number"),
        pytest.param(Answer(text="many"), Checks(number=Range()), Failure.UNEXPECTED, id="no number"),
        pytest.param(
            Answer(text=JSON), Checks(json={"score": Range(max=0.5)}), Failure.UNEXPECTED, id="out of its range"
        ),
        pytest.param(Answer(text="Sure!"), Checks(json={"score": 1}), Failure.UNEXPECTED, id="no JSON"),
        pytest.param(Answer(text='{"score": 2}'), SCHEMA, Failure.UNEXPECTED, id="against the schema"),
        pytest.param(Answer(text="4", finish="length"), Checks(finish="stop"), Failure.UNEXPECTED, id="another finish"),
        pytest.param(Answer(text="4"), Checks(finish="stop"), Failure.UNEXPECTED, id="no finish"),
        pytest.param(Answer(images=(b"no image",)), DEFAULT, Failure.UNEXPECTED, id="an image that is none"),
        pytest.param(Answer(images=(image("black"),)), DEFAULT, Failure.UNEXPECTED, id="a blank image"),
        pytest.param(
            Answer(images=(image(),)), Checks(image=Picture(width=64)), Failure.UNEXPECTED, id="a small image"
        ),
        pytest.param(Answer(text="Sorry."), Checks(image=Picture(width=64)), Failure.UNEXPECTED, id="no image"),
        pytest.param(Answer(vectors=((nan, 1.0),)), DEFAULT, Failure.OUT_OF_RANGE, id="NaN in an embedding"),
        pytest.param(Answer(vectors=((0.0, 0.0),)), DEFAULT, Failure.OUT_OF_RANGE, id="an embedding of zeros"),
        pytest.param(Answer(vectors=((0.5, 0.5),)), DEFAULT, Failure.OUT_OF_RANGE, id="a constant embedding"),
        pytest.param(Answer(vectors=(NORMAL, ())), DEFAULT, Failure.OUT_OF_RANGE, id="an empty embedding"),
        pytest.param(Answer(vectors=(NORMAL,)), Checks(dimensions=3), Failure.OUT_OF_RANGE, id="other dimensions"),
        pytest.param(Answer(text="4"), Checks(dimensions=3), Failure.OUT_OF_RANGE, id="no embedding"),
        pytest.param(Answer(vectors=(NORMAL,)), Checks(norm=Range(min=2)), Failure.OUT_OF_RANGE, id="another norm"),
        pytest.param(
            Answer(vectors=(NORMAL,)), Checks(golden=(0.8, 0.6)), Failure.OUT_OF_RANGE, id="far from the golden one"
        ),
        pytest.param(
            Answer(vectors=(NORMAL,)), Checks(golden=(1.0,)), Failure.OUT_OF_RANGE, id="a golden one of another size"
        ),
        pytest.param(Answer(scores=(0.1, 0.9)), Checks(ranked=(0, 1)), Failure.OUT_OF_RANGE, id="the wrong order"),
        pytest.param(Answer(scores=(0.1, inf)), DEFAULT, Failure.OUT_OF_RANGE, id="a score without bound"),
        pytest.param(
            Answer(text="4", logprobs=(-0.1, nan)), DEFAULT, Failure.OUT_OF_RANGE, id="NaN in log-probabilities"
        ),
    ],
)
def test_the_reasons_of_a_bad_answer_are_told_apart(answer: Answer, checks: Checks, failure: Failure) -> None:
    assert reason(answer, checks) is failure


@pytest.mark.parametrize(("output", "failure"), [(3, Failure.UNEXPECTED), (4, None), (None, None)])
def test_too_few_tokens_are_a_fault_where_they_are_counted(output: int | None, failure: Failure | None) -> None:
    assert reason(Answer(text="Yes."), Checks(min_tokens=4), Usage(output=output)) is failure


EXACTING = Checks(contains="142", matches="142", number=Range(min=142), json={"a": 1}, json_schema={"type": "object"})


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(thought=True, finish="length"), id="in a field of its own"),
        pytest.param(Answer(text="<think>\nOkay, 57 plus 85", finish="length"), id="in the text"),
    ],
)
def test_a_model_that_spent_its_budget_thinking_is_not_wrong(answer: Answer) -> None:
    verdict = judged(answer, EXACTING, canary=Sum(left=57, right=85, nonce=""))

    assert verdict.failed is None
    assert verdict.right is None


def test_a_model_that_says_nothing_after_all_its_thinking_is_wrong() -> None:
    assert reason(Answer(thought=True, finish="stop"), EXACTING) is Failure.UNEXPECTED


def test_a_model_that_repeats_itself_while_it_thinks_is_repetitive() -> None:
    assert reason(Answer(text="<think>" + "!" * 64, finish="length")) is Failure.REPETITIVE


@pytest.mark.parametrize(("text", "right"), [("It is 142.", True), ("It is 143.", False), ("", False)])
def test_the_canary_is_told_and_fails_nothing_by_itself(text: str, right: bool) -> None:  # noqa: FBT001  pytest fills it
    verdict = judged(Answer(text=text, vectors=(NORMAL,)), canary=Sum(left=57, right=85, nonce=""))

    assert verdict.right is right
    assert verdict.failed is None


TRUSTED = Trust(right=50)


@pytest.mark.parametrize(
    ("text", "trust", "canary", "failed"),
    [
        ("143", TRUSTED, Canary.AUTO, "unexpected (a sum that is wrong)"),
        ("143", Trust(), Canary.ON, "unexpected (a sum that is wrong)"),
        ("143", Trust(), Canary.AUTO, "None"),
        ("143", TRUSTED, Canary.OFF, "None"),
        ("142", TRUSTED, Canary.ON, "None"),
        ("!!!!", TRUSTED, Canary.ON, "repetitive (one character, 4 times)"),
    ],
)
def test_a_wrong_sum_is_a_fault_of_a_model_that_is_trusted(
    text: str, trust: Trust, canary: Canary, failed: str
) -> None:
    verdict = judged(Answer(text=text), canary=Sum(left=57, right=85, nonce=""))

    settled = verdict.settled(trust.plus(right=verdict.right), canary)

    assert str(settled.failed) == failed


@pytest.mark.parametrize(
    ("logprobs", "mean"), [((-0.5, -1.5), -1.0), ((), None), ((-inf, -1.0), None), ((-1e308, -1e308), None)]
)
def test_the_mean_log_probability_is_told(logprobs: tuple[float, ...], mean: float | None) -> None:
    assert judged(Answer(text="4", logprobs=logprobs)).logprob == mean


def test_the_similarity_is_told_of_good_answers_and_bad_ones() -> None:
    golden = Checks(golden=(0.8, 0.6))

    verdict = judged(Answer(vectors=(NORMAL,)), golden)

    assert verdict.similarity == pytest.approx(0.96)
    assert str(verdict.failed) == "out_of_range (a cosine of 0.960 against the golden vector, not 0.98 or more)"
    assert judged(Answer(text="4"), golden).similarity is None
    assert judged(Answer(vectors=(NORMAL,))).similarity is None


def test_a_text_is_judged_by_its_first_64_kib() -> None:
    beginning = Answer().plus(Delta(text="x y" * 30000)).plus(Delta(text="Paris"))

    assert reason(beginning, Checks(contains="Paris", repetition=False)) is Failure.UNEXPECTED


def test_no_fault_quotes_what_the_service_said() -> None:
    secret = "hunter2"
    answer = Answer(text=f'{{"{secret}": "{secret}"}}', finish=secret)
    asked = [
        Checks(contains="Paris"),
        Checks(matches="Paris"),
        Checks(number=Range(min=100)),
        Checks(json={"a": 1}),
        Checks(json_schema={"additionalProperties": False}),
        Checks(json_schema={"additionalProperties": {"type": "number"}}),
        Checks(finish="stop"),
    ]

    told = [str(judged(answer, checks).failed) for checks in asked]

    assert [each for each in told if secret in each or not each.startswith("unexpected")] == []


texts = st.text() | st.text("!a \ud800{[0</think>", max_size=40)
floats = st.lists(st.floats(), max_size=4).map(tuple)
answers = st.builds(
    Answer,
    text=texts,
    thought=st.booleans(),
    finish=st.sampled_from([None, "", "stop", "length"]),
    logprobs=floats,
    vectors=st.lists(floats, max_size=2).map(tuple),
    scores=floats,
)
asked = st.builds(
    Checks,
    contains=st.none() | st.just("a"),
    matches=st.sampled_from([None, "a+$", "^$"]),
    number=st.none() | st.just(Range(min=0)),
    json=st.sampled_from([{}, {"a": 1}, {"$[0]": Range()}]),
    finish=st.sampled_from([None, "stop"]),
    min_tokens=st.none() | st.integers(0, 9),
    flat=st.booleans(),
    dimensions=st.none() | st.integers(0, 3),
    norm=st.none() | st.just(Range(max=2)),
    golden=floats,
    ranked=st.sampled_from([(), (0, 1), (1, 0)]),
    scores=st.just(Range(min=0, max=1)) | st.just(Range()),
)
usages = st.builds(Usage, output=st.none() | st.integers(0, 99))


@settings(deadline=None, max_examples=300)
@given(answer=answers, usage=usages, checks=asked)
def test_any_answer_has_a_verdict(answer: Answer, usage: Usage, checks: Checks) -> None:
    verdict = judged(answer, checks, usage, Sum.drawn("nonce"))

    assert verdict.failed is None or verdict.failed.detail
    assert verdict.logprob is None or -inf < verdict.logprob < inf


@settings(deadline=None, max_examples=5)
@given(found=st.binary(max_size=200), text=texts)
def test_any_image_and_any_text_for_a_schema_have_a_verdict(found: bytes, text: str) -> None:
    verdict = judged(Answer(text=text, images=(found,)), Checks(repetition=False, json_schema={"type": "object"}))

    assert verdict.failed is not None
    assert verdict.failed.failure is Failure.UNEXPECTED


class Deadly(Picture):
    """What ends the process that is given it."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (3,)


def test_an_image_that_ends_its_decoder_is_a_fault() -> None:
    verdict = judged(Answer(images=(image(),)), Checks(image=Deadly()))

    assert str(verdict.failed) == "unexpected (an answer that ended the process that looked at it)"


def children() -> set[int]:
    """The processes that were started here and run."""
    return {each.pid for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE}


def test_an_answer_that_takes_too_long_to_look_through_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "LONGEST", 0.01)
    before = children()

    async def given_up() -> Judgement:
        verdict = await judge(Answer(images=(image(),)), Usage(), DEFAULT)
        async with asyncio.timeout(30):
            while children() != before:  # noqa: ASYNC110  what happens elsewhere sets no event here
                await asyncio.sleep(0.01)
        return verdict

    verdict = asyncio.run(given_up())

    assert str(verdict.failed) == "unexpected (an answer that could not be looked through within 0.01 s)"


LEAN = """
import asyncio, sys
from exporter.checks.judge import Checks, judge
from exporter.wire import Answer, Usage

answer = Answer(text="{}", images=(sys.stdin.buffer.read(),))
for checks in Checks(), Checks(json_schema={}), Checks(contains="{"):
    assert asyncio.run(judge(answer, Usage(), checks)).failed is None
print(sorted({"PIL", "jsonschema", "re2", "jsonpath"} & sys.modules.keys()))
assert not asyncio.run(judge(answer, Usage(), Checks(matches="[{]"))).failed
print(sorted({"PIL", "jsonschema", "re2", "jsonpath"} & sys.modules.keys()))
"""


def test_nothing_is_loaded_here_that_no_check_needs() -> None:
    ran = subprocess.run([sys.executable, "-c", LEAN], cwd=ROOT, input=image(), capture_output=True, check=False)

    assert ran.stderr == b""
    assert ran.stdout == b"[]\n['re2']\n"
