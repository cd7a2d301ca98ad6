"""Reranking, as Jina and Cohere shaped it and every engine that reranks imitates it."""

from collections.abc import AsyncGenerator, Iterator

import httpx

from exporter.apart import judged
from exporter.exchange import Fields, Question, answering, count, number, objects, sound, usage
from exporter.paths import Json
from exporter.response import parsed, whole
from exporter.wire import Delta, Failed, Failure, Prompt, Usage


async def rerank(client: httpx.AsyncClient, prompt: Prompt) -> AsyncGenerator[Delta, None]:
    """Ask `/v1/rerank` how relevant each document is to a text."""
    documents: Json = list(prompt.documents)
    # TEI has another name for them.
    wordings = tuple({"query": prompt.text, name: documents} for name in ("documents", "texts"))
    async with answering(client, prompt, Question(path="/v1/rerank", wordings=wordings)) as response:
        body = await whole(response)
    yield await judged(_ranked, body, len(prompt.documents))


def _ranked(body: bytes, documents: int) -> Delta:
    document = parsed(body)
    # SGLang and TEI answer with the list alone.
    answer: Fields = {"results": document} if isinstance(document, list) else sound(document)
    relevance = dict(_relevance(answer.get("results")))
    # Where the operator's own fields name the documents, the answer is what counts them.
    places = range(documents or len(relevance))
    if relevance.keys() != set(places):
        raise Failed(Failure.INVALID, "not one result for each document")
    scores = tuple(relevance[place] for place in places)
    return Delta(scores=scores, usage=_cost(answer.get("usage")), size=len(body), whole=True)


def _relevance(results: Json) -> Iterator[tuple[int, float]]:
    for result in objects(results):
        match result:
            case {"index": int(place), "relevance_score": score} | {"index": int(place), "score": score}:
                yield place, number(score)


def _cost(told: Json) -> Usage | None:
    # vLLM tells the total alone, of which nothing is output.
    total = count(told.get("total_tokens")) if isinstance(told, dict) else None
    return usage(told) or (Usage(prompt=total) if total else None)
