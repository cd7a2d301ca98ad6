"""The OpenAI dialect for embeddings."""

from collections.abc import AsyncGenerator

import httpx

from exporter.apart import judged
from exporter.exchange import Question, answering, fresh, number, objects, sound, usage
from exporter.paths import Json
from exporter.response import parsed, whole
from exporter.wire import Delta, Failed, Failure, Prompt

MOST_NUMBERS = 2**18


async def embeddings(client: httpx.AsyncClient, prompt: Prompt) -> AsyncGenerator[Delta, None]:
    """Ask `/v1/embeddings` for the vector of a text."""
    question = Question(path="/v1/embeddings", wordings=({"input": fresh(prompt)},))
    async with answering(client, prompt, question) as response:
        body = await whole(response)
    yield await judged(_embedded, body)


def _embedded(body: bytes) -> Delta:
    answer = sound(parsed(body))
    listed = [_listed(entry.get("embedding")) for entry in objects(answer.get("data"))]
    if sum(map(len, listed)) > MOST_NUMBERS:
        raise Failed(Failure.TOO_LARGE, f"embeddings of more than {MOST_NUMBERS} numbers")
    vectors = tuple(tuple(map(number, numbers)) for numbers in listed if numbers)
    return Delta(vectors=vectors, usage=usage(answer.get("usage")), size=len(body), whole=True)


def _listed(embedding: Json) -> list[Json]:
    if not isinstance(embedding, list):
        raise Failed(Failure.INVALID, "an embedding that is no list of numbers")
    return embedding
