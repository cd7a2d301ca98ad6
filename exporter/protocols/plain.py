"""Any JSON over HTTP: the request is a template, and the answer stands somewhere in the body."""

import json
import re
from base64 import b64decode
from collections.abc import AsyncGenerator

import httpx

from exporter.apart import judged
from exporter.paths import Path
from exporter.response import answered, opened, parsed, whole
from exporter.wire import Delta, Failed, Failure, Prompt, filled

TEXT_LIMIT = 64 * 2**10
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp")
# How PNG, JPEG, GIF and WEBP begin in base64, with or without a data URL's head before them.
PICTURE = re.compile(r"(?:data:image/[\w.+-]+;base64,)?(?=iVBORw0KGgo|/9j/|R0lGOD|UklGR)")


async def plain(client: httpx.AsyncClient, prompt: Prompt) -> AsyncGenerator[Delta, None]:
    """Send the body with `${text}` and `${nonce}` filled in, and take the answer from the body that comes back."""
    content = None if prompt.body is None else json.dumps(filled(prompt.body, prompt)).encode()
    described = {} if content is None else {"Content-Type": "application/json"}
    path = filled(prompt.path or "/", prompt)
    request = client.build_request(prompt.method, str(path), content=content, headers={**described, **prompt.headers})
    async with opened(client, request, prompt.trace) as response:
        await answered(response)
        kind, body = response.headers.get("content-type", ""), await whole(response)
    yield _whole(kind, body) if prompt.answer is None else await judged(_found, body, prompt.answer)


def _whole(kind: str, body: bytes) -> Delta:
    if kind.lower().startswith(PICTURES):
        return Delta(images=(body,), size=len(body), whole=True)
    return Delta(text=body[:TEXT_LIMIT].decode(errors="replace"), size=len(body), whole=True)


def _found(body: bytes, answer: str) -> Delta:
    values = Path.parse(answer).values(parsed(body))
    if not values:
        raise Failed(Failure.UNEXPECTED, f"nothing stands at {answer} in the answer")
    value = values[0]
    if value is None or value in ("", [], {}):
        return Delta(size=len(body), whole=True)
    if isinstance(value, str) and (head := PICTURE.match(value)):
        return Delta(images=(_decoded(value[head.end() :]),), size=len(body), whole=True)
    return Delta(text=value if isinstance(value, str) else json.dumps(value), size=len(body), whole=True)


def _decoded(encoded: str) -> bytes:
    try:
        return b64decode(encoded, validate=True)
    except ValueError as error:
        raise Failed(Failure.INVALID, "a picture that is not in base64") from error
