"""The table of engines holds what it promises, for every row."""

from collections.abc import Sequence

import pytest

from exporter.engines import ENGINES, rows
from exporter.figures import Way
from exporter.vocabularies import VOCABULARIES
from tests.engines.looking import HARMLESS

NAMES = """vllm vllm-omni sglang sglang-diffusion tgi tei transformers llama-server llama-cpp-python ollama triton
 triton-openai mlserver kserve trtllm nim lmdeploy gradio a1111 comfyui ray-serve bentoml litserve infinity torchserve
 fastapi flask unknown"""
PROTOCOLS = """openai-chat openai-completions openai-embeddings openai-images rerank tgi ollama ollama-embed gradio
 kserve triton-generate tei plain"""
SILENT = {"ollama", "transformers", "llama-cpp-python", "a1111", "comfyui"}
"""Engines that tell no figures of themselves, or none by which a model could be judged."""
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
    assert not GENERATING & set(engine.health)


def test_an_sglang_is_asked_for_its_health_where_it_generates_nothing() -> None:
    assert ENGINES["sglang"].health[0] == "/ready"
    assert ENGINES["sglang"].health_timeout > 20


def paths(ways: Sequence[Way]) -> set[str]:
    """The paths of all the places of these ways."""
    return {place.path for way in ways for place in way}


def test_every_engine_tells_figures_or_is_known_to_tell_none() -> None:
    assert VOCABULARIES.keys() <= ENGINES.keys()
    assert ENGINES.keys() - VOCABULARIES.keys() == SILENT


def test_figures_are_looked_for_at_the_port_where_the_engine_tells_them() -> None:
    elsewhere = {name: vocabulary.ports for name, vocabulary in VOCABULARIES.items() if vocabulary.ports}

    assert elsewhere == {"triton": (8000, 8002), "mlserver": (8080, 8082), "torchserve": (8080, 8082)}


def test_what_a_scrape_disturbs_is_not_scraped_unasked() -> None:
    # Two of llama-server's gauges are averages since the last scrape by anybody.
    assert "/metrics" not in paths(VOCABULARIES["llama-server"].ways)
    assert "/metrics" in paths(VOCABULARIES["llama-server"].ways_if_asked)
    assert VOCABULARIES["trtllm"].ways == ()


@pytest.mark.parametrize("name", VOCABULARIES)
def test_no_figure_costs_a_generation_or_is_taken_from_others(name: str) -> None:
    vocabulary = VOCABULARIES[name]

    asked = paths((*vocabulary.ways, *vocabulary.ways_if_asked))

    assert not GENERATING & asked
    # TensorRT-LLM's /metrics is a queue that is emptied by whoever reads it.
    assert name != "trtllm" or asked == {"/prometheus/metrics"}


def test_the_readme_is_told_of_every_engine() -> None:
    told = {row.engine: row for row in rows()}

    assert list(told) == list(ENGINES)
    assert told["ollama"].recognised_by.startswith('"Ollama is running" at `GET /`')
    assert (told["triton"].protocol, told["triton"].evidence) == (
        "kserve, triton-generate (once `model` is set)",
        "tried",
    )
    assert (told["comfyui"].protocol, told["comfyui"].evidence) == ("none: its health alone", "from the reference")
