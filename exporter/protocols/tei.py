"""Text Embeddings Inference's own API."""

import re
from collections.abc import AsyncGenerator

import httpx

from exporter.apart import judged
from exporter.exchange import vectors
from exporter.paths import Json
from exporter.response import answered, opened, parsed, whole
from exporter.wire import Delta, Prompt, Usage

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
    embedded = await judged(_embedded, body)
    yield Delta(vectors=embedded, usage=_usage(response.headers), size=len(body), whole=True)


def _usage(headers: httpx.Headers) -> Usage | None:
    # The body is the vectors and nothing else.
    tokens = headers.get("x-compute-tokens", "")
    return Usage(prompt=int(tokens)) if COUNT.fullmatch(tokens) else None


def _embedded(body: bytes) -> tuple[tuple[float, ...], ...]:
    return vectors(parsed(body))
