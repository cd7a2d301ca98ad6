"""Text Generation Inference's own streaming: one token an event."""

import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import httpx

from exporter.exchange import count, string
from exporter.paths import Json
from exporter.response import answered, events, opened, parsed
from exporter.wire import Delta, Failed, Failure, Prompt, Usage

# A stream has promised 200 before it is looked at, so that these come inside it; any other is the stream's own failure.
REFUSALS: Mapping[str, Failure] = {
    "overloaded": Failure.RATE_LIMITED,
    "validation": Failure.STATUS_4XX,
}


async def tgi(client: httpx.AsyncClient, prompt: Prompt) -> AsyncGenerator[Delta, None]:
    """Ask `/generate_stream` to go on from a text."""
    question: dict[str, Json] = {
        # First in the text, since a prefix cache would answer whatever stands before what changes.
        "inputs": f"{prompt.nonce} {prompt.text}".strip(),
        # No temperature, since 0 is refused and without one the likeliest token is taken; details, since
        # without them the last event tells neither usage nor why the model stopped.
        "parameters": {"max_new_tokens": prompt.max_tokens, "details": True},
    }
    headers = {"Accept": "text/event-stream", **prompt.headers}
    asked = _merged(question, prompt.body)
    request = client.build_request("POST", prompt.path or "/generate_stream", json=asked, headers=headers)
    async with opened(client, request, prompt.trace) as response:
        await answered(response)
        if response.headers.get("content-type", "").lower().startswith("text/html"):
            raise Failed(Failure.INVALID, "a page for people")
        async with aclosing(_streamed(response)) as deltas:
            async for delta in deltas:
                yield delta


def _merged(ours: Mapping[str, Json], theirs: Json) -> dict[str, Json]:
    further = theirs if isinstance(theirs, dict) else {}
    return {**ours, **{key: _either(ours.get(key), value) for key, value in further.items()}}


def _either(ours: Json, theirs: Json) -> Json:
    return _merged(ours, theirs) if isinstance(ours, dict) and isinstance(theirs, dict) else theirs


async def _streamed(response: httpx.Response) -> AsyncGenerator[Delta, None]:
    async with aclosing(events(response)) as stream:
        async for event in stream:
            frame = _frame(event.data)
            yield _delta(frame)
            # No [DONE] follows, and only the last event has these.
            if not (frame.get("generated_text") is None and frame.get("details") is None):
                return
    raise Failed(Failure.DISCONNECTED, "the stream ended before the answer did")


def _frame(text: str) -> Mapping[str, Json]:
    frame = parsed(text)
    if not isinstance(frame, dict):
        raise Failed(Failure.INVALID, "a frame that is no JSON object")
    if frame.get("error") not in (None, "", False):
        raise Failed(REFUSALS.get(string(frame.get("error_type")), Failure.STREAM_ERROR), "an error frame")
    return frame


def _delta(frame: Mapping[str, Json]) -> Delta:
    token, details = _object(frame.get("token")), _object(frame.get("details"))
    said: Mapping[str, Json] = {} if token.get("special") is True else token
    return Delta(
        text=string(said.get("text")),
        logprobs=_logprobs(said.get("logprob")),
        finish=string(details.get("finish_reason")) or None,
        usage=_usage(details) if details else None,
    )


def _usage(details: Mapping[str, Json]) -> Usage:
    prefill = details.get("prefill")
    length = len(prefill) if isinstance(prefill, list) and prefill else None
    prompt = count(details.get("input_length"))
    return Usage(prompt=length if prompt is None else prompt, output=count(details.get("generated_tokens")))


def _logprobs(value: Json) -> tuple[float, ...]:
    # Beyond 0 it is none: what has no probabilities to tell fills the place with 1.
    return (value,) if isinstance(value, float) and -math.inf < value <= 0 else ()


def _object(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
