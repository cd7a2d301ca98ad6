"""Gradio: a named endpoint is called in two steps, and says all that it has said again with every piece."""

import json
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from os.path import commonprefix
from urllib.parse import quote

import httpx

from exporter.apart import judged
from exporter.paths import Json
from exporter.response import answered, events, opened, parsed, whole
from exporter.wire import Delta, Failed, Failure, Prompt, Step, Trace, filled

PREFIX = "/gradio_api"
CHAT = "chat"  # What ChatInterface calls its endpoint.
CALL = re.compile(r"[\w-]{1,128}", re.ASCII)

Question = Mapping[str, Json]


async def gradio(client: httpx.AsyncClient, prompt: Prompt) -> AsyncGenerator[Delta, None]:
    """Call the endpoint that the path names, else the one that takes a text, and tell what each event adds."""
    prompt = replace(prompt, text=str(filled(prompt.text, prompt)))
    name, question = await _question(client, prompt)
    place, reply = await _told(client, prompt, f"/call/{quote(name, safe='')}", question)
    headers = {"Accept": "text/event-stream", **prompt.headers}
    request = client.build_request("GET", f"{place}/{_call(reply)}", headers=headers)
    async with opened(client, request, _since_the_call(prompt.trace)) as response:
        await answered(response)
        async with aclosing(_streamed(response)) as deltas:
            async for delta in deltas:
                yield delta


async def _question(client: httpx.AsyncClient, prompt: Prompt) -> tuple[str, Question]:
    name = (prompt.path or "").strip("/")
    body = filled(prompt.body, prompt)
    fields = body if isinstance(body, dict) else {}
    if name and "data" in fields:
        return name, fields
    _, known = await _told(client, prompt, "/info")
    endpoints = await judged(_endpoints, known, prompt.text)
    name = name or _chosen(endpoints)
    if name not in endpoints:
        raise Failed(Failure.NOT_FOUND, "no endpoint has the name that prompt.path gives")
    data = fields.get("data", endpoints[name])
    if data is None:
        raise Failed(Failure.UNEXPECTED, "the endpoint takes other than one text: say what in prompt.body")
    return name, {**fields, "data": data}


def _endpoints(body: bytes, text: str) -> dict[str, list[Json] | None]:
    """What to send to each endpoint for it to be asked a text; None where one text is not all that it takes."""
    match parsed(body):
        case {"named_endpoints": dict(named)}:
            return {name.strip("/"): _data(endpoint, text) for name, endpoint in named.items()}
        case _:
            raise Failed(Failure.INVALID, "no list of endpoints")


def _data(endpoint: Json, text: str) -> list[Json] | None:
    parameters = endpoint.get("parameters") if isinstance(endpoint, dict) else None
    data: list[Json] = []
    texts = 0
    for parameter in parameters if isinstance(parameters, list) else ():
        match parameter:
            case {"parameter_has_default": True, "parameter_default": value}:
                data.append(value)
            case {"type": {"type": "string", **limits}} if "enum" not in limits:
                data.append(text)
                texts += 1
            case _:
                return None
    return data if texts == 1 else None


def _chosen(endpoints: Mapping[str, list[Json] | None]) -> str:
    fitting = [name for name, data in endpoints.items() if data is not None]
    if CHAT in fitting:
        return CHAT
    if len(fitting) != 1:
        raise Failed(Failure.NOT_FOUND, f"{len(fitting) or 'no'} endpoints take one text: name one in prompt.path")
    return fitting[0]


async def _told(
    client: httpx.AsyncClient, prompt: Prompt, path: str, question: Question | None = None
) -> tuple[httpx.URL, bytes]:
    """Where a request was answered, and what."""
    try:
        return await _told_at(client, prompt, PREFIX + path, question)
    except Failed as missing:
        if missing.failure is not Failure.NOT_FOUND:
            raise
        # Before version 5 there was no prefix.
        return await _told_at(client, prompt, path, question)


async def _told_at(
    client: httpx.AsyncClient, prompt: Prompt, path: str, question: Question | None
) -> tuple[httpx.URL, bytes]:
    if question is None:
        request = client.build_request("GET", path, headers=prompt.headers)
    else:
        headers = {"Content-Type": "application/json", **prompt.headers}
        request = client.build_request("POST", path, content=_worded(dict(question)).encode(), headers=headers)
    async with opened(client, request, prompt.trace) as response:
        await answered(response)
        return request.url, await whole(response)


def _call(body: bytes) -> str:
    match parsed(body):
        case {"event_id": str(call)} if CALL.fullmatch(call):
            return call
        case _:
            raise Failed(Failure.INVALID, "no identifier of the call")


def _since_the_call(trace: Trace | None) -> Trace | None:
    """The trace of the second request, of which the answer counts from the moment the first was written."""
    if trace is None:
        return None

    def told(step: Step, over: object) -> None:
        if step not in {Step.BEGUN, Step.WRITTEN}:
            trace(step, over)

    return told


async def _streamed(response: httpx.Response) -> AsyncGenerator[Delta, None]:
    before = Delta()
    async with aclosing(events(response)) as stream:
        async for event in stream:
            if event.name == "error":
                raise Failed(Failure.STREAM_ERROR, "an event named error")
            if event.name not in {"generating", "complete"}:
                continue
            complete = event.name == "complete"
            now = _answer(parsed(event.data))
            for delta in _added(before, now):
                # What comes only when all is done tells nothing of its first token.
                yield replace(delta, whole=complete and not before.spoken)
            if complete:
                return
            before = now
    raise Failed(Failure.DISCONNECTED, "the stream ended before the answer did")


def _added(before: Delta, now: Delta) -> Iterator[Delta]:
    if reasoning := _rest(before.reasoning, now.reasoning):
        yield Delta(reasoning=reasoning)
    if text := _rest(before.text, now.text):
        yield Delta(text=text)


def _rest(before: str, now: str) -> str:
    return now[len(commonprefix((before, now))) :]  # noqa: RUF071  of texts, not of paths


def _answer(outputs: Json) -> Delta:
    if not isinstance(outputs, list):
        raise Failed(Failure.INVALID, "outputs that are no list")
    # Beside the answer an endpoint may clear the text box, or keep a state that says null.
    return next((said for said in map(_said, outputs) if said.spoken), Delta())


def _said(output: Json) -> Delta:
    match output:
        case {"__type__": "update", "value": value}:
            return _value(value)
        case {"__type__": "update"}:
            return Delta()
        case _:
            return _value(output)


def _value(value: Json) -> Delta:
    if value is None or value in ("", [], {}):
        return Delta()
    match value:
        case str():
            return Delta(text=value)
        case {"role": str()}:
            return _messages([value])
        case [{"role": str()}, *_]:
            return _messages(value)
        case [*_, [str() | None, str() | None as answer]]:  # A chat's turns, before there were messages.
            return Delta(text=answer or "")
        case _:
            return Delta(text=_worded(value))


def _messages(messages: list[Json]) -> Delta:
    """What the model has said since the user spoke last; a message with a title holds its thoughts."""
    text = reasoning = ""
    for message in messages:
        match message:
            case {"role": "user"}:
                text = reasoning = ""
            case {"metadata": {"title": str(title)}, "content": content} if title:
                reasoning += "".join(_content(content))
            case {"content": content}:
                text += "".join(_content(content))
    return Delta(text=text, reasoning=reasoning)


def _content(content: Json) -> Iterator[str]:
    for part in content if isinstance(content, list) else [content]:
        match part:
            case str(text) | {"text": str(text)}:
                yield text


def _worded(value: Json) -> str:
    try:
        return json.dumps(value)
    except RecursionError as error:
        raise Failed(Failure.INVALID, "an answer nested too deep") from error
