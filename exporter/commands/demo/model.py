"""The scripted model: a process of its own that speaks like a vLLM, and ends with whoever holds its standard input."""

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, suppress

from exporter.commands.demo.engine import SLOTS, Engine, Manner

MODEL = "demo-1b"
VERSION = "0.33.0+demo"
THOUGHT = "The user wants the numbers ."
ANSWER = "one , two , three , four , five , six , seven , eight , nine , ten ."
GARBAGE_TOKENS = 400
PROMPT_TOKENS = 21
PULSE = 0.5
LEAK_EVERY = 1.0

SUM = re.compile(rb"(\d{1,9}) \+ (\d{1,9})")
BEHIND_THE_KEY = "/v1/"
NONSENSE = (LookupError, TypeError, ValueError)
STARTED = time.time()

Reply = AsyncGenerator[bytes, None]


async def serve(port: int) -> None:
    """Serve on that port of loopback, as each line of standard input says, until there is none."""
    engine = Engine()
    engine.behave(Manner.WELL)
    await asyncio.start_server(lambda reader, writer: _served(engine, reader, writer), "127.0.0.1", port)
    pulses = asyncio.create_task(_pulses(engine))
    leaks = asyncio.create_task(_leaks(engine))
    told = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    async for line in told:
        engine.behave(Manner(line.decode().strip()))
    pulses.cancel()
    leaks.cancel()


async def _pulses(engine: Engine) -> None:
    """Tell whoever started this how much it computes; the first line says that it listens."""
    while True:
        sys.stdout.write(f"{engine.load:.3f}\n")
        sys.stdout.flush()
        await asyncio.sleep(PULSE)


async def _leaks(engine: Engine) -> None:
    while True:
        await asyncio.sleep(LEAK_EVERY)
        engine.leak()


async def _served(engine: Engine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        body = await reader.readexactly(_length(head))
        replying = asyncio.create_task(_replied(_reply(engine, head.split(" ", 2)[1], body), writer))
        gone = asyncio.create_task(reader.read())
        # Whoever hangs up leaves the queue, as with a real engine.
        await asyncio.wait({replying, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        replying.cancel()
        await replying
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, *NONSENSE):
        return  # Whoever asked went away or made no sense; the next one is served.
    except asyncio.CancelledError:
        return  # Whoever asked hung up, or the program ends; asyncio before 3.12 would tell of it as of an error.
    finally:
        writer.close()


async def _replied(reply: Reply, writer: asyncio.StreamWriter) -> None:
    async with aclosing(reply):
        async for part in reply:
            writer.write(part)
            await writer.drain()


def _length(head: str) -> int:
    lengths = [line.partition(":")[2] for line in head.splitlines() if line.lower().startswith("content-length:")]
    return int(lengths[0]) if lengths else 0


async def _reply(engine: Engine, path: str, body: bytes) -> Reply:
    loading = engine.manner is Manner.LOADING
    if engine.manner is Manner.LOCKED and path.startswith(BEHIND_THE_KEY):
        yield _json(401, {"error": "Unauthorized"})
    elif loading and path in {"/health", "/v1/chat/completions"}:
        yield _json(503, {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}})
    elif path == "/v1/chat/completions":
        async with aclosing(_chat(engine, body)) as parts:
            async for part in parts:
                yield part
    elif path == "/metrics":
        yield _told(200, "text/plain; version=0.0.4; charset=utf-8", "".join(_metrics(engine)))
    elif path == "/health":
        yield _told(200, "text/plain", "")
    else:
        yield _json(200, PAGES[path]) if path in PAGES else _json(404, {"detail": "Not Found"})


PAGES: Mapping[str, Mapping[str, object]] = {
    "/v1/models": {
        "object": "list",
        "data": [{"id": MODEL, "object": "model", "owned_by": "vllm", "root": MODEL, "parent": None}],
    },
    "/version": {"version": VERSION},
    "/openapi.json": {"openapi": "3.1.0", "info": {"title": "FastAPI"}, "paths": {"/v1/chat/completions": {}}},
}


def _json(status: int, document: Mapping[str, object]) -> bytes:
    return _told(status, "application/json", json.dumps(document))


def _told(status: int, kind: str, text: str) -> bytes:
    body = text.encode()
    head = f"HTTP/1.1 {status} -\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def _metrics(engine: Engine) -> Iterator[str]:
    """What a vLLM tells of itself, as far as anyone here asks for it."""
    whose = f'engine="0",model_name="{MODEL}"'
    yield from _metric("vllm:num_requests_running", "gauge", {whose: engine.running})
    yield from _metric("vllm:num_requests_waiting", "gauge", {whose: engine.waiting})
    yield from _metric("vllm:kv_cache_usage_perc", "gauge", {whose: 0.96 * engine.running / SLOTS})
    yield from _metric("vllm:prompt_tokens_total", "counter", {whose: engine.prompt_tokens})
    yield from _metric("vllm:generation_tokens_total", "counter", {whose: engine.generation_tokens})
    finished = {f'{whose},finished_reason="{reason}"': number for reason, number in engine.finished.items()}
    yield from _metric("vllm:request_success_total", "counter", finished)
    awake = engine.manner is not Manner.ASLEEP
    sleep = {"awake": awake, "weights_offloaded": not awake, "discard_all": False}
    by_state = {f'{whose},sleep_state="{state}"': int(on) for state, on in sleep.items()}
    yield from _metric("vllm:engine_sleep_state", "gauge", by_state)
    yield from _metric("process_start_time_seconds", "gauge", {"": STARTED})


def _metric(name: str, kind: str, values: Mapping[str, float]) -> Iterator[str]:
    yield f"# HELP {name} As the scripted model counts.\n# TYPE {name} {kind}\n"
    for labels, value in values.items():
        yield f"{name}{{{labels}}} {value}\n" if labels else f"{name} {value}\n"


async def _chat(engine: Engine, body: bytes) -> Reply:
    asked = json.loads(body)
    if not isinstance(asked, dict):
        raise TypeError("a request that is no object")
    yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    end = "abort"
    try:
        async with engine.turn(PROMPT_TOKENS):
            yield _frame({"role": "assistant", "content": ""})
            pieces = list(_pieces(engine, body))
            limit = asked.get("max_tokens")
            said = pieces[: limit if isinstance(limit, int) else None]
            for piece in said:
                await engine.tokens()
                yield _frame(piece)
        end = "stop" if len(said) == len(pieces) else "length"
    finally:
        engine.finished[end] += 1
    yield _frame({}, finish_reason=end)
    usage = {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": len(said),
        "total_tokens": PROMPT_TOKENS + len(said),
    }
    yield f"data: {json.dumps({'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n".encode()


def _pieces(engine: Engine, body: bytes) -> Iterator[Mapping[str, str]]:
    if engine.manner is Manner.GARBAGE:
        yield from [{"content": "!"}] * GARBAGE_TOKENS
        return
    yield from ({"reasoning_content": f"{word} "} for word in THOUGHT.split())
    if sum_ := SUM.search(body):
        yield {"content": f"{int(sum_[1]) + int(sum_[2])} . "}
    yield from ({"content": f"{word} "} for word in ANSWER.split())


def _frame(delta: Mapping[str, str], *, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    frame = {"object": "chat.completion.chunk", "model": MODEL, "choices": [choice]}
    return f"data: {json.dumps(frame)}\n\n".encode()


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # whoever started this is gone
        asyncio.run(serve(int(sys.argv[1])))
