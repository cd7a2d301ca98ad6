"""Embeddings and scores whose numbers can or cannot be right."""

from math import inf, isclose, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.checks.numbers import Range
from exporter.checks.vectors import flat, length, misjudged, similarity, undefined


@pytest.mark.parametrize("vector", [(0.1, nan, 0.2), (0.1, inf), (-inf,)])
def test_a_vector_with_numbers_that_are_none_is_undefined(vector: tuple[float, ...]) -> None:
    assert undefined(vector) == "a vector that holds NaN, null or infinity"


@pytest.mark.parametrize(
    ("vector", "fault"),
    [
        ((0.0,) * 384, "an embedding of zeros"),
        ((-0.0, 0.0), "an embedding of zeros"),
        ((), "an embedding of zeros"),
        ((0.5,) * 384, "an embedding of one number over and over"),
    ],
)
def test_a_vector_of_one_number_is_flat(vector: tuple[float, ...], fault: str) -> None:
    assert flat(vector) == fault


@pytest.mark.parametrize("vector", [(0.1, -0.2, 0.3), (0.0, 1.0), (5e-324, 0.0), (1e308, -1e308), (7.0,)])
def test_an_embedding_is_neither_undefined_nor_flat(vector: tuple[float, ...]) -> None:
    assert undefined(vector) is None
    assert flat(vector) is None


@pytest.mark.parametrize(
    ("one", "other", "cosine"),
    [
        ((1.0, 2.0), (2.0, 4.0), 1.0),
        ((1.0, 2.0), (-1.0, -2.0), -1.0),
        ((1.0, 0.0), (0.0, 1.0), 0.0),
        ((3.0, 4.0), (4.0, 3.0), 0.96),
        ((1e308, 1e307), (1e308, 1e307), 1.0),
        ((5e-324, 0.0), (1.0, 0.0), 1.0),
    ],
)
def test_similarity_is_the_cosine_of_the_angle(one: tuple[float, ...], other: tuple[float, ...], cosine: float) -> None:
    found = similarity(one, other)

    assert found is not None
    assert isclose(found, cosine, abs_tol=1e-12)


@pytest.mark.parametrize("other", [(), (1.0,), (0.0, 0.0), (nan, 1.0), (1.0, 2.0, 3.0)])
def test_vectors_without_an_angle_between_them_have_no_similarity(other: tuple[float, ...]) -> None:
    assert similarity((1.0, 2.0), other) is None
    assert similarity(other, (1.0, 2.0)) is None


vectors = st.lists(st.floats(), max_size=6)


@given(one=vectors, other=vectors)
def test_any_two_vectors_have_a_cosine_or_none(one: list[float], other: list[float]) -> None:
    found = similarity(one, other)

    assert found is None or -1.0 <= found <= 1.0


def test_a_length_is_euclid_s() -> None:
    assert length((3.0, 4.0)) == 5.0
    assert length(()) == 0.0


@pytest.mark.parametrize(
    ("scores", "ranked"),
    [((0.9, 0.1), (0, 1)), ((-3.0, 4.5), (1, 0)), ((0.1, 0.9, 0.5), (1, 2, 0)), ((0.5, 0.5), ()), ((), ())],
)
def test_documents_in_their_order_are_well_judged(scores: tuple[float, ...], ranked: tuple[int, ...]) -> None:
    assert list(misjudged(scores, ranked, Range())) == []


@pytest.mark.parametrize(
    ("scores", "ranked", "within", "fault"),
    [
        ((0.1, 0.9), (0, 1), Range(), "documents in the wrong order"),
        ((0.5, 0.5), (0, 1), Range(), "documents in the wrong order"),
        ((0.9,), (0, 1), Range(), "1 scores for 2 documents or more"),
        ((), (0, 1), Range(), "0 scores for 2 documents or more"),
        ((nan, 0.1), (), Range(), "a score that is NaN, null or infinity"),
        ((0.9, -inf), (0, 1), Range(), "a score that is NaN, null or infinity"),
        ((1.5, 0.1), (0, 1), Range(min=0, max=1), "a score that is not between 0 and 1"),
    ],
)
def test_scores_that_cannot_be_right_are_told_apart(
    scores: tuple[float, ...], ranked: tuple[int, ...], within: Range, fault: str
) -> None:
    assert list(misjudged(scores, ranked, within)) == [fault]
