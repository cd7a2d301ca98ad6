"""The OpenAI dialects: chat and completions, as every engine that imitates them speaks them."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing

import httpx

from exporter.paths import Json
from exporter.threads import judged
from exporter.wire import Delta, Failed, Failure, Prompt, Usage, answered, events, opened, parsed, whole

DONE = "[DONE]"
MOST_TOKENS = 2**32


async def chat(client: httpx.AsyncClient, prompt: Prompt) -> AsyncGenerator[Delta, None]:
    """Ask `/v1/chat/completions` with one message of the user."""
    messages: Json = [{"role": "user", "content": _text(prompt)}]
    async with aclosing(_asked(client, prompt, "/v1/chat/completions", {"messages": messages})) as deltas:
        async for delta in deltas:
            yield delta


async def completions(client: httpx.AsyncClient, prompt: Prompt) -> AsyncGenerator[Delta, None]:
    """Ask `/v1/completions` to go on from a text."""
    async with aclosing(_asked(client, prompt, "/v1/completions", {"prompt": _text(prompt)})) as deltas:
        async for delta in deltas:
            yield delta


def _text(prompt: Prompt) -> str:
    # First in the text, since a prefix cache would answer whatever stands before what changes.
    return f"{prompt.nonce} {prompt.text}".strip()


async def _asked(
    client: httpx.AsyncClient, prompt: Prompt, path: str, question: dict[str, Json]
) -> AsyncGenerator[Delta, None]:
    body: dict[str, Json] = {
        **({"model": prompt.model} if prompt.model else {}),
        **question,
        # Not max_completion_tokens: some servers ignore that and stream hundreds of tokens.
        "max_tokens": prompt.max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = {"Accept": "text/event-stream", **prompt.headers}
    request = client.build_request("POST", prompt.path or path, json=body, headers=headers)
    async with opened(client, request, prompt.trace) as response:
        await answered(response)
        kind = response.headers.get("content-type", "").lower()
        if kind.startswith("text/html"):
            raise Failed(Failure.INVALID, "a page for people")
        if kind.startswith("application/json"):
            for delta in await judged(_body, await whole(response)):
                yield delta
            return
        async with aclosing(_streamed(response)) as deltas:
            async for delta in deltas:
                yield delta


async def _streamed(response: httpx.Response) -> AsyncGenerator[Delta, None]:
    complete = False
    async with aclosing(events(response)) as stream:
        async for event in stream:
            if event.data.strip() == DONE:
                return
            if event.name == "error":
                raise Failed(Failure.STREAM_ERROR, "an event named error")
            delta = _delta(_frame(event.data))
            complete = complete or delta.finish is not None
            yield delta
    if not complete:
        raise Failed(Failure.DISCONNECTED, "the stream ended before the answer did")


def _frame(text: str | bytes) -> Mapping[str, Json]:
    frame = parsed(text)
    if not isinstance(frame, dict):
        raise Failed(Failure.INVALID, "a frame that is no JSON object")
    # Errors come inside a 200 stream too: wrapped as {"error": …}, or flat as {"object": "error", …}.
    if frame.get("error") not in (None, "", False) or frame.get("object") == "error":
        raise Failed(Failure.STREAM_ERROR, "an error frame inside the answer")
    return frame


def _body(body: bytes) -> list[Delta]:
    return [_delta(_frame(body), whole=True)]


def _choices(frame: Mapping[str, Json]) -> Iterator[dict[str, Json]]:
    # The frame that carries the usage has an empty list, and LiteLLM sends null.
    choices = frame.get("choices") or []
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise Failed(Failure.INVALID, "choices are not a list of objects")
    yield from (choice for choice in choices if isinstance(choice, dict))


def _delta(frame: Mapping[str, Json], *, whole: bool = False) -> Delta:
    text = reasoning = tool = ""
    finish = None
    for choice in _choices(frame):
        finish = _string(choice.get("finish_reason")) or finish
        said = choice.get("delta") or choice.get("message") or {}
        if not isinstance(said, dict):
            raise Failed(Failure.INVALID, "a delta that is no object")
        text += _text_of(said.get("content")) + _string(choice.get("text"))
        # vLLM and Ollama say reasoning, SGLang, LMDeploy and llama-server reasoning_content.
        reasoning += _string(said.get("reasoning")) or _string(said.get("reasoning_content"))
        tool += "".join(_called(said.get("tool_calls")))
    usage = _usage(frame.get("usage"))
    return Delta(text=text, reasoning=reasoning, tool=tool, finish=finish, usage=usage, whole=whole)


def _text_of(content: Json) -> str:
    # Mistral's reasoning models say their content in parts.
    parts = content if isinstance(content, list) else []
    return _string(content) + "".join(_string(part.get("text")) for part in parts if isinstance(part, dict))


def _called(calls: Json) -> Iterator[str]:
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            yield _string(function.get("name")) + _string(function.get("arguments"))


def _string(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _usage(usage: Json) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details")
    return Usage(
        prompt=_count(usage.get("prompt_tokens")),
        output=_count(usage.get("completion_tokens")),
        cached=_count(details.get("cached_tokens")) if isinstance(details, dict) else None,
    )


def _count(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS else None
