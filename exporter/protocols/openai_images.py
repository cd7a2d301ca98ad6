"""The OpenAI dialect for pictures."""

from base64 import b64decode
from collections.abc import AsyncGenerator

import httpx

from exporter.apart import judged
from exporter.exchange import Fields, Question, answering, objects, sound, string, usage
from exporter.response import answered, opened, origin, parsed, whole
from exporter.wire import Delta, Failed, Failure, Prompt, Usage


async def images(client: httpx.AsyncClient, prompt: Prompt) -> AsyncGenerator[Delta, None]:
    """Ask `/v1/images/generations` for a small picture; of one that lies at another origin the address is told."""
    bare: Fields = {"prompt": prompt.text, "n": 1}
    small: Fields = {**bare, "size": "256x256", "response_format": "b64_json"}
    # The same seed would be answered from a cache.
    fresh: Fields = {**small, "seed": int(prompt.nonce, 16) % 2**31} if prompt.nonce else small
    question = Question(path="/v1/images/generations", wordings=(fresh, small, bare))
    async with answering(client, prompt, question) as response:
        picture = await judged(_pictured, await whole(response))
    place = _joined(response.url, picture.text)
    if picture.text and origin(place) == origin(response.url):
        # Untraced, since the answer is complete: fetching what it names is no part of its time.
        async with opened(client, client.build_request("GET", place, headers=prompt.headers), None) as response:
            await answered(response)
            content = await whole(response)
        picture = _drawn(content, picture.usage)
    yield picture


def _joined(asked: httpx.URL, address: str) -> httpx.URL:
    try:
        return asked.join(address)
    except (httpx.InvalidURL, ValueError) as error:  # the latter is urllib's
        raise Failed(Failure.INVALID, "an address that is none") from error


def _pictured(body: bytes) -> Delta:
    answer = sound(parsed(body))
    first = next(objects(answer.get("data")), {})
    encoded, address = string(first.get("b64_json")), string(first.get("url"))
    cost = usage(answer.get("usage"))
    if address.startswith("data:"):
        encoded = address
    if not encoded:
        return Delta(text=address, usage=cost, whole=True)
    return _drawn(_decoded(encoded.rpartition(",")[2]), cost)


def _drawn(content: bytes, cost: Usage | None) -> Delta:
    return Delta(images=(content,) if content else (), usage=cost, size=len(content), whole=True)


def _decoded(encoded: str) -> bytes:
    try:
        return b64decode(encoded, validate=True)
    except ValueError as error:
        raise Failed(Failure.INVALID, "a picture that is not in base64") from error
