"""A quick model service that is down, slow, broken or another one now and then: `python -m tests.soak.service PORT`."""

import asyncio
import json
import random
import sys
from collections.abc import Callable
from itertools import count

STREAM = "text/event-stream"
JSON = "application/json"
TEXT = "text/plain; version=0.0.4"
HANGS = 2.0  # Seconds, which is longer than any deadline of the soak.
GOOD = 0.9
"""The share of answers that are good."""
INVENTED = 0.02
"""The share of pages of metrics that tell of a model nobody has seen before."""
CROWD = 50
"""Such models on the first page of a life, so that what is remembered of them is full within minutes, and not days."""

PAGE = """\
vllm:num_requests_running{{model_name="{model}"}} {running}
vllm:num_requests_waiting{{model_name="{model}"}} {waiting}
vllm:kv_cache_usage_perc{{model_name="{model}"}} 0.25
vllm:prompt_tokens_total{{model_name="{model}"}} {asked}
vllm:generation_tokens_total{{model_name="{model}"}} {asked}
vllm:request_success_total{{finished_reason="stop",model_name="{model}"}} {asked}
vllm:time_to_first_token_seconds_bucket{{le="0.5",model_name="{model}"}} {asked}
vllm:time_to_first_token_seconds_bucket{{le="+Inf",model_name="{model}"}} {asked}
vllm:time_to_first_token_seconds_count{{model_name="{model}"}} {asked}
vllm:time_to_first_token_seconds_sum{{model_name="{model}"}} 1.5
"""


class Model:
    """What is asked, and what is said to it; no two answers need be alike."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self._asked = count()
        self._looked = count()

    def answer(self, method: str, path: str) -> tuple[bytes, float]:
        """The bytes of an answer, and how many seconds it hangs after them; none to hang up."""
        match method, path:
            case "POST", _:
                return self._said()
            case _, "/v1/models":
                return reply(json.dumps({"object": "list", "data": [{"id": "tiny", "owned_by": "vllm"}]})), 0
            case _, "/version":
                return reply(json.dumps({"version": "0.11.0"})), 0
            case _, "/metrics":
                return reply(self._page(), kind=TEXT), 0
            case _, "/health":
                return (reply(""), 0) if self._random.random() < GOOD else (reply("starting", 503), 0)
        return reply('{"detail":"Not Found"}', 404), 0

    def _said(self) -> tuple[bytes, float]:
        if self._random.random() < GOOD:
            return self._streamed(), 0
        whole = self._streamed()
        faults: tuple[Callable[[], tuple[bytes, float]], ...] = (
            lambda: (reply("boom", 500), 0),
            lambda: (reply("loading", 503), 0),
            lambda: (reply("x" * 300_000), 0),
            lambda: (reply(json.dumps({"error": {"message": "broken"}})), 0),
            lambda: (whole[: len(whole) // 2], 0),
            lambda: (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", 0),
            lambda: (b"", 0),
            lambda: (whole[: len(whole) // 2], HANGS) if self._random.random() < 0.1 else (b"", 0),
        )
        return self._random.choice(faults)()

    def _streamed(self) -> bytes:
        number = next(self._asked)
        words = [f"word{number} ", "of ", "an ", "answer."]
        pieces = [
            json.dumps({"model": "tiny", "choices": [{"index": 0, "delta": {"content": word}}]}) for word in words
        ]
        usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
        cost = json.dumps({"model": "tiny", "choices": [], "usage": usage})
        frames = "".join(f"data: {piece}\n\n" for piece in [*pieces, cost])
        return reply(f"{frames}data: [DONE]\n\n", kind=STREAM)

    def _page(self) -> str:
        number = next(self._looked)
        if number == 0:
            return "".join(self._of(self._new()) for _ in range(CROWD))
        # One of several models, and now and then one that nobody has seen before.
        known = self._random.random() >= INVENTED
        return self._of(f"tiny-{self._random.randrange(8)}" if known else self._new())

    def _new(self) -> str:
        return f"new-{self._random.randrange(10**9)}"

    def _of(self, model: str) -> str:
        return PAGE.format(model=model, running=self._random.randrange(9), waiting=0, asked=next(self._asked))


def reply(body: str, status: int = 200, kind: str = JSON) -> bytes:
    """A whole answer."""
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


class Exchange(asyncio.Protocol):
    """One connection, on which a request is answered as soon as its header has come."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._heard += data
        head, ended, body = self._heard.partition(b"\r\n\r\n")
        if not ended or len(body) < length(head):
            return
        self._heard = b""
        method, path, *_ = head.decode("latin-1").split(" ", 2)
        said, hangs = self._model.answer(method, path)
        self._transport.write(said)
        if hangs:
            asyncio.get_running_loop().call_later(hangs, self._transport.abort)
        elif not said or b"Content-Length" not in said[:200] or method == "POST":
            self._transport.close()


def length(head: bytes) -> int:
    """How long a request's body is, by its header."""
    fields = dict(line.lower().partition(b":")[::2] for line in head.split(b"\r\n")[1:])
    return int(fields.get(b"content-length", b"0"))


async def serve(port: int, seed: str) -> None:
    """Answer for ever."""
    model = Model(seed)
    server = await asyncio.get_running_loop().create_server(lambda: Exchange(model), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2]))
