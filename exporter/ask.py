"""One question to a service, timed from the request's last byte to the answer's."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import field, replace

import httpx

from exporter.clock import Flight, Method
from exporter.frozen import frozen
from exporter.thoughts import Aloud
from exporter.wire import FAULTS, Answer, Delta, Dialect, Failed, Failure, Prompt, Usage, failed

SEVERAL_PIECES = 4
FASTEST_PIECE = 1e-4


@frozen
class Limits:
    """How long one attempt may take, in seconds: to the first token, between two tokens, altogether."""

    first_token: float
    stall: float
    total: float


@frozen
class Attempt:
    """How one prompt went; what could not be told is None."""

    failed: Failed | None = None
    seconds: float | None = None
    first_token: float | None = None
    first_answer_token: float | None = None
    time_per_token: float | None = None
    longest_gap: float | None = None
    phases: Mapping[str, float] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    estimated: bool = False
    buffered: bool | None = None
    merged_reads: int = 0
    stamped_by: Method = Method.USER
    answer: Answer = field(default_factory=Answer)
    quiet: float | None = None
    """From the last token to the end; None where no token came."""
    logprob: float | None = None
    """Mean log-probability of the answer's tokens, as the checks tell it."""
    similarity: float | None = None
    """Cosine against the golden vector, as the checks tell it."""

    @property
    def tokens_per_second(self) -> float | None:
        """Output tokens over the whole time of the answer."""
        return self.usage.output / self.seconds if self.usage.output and self.seconds else None


class _Hearing:
    """What has been heard of one answer so far."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.first_answer: float | None = None
        self.last: float | None = None
        self.longest_gap: float | None = None
        self.pieces = 0
        self.merged_reads = 0
        self.whole = False
        self.usage: Usage | None = None
        self.answer = Answer()
        self._merging = False
        self._aloud = Aloud()
        self._undecided: float | None = None

    def hear(self, delta: Delta, at: float) -> None:
        said = self._aloud.apart(delta)
        self.usage = delta.usage or self.usage
        self.answer = self.answer.plus(said)
        # Of the piece as it came: what is kept back was a token all the same.
        if not delta.spoken:
            return
        self.whole = self.whole or delta.whole
        self._time(at)
        if self.first_answer is None:
            self._time_answer(delta, said, at)
        self.pieces += 1

    def end(self) -> None:
        self.answer = self.answer.plus(self._aloud.rest())
        self.first_answer = self._undecided if self.first_answer is None else self.first_answer

    def _time_answer(self, delta: Delta, said: Delta, at: float) -> None:
        begun = at if self._undecided is None else self._undecided
        thought = bool(said.reasoning) and not said.text
        if delta.text and self._aloud.open:
            self._undecided = begun
            return
        self.first_answer = None if thought else begun
        self._undecided = None

    def _time(self, at: float) -> None:
        merging = at == self.last
        self.merged_reads += merging and not self._merging
        self._merging = merging
        if self.last is not None:
            self.longest_gap = max(self.longest_gap or 0.0, at - self.last)
        self.first = at if self.first is None else self.first
        self.last = at

    @property
    def buffered(self) -> bool:
        """Whether the pieces came faster than any model says them: something between had held them back."""
        if self.first is None or self.last is None or self.pieces < SEVERAL_PIECES:
            return False
        return (self.last - self.first) / (self.pieces - 1) < FASTEST_PIECE

    def counted(self) -> Usage:
        """Tokens as the service counted them, else pieces; nothing where the answer was one body without usage."""
        told = self.usage or Usage()
        # A server that counts nothing of what it says counts 0.
        usage = replace(told, prompt=told.prompt or None, output=told.output or None)
        if usage.output is None and self.pieces and not self.whole:
            return replace(usage, output=self.pieces)
        return usage

    def attempt(self, flight: Flight, failure: Failed | None) -> Attempt:
        ended = flight.arrived()
        usage = self.counted()
        told = Attempt(
            failed=failure,
            phases=flight.phases(ended),
            usage=usage,
            estimated=usage.output is not None and not (self.usage and self.usage.output),
            merged_reads=self.merged_reads,
            stamped_by=flight.method,
            answer=self.answer,
            quiet=None if self.last is None else ended - self.last,
        )
        if failure is not None or flight.written is None:
            return told
        told = replace(told, seconds=ended - flight.written)
        if self.whole:
            return told
        if self.buffered or self.first is None or self.last is None:
            return replace(told, buffered=self.buffered)
        several = usage.output is not None and usage.output > 1 and self.pieces > 1
        return replace(
            told,
            buffered=False,
            first_token=self.first - flight.written,
            first_answer_token=None if self.first_answer is None else self.first_answer - flight.written,
            longest_gap=self.longest_gap,
            time_per_token=(self.last - self.first) / (usage.output - 1) if several and usage.output else None,
        )


async def ask(dialect: Dialect, client: httpx.AsyncClient, prompt: Prompt, limits: Limits) -> Attempt:
    """One attempt, from connecting to the last byte; every failure of the service is in what it gives."""
    loop = asyncio.get_running_loop()
    flight, hearing = Flight(), _Hearing()
    end = loop.time() + limits.total
    first = min(end, loop.time() + limits.first_token) if dialect.streams else end
    failure: Failed | None = None
    try:
        asked = dialect.ask(client, replace(prompt, trace=flight.trace))
        async with asyncio.timeout_at(first) as deadline, aclosing(asked) as deltas:
            async for delta in deltas:
                hearing.hear(delta, flight.arrived())
                if dialect.streams and delta.spoken:
                    stall = min(end, loop.time() + limits.stall)
                    if stall != deadline.when():  # as it is of what was taken up together
                        deadline.reschedule(stall)
                    flight.rest()
    except TimeoutError:
        failure = _late(flight, hearing, limits, over=deadline.when() == end)
    except FAULTS as error:
        failure = failed(error)
    hearing.end()
    if failure is None and hearing.answer.empty:
        failure = Failed(Failure.EMPTY, "the answer is complete and says nothing")
    return hearing.attempt(flight, failure)


def _late(flight: Flight, hearing: _Hearing, limits: Limits, *, over: bool) -> Failed:
    if flight.connected is None:
        return Failed(Failure.TIMEOUT_CONNECT, f"no connection within {limits.first_token:g} s")
    if over:
        return Failed(Failure.TIMEOUT_TOTAL, f"no complete answer within {limits.total:g} s")
    if hearing.pieces:
        return Failed(Failure.TIMEOUT_STALL, f"no further token within {limits.stall:g} s")
    return Failed(Failure.TIMEOUT_FIRST_TOKEN, f"no token within {limits.first_token:g} s")
