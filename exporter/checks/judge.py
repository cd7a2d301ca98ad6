"""One answer against all that is asked of it."""

import asyncio
import math
from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from typing import Self

from exporter.apart import apart
from exporter.checks import images, schema
from exporter.checks.canary import Canary, Sum, Trust
from exporter.checks.images import Picture
from exporter.checks.numbers import Range, numbers
from exporter.checks.pattern import Pattern
from exporter.checks.repetition import repeated
from exporter.checks.text import VISIBLE, misplaced, spoken, unfenced
from exporter.checks.vectors import Vector, flat, length, misjudged, similarity, undefined
from exporter.frozen import frozen
from exporter.paths import Json
from exporter.wire import Answer, Failed, Failure, Usage

LONGEST = 30.0  # A process is started first, which takes long on a host that has no time for us.


@frozen
class Checks:
    """What is asked of an answer; what is None or empty is not."""

    canary: Canary = Canary.AUTO
    repetition: bool = True
    """Whether to fail what says one thing over and over."""
    contains: str | None = None
    matches: str | None = None
    """A regular expression by RE2, of which any part of the text is to match."""
    number: Range | None = None
    """Where at least one of the numbers in the text is to lie."""
    json: Mapping[str, Json | Range] = field(default_factory=dict)
    """What is to stand where in the JSON that was said."""
    json_schema: dict[str, Json] | None = None
    finish: str | None = None
    """Why the model is to have stopped, in the server's word."""
    min_tokens: int | None = None
    flat: bool = False
    """Whether a vector of zeros, or of one number, will do, as it does of a model that embeds nothing."""
    dimensions: int | None = None
    norm: Range | None = None
    golden: Vector = ()
    """The embedding that is expected."""
    min_similarity: float = 0.98
    ranked: tuple[int, ...] = ()
    """Numbers of documents, from the most relevant to the least."""
    scores: Range = field(default_factory=Range)
    image: Picture | None = field(default_factory=Picture)
    """What images are to be like; with None they are not looked at."""


@frozen
class Judgement:
    """What the checks say of an answer; None where they cannot tell."""

    failed: Failed | None = None
    logprob: float | None = None
    """The mean over the answer of what the model thought of its own tokens."""
    similarity: float | None = None
    """The cosine against the golden vector."""
    right: bool | None = None
    """Whether the canary's sum was."""

    def settled(self, trust: Trust, canary: Canary) -> Self:
        """This judgement once it is known how far to trust the model's sums, this one's among them."""
        if self.failed is not None or self.right is not False or not trust.condemns(canary):
            return self
        return replace(self, failed=Failed(Failure.UNEXPECTED, "a sum that is wrong"))


async def judge(answer: Answer, usage: Usage, checks: Checks, canary: Sum | None = None) -> Judgement:
    """The judgement on an answer, and on the sum where one was asked for, which alone fails nothing.

    Images and schemas are looked at in a process of their own, which is given 30 seconds.
    """
    said = spoken(answer)
    close = similarity(answer.vectors[0], checks.golden) if answer.vectors else None
    failed = next(_faults(answer, usage, checks, close), None)
    return Judgement(
        failed=failed or await _failed_apart(answer, checks),
        logprob=_mean(answer.logprobs),
        similarity=close,
        right=None if said is None or canary is None else canary.answered_by(said),
    )


def _mean(logprobs: tuple[float, ...]) -> float | None:
    mean = sum(logprobs) / len(logprobs) if logprobs else math.nan
    return mean if math.isfinite(mean) else None


def _faults(answer: Answer, usage: Usage, checks: Checks, close: float | None) -> Iterator[Failed]:
    if not (answer.thought or VISIBLE.search(answer.text) or answer.vectors or answer.scores or answer.images):
        yield Failed(Failure.EMPTY, "the answer is complete and says nothing")
    if checks.repetition and (again := repeated(answer.text)):
        yield Failed(Failure.REPETITIVE, again)
    for fault in _out_of_range(answer, checks, close):
        yield Failed(Failure.OUT_OF_RANGE, fault)
    for fault in (*_ended(answer, usage, checks), *_unexpected(spoken(answer), checks)):
        yield Failed(Failure.UNEXPECTED, fault)


def _ended(answer: Answer, usage: Usage, checks: Checks) -> Iterator[str]:
    if checks.finish not in {None, answer.finish}:
        yield f"the answer did not end by {checks.finish}"
    if checks.min_tokens is not None and usage.output is not None and usage.output < checks.min_tokens:
        yield f"{usage.output} tokens, not {checks.min_tokens} or more"
    if checks.image is not None and (checks.image.width or checks.image.height) and not answer.images:
        yield "no image"


def _unexpected(said: str | None, checks: Checks) -> Iterator[str]:
    if said is None:
        return
    if checks.contains is not None and checks.contains not in said:
        yield f"the text {checks.contains!r} is missing"
    if checks.matches is not None and not Pattern(checks.matches).found_in(said):
        yield f"nothing matches {checks.matches!r}"
    if checks.number is not None and not any(map(checks.number.holds, numbers(said))):
        yield f"no number is {checks.number}"
    if checks.json:
        yield from misplaced(said, checks.json)


def _out_of_range(answer: Answer, checks: Checks, close: float | None) -> Iterator[str]:
    for vector in answer.vectors:
        yield from _unlike(vector, checks)
    if (checks.dimensions is not None or checks.golden) and not answer.vectors:
        yield "no embedding"
    if checks.golden and close is None:
        yield "an embedding that cannot be compared with the golden vector"
    elif checks.golden and close is not None and close < checks.min_similarity:
        yield f"a cosine of {close:.3f} against the golden vector, not {checks.min_similarity:g} or more"
    yield from misjudged(answer.scores, checks.ranked, checks.scores)
    if any(map(math.isnan, answer.logprobs)):
        yield "a log-probability that is NaN"


def _unlike(vector: Vector, checks: Checks) -> Iterator[str]:
    if wrong := undefined(vector) or (None if checks.flat else flat(vector)):
        yield wrong
    if checks.dimensions not in {None, len(vector)}:
        yield f"an embedding of {len(vector)} numbers, not {checks.dimensions}"
    if checks.norm is not None and not checks.norm.holds(length(vector)):
        yield f"an embedding whose norm is {length(vector):g}, not {checks.norm}"


async def _failed_apart(answer: Answer, checks: Checks) -> Failed | None:
    try:
        async with asyncio.timeout(LONGEST):
            fault = await _fault_apart(answer, checks)
    except TimeoutError:
        fault = f"an answer that could not be looked through within {LONGEST:g} s"
    except RuntimeError:
        fault = "an answer that ended the process that looked at it"
    return Failed(Failure.UNEXPECTED, fault) if fault else None


async def _fault_apart(answer: Answer, checks: Checks) -> str | None:
    said, fault = spoken(answer), None
    if checks.json_schema is not None and said is not None:
        fault = await apart(schema.fault, unfenced(said), checks.json_schema)
    if checks.image is not None and answer.images and fault is None:
        fault = await apart(images.fault_within_bounds, answer.images, checks.image)
    return fault
