"""What is measured of a model that an Ollama holds in memory is measured of it as it was loaded."""

import asyncio

import pytest

from exporter.commands.baseline import baseline
from exporter.settings import load
from tests.services.ollama import Ollama
from tests.services.scripted import Stage


def measured(ollama: Ollama) -> int:
    """The exit status of a baseline of three prompts."""
    target = {"url": ollama.service.url, "checks": {"canary": "off"}}
    return asyncio.run(baseline(load({"targets": [target]}, file=None, environ={}), 3, file=None, as_json=True))


def test_a_baseline_does_not_have_a_model_loaded_again(stage: Stage) -> None:
    ollama = Ollama(stage, context=16384)

    status = measured(ollama)

    assert status == 0
    assert [prompt["options"]["num_ctx"] for prompt in ollama.prompts()] == [16384] * 3
    assert ollama.loads == 1


def test_a_baseline_loads_no_model(capsys: pytest.CaptureFixture[str], stage: Stage) -> None:
    ollama = Ollama(stage)
    ollama.now += 301

    status = measured(ollama)

    assert status == 1
    assert "the model is unloaded" in capsys.readouterr().out
    assert ollama.prompts() == []
