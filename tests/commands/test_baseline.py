"""What `model-sidecar baseline` makes of services steady and unsteady, and what it gives to be pasted."""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from exporter.commands.baseline import baseline
from exporter.settings import Settings, load
from tests.daemon import ended
from tests.services.openai import CHAT, GOOD, models
from tests.services.scripted import Answer, Service, Stage, in_turn, reply

EMBEDDINGS = "/v1/embeddings"
Measured = Callable[..., tuple[int, str]]


@pytest.fixture
def measured(capsys: pytest.CaptureFixture[str]) -> Measured:
    """Measures the services of some targets; the exit status, and what was written to either stream."""

    def status_and_words(
        *targets: Mapping[str, object], prompts: int = 20, file: Path | None = None, as_json: bool = False
    ) -> tuple[int, str]:
        settings = load({"targets": list(targets)}, file=None, environ={})
        status = asyncio.run(baseline(settings, prompts, file=file, as_json=as_json))
        return status, "".join(capsys.readouterr())

    return status_and_words


def chatting(stage: Stage, chat: Answer = GOOD) -> Service:
    return stage.serve({"GET /v1/models": models("tiny"), f"POST {CHAT}": chat})


def embedded(*vector: float) -> Answer:
    return reply(json.dumps({"data": [{"index": 0, "embedding": list(vector)}]}))


def embedding(stage: Stage, *answers: Answer) -> Mapping[str, object]:
    service = stage.serve({"GET /v1/models": models("tiny"), f"POST {EMBEDDINGS}": in_turn(*answers)})
    return {"url": service.url, "prompt": {"protocol": "openai-embeddings"}}


def told(text: str) -> Mapping[str, Any]:
    """What JSON says of the one service."""
    (one,) = json.loads(text)
    found: Mapping[str, Any] = one
    return found


def pasted(file: Path) -> Settings:
    return load({}, file=file, environ={})


def objectives(file: Path) -> Mapping[str, Any]:
    """What is wanted of the one service of a file."""
    (target,) = pasted(file).targets
    return target.objectives.model_dump(exclude_unset=True)


def test_a_service_is_asked_as_often_as_was_said_and_never_twice_at_once(measured: Measured, stage: Stage) -> None:
    service = chatting(stage)

    status, text = measured({"url": service.url}, prompts=7)

    assert status == 0
    assert len(service.asked("POST")) == 7
    assert service.most_at_once["POST"] == 1
    assert "7 good of 7" in text


def test_failures_are_counted_by_reason_and_leave_the_distribution_alone(measured: Measured, stage: Stage) -> None:
    service = chatting(stage, in_turn(reply("", 500), reply("", 429), reply("", 500), GOOD))

    status, text = measured({"url": service.url}, prompts=8, as_json=True)

    found = told(text)
    assert status == 0
    assert (found["asked"], found["good"]) == (8, 5)
    assert found["failed"] == {"status_5xx": 2, "rate_limited": 1}
    assert found["duration_seconds"]["count"] == 5


def test_a_wrong_sum_fails_where_the_canary_is_on(measured: Measured, stage: Stage) -> None:
    service = chatting(stage)

    status, text = measured({"url": service.url, "checks": {"canary": "on"}}, prompts=2, as_json=True)

    assert status == 1
    assert told(text)["failed"] == {"unexpected": 2}


@pytest.mark.parametrize(
    ("prompts", "there"),
    [(1, set()), (9, {"p50"}), (19, {"p50", "p90"}), (20, {"p50", "p90", "p95"}), (100, {"p50", "p90", "p95", "p99"})],
)
def test_a_percentile_is_absent_where_the_answers_are_too_few(
    prompts: int, there: set[str], measured: Measured, stage: Stage
) -> None:
    service = chatting(stage)

    _, text = measured({"url": service.url}, prompts=prompts, as_json=True)

    spread = told(text)["duration_seconds"]
    assert {name for name in ("p50", "p90", "p95", "p99") if spread[name] is not None} == there
    values = [value for name, value in spread.items() if name != "count" and value is not None]
    assert values == sorted(values)


def test_what_is_written_loads_and_its_objectives_leave_headroom(
    measured: Measured, stage: Stage, tmp_path: Path
) -> None:
    service, file = chatting(stage), tmp_path / "sidecar.yml"

    _, text = measured({"name": "chat", "url": service.url}, file=file, as_json=True)

    (target,) = pasted(file).targets
    found, aims = told(text), objectives(file)
    p95, speed = found["duration_seconds"]["p95"], found["tokens_per_second"]["p50"]
    assert (target.name, target.url, target.prompt.protocol, target.model) == (
        "chat",
        service.url,
        "openai-chat",
        "tiny",
    )
    assert 1.5 * p95 <= aims["duration"]["p95"] <= 1.7 * p95
    assert 0.6 * speed <= aims["tokens_per_second"] <= 0.7 * speed
    assert set(aims["duration"]) == {"p95"}
    assert set(aims["first_token"]) == {"p95"}
    assert aims["success_ratio"] == 0.99


def test_with_few_answers_no_time_is_aimed_at(measured: Measured, stage: Stage, tmp_path: Path) -> None:
    service, file = chatting(stage), tmp_path / "sidecar.yml"

    measured({"url": service.url}, prompts=3, file=file)

    assert objectives(file).keys() == {"tokens_per_second", "success_ratio"}


def test_what_is_printed_to_be_pasted_loads_as_what_is_written(
    measured: Measured, stage: Stage, tmp_path: Path
) -> None:
    service, file, copied = chatting(stage), tmp_path / "sidecar.yml", tmp_path / "copied.yml"

    _, text = measured({"name": "chat", "url": service.url}, file=file)

    _, _, configuration = text.partition("put it into the configuration:\n")
    copied.write_text(dedent(configuration))
    assert pasted(copied) == pasted(file)
    assert objectives(copied)["duration"]


def test_what_is_written_is_accepted_by_config_check(measured: Measured, stage: Stage, tmp_path: Path) -> None:
    service, file = chatting(stage), tmp_path / "sidecar.yml"
    measured({"name": "chat", "url": service.url}, file=file)

    end = ended("config", "check", str(file))

    assert end.returncode == 0
    assert end.stdout.startswith("the settings are valid\n  chat  ")


def test_a_service_keeps_the_objectives_that_are_not_measured(measured: Measured, stage: Stage, tmp_path: Path) -> None:
    service, file = chatting(stage), tmp_path / "sidecar.yml"
    before = {"success_ratio": 0.9, "cpu_ratio": 0.8, "duration": {"p50": "90s"}, "first_token": {"p50": "9s"}}

    measured({"url": service.url, "objectives": before}, file=file)

    aims = objectives(file)
    assert (aims["success_ratio"], aims["cpu_ratio"]) == (0.9, 0.8)
    assert (set(aims["duration"]), set(aims["first_token"])) == ({"p95"}, {"p95"})


def test_an_embedding_is_recorded_as_the_golden_one_that_the_next_baseline_replaces(
    measured: Measured, stage: Stage, tmp_path: Path
) -> None:
    target, file = embedding(stage, embedded(0.5, -0.25, 1e-7)), tmp_path / "sidecar.yml"

    status, _ = measured({**target, "checks": {"golden": [0.0, 1.0], "norm": {"min": 0.1}}}, prompts=3, file=file)

    (recorded,) = pasted(file).targets
    assert status == 0
    assert tuple(recorded.checks.golden) == (0.5, -0.25, 1e-7)
    assert recorded.checks.dimensions == 3
    assert recorded.checks.norm is not None


def test_an_embedding_is_of_the_same_text_each_time(measured: Measured, stage: Stage) -> None:
    service = stage.serve({"GET /v1/models": models("tiny"), f"POST {EMBEDDINGS}": embedded(0.5, 0.1)})

    measured({"url": service.url, "prompt": {"protocol": "openai-embeddings"}}, prompts=3)

    assert len({request.body for request in service.asked("POST")}) == 1


def test_embeddings_that_do_not_agree_give_no_golden_one(measured: Measured, stage: Stage, tmp_path: Path) -> None:
    target, file = embedding(stage, embedded(1, 0.1), embedded(0.1, 1)), tmp_path / "sidecar.yml"

    status, text = measured(target, prompts=3, file=file)

    (recorded,) = pasted(file).targets
    assert status == 0
    assert "do not agree" in text
    assert not recorded.checks.golden
    assert recorded.checks.dimensions == 2


def test_a_target_with_no_good_answer_fails_the_whole_and_is_not_written(
    measured: Measured, stage: Stage, tmp_path: Path
) -> None:
    good, bad, file = chatting(stage), chatting(stage, reply("", 500)), tmp_path / "sidecar.yml"

    status, _ = measured({"name": "good", "url": good.url}, {"name": "bad", "url": bad.url}, prompts=2, file=file)

    assert status == 1
    assert [target.name for target in pasted(file).targets] == ["good"]


def test_a_service_that_was_not_recognised_is_sent_nothing(measured: Measured, stage: Stage) -> None:
    service = stage.serve({})

    status, text = measured({"url": service.url})

    assert status == 1
    assert service.asked("POST") == []
    assert "set prompt.protocol" in text


def test_a_file_that_is_there_is_not_overwritten_and_nothing_is_asked(
    measured: Measured, stage: Stage, tmp_path: Path
) -> None:
    service, file = chatting(stage), tmp_path / "sidecar.yml"
    file.write_text("mine")

    status, text = measured({"url": service.url}, file=file)

    assert status == 2
    assert text == f"model-sidecar: {file} is there already, and is not overwritten\n"
    assert file.read_text() == "mine"
    assert service.requests == []


def test_a_key_is_written_nowhere(measured: Measured, stage: Stage, tmp_path: Path) -> None:
    service, file = chatting(stage), tmp_path / "sidecar.yml"

    _, text = measured({"url": service.url, "headers": {"X-Key": "hush-hush"}}, prompts=1, file=file)

    assert "hush-hush" not in text + file.read_text()


@pytest.mark.parametrize("typed", ["baseline", "baseline http://127.0.0.1:9 --prompts 0"])
def test_wrong_usage_is_one_line_and_status_2(typed: str) -> None:
    end = ended(*typed.split())

    assert end.returncode == 2
    assert len(end.stderr.splitlines()) == 1
