"""One question on a clock: what is timed, what is counted, and which deadline a slow answer missed."""

import asyncio
import json
import ssl
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from threading import Event
from time import perf_counter

import pytest

from exporter.ask import Attempt, Limits, ask
from exporter.protocols import PROTOCOLS
from exporter.wire import Failure, Prompt, Usage
from tests.services.client import client
from tests.services.openai import ANSWER, CHAT, DONE, GOOD, ROLE, STOP, WORDS, last, piece, spent
from tests.services.recorded import recorded
from tests.services.scripted import (
    FOREVER,
    STREAM_HEAD,
    Answer,
    Ending,
    Request,
    Service,
    Stage,
    Step,
    chunks,
    head,
    reply,
    script,
    stream,
)

CERTIFICATE = Path(__file__).parent / "services" / "self-signed.pem"
JSON = "Content-Type: application/json"
PATIENT = Limits(first_token=10.0, stall=10.0, total=20.0)
PROMPT = Prompt(text="Count.", nonce="0a1b2c3d", model="tiny")


def chatting(stage: Stage, answer: Answer) -> Service:
    return stage.serve({f"POST {CHAT}": answer})


def asked(url: str, limits: Limits = PATIENT, *, protocol: str = "openai-chat", prompt: Prompt = PROMPT) -> Attempt:
    """How one prompt goes."""

    async def attempt() -> Attempt:
        async with client(url) as asking:
            return await ask(PROTOCOLS[protocol], asking, prompt, limits)

    return asyncio.run(attempt())


def told(stage: Stage, *steps: Step) -> Attempt:
    """How a prompt goes whose answer is streamed so, after its role."""
    return asked(chatting(stage, stream(ROLE, *steps)).url)


def reason(attempt: Attempt) -> Failure | None:
    return None if attempt.failed is None else attempt.failed.failure


class Stamped:
    """An answer that stamps each of its words just before it says it."""

    def __init__(self, *steps: Step) -> None:
        self.at: list[float] = []
        self._steps = steps

    def __call__(self, _request: Request) -> Iterator[Step]:
        yield STREAM_HEAD
        for step in chunks(*self._steps):
            if isinstance(step, bytes) and b'"content": "' in step:
                self.at.append(perf_counter())
            yield step
        yield b"0\r\n\r\n"


def test_a_good_answer_is_told_in_full(stage: Stage) -> None:
    attempt = told(stage, *WORDS, STOP, last(7), DONE)

    assert attempt.failed is None
    assert attempt.answer.text == "The answer is four."
    assert attempt.answer.size == len("The answer is four.")
    assert attempt.usage == Usage(prompt=9, output=7)
    assert attempt.estimated is False
    assert attempt.buffered is False
    assert attempt.seconds is not None
    assert attempt.tokens_per_second == 7 / attempt.seconds


def test_the_first_token_is_the_first_that_says_something(stage: Stage) -> None:
    attempt = told(stage, 0.1, *WORDS, 0.1, STOP, DONE)

    assert attempt.first_token is not None
    assert attempt.seconds is not None
    assert 0.09 <= attempt.first_token <= attempt.seconds - 0.09
    assert attempt.first_answer_token == attempt.first_token


@pytest.mark.parametrize(
    "thought", [piece(reasoning="hm"), piece(reasoning_content="hm")], ids=["reasoning", "reasoning_content"]
)
def test_a_thought_is_the_first_token_and_not_the_first_of_the_answer(thought: bytes, stage: Stage) -> None:
    attempt = told(stage, thought, 0.1, *WORDS, STOP, DONE)

    assert attempt.first_token is not None
    assert attempt.first_answer_token is not None
    assert attempt.first_token <= attempt.first_answer_token - 0.09


def test_an_answer_that_is_all_thought_has_a_first_token_and_is_not_empty(stage: Stage) -> None:
    attempt = told(stage, piece(reasoning="hm"), piece(reasoning=" hm"), STOP, DONE)

    assert attempt.failed is None
    assert attempt.first_token is not None
    assert attempt.first_answer_token is None


def test_the_call_of_a_tool_is_an_answer(stage: Stage) -> None:
    call = {"index": 0, "function": {"name": "add", "arguments": "{}"}}

    attempt = told(stage, piece(tool_calls=[call]), piece("tool_calls"), DONE)

    assert attempt.failed is None
    assert attempt.first_answer_token == attempt.first_token is not None


def test_the_times_of_an_answer_are_those_at_which_it_was_said(stage: Stage) -> None:
    answer = Stamped(ROLE, 0.05, WORDS[0], 0.4, WORDS[1], 0.05, WORDS[2], STOP, DONE)

    attempt = asked(chatting(stage, answer).url)

    gaps = [after - before for before, after in pairwise(answer.at[1:])]
    assert attempt.longest_gap == pytest.approx(max(gaps), abs=0.2)


def test_tokens_that_follow_closely_are_taken_up_together_and_timed_one_by_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.clock.flight.TOGETHER", 3600.0)
    answer = Stamped(ROLE, WORDS[0], 0.1, WORDS[1], 0.3, WORDS[2], 0.1, STOP, DONE)

    attempt = asked(chatting(stage, answer).url)

    assert attempt.failed is None
    assert attempt.merged_reads == 0
    assert attempt.longest_gap == pytest.approx(answer.at[3] - answer.at[2], abs=0.1)


def test_the_time_per_token_is_that_from_the_first_to_the_last_over_the_tokens_between(stage: Stage) -> None:
    attempt = told(stage, WORDS[0], 0.05, WORDS[1], STOP, last(11), DONE)

    assert attempt.longest_gap is not None
    assert attempt.time_per_token == pytest.approx(attempt.longest_gap / 10)


def test_one_piece_has_no_gap_and_no_time_per_token(stage: Stage) -> None:
    attempt = told(stage, WORDS[0], STOP, last(5), DONE)

    assert attempt.failed is None
    assert attempt.first_token is not None
    assert attempt.longest_gap is None
    assert attempt.time_per_token is None


def test_tokens_that_the_service_does_not_count_are_estimated_from_pieces(stage: Stage) -> None:
    attempt = told(stage, *WORDS, STOP, DONE)

    assert attempt.usage == Usage(output=3)
    assert attempt.estimated is True


def test_a_service_that_counts_no_token_of_what_it_said_is_not_believed(stage: Stage) -> None:
    service = stage.serve(recorded("litserve-openai-0.2.19/chat_stream_usage"))

    attempt = asked(service.url)

    assert attempt.usage.output == 5
    assert attempt.estimated is True


def test_pieces_that_one_read_brought_share_a_stamp_and_are_counted(stage: Stage) -> None:
    attempt = told(stage, WORDS[0] + WORDS[1], 0.05, WORDS[2], 0.05, WORDS[0] + WORDS[1] + WORDS[2], STOP, DONE)

    assert attempt.merged_reads == 2
    assert attempt.longest_gap is not None
    assert attempt.longest_gap >= 0.04


def test_a_stream_that_was_held_back_tells_no_first_token(stage: Stage) -> None:
    attempt = told(stage, 0.1, b"".join([*WORDS, *WORDS, STOP, last(6), DONE]))

    assert attempt.failed is None
    assert attempt.buffered is True
    assert (attempt.first_token, attempt.first_answer_token) == (None, None)
    assert (attempt.longest_gap, attempt.time_per_token) == (None, None)
    assert attempt.seconds is not None
    assert attempt.tokens_per_second is not None


def test_a_few_pieces_in_one_read_may_be_a_fast_model(stage: Stage) -> None:
    attempt = told(stage, b"".join([*WORDS, STOP, DONE]))

    assert attempt.buffered is False
    assert attempt.first_token is not None


def test_an_answer_in_one_body_has_a_duration_and_no_token_is_timed(stage: Stage) -> None:
    whole = {"choices": [{"message": {"content": "four"}, "finish_reason": "stop"}], "usage": spent(5)}
    service = chatting(stage, reply(json.dumps(whole), 200, JSON))

    attempt = asked(service.url)

    assert attempt.failed is None
    assert attempt.seconds is not None
    assert (attempt.first_token, attempt.longest_gap, attempt.buffered) == (None, None, None)
    assert (attempt.usage.output, attempt.estimated) == (5, False)


def test_tokens_of_an_answer_in_one_body_are_not_estimated(stage: Stage) -> None:
    service = chatting(stage, reply(json.dumps({"choices": [{"message": {"content": "four"}}]}), 200, JSON))

    attempt = asked(service.url)

    assert attempt.failed is None
    assert (attempt.usage.output, attempt.estimated, attempt.tokens_per_second) == (None, False, None)


def test_the_size_of_a_plain_answer_is_that_of_its_body(stage: Stage) -> None:
    service = stage.serve(recorded("fastapi-image/generate"))

    attempt = asked(service.url, protocol="plain", prompt=Prompt(path="/generate", body={}))

    assert attempt.failed is None
    assert attempt.answer.size == 12420


SHORT = 0.4
EMPTY = [
    pytest.param(stream(ROLE, STOP, DONE), id="a stream that says nothing"),
    pytest.param(stream(ROLE, piece(content=" \n"), STOP, DONE), id="a stream that says blanks"),
    pytest.param(stream(DONE), id="a stream that only ends"),
    pytest.param(reply('{"choices": [{"message": {"content": ""}}]}', 200, JSON), id="a body that says nothing"),
    pytest.param(reply('{"choices": []}', 200, JSON), id="a body without a choice"),
]


@pytest.mark.parametrize("answer", EMPTY)
def test_an_answer_that_says_nothing_is_empty(answer: Answer, stage: Stage) -> None:
    assert reason(asked(chatting(stage, answer).url)) is Failure.EMPTY


def without_end(start: Sequence[Step], *again: Step) -> Answer:
    """An answer that goes on for ever."""

    def answer(_request: Request) -> Iterator[Step]:
        yield from start
        while True:
            yield from again

    return answer


DRIP = (b": ping\n\n", 0.02)
OPEN = (head(200, "Content-Type: text/event-stream"), ROLE)
FIRST = Limits(first_token=SHORT, stall=20.0, total=20.0)
STALL = Limits(first_token=20.0, stall=SHORT, total=20.0)
TOTAL = Limits(first_token=20.0, stall=20.0, total=SHORT)
MISSED = [
    pytest.param(without_end(OPEN, *DRIP), FIRST, Failure.TIMEOUT_FIRST_TOKEN, id="pings and no token"),
    pytest.param(without_end([*OPEN, *WORDS], *DRIP), STALL, Failure.TIMEOUT_STALL, id="tokens and then pings"),
    pytest.param(without_end(OPEN, WORDS[0], 0.02), TOTAL, Failure.TIMEOUT_TOTAL, id="tokens for ever"),
]


@pytest.mark.parametrize(("answer", "limits", "failure"), MISSED)
def test_a_slow_answer_misses_the_deadline_that_it_is_late_for(
    answer: Answer, limits: Limits, failure: Failure, stage: Stage
) -> None:
    assert reason(asked(chatting(stage, answer).url, limits)) is failure


def test_tokens_in_time_are_waited_for_beyond_the_first_deadline(stage: Stage) -> None:
    words = [step for word in (*WORDS, *WORDS) for step in (0.1, word)]
    service = chatting(stage, stream(ROLE, *words, STOP, DONE))

    attempt = asked(service.url, Limits(first_token=0.5, stall=0.5, total=20.0))

    assert attempt.failed is None
    assert attempt.seconds is not None
    assert attempt.seconds > 0.5


def test_an_answer_that_is_not_streamed_has_no_first_token_to_be_late_with(stage: Stage) -> None:
    service = stage.serve({"POST /ask": script(0.2, head(200, "Content-Length: 4"), b"four")})

    attempt = asked(service.url, Limits(first_token=0.1, stall=0.1, total=20.0), protocol="plain", prompt=PLAIN)

    assert attempt.failed is None


PLAIN = Prompt(path="/ask", body={})


def test_a_connection_that_is_not_taken_has_a_reason_of_its_own(stage: Stage) -> None:
    attempt = asked(f"http://127.0.0.1:{stage.crowded_port()}", FIRST)

    assert reason(attempt) is Failure.TIMEOUT_CONNECT


def test_a_connection_that_no_one_hears_is_late_with_the_first_token(stage: Stage) -> None:
    attempt = asked(f"http://127.0.0.1:{stage.silent_port()}", FIRST)

    assert reason(attempt) is Failure.TIMEOUT_FIRST_TOKEN
    assert list(attempt.phases) == ["resolve", "connect", "send"]


def test_a_failure_tells_no_time_but_the_phases_that_it_reached(stage: Stage) -> None:
    service = chatting(stage, script(*OPEN, *WORDS, 0.05, Ending.RESET))

    attempt = asked(service.url)

    assert reason(attempt) is Failure.DISCONNECTED
    assert (attempt.seconds, attempt.first_token, attempt.longest_gap) == (None, None, None)
    assert attempt.tokens_per_second is None
    assert list(attempt.phases) == ["resolve", "connect", "send", "wait", "stream"]
    assert attempt.usage.output == 3


def test_the_phases_of_an_answer_follow_one_another(stage: Stage) -> None:
    service = chatting(stage, script(0.1, STREAM_HEAD, 0.1, *chunks(*ANSWER), b"0\r\n\r\n"))

    attempt = asked(service.url)

    assert list(attempt.phases) == ["resolve", "connect", "send", "wait", "stream"]
    assert attempt.phases["wait"] >= 0.09
    assert attempt.phases["stream"] >= 0.09
    assert attempt.seconds == pytest.approx(attempt.phases["wait"] + attempt.phases["stream"])


def test_a_service_with_a_certificate_has_its_handshake_among_the_phases(stage: Stage) -> None:
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(CERTIFICATE)
    service = stage.serve({f"POST {CHAT}": GOOD}, tls=own)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.load_verify_locations(CERTIFICATE)

    async def attempt() -> Attempt:
        async with client(service.url, trusting) as asking:
            return await ask(PROTOCOLS["openai-chat"], asking, PROMPT, PATIENT)

    said = asyncio.run(attempt())

    assert said.failed is None
    assert list(said.phases) == ["resolve", "connect", "tls", "send", "wait", "stream"]


def leaving(answer: Answer, left: Event) -> Answer:
    """The same answer; the event is set when the client has left."""

    def watched(request: Request) -> Iterator[Step]:
        try:
            yield from answer(request)
            yield FOREVER
        finally:
            left.set()

    return watched


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(script(*OPEN, *WORDS, STOP, DONE), id="an answer that is complete"),
        pytest.param(script(*OPEN, b"data: no JSON\n\n"), id="an answer that is wrong"),
    ],
)
def test_the_connection_is_closed_after(answer: Answer, stage: Stage) -> None:
    left = Event()
    service = chatting(stage, leaving(answer, left))

    asked(service.url)

    assert left.wait(5)


def test_a_prompt_that_is_given_up_closes_its_connection(stage: Stage) -> None:
    left = Event()

    async def give_up() -> None:
        loop, begun = asyncio.get_running_loop(), asyncio.Event()

        def answer(_request: Request) -> Sequence[Step]:
            loop.call_soon_threadsafe(begun.set)
            return *OPEN, *WORDS

        service = chatting(stage, leaving(answer, left))
        async with client(service.url) as asking:
            attempt = asyncio.create_task(ask(PROTOCOLS["openai-chat"], asking, PROMPT, PATIENT))
            await begun.wait()
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt

    asyncio.run(give_up())

    assert left.wait(5)


def test_an_answer_is_kept_in_part_where_it_is_long(stage: Stage) -> None:
    long = piece(content="x" * 10_000)
    service = chatting(stage, stream(*[long] * 20, STOP, DONE))

    attempt = asked(service.url)

    assert len(attempt.answer.text) == 2**16
    assert attempt.answer.size == 200_000


def test_an_answer_that_takes_two_requests_is_timed_from_the_first(stage: Stage) -> None:
    begun = recorded("gradio-6.31.0/call_chat_post")
    streamed = {
        name: (lambda _request, answer=answer: [0.2, *answer(_request)])
        for name, answer in recorded("gradio-6.31.0/call_chat_get").items()
    }
    service = stage.serve({**begun, **streamed})

    attempt = asked(service.url, protocol="gradio", prompt=Prompt(text="hi", path="chat", body={"data": ["${text}"]}))

    assert attempt.failed is None
    assert attempt.seconds is not None
    assert attempt.seconds >= 0.2
    assert {"connect", "send"} <= attempt.phases.keys()
