"""A question whose answer is known, and how far to believe a model that misses it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.checks.canary import Canary, Sum, Trust

SUM = Sum(left=57, right=85, nonce="0a1b2c3d")


@given(st.text())
def test_every_question_and_every_answer_have_the_same_width(nonce: str) -> None:
    drawn = Sum.drawn(nonce)

    assert len(drawn.question) == len(SUM.question) - len(SUM.nonce) + len(nonce)
    assert len(str(drawn.left)) == len(str(drawn.right)) == 2
    assert len(str(drawn.left + drawn.right)) == 3


def test_the_same_nonce_asks_for_the_same_sum_and_others_for_others() -> None:
    sums = {(drawn.left, drawn.right) for drawn in map(Sum.drawn, map(str, range(200)))}

    assert Sum.drawn("0a1b2c3d") == Sum.drawn("0a1b2c3d")
    assert len(sums) > 180


def test_the_nonce_comes_after_the_question() -> None:
    assert SUM.question == "What is 57 + 85? Say it, then count from one to twenty in words. (0a1b2c3d)"


@pytest.mark.parametrize(
    "text",
    [
        "142",
        " 142.",
        "142\n",
        "57 + 85 = 142",
        "The answer is **142**.",
        "\\boxed{142}",
        "$142$",
        "142.0",
        "答案是142。",
        "57加85等于142",
        "١٤٢",
        "Sure! 57 + 85 is 142, since 57 + 80 is 137.",
    ],
)
def test_the_right_number_is_right_however_it_is_put(text: str) -> None:
    assert SUM.answered_by(text)


@pytest.mark.parametrize(
    "text",
    ["", "143", "1142", "1420", "14 2", "-142", "!!!!!!!!", "57 + 85 =", "I cannot add.", "1.42", "What is 57 + 85?"],
)
def test_anything_else_is_wrong(text: str) -> None:
    assert not SUM.answered_by(text)


def trust(history: str) -> Trust:
    """What is left after sums that were right (+), wrong (-) or could not be judged (.)."""
    folded = Trust()
    for sign in history:
        folded = folded.plus(right={"+": True, "-": False, ".": None}[sign])
    return folded


LONG = "+" * 50


@pytest.mark.parametrize(
    ("history", "condemned"),
    [
        pytest.param("", False, id="a model that was never asked"),
        pytest.param("-", False, id="a model that never could add"),
        pytest.param("-" * 20, False, id="a model that never could add, for long"),
        pytest.param("+" * 49 + "-", False, id="a model that was right 49 times"),
        pytest.param(LONG, False, id="a model that was right 50 times, and still is"),
        pytest.param(LONG + "-", True, id="the first miss of a model that was right 50 times"),
        pytest.param(LONG + "+" * 500 + "-", True, id="the first miss of a model that was right for long"),
        pytest.param(LONG + "--", False, id="the second"),
        pytest.param(LONG + "----", False, id="the fourth"),
        pytest.param(LONG + "-----", True, id="the fifth in a row"),
        pytest.param(LONG + "-" * 40, True, id="the fortieth in a row"),
        pytest.param(LONG + "-+-", False, id="a miss soon after another"),
        pytest.param(LONG + "-+-----", False, id="five in a row of a model that was disarmed"),
        pytest.param(LONG + "-" + LONG + "-", True, id="a miss of a model that had earned its trust again"),
        pytest.param("-----" + LONG + "-", True, id="a miss of a model that has learned to add"),
        pytest.param(LONG + "." * 5 + "-", True, id="a miss after prompts that could not be judged"),
        pytest.param(LONG + "-.-.-.-.-", True, id="the fifth in a row, with such prompts between"),
        pytest.param("-+" * 100, False, id="a model that is right half of the time"),
    ],
)
def test_auto_believes_a_miss_only_of_a_model_that_can_add(history: str, condemned: bool) -> None:  # noqa: FBT001  pytest fills it
    assert trust(history).condemns(Canary.AUTO) is condemned


@pytest.mark.parametrize(("history", "condemned"), [("-", True), ("+-", True), ("-+", False), ("", False)])
def test_on_believes_every_miss(history: str, condemned: bool) -> None:  # noqa: FBT001  pytest fills it
    assert trust(history).condemns(Canary.ON) is condemned


def test_off_believes_none() -> None:
    assert not trust(LONG + "-----").condemns(Canary.OFF)


@given(st.text("+-.", max_size=300))
def test_auto_condemns_no_more_than_one_prompt_in_fifty_of_a_model_that_never_misses_twice(history: str) -> None:
    history = history.replace("--", "-+").replace("--", "-+")

    condemned = sum(
        sign == "-" and trust(history[: number + 1]).condemns(Canary.AUTO) for number, sign in enumerate(history)
    )

    assert condemned <= len(history) / 50
