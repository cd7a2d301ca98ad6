"""The OpenAI dialects that generate text: chat and completions, as every engine that imitates them speaks them."""

import math
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace

import httpx

from exporter.apart import judged
from exporter.exchange import Fields, Question, answering, count, fresh, number, objects, sound, string, usage
from exporter.paths import Json
from exporter.response import Event, events, parsed, whole
from exporter.wire import Delta, Failed, Failure, Prompt, Usage

DONE = "[DONE]"
STREAM = "text/event-stream"

# vLLM and Ollama; SGLang, LMDeploy, llama-server and transformers; Ollama's own, which some proxies pass on.
THOUGHTS = ("reasoning", "reasoning_content", "thinking")


def chat(client: httpx.AsyncClient, prompt: Prompt) -> AsyncGenerator[Delta, None]:
    """Ask `/v1/chat/completions` with one message of the user."""
    return _said(client, prompt, "/v1/chat/completions", {"messages": [{"role": "user", "content": fresh(prompt)}]})


def completions(client: httpx.AsyncClient, prompt: Prompt) -> AsyncGenerator[Delta, None]:
    """Ask `/v1/completions` to go on from a text."""
    return _said(client, prompt, "/v1/completions", {"prompt": fresh(prompt)})


async def _said(client: httpx.AsyncClient, prompt: Prompt, path: str, words: Fields) -> AsyncGenerator[Delta, None]:
    # Not max_completion_tokens: some servers ignore that and stream hundreds of tokens.
    asked: Fields = {**words, "max_tokens": prompt.max_tokens, "temperature": 0, "stream": True}
    counted: Fields = {**asked, "stream_options": {"include_usage": True}}
    question = Question(path=path, wordings=(counted, asked), accept=STREAM)
    async with answering(client, prompt, question) as response:
        kind = response.headers.get("content-type", "").lower()
        if kind.startswith("text/html"):
            raise Failed(Failure.INVALID, "a page for people")
        if kind.startswith("application/json"):
            yield await judged(_body, await whole(response))
            return
        async with aclosing(_streamed(response)) as deltas:
            async for delta in deltas:
                yield delta


async def _streamed(response: httpx.Response) -> AsyncGenerator[Delta, None]:
    complete = False
    async with aclosing(events(response)) as stream:
        async for event in stream:
            if event.data.strip() == DONE:
                complete = True
                break
            delta = _delta(_frame(event))
            complete = complete or delta.finish is not None
            yield delta
    if not complete:
        raise Failed(Failure.DISCONNECTED, "the stream ended before the answer did")


def _frame(event: Event) -> Fields:
    if event.name == "error":
        raise Failed(Failure.STREAM_ERROR, "an event named error")
    try:
        return sound(parsed(event.data))
    except Failed as error:
        # transformers puts what an exception says between quotes as it is, which need not be JSON then.
        if event.data.lstrip().startswith('{"error"'):
            raise Failed(Failure.STREAM_ERROR, "an error frame inside the answer") from error
        raise


def _body(body: bytes) -> Delta:
    return replace(_delta(sound(parsed(body))), whole=True)


def _delta(frame: Fields) -> Delta:
    text = reasoning = tool = ""
    finish: str | None = None
    logprobs: tuple[float, ...] = ()
    for choice in _choices(frame):
        finish = string(choice.get("finish_reason")) or finish
        said = choice.get("delta") or choice.get("message") or {}
        if not isinstance(said, dict):
            raise Failed(Failure.INVALID, "a delta that is no object")
        text += _text_of(said.get("content")) + string(choice.get("text"))
        reasoning += _thought_of(said)
        if calls := said.get("tool_calls"):
            tool += "".join(_called(calls))
        if told := choice.get("logprobs"):
            logprobs += tuple(_logprobs(told))
    cost = usage(frame.get("usage")) or _timed(frame.get("timings"))
    return Delta(text=text, reasoning=reasoning, tool=tool, finish=finish, usage=cost, logprobs=logprobs)


def _choices(frame: Fields) -> Sequence[dict[str, Json]]:
    # The frame that carries the usage has an empty list, and LiteLLM sends null.
    choices = frame.get("choices") or []
    found = list(objects(choices))
    if not isinstance(choices, list) or len(found) < len(choices):
        raise Failed(Failure.INVALID, "choices are not a list of objects")
    return found


def _text_of(content: Json) -> str:
    # Mistral's reasoning models say their content in parts.
    return content if isinstance(content, str) else "".join(string(part.get("text")) for part in objects(content))


def _thought_of(said: Fields) -> str:
    # The first that is there, since vLLM said the same under two names for a while; Mistral's is a part of the content.
    for name in THOUGHTS:
        if thought := string(said.get(name)):
            return thought
    return "".join(_text_of(part.get("thinking")) for part in objects(said.get("content")))


def _called(calls: Json) -> Iterator[str]:
    for call in objects(calls):
        function = call.get("function")
        if isinstance(function, dict):
            yield string(function.get("name")) + string(function.get("arguments"))


def _logprobs(told: Json) -> Iterator[float]:
    match told:
        case {"content": list() as tokens}:
            values = [token.get("logprob") for token in objects(tokens)]
        case {"token_logprobs": list() as values}:
            pass
        case _:
            return
    yield from (logprob for logprob in map(number, values) if not math.isnan(logprob))


def _timed(timings: Json) -> Usage | None:
    """What llama-server tells where it was not asked for usage; its prompt_n leaves out what was cached."""
    if not isinstance(timings, dict):
        return None
    read, cached = count(timings.get("prompt_n")), count(timings.get("cache_n"))
    prompt = None if read is None or cached is None else read + cached
    return Usage(prompt=prompt, output=count(timings.get("predicted_n")), cached=cached)
