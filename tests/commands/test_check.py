"""What `model-sidecar check` finds of services good and bad, and what it says to do."""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.commands.check import ADVICE, check
from exporter.settings import Target, load, reference
from exporter.verdict.standing import State
from exporter.verdict.words import TRIES
from exporter.wire import Failure
from tests.daemon import ended
from tests.hostile import GARBAGE
from tests.services.openai import CHAT, GOOD, models
from tests.services.scripted import Answer, Service, Stage, reply

Checked = Callable[..., tuple[int, str]]
NOTHING: Mapping[str, str] = {}


@pytest.fixture
def checked(capsys: pytest.CaptureFixture[str]) -> Checked:
    """Checks the services of some targets; the exit status, and what was written."""

    def status_and_words(
        *targets: Mapping[str, object], as_json: bool = False, environ: Mapping[str, str] = NOTHING
    ) -> tuple[int, str]:
        settings = load({"targets": list(targets)}, file=None, environ=environ)
        status = asyncio.run(check(settings, as_json=as_json))
        return status, capsys.readouterr().out

    return status_and_words


def serving(stage: Stage, **answers: Answer) -> Service:
    """A good chat service, but for what is answered otherwise."""
    good = {"health": reply("ok"), "models": models("tiny"), "chat": GOOD}
    of = {**good, **answers}
    return stage.serve({"GET /health": of["health"], "GET /v1/models": of["models"], f"POST {CHAT}": of["chat"]})


def findings(text: str) -> Mapping[str, str]:
    """What is said of one service, by what it is about."""
    found: dict[str, str] = {}
    for about, said in re.findall(r"^  (\S.{11}) (\S.*)$", text, re.MULTILINE):
        earlier = found.get(about.strip())
        found[about.strip()] = said if earlier is None else f"{earlier}\n{said}"
    return found


def pasted(text: str) -> str:
    """The YAML that a report of one service ends with."""
    _, _, indented = text.partition("put this into the configuration:\n")
    return "".join(line.removeprefix("    ") for line in indented.splitlines(keepends=True))


def test_a_good_service_is_reported_with_how_fast_it_is(checked: Checked, stage: Stage) -> None:
    service = serving(stage)

    status, text = checked({"url": service.url})

    found = findings(text)
    assert status == 0
    assert text.startswith(f"local:{service.url.rpartition(':')[2]}  {service.url}\n")
    assert found["reachable"] == "yes"
    assert found["asked in"] == "openai-chat tiny"
    assert re.fullmatch(r"ok in \d+\.\d+ ms", found["health"])
    assert re.fullmatch(r"ok, 3 tokens in \d+\.\d+ ms", found["answer"])
    assert re.fullmatch(r"after \d+\.\d+ ms", found["first token"])
    assert re.fullmatch(r"\d+\.\d", found["tokens/s"])
    assert "try" not in found


def test_a_service_is_sent_one_prompt(checked: Checked, stage: Stage) -> None:
    service = serving(stage)

    checked({"url": service.url})

    assert [request.path for request in service.asked("POST")] == [CHAT]


def test_a_service_that_refuses_is_not_reachable(checked: Checked, stage: Stage) -> None:
    status, text = checked({"url": f"http://127.0.0.1:{stage.closed_port()}"})

    found = findings(text)
    assert status == 1
    assert found["reachable"] == "no"
    assert found["health"].startswith("refused (")
    assert found["is"].startswith("dead: nobody answers there; refused (")
    assert ADVICE[Failure.REFUSED] in text
    assert TRIES[State.DEAD] in text


def test_a_service_that_refuses_is_not_called_reachable_where_its_health_is_off(checked: Checked, stage: Stage) -> None:
    url = f"http://127.0.0.1:{stage.closed_port()}"

    _, text = checked({"url": url, "health": {"enabled": False}})

    assert findings(text).get("reachable") != "yes"


def test_a_service_that_was_not_recognised_is_sent_no_prompt_and_its_owner_told_how_to_have_one_sent(
    checked: Checked, stage: Stage
) -> None:
    service = serving(stage, models=reply("", 404))

    status, text = checked({"url": service.url})

    found = findings(text)
    assert status == 0
    assert found["asked in"] == "nothing but its health"
    assert "answer" not in found
    assert service.asked("POST") == []
    assert "prompt.protocol" in found["try"]


def test_whoever_wants_no_prompt_sent_is_told_that_none_was(checked: Checked, stage: Stage) -> None:
    service = serving(stage)

    _, text = checked({"url": service.url, "prompt": {"enabled": False}})

    assert findings(text)["try"] == "no prompt was sent, since prompt.enabled is false"


def test_a_service_that_lists_its_models_only_for_a_key_is_said_to_want_one(checked: Checked, stage: Stage) -> None:
    service = serving(stage, models=reply('{"error": "Unauthorized"}', 401))

    _, text = checked({"url": service.url})

    assert "key" in findings(text)["try"]


def test_garbage_is_told_from_a_service_that_is_not_there(checked: Checked, stage: Stage) -> None:
    service = serving(stage, health=GARBAGE, chat=GARBAGE)

    status, text = checked({"url": service.url})

    found = findings(text)
    assert status == 1
    assert found["reachable"] == "yes"
    assert found["health"].startswith("invalid")
    assert found["answer"].startswith("invalid")
    assert found["try"].splitlines()[0] == ADVICE[Failure.INVALID]


def test_health_and_answer_are_judged_apart(checked: Checked, stage: Stage) -> None:
    service = serving(stage, health=reply("", 404), chat=reply("", 429))

    status, text = checked({"url": service.url})

    found = findings(text)
    assert status == 1
    assert found["health"] == "not_found (status 404)"
    assert found["answer"] == "rate_limited (status 429)"
    assert found["try"].splitlines()[:2] == [ADVICE[Failure.NOT_FOUND], ADVICE[Failure.RATE_LIMITED]]
    assert "first token" not in found


def test_one_bad_service_among_good_ones_decides_the_status(checked: Checked, stage: Stage) -> None:
    good, bad = serving(stage), serving(stage, chat=reply("", 500))

    status, text = checked({"name": "first", "url": good.url}, {"name": "second", "url": bad.url})

    assert status == 1
    assert [part.partition("  ")[0] for part in text.split("\n\n")] == ["first", "second"]


def report(text: str) -> Mapping[str, Any]:
    (only,) = json.loads(text)
    return dict(only)


def test_json_tells_the_same_in_figures(checked: Checked, stage: Stage) -> None:
    service = serving(stage)

    status, text = checked({"name": "chat", "url": service.url}, as_json=True)

    told = report(text)
    assert status == 0
    assert (told["target"], told["url"], told["ok"]) == ("chat", service.url, True)
    assert (told["reachable"], told["protocol"], told["model"]) == (True, "openai-chat", "tiny")
    assert (told["health_ok"], told["answer_ok"], told["output_tokens"]) == (True, True, 3)
    assert 0 < told["first_token_seconds"] <= told["duration_seconds"]
    assert told["tokens_per_second"] == pytest.approx(3 / told["duration_seconds"])
    assert told["advice"] == []


def test_json_says_null_of_what_could_not_be_told(checked: Checked, stage: Stage) -> None:
    status, text = checked({"url": f"http://127.0.0.1:{stage.closed_port()}"}, as_json=True)

    told = report(text)
    assert status == 1
    assert (told["ok"], told["reachable"], told["health_ok"]) == (False, False, False)
    assert told["health_failure"].startswith("refused")
    unknown = {"protocol", "model", "answer_ok", "first_token_seconds", "output_tokens", "tokens_per_second"}
    assert {name for name in unknown if told[name] is not None} == set()


def loaded(text: str, folder: Path) -> Target:
    """The one target of a configuration that was pasted into a file."""
    file = folder / "pasted.yml"
    file.write_text(text)
    (target,) = load({}, file=file, environ={}).targets
    return target


def test_what_it_says_to_paste_watches_the_service_as_it_was_found(
    checked: Checked, stage: Stage, tmp_path: Path
) -> None:
    service = serving(stage)

    _, text = checked({"name": "chat", "url": service.url})

    target = loaded(pasted(text), tmp_path)
    assert (target.name, target.url, target.model) == ("chat", service.url, "tiny")
    assert target.prompt.protocol == "openai-chat"


def test_what_it_says_to_paste_for_an_unknown_service_is_a_configuration_too(
    checked: Checked, stage: Stage, tmp_path: Path
) -> None:
    service = serving(stage, models=reply("", 404))

    _, text = checked({"name": "other", "url": service.url}, as_json=True)

    target = loaded(report(text)["configuration"], tmp_path)
    assert (target.name, target.url, target.prompt.protocol) == ("other", service.url, None)


def test_what_it_says_to_paste_keeps_what_was_set_for_the_service(
    checked: Checked, stage: Stage, tmp_path: Path
) -> None:
    service = stage.serve({"GET /ping": reply("ok"), "POST /parse": reply('{"city": "Paris"}')})
    plain = {"protocol": "plain", "path": "/parse", "body": {"text": "${text}"}, "answer": "city"}
    given = {"name": "addresses", "url": service.url, "health": {"path": "/ping"}, "prompt": plain}

    status, text = checked(given)

    (as_set,) = load({"targets": [given]}, file=None, environ={}).targets
    assert status == 0
    assert loaded(pasted(text), tmp_path) == as_set


def test_nothing_secret_is_in_what_it_says_to_paste(checked: Checked, stage: Stage) -> None:
    service = serving(stage)

    _, text = checked({"url": service.url}, environ={"MODEL_SIDECAR_API_KEY": "sk-planted"})

    assert yaml.safe_load(pasted(text))["targets"]
    assert "sk-planted" not in text


def test_there_is_advice_for_every_way_to_fail() -> None:
    assert set(ADVICE) == set(Failure)


@pytest.mark.parametrize("advice", ADVICE.values(), ids=list(ADVICE))
def test_advice_names_only_settings_that_there_are(advice: str) -> None:
    settings = "\n".join(entry.name.removeprefix("targets[].") for entry in reference())

    named = re.findall(r"\b[a-z_]+\.[a-z_]+\b", advice)

    assert [name for name in named if not re.search(rf"^{name}\b", settings, re.MULTILINE)] == []


@pytest.mark.parametrize(
    ("typed", "status"),
    [("check {refusing}", 1), ("check localhost:8000", 2)],
    ids=["refused", "no url"],
)
def test_the_exit_status_says_how_it_went(typed: str, status: int, stage: Stage) -> None:
    refusing = f"http://127.0.0.1:{stage.closed_port()}"

    end = ended(*typed.format(refusing=refusing).split())

    assert end.returncode == status
    assert bool(end.stdout) is (status < 2)
    assert len(end.stderr.splitlines()) == (status == 2)


def test_a_check_of_nothing_says_that_there_is_nothing() -> None:
    end = ended("check")

    assert end.returncode == 2
    assert "target" in end.stderr
