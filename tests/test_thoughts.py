"""What a model thinks aloud is told apart from its answer, wherever its pieces are cut."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.thoughts import Aloud
from exporter.wire import Delta

THOUGHT_ALOUD = {
    "a mark a piece": (["<think>", "hm", "</think>", "four"], "<think>hm</think>", "four"),
    "all in one piece": (["<think>hm</think>four"], "<think>hm</think>", "four"),
    "letter by letter": (list("<think>hm</think>four"), "<think>hm</think>", "four"),
    "after an empty line": (["\n", "\n<th", "ink>hm</th", "ink>four"], "<think>hm</think>", "\n\nfour"),
    "never ended": (["<think>", "hm </", "thin"], "<think>hm </thin", ""),
    "nothing thought": (["<think></think>", "four"], "<think></think>", "four"),
    "another mark": (["<", "b>four</b>"], "", "<b>four</b>"),
    "too late": (["four: ", "<think>hm</think>"], "", "four: <think>hm</think>"),
    "half a mark": (["<thi"], "", "<thi"),
    "a mark in the thought": (["<think><think></thi</think>four"], "<think><think></thi</think>", "four"),
}


def told(pieces: Sequence[str]) -> tuple[str, str]:
    """The thought and the answer that these pieces add up to."""
    aloud = Aloud()
    said = [*(aloud.apart(Delta(text=piece)) for piece in pieces), aloud.rest()]
    return "".join(delta.reasoning for delta in said), "".join(delta.text for delta in said)


@pytest.mark.parametrize(("pieces", "thought", "answer"), THOUGHT_ALOUD.values(), ids=THOUGHT_ALOUD)
def test_what_is_thought_aloud_is_no_text(pieces: list[str], thought: str, answer: str) -> None:
    assert told(pieces) == (thought, answer)


def test_what_the_server_tells_apart_itself_stays_as_it_is() -> None:
    aloud = Aloud()
    thought = Delta(reasoning="hm", finish="length")

    assert aloud.apart(thought) is thought
    assert aloud.apart(Delta(text="four", reasoning="h")) == Delta(text="four", reasoning="h")


marks = st.lists(st.sampled_from(["<think>", "</think>", "<", "th", "ink>", "</", "four", " ", "\n"]), max_size=8)


@settings(deadline=None, max_examples=200)
@given(words=marks, cuts=st.lists(st.integers(0, 40), max_size=6))
def test_what_is_thought_aloud_does_not_hang_on_where_it_is_cut(words: list[str], cuts: list[int]) -> None:
    content = "".join(words)
    places = sorted({0, *(min(cut, len(content)) for cut in cuts), len(content)})

    thought, answer = told([content[start:end] for start, end in pairwise(places)])

    assert (thought, answer) == told([content])
    assert len(thought) + len(answer) == len(content)
