"""A scripted chat model on loopback, so that the whole can be seen on a machine with no model and no GPU."""

import asyncio
import json
import random
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

MODEL = "demo-1b"
THOUGHT = "The user wants the numbers ."
ANSWER = "one , two , three , four , five , six , seven , eight , nine , ten ."
TOKEN_SECONDS = 0.03
PREFILL_SECONDS = 0.12

Reply = AsyncGenerator[bytes, None]


SETTINGS = {"prompt": {"every": 5}, "health": {"every": 5}}


def listening() -> socket.socket:
    """A socket of its own on loopback."""
    return socket.create_server(("127.0.0.1", 0))


def url(listening: socket.socket) -> str:
    """Where a model that is served on this socket is to be asked."""
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


@asynccontextmanager
async def model(listening: socket.socket) -> AsyncIterator[None]:
    """A model server that answers like a small reasoning model."""
    server = await asyncio.start_server(_serve, sock=listening)
    async with server:
        yield


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        body = await reader.readexactly(_length(head))
        async for part in _reply(head.split(" ", 2)[1], body):
            writer.write(part)
            await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
        return  # Whoever asked went away or made no sense; the next one is served.
    except asyncio.CancelledError:
        return  # The program ends; asyncio before 3.12 would tell of it as of an error.
    finally:
        writer.close()


def _length(head: str) -> int:
    lengths = [line.partition(":")[2] for line in head.splitlines() if line.lower().startswith("content-length:")]
    return int(lengths[0]) if lengths else 0


async def _reply(path: str, body: bytes) -> Reply:
    if path == "/v1/chat/completions":
        asked = json.loads(body)
        if not isinstance(asked, dict):
            raise ValueError("a request that is no object")
        async for part in _chat(asked):
            yield part
    elif path == "/v1/models":
        yield _json(200, {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "model-sidecar"}]})
    elif path == "/health":
        yield _json(200, {"status": "ok"})
    else:
        yield _json(404, {"error": {"message": f"no {path} here", "code": 404}})


def _json(status: int, document: Mapping[str, object]) -> bytes:
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


async def _chat(asked: Mapping[str, object]) -> Reply:
    yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    yield _frame({"role": "assistant", "content": ""})
    await asyncio.sleep(PREFILL_SECONDS * random.uniform(0.7, 1.5))  # noqa: S311  a life-like clock, no secret
    pieces = [{"reasoning_content": f"{word} "} for word in THOUGHT.split()]
    pieces += [{"content": f"{word} "} for word in ANSWER.split()]
    limit = asked.get("max_tokens")
    said = pieces[: limit if isinstance(limit, int) else None]
    for piece in said:
        yield _frame(piece)
        await asyncio.sleep(TOKEN_SECONDS * random.uniform(0.6, 1.6))  # noqa: S311  a life-like clock, no secret
    yield _frame({}, finish_reason="stop" if len(said) == len(pieces) else "length")
    usage = {"prompt_tokens": 21, "completion_tokens": len(said), "total_tokens": 21 + len(said)}
    yield f"data: {json.dumps({'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n".encode()


def _frame(delta: Mapping[str, str], *, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    frame = {"object": "chat.completion.chunk", "model": MODEL, "choices": [choice]}
    return f"data: {json.dumps(frame)}\n\n".encode()
