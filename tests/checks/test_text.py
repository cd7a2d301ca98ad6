"""What was said once the thinking was over, and what stands where in it."""

import pytest

from exporter.checks.numbers import Range
from exporter.checks.text import misplaced, spoken, unfenced
from exporter.paths import Json
from exporter.wire import Answer


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(Answer(text="42", finish="stop"), "42", id="an answer"),
        pytest.param(Answer(text="42", thought=True, finish="stop"), "42", id="an answer after reasoning"),
        pytest.param(Answer(text="<think>57, so</think>\n42", finish="stop"), "\n42", id="reasoning in the text"),
        pytest.param(Answer(text="57, so</think>42", finish="length"), "42", id="reasoning that the template began"),
        pytest.param(Answer(thought=True, finish="length"), None, id="a budget spent thinking"),
        pytest.param(Answer(thought=True, finish="max_tokens"), None, id="a budget spent thinking, in other words"),
        pytest.param(Answer(thought=True), None, id="thinking, by a server that gives no reason"),
        pytest.param(Answer(text="<think>Well", finish="length"), None, id="a budget spent thinking in the text"),
        pytest.param(Answer(text="Well</think>\n", finish="length"), None, id="a budget spent as the thinking ended"),
        pytest.param(Answer(thought=True, finish="stop"), "", id="nothing said after all that thinking"),
        pytest.param(Answer(thought=True, finish="tool_calls"), "", id="a tool called"),
        pytest.param(Answer(finish="length"), "", id="nothing at all"),
    ],
)
def test_what_was_said_is_told_from_what_was_thought(answer: Answer, said: str | None) -> None:
    assert spoken(answer) == said


SAID = '{"city": "Paris", "people": 2102650, "capital": true, "districts": [{"n": 1}, {"n": 20}], "mayor": null}'


@pytest.mark.parametrize("text", [SAID, f"```json\n{SAID}\n```", f"```\n{SAID}```\n", f"\n {SAID} \n"])
@pytest.mark.parametrize(
    "wanted",
    [
        {"city": "Paris"},
        {"people": Range(min=2e6, max=3e6)},
        {"people": 2102650},
        {"capital": True, "mayor": None},
        {"districts.0.n": 1, "districts.-1.n": Range(max=20)},
        {"$.districts[*].n": Range(min=1, max=20)},
    ],
)
def test_a_value_in_its_place_is_as_expected(text: str, wanted: dict[str, Json | Range]) -> None:
    assert list(misplaced(text, wanted)) == []


@pytest.mark.parametrize(
    ("wanted", "fault"),
    [
        ({"city": "London"}, "city is not 'London'"),
        ({"people": Range(min=1, max=10)}, "people is not between 1 and 10"),
        ({"capital": 1}, "capital is not 1"),
        ({"capital": Range(min=0)}, "capital is not between 0 and inf"),
        ({"mayor": Range()}, "mayor is not between -inf and inf"),
        ({"city": Range()}, "city is not between -inf and inf"),
        ({"river": "Seine"}, "river is not 'Seine'"),
        ({"river": None}, "river is not None"),
        ({"$.districts[*].n": Range(min=1, max=10)}, "$.districts[*].n is not between 1 and 10"),
    ],
)
def test_a_value_that_is_not_there_is_named_by_what_was_expected(wanted: dict[str, Json | Range], fault: str) -> None:
    assert list(misplaced(SAID, wanted)) == [fault]


@pytest.mark.parametrize("text", ["", "Sure! Here it is.", "{", '{"city": "Par', "[" * 65536, "9" * 5000, "```\n```"])
def test_what_is_no_json_is_as_expected_nowhere(text: str) -> None:
    (fault,) = misplaced(text, {"city": "Paris"})

    assert fault.startswith("not JSON")


@pytest.mark.parametrize("text", ["4", "```", "``` ```", "a ```\n4\n```", "`4`"])
def test_a_text_without_a_fence_stays_as_it_is(text: str) -> None:
    assert unfenced(text) == text
