"""The real program told to read its settings anew, by a signal and over HTTP."""

import json
import signal
from collections.abc import Mapping
from pathlib import Path

import httpx
import yaml

from tests.daemon import PATIENCE, Daemon, Page, started
from tests.nvml.driver import Driver, require_compiler
from tests.services.openai import CHAT, GOOD, models
from tests.services.scripted import Service, Stage, reply

SUCCESSFUL = "model_sidecar_config_last_reload_successful"
WHEN = "model_sidecar_config_last_reload_success_timestamp_seconds"
ATTEMPTS = "model_probe_attempts_total"
OFF: Mapping[str, object] = {"enabled": False}


def good(stage: Stage) -> Service:
    """A service that is well."""
    return stage.serve({"GET /health": reply("ok"), "GET /v1/models": models("tiny"), f"POST {CHAT}": GOOD})


def settings(*targets: Mapping[str, object], **more: object) -> Mapping[str, object]:
    """A file's settings, in which prompts come in quick succession."""
    quick = {"prompt": {"protocol": "openai-chat", "every": "200ms"}, "health": {"every": "200ms"}}
    return {"targets": list(targets), **quick, "gpu": OFF, "host": OFF, **more}


def write(folder: Path, config: Mapping[str, object]) -> None:
    """What the program reads the next time."""
    (folder / "config.yml").write_text(yaml.safe_dump(config, sort_keys=False))


def attempts(page: Page, name: str) -> float:
    """How often a service was asked."""
    return page.value(ATTEMPTS, target=name) or 0


def post(daemon: Daemon) -> httpx.Response:
    """What it answers to who asks for other settings."""
    return httpx.post(f"{daemon.url}/-/reload", timeout=PATIENCE, trust_env=False)


def test_a_signal_begins_ends_and_keeps_services_as_the_file_now_has_them(tmp_path: Path, stage: Stage) -> None:
    kept, gone, changed, new = ({"name": name, "url": good(stage).url} for name in ("kept", "gone", "changed", "new"))
    with started(tmp_path, settings(kept, gone, changed)) as daemon:
        before = daemon.until(lambda page: all(attempts(page, name) >= 3 for name in ("kept", "gone", "changed")))
        write(tmp_path, settings(kept, {**changed, "model": "tiny"}, new))
        daemon.process.send_signal(signal.SIGHUP)
        after = daemon.until(lambda page: attempts(page, "new") > 0)

    assert after.about("gone") == []
    assert attempts(after, "kept") >= attempts(before, "kept")
    assert after.value("model_state_since_timestamp_seconds", target="kept") == before.value(
        "model_state_since_timestamp_seconds", target="kept"
    )
    assert (after.value("model_state_since_timestamp_seconds", target="changed") or 0) > (
        before.value("model_state_since_timestamp_seconds", target="changed") or 0
    )
    assert after.value("model_sidecar_targets") == 3
    assert after.value(SUCCESSFUL) == 1
    assert (after.value(WHEN) or 0) > (before.value(WHEN) or 0)


def test_a_service_that_is_gone_is_asked_no_more(tmp_path: Path, stage: Stage) -> None:
    service = good(stage)
    with started(tmp_path, settings({"name": "gone", "url": service.url})) as daemon:
        daemon.until(lambda page: attempts(page, "gone") >= 1)
        write(tmp_path, settings())
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until(lambda page: not page.about("gone"))
        before = len(service.requests)
        daemon.until(lambda _page: False, patience=1)

    assert len(service.requests) == before


def test_a_broken_file_changes_nothing_and_is_counted_and_told(tmp_path: Path, stage: Stage) -> None:
    kept = {"name": "kept", "url": good(stage).url}
    with started(tmp_path, settings(kept)) as daemon:
        before = daemon.until(lambda page: attempts(page, "kept") >= 1)
        write(tmp_path, settings({**kept, "urk": 1}))
        daemon.process.send_signal(signal.SIGHUP)
        broken = daemon.until(lambda page: page.value(SUCCESSFUL) == 0)
        write(tmp_path, settings(kept))
        daemon.process.send_signal(signal.SIGHUP)
        mended = daemon.until(lambda page: page.value(SUCCESSFUL) == 1)

    assert f"{tmp_path / 'config.yml'}:4: targets[0].urk is unknown, did you mean url?" in daemon.log
    assert broken.value(SUCCESSFUL) == 0
    assert broken.value(WHEN) == before.value(WHEN)
    assert attempts(before, "kept") <= attempts(broken, "kept") <= attempts(mended, "kept")
    assert (mended.value(WHEN) or 0) > (before.value(WHEN) or 0)


def test_a_post_reads_the_settings_anew_and_says_what_is_wrong_with_them(tmp_path: Path, stage: Stage) -> None:
    new = {"name": "new", "url": good(stage).url}
    able = {"web": {"enable_lifecycle": True}}
    with started(tmp_path, settings(**able)) as daemon:
        write(tmp_path, settings(new, **able))
        taken = post(daemon)
        page = daemon.scrape()
        write(tmp_path, settings({**new, "engine": "vlm"}, **able))
        refused = post(daemon)
        got = daemon.get("/-/reload")

    assert (taken.status_code, taken.text) == (200, "The settings were read anew.\n")
    assert page.about("new")
    assert refused.status_code == 500
    assert 'targets[0].engine is "vlm", expected auto, vllm' in refused.text
    assert got.status_code == 405


def test_a_post_is_refused_unless_it_was_enabled(tmp_path: Path) -> None:
    with started(tmp_path, settings()) as daemon:
        refused = post(daemon)

    assert refused.status_code == 403
    assert (
        refused.text
        == "Lifecycle API is not enabled. Start with --web.enable-lifecycle, or set web.enable_lifecycle.\n"
    )


def test_files_of_targets_are_followed_without_a_reload(tmp_path: Path, stage: Stage) -> None:
    file = tmp_path / "targets.json"
    one, two = (good(stage).url.removeprefix("http://") for _ in range(2))
    file.write_text(json.dumps([{"targets": [one], "labels": {"name": "one"}}]))
    with started(tmp_path, settings(targets_files=[f"{tmp_path}/*.json"])) as daemon:
        first = daemon.until(lambda page: attempts(page, "one") >= 1)
        file.write_text("[{")
        broken = daemon.until(lambda _page: "what the file said before stands" in daemon.log)
        file.write_text(json.dumps([{"targets": [two], "labels": {"name": "two"}}]))
        second = daemon.until(lambda page: attempts(page, "two") >= 1)

    assert attempts(first, "one") >= 1
    assert broken.about("one")
    assert attempts(second, "two") >= 1
    assert second.about("one") == []


def test_a_service_at_an_address_of_a_name_is_watched_under_both(tmp_path: Path, stage: Stage) -> None:
    service = good(stage)
    url = service.url.replace("127.0.0.1", "localhost")
    with started(tmp_path, settings({"name": "chat", "url": f"dns+{url}"})) as daemon:
        page = daemon.until(lambda page: attempts(page, "chat-127.0.0.1") >= 1)

    assert attempts(page, "chat-127.0.0.1") >= 1
    assert {request.headers["host"] for request in service.asked("POST")} == {url.removeprefix("http://")}


def test_what_cannot_be_changed_while_it_runs_is_told_and_the_rest_taken_up(tmp_path: Path) -> None:
    with started(tmp_path, settings()) as daemon:
        write(tmp_path, settings(gpu={"enabled": True}, log={"level": "debug"}))
        daemon.process.send_signal(signal.SIGHUP)
        page = daemon.until(lambda _page: "gpu.enabled was changed" in daemon.log)

    assert "gpu.enabled was changed, which takes effect at the next start" in daemon.log
    assert page.samples("gpu_up") == []


def test_other_gpus_are_told_of_once_the_settings_ask_for_them(tmp_path: Path) -> None:
    require_compiler()
    driver = Driver(tmp_path)
    driver.script({"gpus": 3})
    quick = {"every": "200ms"}
    with started(tmp_path, settings(gpu={**quick, "devices": [0]}), environment=driver.environment) as daemon:
        before = daemon.until(lambda page: page.samples("gpu_up") != [])
        write(tmp_path, settings(gpu={**quick, "devices": [1, 2]}))
        daemon.process.send_signal(signal.SIGHUP)
        after = daemon.until(lambda page: page.samples("gpu_up", gpu="1") != [])

    assert [it.labels["gpu"] for it in before.samples("gpu_up")] == ["0"]
    assert [it.labels["gpu"] for it in after.samples("gpu_up")] == ["1", "2"]


def test_the_rhythm_of_the_host_is_taken_up_and_what_was_counted_stays(tmp_path: Path) -> None:
    looks = "model_sidecar_collection_attempts_total"
    with started(tmp_path, settings(host={"every": "2s"})) as daemon:
        before = daemon.until(lambda page: (page.value(looks, source="host") or 0) > 0)
        write(tmp_path, settings(host={"every": "50ms"}))
        daemon.process.send_signal(signal.SIGHUP)
        after = daemon.until(lambda page: (page.value(looks, source="host") or 0) > 30, patience=20)

    assert (before.value(looks, source="host") or 0) < 5
    assert (after.value(looks, source="host") or 0) > 30
