"""A question in JSON in the wordings that servers differ in, and what of an answer in JSON can be believed."""

import math
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

import httpx

from exporter.frozen import frozen
from exporter.paths import Json
from exporter.response import answered, opened
from exporter.wire import Failed, Failure, Prompt, Usage

REFUSALS = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
MOST_TOKENS = 2**32

Fields = Mapping[str, Json]


@frozen
class Question:
    """What is asked where, in the wording that tells most and then in those that stricter servers take."""

    path: str
    wordings: tuple[Fields, ...]
    accept: str = "application/json"


@asynccontextmanager
async def answering(client: httpx.AsyncClient, prompt: Prompt, question: Question) -> AsyncIterator[httpx.Response]:
    """The response to the first wording that is not refused, with which the next prompt then begins."""
    headers = {"Accept": question.accept, **prompt.headers}
    bodies = worded(prompt, question)
    in_turn = sorted(range(len(bodies)), key=lambda place: place != prompt.memory.wording)
    for place in in_turn:
        request = client.build_request("POST", prompt.path or question.path, json=bodies[place], headers=headers)
        async with opened(client, request, prompt.trace) as response:
            if response.status_code in REFUSALS and place != in_turn[-1]:
                continue
            await answered(response)
            prompt.memory.wording = place
            yield response
            return


def worded(prompt: Prompt, question: Question) -> list[dict[str, Json]]:
    """The request's body in every wording, each told once though the operator's fields may make two alike."""
    model: Fields = {"model": prompt.model} if prompt.model else {}
    bodies: list[dict[str, Json]] = []
    for wording in question.wordings:
        body = merged({**model, **wording}, prompt.body)
        if body not in bodies:
            bodies.append(body)
    return bodies


def merged(ours: Fields, theirs: Json) -> dict[str, Json]:
    """Our fields with the operator's put over them by RFC 7396, where null leaves a field out."""
    fields = dict(ours)
    for key, value in theirs.items() if isinstance(theirs, dict) else ():
        before = fields.pop(key, None)
        if isinstance(value, dict):
            fields[key] = merged(before if isinstance(before, dict) else {}, value)
        elif value is not None:
            fields[key] = value
    return fields


def fresh(prompt: Prompt) -> str:
    """The text with its nonce before it, since a prefix cache would answer whatever stands before what changes."""
    return f"{prompt.nonce} {prompt.text}".strip()


def sound(document: Json) -> Fields:
    """The object that a body or a frame is; raises Failed where it is none, and where it tells an error with 200."""
    if not isinstance(document, dict):
        raise Failed(Failure.INVALID, "an answer that is no JSON object")
    # Wrapped as {"error": …}, or flat as {"object": "error", …}.
    if document.get("error") not in (None, "", False) or document.get("object") == "error":
        raise Failed(Failure.STREAM_ERROR, "an error inside the answer")
    return document


def objects(value: Json) -> Iterator[dict[str, Json]]:
    """The objects in a list, none where it is no list."""
    return (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())


def string(value: Json) -> str:
    """A text, empty where it is none."""
    return value if isinstance(value, str) else ""


def number(value: Json) -> float:
    """A finite number, NaN where it is none, such as null."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        return math.nan
    return float(value)


def vectors(value: Json) -> tuple[tuple[float, ...], ...]:
    """A list of vectors, in which null is NaN, since JSON has no other word for it.

    Raises Failed: empty where a vector holds nothing, invalid where this is no list of vectors.
    """
    if not isinstance(value, list) or not all(isinstance(vector, list) for vector in value):
        raise Failed(Failure.INVALID, "not a list of vectors")
    if not all(value):
        raise Failed(Failure.EMPTY, "a vector without numbers")
    return tuple(tuple(map(_component, vector)) for vector in value if isinstance(vector, list))


def _component(value: Json) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Failed(Failure.INVALID, "a vector of something other than numbers")
    try:
        return float(value)
    except OverflowError as error:
        raise Failed(Failure.INVALID, "a number that is none") from error


def count(value: Json) -> int | None:
    """A number of tokens, None where it cannot be one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS else None


def usage(told: Json) -> Usage | None:
    """What an answer cost, as the OpenAI API tells it; None where nothing is told."""
    if not isinstance(told, dict):
        return None
    details = told.get("prompt_tokens_details")
    cost = Usage(
        prompt=count(told.get("prompt_tokens")) or None,
        output=count(told.get("completion_tokens")),
        cached=count(details.get("cached_tokens")) if isinstance(details, dict) else None,
    )
    # No prompt is without tokens: LitServe tells zeros where its author counts nothing.
    return cost if cost.prompt or cost.output else None
