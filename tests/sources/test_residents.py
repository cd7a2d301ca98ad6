"""An Ollama that is prompted keeps its model as long as without, with the options it was loaded with."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import pytest

from exporter.ask import Limits
from exporter.engines import recognised, sight
from exporter.pace import Pace
from exporter.paths import Json
from exporter.protocols import PROTOCOLS
from exporter.questions import Question, Questions
from exporter.sources.prompt import Answers, Lookout, Prompting
from exporter.wire import Prompt
from tests.services.client import client
from tests.services.ollama import Ollama
from tests.services.scripted import Stage

MINUTE = 60.0


def watched(
    ollama: Ollama, minutes: int, *, meanwhile: Callable[[int], object] = lambda _: None, body: Json = None
) -> Answers:
    """What is said of the answers after a look a minute, before each of which something else may happen."""

    async def looked() -> Answers:
        async with client(ollama.service.url) as asking:
            questions = Questions(
                in_turn=(Question(prompt=Prompt(text="2+2?", max_tokens=8, body=body)),),
                limits=Limits(first_token=10.0, stall=10.0, total=20.0),
                pace=Pace(every=1000.0, max_share=0.02),
                dialects=PROTOCOLS,
            )
            lookout = Lookout(
                recognise=partial(recognised, asking, {}, protocol=None, model=None), look=partial(sight, asking, {})
            )
            source = Prompting(asking, questions, lookout, target="chat")
            for minute in range(minutes):
                meanwhile(minute)
                (*_, said) = [said async for said in source.read()]
                ollama.now += MINUTE
            return next(reading for reading in said if isinstance(reading, Answers))

    return asyncio.run(looked())


def happened(skipped: Mapping[str, int]) -> Mapping[str, int]:
    return {reason: times for reason, times in skipped.items() if times}


def test_a_model_that_nobody_else_uses_is_unloaded_when_its_time_is_up(stage: Stage) -> None:
    ollama = Ollama(stage)

    after = watched(ollama, 8)

    # Prompted in the first minute, it is gone five minutes later, and stays so.
    assert after.attempts == 1
    assert happened(after.skipped) == {"paused": 4, "unloaded": 3}
    assert (ollama.loaded, ollama.loads) == (False, 1)


def test_a_model_that_others_use_is_asked_and_they_keep_all_of_their_time(stage: Stage) -> None:
    ollama = Ollama(stage)

    after = watched(ollama, 8, meanwhile=lambda _: ollama.used())

    # Of two looks the first cannot tell their work from ours.
    assert after.attempts == 4
    assert happened(after.skipped) == {"paused": 4}
    ollama.used()
    assert ollama.left == 300


def test_a_model_that_others_use_again_is_asked_again(stage: Stage) -> None:
    ollama = Ollama(stage)

    after = watched(ollama, 5, meanwhile=lambda minute: ollama.used() if minute == 3 else None)

    assert after.attempts == 2
    assert happened(after.skipped) == {"paused": 3}


@pytest.mark.parametrize("keep", [300.0, -1.0])
def test_no_prompt_says_for_how_long_a_model_is_to_be_kept(keep: float, stage: Stage) -> None:
    ollama = Ollama(stage, keep=keep)

    watched(ollama, 3)

    assert not [prompt for prompt in ollama.prompts() if "keep_alive" in prompt]


def test_a_model_that_is_kept_for_ever_is_asked_every_time(stage: Stage) -> None:
    ollama = Ollama(stage, keep=-1.0)

    after = watched(ollama, 4)

    assert after.attempts == 4
    assert happened(after.skipped) == {}


def test_a_model_that_failed_is_asked_on_until_it_answers(stage: Stage) -> None:
    ollama = Ollama(stage)
    ollama.broken = True

    def mended(minute: int) -> None:
        ollama.broken = minute < 2

    after = watched(ollama, 4, meanwhile=mended)

    assert after.attempts == 3
    assert after.up is True
    assert happened(after.skipped) == {"paused": 1}


@pytest.mark.parametrize("ahead", [-7200.0, 0.0, 7200.0])
def test_a_model_that_is_about_to_go_is_let_go_by_the_clock_of_the_service(ahead: float, stage: Stage) -> None:
    ollama = Ollama(stage)
    ollama.now += ahead
    ollama.used(keep=3.0)

    after = watched(ollama, 1)

    assert happened(after.skipped) == {"unloaded": 1}
    assert ollama.prompts() == []


def test_where_the_service_does_not_tell_the_time_ours_is_taken(stage: Stage) -> None:
    ollama = Ollama(stage, keep=3.0)
    ollama.dated = False

    after = watched(ollama, 1)

    assert happened(after.skipped) == {"unloaded": 1}


def test_a_model_that_is_busy_beyond_its_time_is_asked(stage: Stage) -> None:
    ollama = Ollama(stage)
    ollama.busy = True
    ollama.now += 400

    after = watched(ollama, 1)

    assert after.attempts == 1


@pytest.mark.parametrize("context", [1024, 8192])
def test_a_model_is_asked_with_the_context_that_it_was_loaded_with(context: int, stage: Stage) -> None:
    ollama = Ollama(stage, context=context)

    watched(ollama, 1, body={"think": False, "options": {"seed": 1}})

    (prompt,) = ollama.prompts()
    assert prompt["options"] == {"num_predict": 8, "temperature": 0, "num_ctx": context, "seed": 1}
    assert ollama.loads == 1


def test_the_operator_s_context_wins(stage: Stage) -> None:
    ollama = Ollama(stage)

    watched(ollama, 1, body={"options": {"num_ctx": 2048}})

    (prompt,) = ollama.prompts()
    assert prompt["options"]["num_ctx"] == 2048


def test_an_ollama_that_tells_the_context_otherwise_is_not_told_one(stage: Stage) -> None:
    ollama = Ollama(stage, version="0.20.0", context=4096)

    watched(ollama, 1)

    (prompt,) = ollama.prompts()
    assert "num_ctx" not in prompt["options"]
    assert ollama.loads == 1
