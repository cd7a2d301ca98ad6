"""The prompt source: how often it asks, whom it does not ask, and what it says of the answers."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import repeat
from threading import Event

import pytest

from exporter.ask import Limits
from exporter.engines import recognised, sight
from exporter.pace import AUTO_INTERVAL, LONGEST_INTERVAL, Pace
from exporter.protocols import PROTOCOLS
from exporter.questions import Question, Questions
from exporter.reading import Reading, declarations
from exporter.sources.prompt import Answers, Look, Lookout, Prompting, Service
from exporter.watch import Clock, Watch
from exporter.wire import Failure, Prompt, Recognition, Sight
from tests.services.client import client
from tests.services.openai import CHAT, DONE, GOOD, ROLE, STOP, WORDS, frame, last, models, piece
from tests.services.recorded import recorded
from tests.services.scripted import FOREVER, Answer, Stage, in_turn, reply, script, stream
from tests.services.scripted import Service as Server

LIMITS = Limits(first_token=5.0, stall=5.0, total=10.0)
OFTEN = Pace(every=1000.0, max_share=0.02)
REFUSED = reply("", 500)
LISTED = models("tiny")


def serving(stage: Stage, chat: Answer, listed: Answer = LISTED) -> Server:
    """A service that answers a chat and lists its models so."""
    return stage.serve({f"POST {CHAT}": chat, "GET /v1/models": listed})


AT_ONCE = Pace(every=0.001, max_share=0.02)


class Asked:
    """A source and what it has said, look by look, in the order of their ends."""

    def __init__(
        self,
        server: Server,
        *prompts: Prompt,
        protocol: str | None = None,
        model: str | None = None,
        pace: Pace = OFTEN,
    ) -> None:
        self._server = server
        self._prompts = prompts or (Prompt(text="Count."),)
        self._protocol = protocol
        self._model = model
        self._pace = pace

    def __call__(self, looks: int) -> Sequence[Sequence[Reading]]:
        """The last word of each of so many looks."""
        return asyncio.run(self.looked(looks))

    async def looked(self, looks: int) -> Sequence[Sequence[Reading]]:
        async with client(self._server.url) as asking:
            recognise = partial(recognised, asking, {}, protocol=self._protocol, model=self._model)
            in_turn = tuple(Question(prompt=prompt) for prompt in self._prompts)
            questions = Questions(in_turn=in_turn, limits=LIMITS, pace=self._pace, dialects=PROTOCOLS)
            lookout = Lookout(recognise=recognise, look=partial(sight, asking, {}))
            source = Prompting(asking, questions, lookout, target="chat")
            return [[said async for said in source.read()][-1] for _ in range(looks)]


def answers(server: Server, looks: int = 1, *, pace: Pace = OFTEN, protocol: str | None = None) -> Sequence[Answers]:
    """What is said of the answers at the end of each look."""
    said = Asked(server, pace=pace, protocol=protocol)(looks)
    return [reading for readings in said for reading in readings if isinstance(reading, Answers)]


def services(said: Sequence[Sequence[Reading]]) -> Sequence[Service]:
    """What the service was recognised as, look by look."""
    return [reading for readings in said for reading in readings if isinstance(reading, Service)]


def happened(counts: Mapping[str, int]) -> Mapping[str, int]:
    """What was counted at all."""
    return {reason: count for reason, count in counts.items() if count}


def bodies(server: Server) -> Sequence[str]:
    """The question of each prompt that was sent."""
    return [json.loads(request.body)["messages"][0]["content"] for request in server.asked("POST")]


def test_a_good_answer_is_up_and_counted(stage: Stage) -> None:
    (good,) = answers(serving(stage, GOOD))

    assert good.up is True
    assert good.attempts == 1
    assert happened(good.failures) == {}
    assert (good.prompt_tokens, good.output_tokens, good.tokens_estimated) == (9, 3, False)
    assert good.answer_bytes == len("The answer is four.")
    assert good.last_duration_seconds == good.duration_seconds.sum
    assert good.first_token_seconds is not None
    assert good.last_first_token_seconds == good.first_token_seconds.sum
    assert good.last_success_timestamp_seconds is not None


def test_every_reason_stands_at_zero_from_the_start(stage: Stage) -> None:
    (good,) = answers(serving(stage, GOOD))

    assert set(good.failures) == set(Failure)
    assert "in_flight" in good.skipped


def test_answers_add_up_over_the_rounds(stage: Stage) -> None:
    server = serving(stage, in_turn(GOOD, REFUSED, GOOD, REFUSED, reply("", 429), GOOD))

    *_, after = answers(server, 6)

    assert after.attempts == 6
    assert happened(after.failures) == {"status_5xx": 2, "rate_limited": 1}
    assert after.output_tokens == 9
    assert sum(after.duration_seconds.counts) == 3


def test_an_attempt_is_counted_while_the_service_is_silent(stage: Stage) -> None:
    begun = Event()

    def silent(_request: object) -> Sequence[float]:
        begun.set()
        return (FOREVER,)

    server = serving(stage, silent)

    async def meanwhile() -> Sequence[Reading]:
        async with client(server.url) as asking:
            in_turn = (Question(prompt=Prompt(text="Count.")),)
            questions = Questions(in_turn=in_turn, limits=LIMITS, pace=OFTEN, dialects=PROTOCOLS)
            recognise = partial(recognised, asking, {}, protocol=None, model=None)
            lookout = Lookout(recognise=recognise, look=partial(sight, asking, {}))
            source = Prompting(asking, questions, lookout, target="chat")
            watch = Watch(source.read, Clock(every=source.interval, timeout=20.0), source="prompt", target="chat")
            look = asyncio.create_task(watch.once())
            assert await asyncio.to_thread(begun.wait, 5)
            said = watch.latest
            look.cancel()
            return said

    (asked,) = [reading for reading in asyncio.run(meanwhile()) if isinstance(reading, Answers)]

    assert asked.attempts == 1
    assert asked.up is None
    assert asked.last_duration_seconds is None


LASTING = {"target", "attempts", "failures", "skipped", "interval_seconds", "asking"}
"""What is said of a service from its first prompt on."""


def test_before_the_first_answer_nothing_is_told_of_answers() -> None:
    none = Answers.none_yet("chat", streams=True, interval=30.0)

    told = {field.name for field in fields(none) if getattr(none, field.name) is not None}

    histograms = {"duration_seconds", "first_token_seconds", "time_per_output_token_seconds"}
    assert told == LASTING | histograms | {"output_tokens", "merged_reads"}


@pytest.mark.parametrize("failing", [REFUSED, script(), stream(ROLE, *WORDS)], ids=["refused", "closed", "cut"])
def test_nothing_that_was_told_of_a_good_answer_outlives_a_failure(failing: Answer, stage: Stage) -> None:
    server = serving(stage, in_turn(stream(ROLE, WORDS[0], 0.01, *WORDS[1:], STOP, last(3), DONE), failing))

    good, bad = answers(server, 2)

    assert good.up is True
    assert bad.up is False
    assert last_values(bad) == {"last_phase_seconds", "last_success_timestamp_seconds"}
    assert bad.last_success_timestamp_seconds == good.last_success_timestamp_seconds
    assert bad.duration_seconds == good.duration_seconds
    assert (bad.answer_bytes, bad.tokens_per_second, bad.stream_buffered) == (None, None, None)


def last_values(said: Answers) -> set[str]:
    """The fields about the last answer that are told."""
    return {name for name in declarations(Answers) if name.startswith("last_") and getattr(said, name) is not None}


def test_a_failure_is_gone_with_the_next_good_answer(stage: Stage) -> None:
    _, good = answers(serving(stage, in_turn(REFUSED, GOOD)), 2)

    assert good.up is True
    assert str(good.last) == "answered"


def test_a_service_that_does_not_stream_tells_no_tokens(stage: Stage) -> None:
    server = stage.serve(recorded("flask-json/predict"))

    (said,) = answers_of(Asked(server, Prompt(path="/predict", body={}, answer="label"), protocol="plain")(1))

    assert said.up is True
    assert said.answer_bytes == 34
    assert (said.first_token_seconds, said.time_per_output_token_seconds, said.merged_reads) == (None, None, None)
    assert (said.output_tokens, said.tokens_estimated, said.stream_buffered) == (None, None, None)


def answers_of(said: Sequence[Sequence[Reading]]) -> Sequence[Answers]:
    return [reading for readings in said for reading in readings if isinstance(reading, Answers)]


def test_cached_tokens_are_told_once_the_service_tells_them(stage: Stage) -> None:
    told = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
    caching = stream(*WORDS, STOP, frame({"choices": [], "usage": told}), DONE)

    before, after, again = answers(serving(stage, in_turn(GOOD, caching, caching)), 3)

    assert [it.cached_tokens for it in (before, after, again)] == [None, 4, 8]


def test_a_nonce_is_as_long_as_every_other_and_never_the_same(stage: Stage) -> None:
    server = serving(stage, GOOD)

    Asked(server)(8)

    nonces = {body.removesuffix(" Count.") for body in bodies(server)}
    assert len(nonces) == 8
    assert {len(nonce) for nonce in nonces} == {8}


def test_prompts_are_asked_in_turn(stage: Stage) -> None:
    server = serving(stage, GOOD)

    Asked(server, Prompt(text="one"), Prompt(text="two"), Prompt(text="three"))(5)

    assert [body.rpartition(" ")[2] for body in bodies(server)] == ["one", "two", "three", "one", "two"]


@pytest.mark.parametrize(
    ("took", "failing", "interval"),
    [
        ([], False, AUTO_INTERVAL),
        ([], True, AUTO_INTERVAL),
        ([0.1], False, AUTO_INTERVAL),
        ([1.0], False, 50.0),
        ([1.0, 1.0, 9.0], False, 50.0),
        ([1.0], True, AUTO_INTERVAL),
        ([60.0], False, LONGEST_INTERVAL),
    ],
)
def test_slow_answers_are_asked_for_less_often(took: Sequence[float], failing: bool, interval: float) -> None:  # noqa: FBT001  a column
    assert Pace(every=None, max_share=0.02).interval(took, failing=failing) == interval


@pytest.mark.parametrize("failing", [True, False])
def test_an_interval_that_was_set_is_kept(failing: bool) -> None:  # noqa: FBT001  a column
    assert Pace(every=7.0, max_share=0.02).interval([60.0], failing=failing) == 7.0


def test_the_interval_in_force_is_stretched_by_slow_answers_and_is_back_after_a_failure(stage: Stage) -> None:
    slow = stream(0.1, *WORDS, STOP, DONE)

    stretched, back = answers(serving(stage, in_turn(slow, REFUSED)), 2, pace=Pace(every=None, max_share=0.001))

    assert AUTO_INTERVAL < stretched.interval_seconds <= LONGEST_INTERVAL
    assert back.interval_seconds == AUTO_INTERVAL


def test_prompts_that_were_due_while_one_was_in_flight_are_counted(stage: Stage) -> None:
    slow = stream(0.35, *WORDS, STOP, DONE)

    first, second = answers(serving(stage, in_turn(slow, GOOD)), 2, pace=Pace(every=0.1, max_share=0.02))

    assert happened(first.skipped) == {}
    assert second.skipped["in_flight"] >= 2


def test_no_prompt_is_counted_as_skipped_where_none_was_due(stage: Stage) -> None:
    *_, after = answers(serving(stage, GOOD), 3)

    assert happened(after.skipped) == {}


def test_a_service_that_is_not_recognised_is_never_sent_a_prompt(stage: Stage) -> None:
    server = serving(stage, GOOD, reply("", 404))

    said = Asked(server)(3)

    assert said == [[Service(target="chat")]] * 3
    assert server.asked("POST") == []
    assert len(server.asked("GET", "/")) == 3


def test_a_service_that_is_recognised_later_is_asked_from_then_on(stage: Stage) -> None:
    server = serving(stage, GOOD, in_turn(reply("", 503), LISTED))

    said = Asked(server)(3)

    assert [service.protocol for service in services(said)] == ["", "openai-chat", "openai-chat"]
    assert [answer.attempts for answer in answers_of(said)] == [1, 2]
    assert len(server.asked("GET", "/")) == 2


@pytest.mark.parametrize(
    ("answered", "looks"),
    [
        pytest.param(repeat(GOOD, 4), 1, id="a service that answers"),
        pytest.param([GOOD, REFUSED, REFUSED, REFUSED], 1, id="a service that fails"),
        pytest.param([GOOD, REFUSED, GOOD, GOOD], 2, id="a service that came back"),
        pytest.param([GOOD, GOOD, reply("", 404), GOOD], 2, id="a model that is gone"),
    ],
)
def test_a_service_is_looked_at_again_when_it_may_have_changed(
    answered: Sequence[Answer], looks: int, stage: Stage
) -> None:
    server = serving(stage, in_turn(*answered))

    Asked(server)(4)

    assert len(server.asked("GET", "/")) == looks


def test_another_model_is_asked_once_it_is_listed(stage: Stage) -> None:
    server = serving(stage, in_turn(reply("", 404), GOOD), in_turn(models("tiny"), models("large")))

    said = Asked(server)(2)

    assert [service.model for service in services(said)] == ["tiny", "large"]
    assert [json.loads(request.body)["model"] for request in server.asked("POST")] == ["tiny", "large"]


@pytest.mark.parametrize("refusing", [reply("", 500), reply("", 401), script()], ids=["failing", "a key", "closed"])
def test_a_service_that_stops_listing_its_models_is_still_asked(refusing: Answer, stage: Stage) -> None:
    server = serving(stage, in_turn(reply("", 404), GOOD), in_turn(LISTED, refusing))

    said = Asked(server)(3)

    assert [answer.up for answer in answers_of(said)] == [False, True, True]
    assert {service.model for service in services(said)} == {"tiny"}


def test_a_service_whose_protocol_was_set_is_asked_though_it_lists_nothing(stage: Stage) -> None:
    server = serving(stage, GOOD, reply("", 404))

    said = Asked(server, protocol="openai-chat")(1)

    assert services(said) == [Service(target="chat", protocol="openai-chat", evidence="the configuration")]
    assert [answer.up for answer in answers_of(said)] == [True]


def test_a_long_name_of_a_model_is_told_in_part(stage: Stage) -> None:
    server = serving(stage, GOOD, models("x" * 200))

    (service,) = services(Asked(server)(1))

    assert service.model == "x" * 128
    assert json.loads(server.asked("POST")[0].body)["model"] == "x" * 200


def test_reasoning_alone_is_a_first_token_and_no_first_answer_token(stage: Stage) -> None:
    (said,) = answers(serving(stage, stream(piece(reasoning="hm"), STOP, DONE)))

    assert said.last_first_token_seconds is not None
    assert said.last_first_answer_token_seconds is None


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], Sequence[str]]:
    """What has been logged so far, each line with its level."""
    caplog.set_level(logging.INFO, logger="exporter")
    return lambda: [
        f"{record.levelname} {record.getMessage()}" for record in caplog.records if record.name.startswith("exporter")
    ]


def test_a_service_that_is_not_recognised_is_told_once_with_what_to_do(
    stage: Stage, logged: Callable[[], Sequence[str]]
) -> None:
    Asked(serving(stage, GOOD, reply("", 404)))(3)

    (line,) = logged()
    assert line.startswith("WARNING not recognised")
    assert "prompt.protocol" in line


def test_a_service_that_wants_a_key_is_told_to_want_one(stage: Stage, logged: Callable[[], Sequence[str]]) -> None:
    server = serving(stage, GOOD, reply("", 401))

    Asked(server)(3)

    (line,) = logged()
    assert line.startswith("WARNING GET /v1/models wants a key")
    assert server.asked("POST") == []


def test_changes_are_told_and_nothing_else(stage: Stage, logged: Callable[[], Sequence[str]]) -> None:
    server = serving(stage, in_turn(GOOD, GOOD, REFUSED, reply("", 429), GOOD))

    Asked(server)(6)

    assert [line.split(":")[0] for line in logged()] == [
        "INFO openai-chat by a list of models in its answer to GET /v1/models",
        "INFO prompt is answered",
        "WARNING prompt fails",
        "INFO prompt is answered",
    ]


def test_the_log_says_what_a_prompt_costs(stage: Stage, logged: Callable[[], Sequence[str]]) -> None:
    Asked(serving(stage, GOOD))(1)

    assert "at most 16 output tokens every 1000 s" in logged()[0]


async def fit(_found: Recognition) -> Sight:
    """Nothing speaks against a prompt."""
    return Sight()


async def asleep(_found: Recognition) -> Sight:
    return Sight(skip="asleep")


def spared(server: Server, looks: int, *, look: Look = fit, waiting: float | None = None, **sparing: float) -> Answers:
    """What is said of the answers after so many looks at a service that is to be spared."""

    async def looked() -> Answers:
        async with client(server.url) as asking:
            recognise = partial(recognised, asking, {}, protocol=None, model=None)
            asked = Questions(
                in_turn=(Question(prompt=Prompt(text="Count.")),), limits=LIMITS, pace=AT_ONCE, dialects=PROTOCOLS
            )
            lookout = Lookout(recognise=recognise, look=look, waiting=lambda: waiting)
            source = Prompting(asking, replace(asked, **sparing), lookout, target="chat")  # type: ignore[arg-type]  # numbers
            for _ in range(looks):
                (*_, said) = [said async for said in source.read()]
            return next(reading for reading in said if isinstance(reading, Answers))

    return asyncio.run(looked())


def test_a_prompt_that_is_left_out_is_counted_by_its_reason_and_as_nothing_else(stage: Stage) -> None:
    server = serving(stage, GOOD)

    after = spared(server, 5, look=asleep)

    assert happened(after.skipped) == {"asleep": 5}
    assert after.attempts == 0
    assert server.asked("POST") == []


def test_a_waiting_queue_spares_the_service_but_never_twice_in_a_row(stage: Stage) -> None:
    after = spared(serving(stage, GOOD), 4, waiting=3, waiting_above=2)

    assert after.skipped["queue_full"] == 2
    assert after.attempts == 2


def test_a_daily_budget_that_is_spent_ends_the_prompts_of_the_day(stage: Stage) -> None:
    after = spared(serving(stage, GOOD), 3, tokens_a_day=1)

    assert after.skipped["budget"] == 2
    assert after.attempts == 1
