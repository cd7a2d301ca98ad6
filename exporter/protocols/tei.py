"""Text Embeddings Inference's own API."""

import math
import re
from collections.abc import AsyncGenerator

import httpx

from exporter.paths import Json
from exporter.response import answered, opened, parsed, whole
from exporter.threads import judged
from exporter.wire import Delta, Failed, Failure, Prompt, Usage

COUNT = re.compile(r"[0-9]{1,9}")


async def tei(client: httpx.AsyncClient, prompt: Prompt) -> AsyncGenerator[Delta, None]:
    """Ask `/embed` for the vector of a text."""
    question: dict[str, Json] = {"inputs": f"{prompt.nonce} {prompt.text}".strip()}
    further = prompt.body if isinstance(prompt.body, dict) else {}
    asked = {**question, **further}
    request = client.build_request("POST", prompt.path or "/embed", json=asked, headers=prompt.headers)
    async with opened(client, request, prompt.trace) as response:
        await answered(response)
        body = await whole(response)
    vectors = await judged(_vectors, body)
    yield Delta(vectors=vectors, usage=_usage(response.headers), size=len(body), whole=True)


def _usage(headers: httpx.Headers) -> Usage | None:
    # The body is the vectors and nothing else.
    tokens = headers.get("x-compute-tokens", "")
    return Usage(prompt=int(tokens)) if COUNT.fullmatch(tokens) else None


def _vectors(body: bytes) -> tuple[tuple[float, ...], ...]:
    value = parsed(body)
    if not isinstance(value, list) or not all(isinstance(vector, list) for vector in value):
        raise Failed(Failure.INVALID, "not a list of vectors")
    if not all(value):
        raise Failed(Failure.EMPTY, "a vector without numbers")
    return tuple(tuple(map(_number, vector)) for vector in value if isinstance(vector, list))


def _number(value: Json) -> float:
    if value is None:
        return math.nan  # JSON has no other word for it.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Failed(Failure.INVALID, "a vector of something other than numbers")
    try:
        return float(value)
    except OverflowError as error:
        raise Failed(Failure.INVALID, "a number that is none") from error
