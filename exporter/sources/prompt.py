"""The truth about a service's answers: a small synthetic prompt on a clock."""

import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import field, replace
from itertools import cycle
from typing import Annotated, Self

import httpx

from exporter.ask import Attempt
from exporter.checks.canary import Trust
from exporter.frozen import frozen
from exporter.pace import Day
from exporter.questions import Questions, asked, over
from exporter.reading import Counter, Distribution, Gauge, Histogram, Label, Note, Reading, counted
from exporter.residency import Residency
from exporter.wire import Dialect, Failed, Failure, Outcome, Recognition, Sight

log = logging.getLogger(__name__)

FIRST_TOKEN_LADDER = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
DURATION_LADDER = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0)
TOKEN_LADDER = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2)
LONGEST_LABEL = 128
SKIPS = ("asleep", "unloaded", "loading", "queue_full", "budget", "in_flight", "paused")


@frozen
class Service(Reading):
    """What a service was recognised as."""

    PREFIX = "model"
    target: Annotated[str, Label("The service's name in the configuration.")]
    engine: Annotated[str, Label("The model server, unknown where it was not recognised.")] = "unknown"
    version: Annotated[str, Label("The model server's version, absent where it does not say.")] = ""
    model: Annotated[str, Label("The model that is asked.")] = ""
    protocol: Annotated[str, Label("How it is asked; absent for a service that is watched by its health alone.")] = ""
    info: Annotated[int, Gauge("Always 1; the labels say what the service was recognised as.")] = 1
    evidence: Annotated[str, Note("By what the service was recognised, or why it was not.")] = ""


@frozen
class Answers(Reading):
    """How a service has answered synthetic prompts since the exporter started; times are of complete answers."""

    PREFIX = "model_probe"
    target: Annotated[str, Label("The service's name in the configuration.")]
    up: Annotated[
        bool | None, Gauge("Whether the last synthetic prompt got a valid answer; absent before the first has ended.")
    ] = None
    last_first_token_seconds: Annotated[
        float | None,
        Gauge("From the request written to the first token; absent of an incomplete answer and of a buffered stream."),
    ] = None
    tokens_per_second: Annotated[
        float | None,
        Gauge("Output tokens of the last answer over its duration; absent when incomplete or where none are counted."),
    ] = None
    last_duration_seconds: Annotated[
        float | None,
        Gauge("From the request written to the last byte read; absent when the last answer is not complete."),
    ] = None
    attempts: Annotated[int, Counter("Synthetic prompts begun.")] = 0
    failures: Annotated[Mapping[str, int], Counter("Synthetic prompts without a valid answer.", by="reason")] = field(
        default_factory=lambda: dict.fromkeys(Failure, 0)
    )
    skipped: Annotated[Mapping[str, int], Counter("Synthetic prompts that were due and not sent.", by="reason")] = (
        field(default_factory=lambda: dict.fromkeys(SKIPS, 0))
    )
    interval_seconds: Annotated[float, Gauge("Time between synthetic prompts that is now in force.")]
    duration_seconds: Annotated[
        Distribution, Histogram("From the request written to the last byte read, of complete answers.")
    ] = field(default_factory=lambda: Distribution.over(DURATION_LADDER))
    first_token_seconds: Annotated[
        Distribution | None,
        Histogram("From the request written to the first content, reasoning or tool call; absent without streaming."),
    ] = None
    last_first_answer_token_seconds: Annotated[
        float | None,
        Gauge("From the request written to the first token that is not reasoning; absent where there was none."),
    ] = None
    time_per_output_token_seconds: Annotated[
        Distribution | None,
        Histogram("From first to last token over the tokens between, once an answer; absent without streaming."),
    ] = None
    last_longest_gap_seconds: Annotated[
        float | None, Gauge("Longest wait between two pieces of the last answer; absent with fewer than two.")
    ] = None
    last_phase_seconds: Annotated[
        Mapping[str, float] | None,
        Gauge("Where the time of the last prompt went; absent for a phase it did not reach.", by="phase"),
    ] = None
    prompt_tokens: Annotated[
        int | None, Counter("Prompt tokens that the synthetic prompts cost; absent until the service tells.")
    ] = None
    output_tokens: Annotated[
        int | None, Counter("Output tokens that the synthetic prompts cost; absent where they are not counted.")
    ] = None
    cached_tokens: Annotated[
        int | None, Counter("Prompt tokens answered from a prefix cache; absent until the service tells.")
    ] = None
    tokens_estimated: Annotated[
        bool | None,
        Gauge("Whether tokens were counted from pieces, since the service told no usage; absent without tokens."),
    ] = None
    stream_buffered: Annotated[
        bool | None,
        Gauge(
            "Whether something between holds the stream back, so that no first token can be timed; absent unstreamed."
        ),
    ] = None
    clock_info: Annotated[
        Mapping[str, int] | None,
        Gauge(
            "Always 1; the method says what stamped the arrival of the last answer; absent after a failure.",
            by="method",
        ),
    ] = None
    merged_reads: Annotated[
        int | None, Counter("Reads that brought several pieces, which then share one stamp; absent without streaming.")
    ] = None
    answer_bytes: Annotated[int | None, Gauge("Size of the last answer; absent after a failure.")] = None
    answer_logprob: Annotated[
        float | None,
        Gauge("Mean log-probability of the last answer's tokens; absent where the service does not tell it."),
    ] = None
    answer_similarity: Annotated[
        float | None, Gauge("Cosine of the last embedding against the golden one; absent where none was set.")
    ] = None
    last_success_timestamp_seconds: Annotated[
        float | None, Gauge("When the last valid answer ended; absent before the first.")
    ] = None
    last: Annotated[Outcome | None, Note("How the last prompt ended.")] = None
    asking: Annotated[bool, Note("Whether a prompt is being answered now.", shown=False)] = False
    spared: Annotated[str | None, Note("Why the last prompt that was due was not sent.")] = None

    @classmethod
    def none_yet(cls, target: str, *, streams: bool, interval: float) -> Self:
        """Answers before the first prompt."""
        if not streams:
            return cls(target=target, interval_seconds=interval)
        return cls(
            target=target,
            interval_seconds=interval,
            first_token_seconds=Distribution.over(FIRST_TOKEN_LADDER),
            time_per_output_token_seconds=Distribution.over(TOKEN_LADDER),
            output_tokens=0,
            merged_reads=0,
        )

    def begun(self, missed: int = 0) -> Self:
        """These answers and one more attempt, after some that were due while the last was in flight."""
        return replace(
            self,
            attempts=self.attempts + 1,
            skipped=counted(self.skipped, "in_flight", missed),
            asking=True,
            spared=None,
        )

    def skip(self, reason: str) -> Self:
        """These answers and one prompt that was due and not sent."""
        return replace(self, skipped=counted(self.skipped, reason), spared=reason)

    def plus(self, attempt: Attempt, last: Outcome, at: float) -> Self:
        """These answers once that attempt has ended, at a Unix time."""
        good = attempt.failed is None
        return replace(
            self,
            up=good,
            failures=self.failures if attempt.failed is None else counted(self.failures, attempt.failed.failure),
            duration_seconds=self.duration_seconds.plus(attempt.seconds),
            last_duration_seconds=attempt.seconds,
            first_token_seconds=self.first_token_seconds and self.first_token_seconds.plus(attempt.first_token),
            last_first_token_seconds=attempt.first_token,
            last_first_answer_token_seconds=attempt.first_answer_token,
            time_per_output_token_seconds=self.time_per_output_token_seconds
            and self.time_per_output_token_seconds.plus(attempt.time_per_token),
            last_longest_gap_seconds=attempt.longest_gap,
            tokens_per_second=attempt.tokens_per_second,
            last_phase_seconds=attempt.phases,
            prompt_tokens=_sum(self.prompt_tokens, attempt.usage.prompt),
            output_tokens=_sum(self.output_tokens, attempt.usage.output),
            cached_tokens=_sum(self.cached_tokens, attempt.usage.cached),
            tokens_estimated=attempt.estimated if attempt.usage.output is not None else self.tokens_estimated,
            stream_buffered=attempt.buffered,
            clock_info={attempt.stamped_by: 1} if good else None,
            merged_reads=_sum(self.merged_reads, attempt.merged_reads if self.merged_reads is not None else None),
            answer_bytes=attempt.answer.size if good else None,
            answer_logprob=attempt.logprob,
            answer_similarity=attempt.similarity,
            last_success_timestamp_seconds=at if good else self.last_success_timestamp_seconds,
            last=last,
            asking=False,
        )


def _sum(before: int | None, more: int | None) -> int | None:
    return before if more is None else (before or 0) + more


Recognise = Callable[[], Awaitable[Recognition | None]]
Look = Callable[[Recognition], Awaitable[Sight]]
"""What is seen of a service just before a prompt; a reason to skip it is one of SKIPS."""


@frozen
class Lookout:
    """What else is seen of a service before it is asked."""

    recognise: Recognise
    look: Look
    waiting: Callable[[], float | None] = lambda: None
    """Requests that wait at the service; None where it does not tell."""


class Prompting:
    """The source of a service's Answers; never two prompts in flight, since one round ends before the next begins."""

    def __init__(self, client: httpx.AsyncClient, questions: Questions, lookout: Lookout, *, target: str) -> None:
        self.target = target
        self._client = client
        self._questions = questions
        self._lookout = lookout
        self._in_turn = cycle(questions.in_turn)
        self._trust = Trust()
        self._day = Day()
        self._spared = False
        self._residency = Residency()
        self._sight = Sight()
        self._recognised: Recognition | None = None
        self._looked = False
        self._look_again = True
        self._answers: Answers | None = None
        self._good: deque[float] = deque(maxlen=20)
        self._due: float | None = None

    def interval(self) -> float:
        """Seconds to the next prompt, before jitter."""
        failing = self._answers is not None and self._answers.up is False
        return self._questions.pace.interval(self._good, failing=failing)

    async def read(self) -> AsyncGenerator[Sequence[Reading], None]:
        """Ask once, where the service was recognised, and say what came of it."""
        if self._look_again:
            await self._look()
        service, found = self._service(), self._recognised
        if found is None or not found.protocol:
            yield [service]
            return
        dialect = self._questions.dialects[found.protocol]
        before = self._answers or Answers.none_yet(self.target, streams=dialect.streams, interval=self.interval())
        if (reason := await self._reason_not_to(found)) is not None:
            self._due = None  # What is left out on purpose was not missed.
            self._answers = before.skip(reason)
            yield [service, self._answers]
            return
        begun = self._answers = before.begun(self._missed())
        yield [service, begun]
        began = time.monotonic()
        attempt = await self._asked(dialect, found)
        outcome = Outcome(
            failed=attempt.failed,
            began=began,
            ended=time.monotonic(),
            quiet=attempt.quiet,
            tokens_per_second=attempt.tokens_per_second,
        )
        yield [service, self._taken(begun, attempt, outcome)]

    async def _reason_not_to(self, found: Recognition) -> str | None:
        if self._questions.tokens_a_day is not None and self._day.today().spent >= self._questions.tokens_a_day:
            return "budget"
        waiting, most = self._lookout.waiting(), self._questions.waiting_above
        # Never twice in a row without asking once, so that blindness has an end.
        self._spared = waiting is not None and most is not None and waiting > most and not self._spared
        if self._spared:
            return "queue_full"
        sight = self._sight = await self._lookout.look(found)
        if sight.skip is not None:
            self._look_again = True  # Another model may be there by then.
            return sight.skip
        failing = self._answers is not None and self._answers.up is False
        return "paused" if self._residency.unused(sight.until, failing=failing) else None

    async def _asked(self, dialect: Dialect, found: Recognition) -> Attempt:
        question = next(self._in_turn)
        found = replace(found, fields=over(found.fields, self._sight.fields))
        attempt, judgement = await asked(dialect, self._client, question, found, self._questions.limits)
        self._day = self._day.today().plus(attempt.usage)
        self._trust = self._trust.plus(right=judgement.right)
        judgement = judgement.settled(self._trust, question.checks.canary)
        return replace(attempt, failed=judgement.failed, logprob=judgement.logprob, similarity=judgement.similarity)

    def _missed(self) -> int:
        now, due = time.monotonic(), self._due
        self._due = now + self.interval()
        return 0 if due is None else max(int((now - due) / self.interval()), 0)

    def _taken(self, begun: Answers, attempt: Attempt, outcome: Outcome) -> Answers:
        if attempt.failed is None and attempt.seconds is not None:
            self._good.append(attempt.seconds)
        taken = self._answers = begun.plus(attempt, outcome, time.time())
        taken = self._answers = replace(taken, interval_seconds=self.interval())
        came_back = begun.up is False and attempt.failed is None
        gone = attempt.failed is not None and attempt.failed.failure is Failure.NOT_FOUND
        self._look_again = self._look_again or came_back or gone
        self._tell(attempt.failed, before=begun)
        return taken

    async def _look(self) -> None:
        found = await self._lookout.recognise()
        self._look_again = found is None or not found.certain
        # What was recognised once is asked on, though it no longer says what it is.
        known = self._recognised
        if found is None or (known is not None and known.protocol and not found.protocol):
            found = known
        if not self._looked or found != known:
            self._introduce(found)
        self._looked = True
        self._recognised = found

    def _service(self) -> Service:
        found = self._recognised or Recognition()
        return Service(
            target=self.target,
            engine=found.engine,
            version=found.version,
            model=found.model[:LONGEST_LABEL],
            protocol=found.protocol,
            evidence=found.evidence,
        )

    def _introduce(self, found: Recognition | None) -> None:
        who = {"target": self.target}
        if found is None or not found.protocol:
            log.warning(
                "%s, so that its health alone is watched; to have it answer prompts, set model, or prompt.protocol "
                "and, for plain, prompt.body",
                _introduced(found),
                extra=who,
            )
            return
        streams = self._questions.dialects[found.protocol].streams
        log.info(
            "%s by %s: %s every %g s",
            found.protocol,
            found.evidence,
            f"a prompt of at most {self._questions.in_turn[0].prompt.max_tokens} output tokens"
            if streams
            else "a request",
            self.interval(),
            extra={**who, "engine": found.engine, "model": found.model},
        )

    def _tell(self, failure: Failed | None, before: Answers) -> None:
        who = {"target": self.target}
        if failure is not None and before.up is not False:
            log.warning("prompt fails: %s", failure, extra=who)
        elif failure is None and before.up is not True:
            log.info("prompt is answered", extra=who)


def _introduced(found: Recognition | None) -> str:
    if found is None:
        return "not recognised"
    return found.evidence if found.engine == "unknown" else f"{found.engine} by {found.evidence}"
