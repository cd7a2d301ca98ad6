"""What `model-sidecar config` writes."""

import json
from pathlib import Path

import pytest

from exporter.commands import config
from exporter.settings import load


def test_check_says_what_is_watched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sidecar.yml"
    file.write_text("""
targets:
- url: http://127.0.0.1:8000
- {name: parse, url: 'http://b', prompt: {protocol: plain, every: 90s, body: {}}, process: {port: 81}}
- {name: unit, url: 'http://d', process: {unit: vllm}}
- {name: file, url: 'unix:///run/e', process: {pid_file: /run/e.pid}}
- {name: idle, url: 'http://c', prompt: {enabled: off}, health: {enabled: off}, process: off}
""")

    status = config.check(load({}, file=file, environ={}))

    assert status == 0
    assert capsys.readouterr().out.splitlines() == [
        "the settings are valid",
        "  local:8000  http://127.0.0.1:8000  health every 15s, prompt if recognised every auto, process by its port",
        "  parse  http://b  health every 15s, prompt plain every 90s, process by port 81",
        "  unit  http://d  health every 15s, prompt if recognised every auto, process by unit vllm",
        "  file  unix:///run/e  health every 15s, prompt if recognised every auto, process by pid file /run/e.pid",
        "  idle  http://c  health off, prompt off, process off",
    ]


def test_check_says_what_is_left_without_a_target(capsys: pytest.CaptureFixture[str]) -> None:
    status = config.check(load({}, file=None, environ={}))

    assert status == 0
    assert "no target" in capsys.readouterr().out


NO_EDGE = "and its histogram has no edge within 20 % of that"
NEVER = "no percentile is told above that, so this one never seems missed"
ROUGH = "the percentile is interpolated, so it may seem missed while it is kept, or kept while it is missed"


@pytest.mark.parametrize(
    ("objectives", "told"),
    [
        ("{first_token: {p1: 5ms}}", f"first_token.p1 is 5ms, {NO_EDGE}: between 0s and 0.01s {ROUGH}"),
        ("{first_token: {p50: 1s, p95: 2s}}", f"first_token.p95 is 2s, {NO_EDGE}: between 1s and 2.5s {ROUGH}"),
        ("{duration: {p99.9: 7s}, cpu_ratio: 1}", f"duration.p99.9 is 7s, {NO_EDGE}: between 5s and 10s {ROUGH}"),
        ("{first_token: {p99: 1m}}", f"first_token.p99 is 1m, and the last edge of its histogram is 60s: {NEVER}"),
        ("{duration: {p99: 130}}", f"duration.p99 is 130s, and the last edge of its histogram is 120s: {NEVER}"),
    ],
)
def test_check_warns_of_an_objective_that_lies_far_from_every_edge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], objectives: str, told: str
) -> None:
    file = tmp_path / "sidecar.yml"
    file.write_text(f"targets: [{{url: 'http://a'}}, {{url: 'http://b'}}]\nobjectives: {objectives}")

    status = config.check(load({}, file=file, environ={}))

    out, err = capsys.readouterr()
    assert status == 0
    assert out.startswith("the settings are valid\n")
    assert err == f"model-sidecar: objectives.{told}\n"


def test_check_warns_of_an_objective_that_one_target_has_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "sidecar.yml"
    file.write_text(
        "targets: [{url: 'http://a', objectives: {duration: {p95: 7s}}}]\nobjectives: {duration: {p95: 10s}}"
    )

    config.check(load({}, file=file, environ={}))

    assert capsys.readouterr().err.startswith("model-sidecar: objectives.duration.p95 is 7s, ")


def test_check_warns_of_no_objective_that_is_an_edge_or_near_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "sidecar.yml"
    file.write_text("objectives: {first_token: {p50: 0.01, p95: 2.1, p99: 30s}, duration: {p95: 50s, p99: 110s}}")

    status = config.check(load({}, file=file, environ={}))

    assert status == 0
    assert capsys.readouterr().err == ""


def test_what_print_writes_is_a_settings_file_for_the_same_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load({"targets": [{"url": "http://a"}]}, file=None, environ={"MODEL_SIDECAR_GPU__EVERY": "7"})
    file = tmp_path / "sidecar.yml"

    status = config.print_effective(settings)

    file.write_text(capsys.readouterr().out)
    assert status == 0
    assert load({}, file=file, environ={}) == settings


def test_print_masks_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    settings = load({"targets": [{"url": "http://a"}]}, file=None, environ={"MODEL_SIDECAR_API_KEY": "the-key-itself"})

    config.print_effective(settings)

    written = capsys.readouterr().out
    assert "api_key: '**********'" in written
    assert "the-key-itself" not in written


def test_schema_is_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    status = config.schema()

    assert status == 0
    assert set(json.loads(capsys.readouterr().out)["properties"]) >= {"targets", "health", "prompt", "process", "gpu"}
