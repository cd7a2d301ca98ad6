"""Who judges a service hears every word of its sources, and judges all services in the light of one another."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import pytest

from exporter.assessor import EVERY, Assessor, Surroundings, Verdict, look_around
from exporter.reading import Reading
from exporter.sources.prompt import Answers, Service
from exporter.verdict.standing import Evidence, Rules, State
from exporter.watch import Clock, Collection, Watch
from exporter.wire import Failed, Failure, Outcome

SERVICE = Service(target="chat", engine="vllm", protocol="openai-chat")


def answers(attempts: int, failure: Failure | None = None) -> Answers:
    """What is known once so many attempts were made, of which the last ended so."""
    failed = None if failure is None else Failed(failure)
    now = time.monotonic()
    last = Outcome(failed=failed, began=now - 0.1, ended=now)
    return Answers(target="chat", interval_seconds=30.0, attempts=attempts, up=failure is None, last=last)


def watch(*looks: Sequence[Reading], source: str = "prompt") -> Watch:
    """A watch of a source that says these, look by look."""
    said = iter(looks)

    async def read() -> AsyncGenerator[Sequence[Reading], None]:
        yield next(said)

    return Watch(read, Clock(every=lambda: math.inf, timeout=1), source=source, target="chat")


def judged(*looks: Sequence[Reading], around: Surroundings | None = None) -> Assessor:
    """Who judged after each of these looks."""

    async def life() -> Assessor:
        prompts = watch(*looks)
        assessor = Assessor([prompts], Rules(), target="chat", around=around or Surroundings())
        judging = asyncio.create_task(assessor.run())
        for _ in looks:
            await prompts.once()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        judging.cancel()
        return assessor

    return asyncio.run(life())


def verdict(assessor: Assessor) -> Verdict:
    (told,) = assessor.latest
    assert isinstance(told, Verdict)
    return told


def test_before_anything_is_said_nothing_is_known_since_the_beginning() -> None:
    before = time.time()

    told = verdict(judged())

    assert [state for state, holds in told.state.items() if holds] == [State.UNKNOWN]
    assert told.state_since_timestamp_seconds >= before


def test_every_word_of_a_source_is_heard() -> None:
    refused = [(SERVICE, answers(number, Failure.STATUS_5XX)) for number in (1, 2, 3)]

    told = verdict(judged(*refused))

    assert told.state[State.FAILING] is True
    assert sum(told.state.values()) == 1


def test_a_good_answer_is_well_and_says_so_in_words() -> None:
    told = verdict(judged((SERVICE, answers(1))))

    assert told.verdict == "ok"
    assert told.because.startswith("well: prompts are answered in time")


def test_an_attempt_during_which_the_exporter_was_late_is_not_counted() -> None:
    told = verdict(judged((SERVICE, answers(1)), (SERVICE, answers(2)), around=Surroundings(late=lambda _: True)))

    assert told.state[State.UNKNOWN] is True
    assert told.state_evidence[Evidence.EXPORTER_LATE] is True


def test_a_service_that_is_not_recognised_is_judged_by_its_health() -> None:
    told = verdict(judged((Service(target="chat"),)))

    assert told.state_evidence[Evidence.NO_PROMPT] is True


def test_nothing_is_judged_before_it_is_known_whether_it_is_asked() -> None:
    told = verdict(judged(()))

    assert told.state[State.UNKNOWN] is True
    assert told.state_evidence[Evidence.NO_PROMPT] is False


@pytest.mark.parametrize(("failing", "well", "shared"), [(3, 2, True), (3, 3, False), (2, 0, False)])
def test_what_most_services_fail_by_is_sought_elsewhere(failing: int, well: int, *, shared: bool) -> None:
    ill = [judged((SERVICE, answers(1, Failure.UNREACHABLE))) for _ in range(failing)]
    good = [judged((SERVICE, answers(1))) for _ in range(well)]

    look_around([*ill, *good])

    assert {verdict(each).state_evidence[Evidence.SHARED_CAUSE] for each in ill} == {shared}
    assert not any(verdict(each).state_evidence[Evidence.SHARED_CAUSE] for each in good)


def test_the_log_tells_a_change_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "exporter.assessor"):
        judged(*[(SERVICE, answers(number)) for number in (1, 2, 3)])

    assert [record.__dict__["state"] for record in caplog.records] == ["ok"]


def test_a_service_that_cannot_be_judged_is_not_said_to_stand_in_any_way(caplog: pytest.LogCaptureFixture) -> None:
    defects = iter([False, True, True, False])

    def late(_since: float) -> bool:
        if next(defects):
            raise ZeroDivisionError("a mistake of ours")
        return False

    looks = [(SERVICE, answers(number)) for number in (1, 2, 3)]
    around = Surroundings(late=late)
    well, ill = judged(*looks[:1], around=around), judged(*looks[:2], around=around)

    assert verdict(well).verdict == "ok"
    assert [type(each) for each in ill.latest] == [Collection]
    assert ill.standing.state is State.UNKNOWN
    assert ill.latest == (Collection(source="verdict", target="chat", up=False, failures={"error": 2}),)
    assert [record.exc_info is not None for record in caplog.records if record.levelname == "ERROR"] == [True]


def test_a_service_is_judged_again_once_that_can_be_done_and_what_failed_stays_counted() -> None:
    defects = iter([True, False])

    def late(_since: float) -> bool:
        if next(defects):
            raise ZeroDivisionError("a mistake of ours")
        return False

    told, counted = judged(*[(SERVICE, answers(number)) for number in (1, 2)], around=Surroundings(late=late)).latest

    assert isinstance(told, Verdict)
    assert told.verdict == "ok"
    assert isinstance(counted, Collection)
    assert (counted.up, counted.failures) == (True, {"error": 1})


def test_what_was_judged_just_now_is_not_judged_again_for_time_alone() -> None:
    well = judged((SERVICE, answers(1)))
    before = well.standing

    look_around([well])
    assert well.standing is before

    well.standing = replace(before, seen=replace(before.seen, now=before.seen.now - EVERY))
    look_around([well])
    assert well.standing.seen.now > before.seen.now
