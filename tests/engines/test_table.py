"""The table of engines holds what it promises, for every row."""

import pytest

from exporter.engines import ENGINES, rows
from tests.engines.looking import HARMLESS

NAMES = """vllm vllm-omni sglang sglang-diffusion tgi tei transformers llama-server llama-cpp-python ollama triton
 triton-openai mlserver kserve trtllm nim lmdeploy gradio a1111 comfyui ray-serve bentoml litserve infinity torchserve
 fastapi flask unknown"""
PROTOCOLS = """openai-chat openai-completions openai-embeddings openai-images rerank tgi ollama ollama-embed gradio
 kserve triton-generate tei plain"""
GENERATING = {"/health_generate", "/perf_metrics"}
"""GETs that cost a generation, or take from others what they would read."""


def test_the_engines_have_the_names_that_the_settings_know() -> None:
    assert set(ENGINES) == set(NAMES.split())


@pytest.mark.parametrize("name", ENGINES)
def test_nothing_is_asked_of_an_unknown_service_that_could_do_harm(name: str) -> None:
    engine = ENGINES[name]

    asked = {sign.path for sign in engine.signs} | set(engine.details) | {look.path for look in engine.looks}

    assert asked <= HARMLESS


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_is_asked_in_a_protocol_that_the_settings_know(name: str) -> None:
    engine = ENGINES[name]

    assert set(engine.protocols) <= set(PROTOCOLS.split())
    assert set(engine.places) <= set(engine.protocols)


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_s_health_costs_it_nothing(name: str) -> None:
    engine = ENGINES[name]

    assert engine.health
    assert engine.health_timeout >= 5
    assert not GENERATING & {*engine.health, engine.metrics.path if engine.metrics else ""}


def test_an_sglang_is_asked_for_its_health_where_it_generates_nothing() -> None:
    assert ENGINES["sglang"].health[0] == "/ready"
    assert ENGINES["sglang"].health_timeout > 20


def test_what_a_scrape_disturbs_is_not_scraped_unasked() -> None:
    disturbed = {name for name, engine in ENGINES.items() if engine.metrics and not engine.metrics.auto}

    assert disturbed == {"llama-server", "trtllm"}


def test_a_queue_that_is_emptied_by_whoever_reads_it_is_never_read() -> None:
    metrics = ENGINES["trtllm"].metrics

    assert metrics is not None
    assert metrics.path == "/prometheus/metrics"


def test_the_readme_is_told_of_every_engine() -> None:
    told = {row.engine: row for row in rows()}

    assert list(told) == list(ENGINES)
    assert told["ollama"].recognised_by.startswith('"Ollama is running" at `GET /`')
    assert (told["triton"].protocol, told["triton"].evidence) == (
        "kserve, triton-generate (once `model` is set)",
        "tried",
    )
    assert (told["comfyui"].protocol, told["comfyui"].evidence) == ("none: its health alone", "from the reference")
