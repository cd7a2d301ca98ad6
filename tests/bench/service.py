"""A service that streams tokens and stamps each as it writes it: `python -m tests.bench.service PORT`.

Every token is the moment of its writing in nanoseconds of the monotonic clock, which all processes share. How long a
prompt really waited for its first token is told at /truth by the part of the path that stands before /v1.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import uvloop

from tests.bench.program import running
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
FIRST, GAP, TOKENS = 0.02, 0.005, 32
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
COUNT = re.compile(rb'"max_tokens": ?(\d+)')
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Speaker(asyncio.Protocol):
    """One connection."""

    def __init__(self, truth: dict[str, float]) -> None:
        self._truth = truth
        self._heard = b""
        self._speaking: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]  # a stream's, as always

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._speaking:
            self._speaking.cancel()

    def data_received(self, data: bytes) -> None:
        self._heard += data
        head, found, body = self._heard.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not found or len(body) < int(length[1] if length else 0):
            return
        at, self._heard = time.monotonic_ns(), b""
        path = head.split(b" ", 2)[1].decode()
        if path.endswith("/chat/completions"):
            asked = COUNT.search(body)
            tokens = min(int(asked[1]) if asked else TOKENS, 64)
            self._speaking = asyncio.get_running_loop().create_task(self._speak(path.partition("/v1")[0], at, tokens))
        else:
            told = json.dumps(self._truth if path == "/truth" else {"status": "ok"}).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(told), told))

    async def _speak(self, name: str, asked: int, tokens: int) -> None:
        loop = asyncio.get_running_loop()
        self._transport.write(STREAM)
        due, first = loop.time() + FIRST, 0
        for _ in range(tokens):
            await asyncio.sleep(max(due - loop.time(), 0))
            due += GAP
            now = time.monotonic_ns()
            first = first or now
            self._say({"index": 0, "delta": {"content": f"{now} "}, "finish_reason": None})
        self._say({"index": 0, "delta": {}, "finish_reason": "length"}, completion_tokens=tokens, prompt_tokens=9)
        self._truth[name] = (first - asked) * 1e-9
        self._chunk(b"data: [DONE]\n\n")
        self._transport.write(b"0\r\n\r\n")

    def _say(self, choice: object, **usage: int) -> None:
        document = {
            "id": "chatcmpl-0123456789abcdef0123456789abcdef",
            "object": "chat.completion.chunk",
            "created": 1700000000,
            "model": "bench",
            "choices": [choice],
        }
        self._chunk(f"data: {json.dumps(document | ({'usage': usage} if usage else {}))}\n\n".encode())

    def _chunk(self, piece: bytes) -> None:
        self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))


async def _serve(port: int) -> None:
    truth: dict[str, float] = {}
    server = await asyncio.get_running_loop().create_server(lambda: Speaker(truth), "127.0.0.1", port, backlog=2048)
    with suppress(asyncio.CancelledError):
        await server.serve_forever()


@contextmanager
def speaking() -> Iterator[str]:
    """The URL of such a service."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.service", str(port)]
    # Run from the project's folder by the one who starts the bench, so that -m finds it.
    with running("service", command, port, environment={"PYTHONPATH": str(ROOT)}):
        yield f"http://127.0.0.1:{port}"


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
