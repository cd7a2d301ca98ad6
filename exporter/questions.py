"""What a service is asked, and what is asked of its answers."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace

import httpx

from exporter.ask import Attempt, Limits, ask
from exporter.checks.canary import Canary, Sum
from exporter.checks.judge import Checks, Judgement, judge
from exporter.frozen import frozen
from exporter.pace import Pace
from exporter.paths import Json
from exporter.wire import Dialect, Prompt, Recognition

UNCHECKED = Checks(canary=Canary.OFF)


@frozen
class Question:
    """A prompt, and what is asked of the answer to it."""

    prompt: Prompt
    checks: Checks = UNCHECKED
    alone: bool = False
    """Whether the text goes as it is, without a nonce."""


@frozen
class Questions:
    """What a service is asked, in turn, within which limits, and when it is spared."""

    in_turn: Sequence[Question]
    limits: Limits
    pace: Pace
    dialects: Mapping[str, Dialect]
    tokens_a_day: int | None = None
    waiting_above: float | None = None
    """How many requests may wait at the service when it is asked."""


def _prompt(question: Question, found: Recognition, nonce: str, sum_: Sum | None) -> Prompt:
    prompt = question.prompt
    return replace(
        prompt,
        # A sum carries the nonce after it, and an embedding that is known is of the text alone.
        text=prompt.text if sum_ is None else sum_.question,
        nonce="" if sum_ is not None or question.alone or question.checks.golden else nonce,
        model=found.model or None,
        path=prompt.path or found.path or None,
        # The operator's word stands before ours; a protocol leaves out what is null there.
        body=over(found.fields, prompt.body) if isinstance(prompt.body, dict) else (dict(found.fields) or prompt.body),
    )


def over(ours: Mapping[str, Json], theirs: Mapping[str, Json]) -> dict[str, Json]:
    """Our fields with others put over them, one level deep, so that a further option leaves the options there are."""
    return {**ours, **{key: _inside(ours.get(key), value) for key, value in theirs.items()}}


def _inside(ours: Json, theirs: Json) -> Json:
    return {**ours, **theirs} if isinstance(ours, dict) and isinstance(theirs, dict) else theirs


async def asked(
    dialect: Dialect, client: httpx.AsyncClient, question: Question, found: Recognition, limits: Limits
) -> tuple[Attempt, Judgement]:
    """One attempt at a question, and what its checks say of the answer, a wrong sum not yet held against it."""
    nonce = secrets.token_hex(4)
    checks = replace(
        question.checks,
        flat=question.checks.flat or dialect.tensors,
        ranked=question.checks.ranked if dialect.ranks else (),
    )
    sum_ = Sum.drawn(nonce) if dialect.chats and checks.canary is not Canary.OFF else None
    attempt = await ask(dialect, client, _prompt(question, found, nonce, sum_), limits)
    if attempt.failed is not None:
        return attempt, Judgement(failed=attempt.failed)
    return attempt, await judge(attempt.answer, attempt.usage, checks, sum_)
