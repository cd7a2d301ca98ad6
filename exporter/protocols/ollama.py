"""Ollama's own API: a chat in lines of JSON, and embeddings."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing

import httpx

from exporter.apart import judged
from exporter.exchange import count, string, vectors
from exporter.paths import Json
from exporter.response import answered, lines, opened, parsed, whole
from exporter.wire import Delta, Failed, Failure, Prompt, Usage


async def chat(client: httpx.AsyncClient, prompt: Prompt) -> AsyncGenerator[Delta, None]:
    """Ask `/api/chat` with one message of the user."""
    question: dict[str, Json] = {
        "messages": [{"role": "user", "content": _text(prompt)}],
        "stream": True,
        "options": {"num_predict": prompt.max_tokens, "temperature": 0},
    }
    async with opened(client, _request(client, prompt, "/api/chat", question), prompt.trace) as response:
        await answered(response)
        async with aclosing(_streamed(response)) as deltas:
            async for delta in deltas:
                yield delta


async def embed(client: httpx.AsyncClient, prompt: Prompt) -> AsyncGenerator[Delta, None]:
    """Ask `/api/embed` for the vector of a text."""
    request = _request(client, prompt, "/api/embed", {"input": _text(prompt)})
    async with opened(client, request, prompt.trace) as response:
        await answered(response)
        body = await whole(response)
    yield await judged(_embedded, body)


def _text(prompt: Prompt) -> str:
    # First in the text, since a prefix cache would answer whatever stands before what changes.
    return f"{prompt.nonce} {prompt.text}".strip()


def _request(client: httpx.AsyncClient, prompt: Prompt, path: str, question: dict[str, Json]) -> httpx.Request:
    # No keep_alive: a model keeps the last one that anybody sent, for the requests of everybody after. And no num_ctx
    # but that which it was loaded with, as whoever asks has seen, since any other loads it again.
    named: dict[str, Json] = {"model": prompt.model} if prompt.model else {}
    asked = _merged({**named, **question}, prompt.body)
    return client.build_request("POST", prompt.path or path, json=asked, headers=prompt.headers)


def _merged(ours: Mapping[str, Json], theirs: Json) -> dict[str, Json]:
    further = theirs if isinstance(theirs, dict) else {}
    return {**ours, **{key: _either(ours.get(key), value) for key, value in further.items()}}


def _either(ours: Json, theirs: Json) -> Json:
    return _merged(ours, theirs) if isinstance(ours, dict) and isinstance(theirs, dict) else theirs


async def _streamed(response: httpx.Response) -> AsyncGenerator[Delta, None]:
    # One object instead of many lines comes as application/json, where the body asked for no stream.
    at_once = response.headers.get("content-type", "").lower().startswith("application/json")
    async with aclosing(lines(response)) as all_lines:
        async for line in all_lines:
            if line.strip():
                frame = _frame(line)
                yield _delta(frame, whole=at_once)
                if frame.get("done") is True:
                    return
    raise Failed(Failure.DISCONNECTED, "the stream ended before the answer did")


def _frame(text: bytes) -> Mapping[str, Json]:
    frame = parsed(text)
    if not isinstance(frame, dict):
        raise Failed(Failure.INVALID, "a line that is no JSON object")
    if frame.get("error") not in (None, "", False):
        raise Failed(Failure.STREAM_ERROR, "an error inside the answer")
    return frame


def _delta(frame: Mapping[str, Json], *, whole: bool) -> Delta:
    message = frame.get("message") or {}
    if not isinstance(message, dict):
        raise Failed(Failure.INVALID, "a message that is no object")
    return Delta(
        text=string(message.get("content")),
        reasoning=string(message.get("thinking")),
        tool="".join(_called(message.get("tool_calls"))),
        finish=string(frame.get("done_reason")) or None,
        usage=_usage(frame),
        whole=whole,
    )


def _usage(frame: Mapping[str, Json]) -> Usage | None:
    # A count of zero is left out, as it is where the whole prompt was cached: then it is not known.
    prompt, output = count(frame.get("prompt_eval_count")), count(frame.get("eval_count"))
    return None if prompt is None and output is None else Usage(prompt=prompt, output=output)


def _called(calls: Json) -> Iterator[str]:
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            yield string(function.get("name"))


def _embedded(body: bytes) -> Delta:
    frame = _frame(body)
    return Delta(vectors=vectors(frame.get("embeddings")), usage=_usage(frame), size=len(body), whole=True)
