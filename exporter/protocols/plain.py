"""Any JSON over HTTP: the request is a template, and the answer stands somewhere in the body."""

import json
from collections.abc import AsyncGenerator

import httpx

from exporter.paths import Path
from exporter.threads import judged
from exporter.wire import Delta, Failed, Failure, Prompt, answered, filled, opened, parsed, whole

TEXT_LIMIT = 64 * 2**10


async def plain(client: httpx.AsyncClient, prompt: Prompt) -> AsyncGenerator[Delta, None]:
    """Send the body with `${text}` and `${nonce}` filled in, and take the answer from the body that comes back."""
    content = None if prompt.body is None else json.dumps(filled(prompt.body, prompt)).encode()
    described = {} if content is None else {"Content-Type": "application/json"}
    path = filled(prompt.path or "/", prompt)
    request = client.build_request(prompt.method, str(path), content=content, headers={**described, **prompt.headers})
    async with opened(client, request, prompt.trace) as response:
        await answered(response)
        body = await whole(response)
    text = _beginning(body) if prompt.answer is None else await judged(_found, body, prompt.answer)
    yield Delta(text=text, size=len(body), whole=True)


def _found(body: bytes, answer: str) -> str:
    values = Path.parse(answer).values(parsed(body))
    if not values:
        raise Failed(Failure.UNEXPECTED, f"nothing stands at {answer} in the answer")
    value = values[0]
    if value is None or value in ("", [], {}):
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _beginning(body: bytes) -> str:
    return body[:TEXT_LIMIT].decode(errors="replace")
