"""A thought aloud is no part of the answer in whatever protocol it comes, and is timed as the token that it is."""

import asyncio
import json
from collections.abc import Callable, Sequence

import pytest

from exporter.ask import Attempt, Limits, ask
from exporter.protocols import PROTOCOLS
from exporter.wire import Prompt
from tests.services.client import client
from tests.services.openai import CHAT, DONE, STOP
from tests.services.openai import piece as chat_piece
from tests.services.scripted import Answer, Service, Stage, Step, head, reply, script, stream

PATIENT = Limits(first_token=10.0, stall=10.0, total=20.0)
PIECES = ("<th", "ink>two and", " two</thi", "nk>", "it is", " four")
WAIT = 0.1  # Between two pieces.


def line(document: object) -> bytes:
    return json.dumps(document).encode() + b"\n"


def event(document: object, name: str = "message") -> bytes:
    return f"event: {name}\n".encode() + b"data: " + line(document) + b"\n"


def spaced(pieces: Sequence[bytes]) -> Sequence[Step]:
    """These pieces with a wait before each but the first."""
    return [step for piece in pieces for step in (WAIT, piece)][1:]


def openai(pieces: Sequence[str]) -> dict[str, Answer]:
    return {f"POST {CHAT}": stream(*spaced([chat_piece(content=piece) for piece in pieces]), STOP, DONE)}


def ollama(pieces: Sequence[str]) -> dict[str, Answer]:
    lines = [line({"message": {"content": piece}, "done": False}) for piece in pieces]
    steps = spaced(lines), line({"done": True, "done_reason": "stop"})
    return {"POST /api/chat": script(head(200, "Content-Type: application/x-ndjson"), *steps[0], steps[1])}


def tgi(pieces: Sequence[str]) -> dict[str, Answer]:
    events = [event({"token": {"text": piece}}) for piece in pieces]
    last = event({"token": {"text": "", "special": True}, "details": {"finish_reason": "length"}})
    return {"POST /generate_stream": stream(*spaced(events), last)}


def triton(pieces: Sequence[str]) -> dict[str, Answer]:
    return {"POST /v2/models/tiny/generate_stream": stream(*spaced([event({"text_output": it}) for it in pieces]))}


def gradio(pieces: Sequence[str]) -> dict[str, Answer]:
    said = ["".join(pieces[: number + 1]) for number in range(len(pieces))]
    events = [event([text], "generating") for text in said]
    return {
        "POST /gradio_api/call/chat": reply('{"event_id": "c0ffee"}'),
        "GET /gradio_api/call/chat/c0ffee": stream(*spaced(events), event([said[-1]], "complete")),
    }


SAYING: dict[str, Callable[[Sequence[str]], dict[str, Answer]]] = {
    "openai-chat": openai,
    "ollama": ollama,
    "tgi": tgi,
    "triton-generate": triton,
    "gradio": gradio,
}


def asked(service: Service, protocol: str) -> Attempt:
    """How one prompt goes."""
    prompt = Prompt(text="2+2?", model="tiny")
    if protocol == "gradio":
        prompt = Prompt(text="2+2?", path="chat", body={"data": ["${text}"]})

    async def attempt() -> Attempt:
        async with client(service.url) as asking:
            return await ask(PROTOCOLS[protocol], asking, prompt, PATIENT)

    return asyncio.run(attempt())


@pytest.mark.parametrize("protocol", SAYING)
def test_the_answer_is_judged_without_what_was_thought_aloud(protocol: str, stage: Stage) -> None:
    attempt = asked(stage.serve(SAYING[protocol](PIECES)), protocol)

    assert attempt.failed is None
    assert (attempt.answer.text, attempt.answer.thought) == ("it is four", True)


@pytest.mark.parametrize("protocol", SAYING)
def test_the_first_token_is_the_first_of_the_thought_though_it_be_half_a_mark(protocol: str, stage: Stage) -> None:
    attempt = asked(stage.serve(SAYING[protocol](PIECES)), protocol)

    assert attempt.first_token is not None
    assert attempt.first_answer_token is not None
    # It is the fifth piece that begins the answer.
    assert attempt.first_answer_token - attempt.first_token >= 3.9 * WAIT
    assert attempt.usage.output == len(PIECES)


@pytest.mark.parametrize("pieces", [("<", "b>four</b>"), ("\n", "four"), ("<thi",)])
def test_an_answer_that_might_have_become_a_thought_is_timed_from_its_first_piece(
    pieces: Sequence[str], stage: Stage
) -> None:
    attempt = asked(stage.serve(ollama(pieces)), "ollama")

    assert attempt.answer.text == "".join(pieces)
    assert attempt.first_token is not None
    assert attempt.first_answer_token == attempt.first_token


def test_a_thought_that_never_ends_is_no_answer_and_not_empty_either(stage: Stage) -> None:
    attempt = asked(stage.serve(ollama(("<think>two", " and two"))), "ollama")

    assert attempt.failed is None
    assert (attempt.answer.text, attempt.answer.thought) == ("", True)
    assert attempt.first_answer_token is None


def test_what_is_thought_aloud_in_one_body_is_no_text(stage: Stage) -> None:
    body = {"choices": [{"message": {"content": "<think>hm</think>four"}, "finish_reason": "stop"}]}
    service = stage.serve({f"POST {CHAT}": reply(json.dumps(body), 200, "Content-Type: application/json")})

    assert asked(service, "openai-chat").answer.text == "four"
