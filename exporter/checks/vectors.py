"""Embeddings and scores: whether their numbers can be right."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import hypot, isfinite
from operator import mul

from exporter.checks.numbers import Range

Vector = Sequence[float]


def undefined(vector: Vector) -> str | None:
    """Why a vector is the outcome of no computation that went well; a null is read as NaN."""
    return None if all(map(isfinite, vector)) else "a vector that holds NaN, null or infinity"


def flat(vector: Vector) -> str | None:
    """Why a vector can be no embedding, whatever was embedded."""
    if not any(vector):
        return "an embedding of zeros"
    return "an embedding of one number over and over" if min(vector) == max(vector) and len(vector) > 1 else None


def length(vector: Vector) -> float:
    """The Euclidean norm."""
    return hypot(*vector)


def similarity(one: Vector, other: Vector) -> float | None:
    """The cosine of the angle between two vectors; None where they have none."""
    if len(one) != len(other) or any(undefined(vector) or not any(vector) for vector in (one, other)):
        return None
    one, other = _scaled(one), _scaled(other)
    cosine: float = sum(map(mul, one, other)) / (hypot(*one) * hypot(*other))
    return max(-1.0, min(cosine, 1.0))


def _scaled(vector: Vector) -> Vector:
    # So that no square is beyond a float's range.
    largest = max(map(abs, vector))
    return [number / largest for number in vector]


def misjudged(scores: Sequence[float], ranked: Sequence[int], within: Range) -> Iterator[str]:
    """What is wrong with the scores of documents, of which some are known from the most relevant to the least."""
    if not all(map(isfinite, scores)):
        yield "a score that is NaN, null or infinity"
    elif not all(map(within.holds, scores)):
        yield f"a score that is not {within}"
    if ranked and len(scores) <= max(ranked):
        yield f"{len(scores)} scores for {max(ranked) + 1} documents or more"
    elif not all(scores[better] > scores[worse] for better, worse in pairwise(ranked)):
        yield "documents in the wrong order"
