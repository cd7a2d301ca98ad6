"""KServe's open inference protocol, as Triton and MLServer speak it too, and Triton's generate extension."""

import math
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from urllib.parse import quote

import httpx

from exporter.apart import judged
from exporter.paths import Json
from exporter.response import answered, events, opened, parsed, whole
from exporter.wire import Delta, Failed, Failure, Prompt, filled

INFER = "/infer"
MOST_VALUES = 2**18  # An image of 224 by 224 has 150,528.

# Not zero: a mask of zeros hides everything, and a model that doubles could not be told from one that is broken.
SMALLEST: Mapping[str, Json] = {
    "BOOL": True,
    **dict.fromkeys(("UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP32", "FP64"), 1),
}


async def infer(client: httpx.AsyncClient, prompt: Prompt) -> AsyncGenerator[Delta, None]:
    """Ask for one inference, of what stands in `prompt.body`, else of the least that the model's metadata allows."""
    path = _path(prompt, INFER)
    question = filled(prompt.body, prompt)
    if question is None:
        metadata = client.build_request("GET", path.removesuffix(INFER), headers=prompt.headers)
        question = await judged(_least, await _body(client, prompt, metadata), str(filled(prompt.text, prompt)))
    request = client.build_request("POST", path, json=question, headers=prompt.headers)
    yield await judged(_outputs, await _body(client, prompt, request))


async def generate(client: httpx.AsyncClient, prompt: Prompt) -> AsyncGenerator[Delta, None]:
    """Ask Triton's `generate_stream` to go on from a text."""
    body: dict[str, Json] = {
        # First in the text, since a prefix cache would answer whatever stands before what changes.
        "text_input": f"{prompt.nonce} {prompt.text}".strip(),
        "parameters": {"max_tokens": prompt.max_tokens, "stream": True},
        **(prompt.body if isinstance(prompt.body, dict) else {}),
    }
    headers = {"Accept": "text/event-stream", **prompt.headers}
    request = client.build_request("POST", _path(prompt, "/generate_stream"), json=body, headers=headers)
    async with opened(client, request, prompt.trace) as response:
        await answered(response)
        if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            yield await judged(_piece_alone, await whole(response))
            return
        # Nothing says that the answer is complete but the end of the stream.
        async with aclosing(events(response)) as stream:
            async for event in stream:
                yield Delta(text=_piece(event.data))


def _path(prompt: Prompt, act: str) -> str:
    if prompt.path is not None:
        return prompt.path
    if prompt.model is None:
        raise Failed(Failure.NOT_FOUND, "no model is named")
    return f"/v2/models/{quote(prompt.model, safe='')}{act}"


async def _body(client: httpx.AsyncClient, prompt: Prompt, request: httpx.Request) -> bytes:
    async with opened(client, request, prompt.trace) as response:
        await answered(response)
        return await whole(response)


def _least(metadata: bytes, text: str) -> dict[str, Json]:
    """The smallest request that fits a model's metadata."""
    inputs = _object(metadata).get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise Failed(Failure.UNEXPECTED, "the model does not say what it takes: say it in prompt.body")
    return {"inputs": [_tensor(it, text, MOST_VALUES // len(inputs)) for it in inputs]}


def _tensor(described: Json, text: str, most: int) -> Json:
    match described:
        case {"name": str(name), "datatype": str(kind), "shape": list(dimensions)}:
            shape = [_dimension(it) for it in dimensions]
            return {"name": name, "datatype": kind, "shape": [*shape], "data": _values(kind, shape, text, most)}
        case _:
            raise Failed(Failure.INVALID, "an input that is not described")


def _dimension(dimension: Json) -> int:
    if not isinstance(dimension, int):
        raise Failed(Failure.INVALID, "a dimension that is no number")
    return max(dimension, 1)  # One that may vary is described as -1.


def _values(kind: str, shape: Sequence[int], text: str, most: int) -> list[Json]:
    if kind != "BYTES" and kind not in SMALLEST:
        raise Failed(Failure.UNEXPECTED, "the model takes what cannot be written as JSON")
    size = 1
    for dimension in shape:
        size *= dimension
        if size > most:
            raise Failed(Failure.UNEXPECTED, "the model takes more than can be made up: say it in prompt.body")
    return [SMALLEST.get(kind, text)] * size


def _object(text: bytes | str) -> Mapping[str, Json]:
    document = parsed(text)
    if not isinstance(document, dict):
        raise Failed(Failure.INVALID, "no JSON object")
    if document.get("error") not in (None, "", False):
        raise Failed(Failure.STREAM_ERROR, "an error inside the answer")
    return document


def _outputs(body: bytes) -> Delta:
    match _object(body):
        case {"outputs": list(outputs)}:
            pass
        case _:
            raise Failed(Failure.INVALID, "no list of outputs")
    texts: list[str] = []
    vectors: list[tuple[float, ...]] = []
    for output in outputs:
        data = list(_flat(output.get("data", []))) if isinstance(output, dict) else []
        words = [value for value in data if isinstance(value, str)]
        if len(words) == len(data):
            texts += words
        else:
            vectors.append(tuple(_number(value) for value in data))
    return Delta(text="\n".join(texts), vectors=tuple(vectors), size=len(body), whole=True)


def _flat(data: Json) -> Iterator[Json]:
    # Without recursion: an answer may be nested deeper than Python calls.
    left = [data]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left.extend(reversed(value))
        else:
            yield value


def _number(value: Json) -> float:
    if value is None:
        return math.nan  # As JSON has no word for it.
    if not isinstance(value, int | float):
        raise Failed(Failure.INVALID, "an output that is neither text nor numbers")
    try:
        return float(value)
    except OverflowError as error:
        raise Failed(Failure.INVALID, "a number beyond all numbers") from error


def _piece(text: str | bytes) -> str:
    match _object(text):
        case {"text_output": str(piece)}:
            return piece
        case {"text_output": list(pieces)}:
            return "".join(piece for piece in pieces if isinstance(piece, str))
        case _:
            raise Failed(Failure.INVALID, "a piece without text")


def _piece_alone(body: bytes) -> Delta:
    return Delta(text=_piece(body), whole=True)
