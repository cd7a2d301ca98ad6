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
- {name: idle, url: 'http://c', prompt: {enabled: off}, health: {enabled: off}, process: off}
""")

    status = config.check(load({}, file=file, environ={}))

    assert status == 0
    assert capsys.readouterr().out.splitlines() == [
        "the settings are valid",
        "  local:8000  http://127.0.0.1:8000  health every 15s, prompt if recognised every auto, process by its port",
        "  parse  http://b  health every 15s, prompt plain every 90s, process by port 81",
        "  idle  http://c  health off, prompt off, process off",
    ]


def test_check_says_what_is_left_without_a_target(capsys: pytest.CaptureFixture[str]) -> None:
    status = config.check(load({}, file=None, environ={}))

    assert status == 0
    assert "no target" in capsys.readouterr().out


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
