"""What is published of objectives, and that nothing is of those that are not set."""

from dataclasses import fields

from exporter.exposition import Catalog, Exposition
from exporter.objectives import Objectives
from exporter.settings import Objectives as ObjectiveSettings

NOTHING = Objectives(
    target="idle",
    first_token_seconds={},
    duration_seconds={},
    tokens_per_second=None,
    success_ratio=None,
    gpu_memory_ratio=None,
    cpu_ratio=None,
    memory_ratio=None,
)
EVERYTHING = Objectives(
    target="chat",
    first_token_seconds={"p95": 2.0},
    duration_seconds={"p95": 15.0, "p99.9": 30.0},
    tokens_per_second=20.0,
    success_ratio=0.99,
    gpu_memory_ratio=0.9,
    cpu_ratio=0.8,
    memory_ratio=0.85,
)


def published(*readings: Objectives) -> list[str]:
    """What the page says of objectives, but for what they mean."""
    body, _ = Exposition(Catalog((Objectives,)), lambda: readings).page("text/plain")
    return [line for line in body.decode().splitlines() if "model_objective" in line and "HELP" not in line]


def test_every_objective_is_one_gauge_and_a_percentile_is_its_label() -> None:
    lines = published(EVERYTHING)

    assert lines == [
        "# TYPE model_objective_first_token_seconds gauge",
        'model_objective_first_token_seconds{percentile="p95",target="chat"} 2.0',
        "# TYPE model_objective_duration_seconds gauge",
        'model_objective_duration_seconds{percentile="p95",target="chat"} 15.0',
        'model_objective_duration_seconds{percentile="p99.9",target="chat"} 30.0',
        "# TYPE model_objective_tokens_per_second gauge",
        'model_objective_tokens_per_second{target="chat"} 20.0',
        "# TYPE model_objective_success_ratio gauge",
        'model_objective_success_ratio{target="chat"} 0.99',
        "# TYPE model_objective_gpu_memory_ratio gauge",
        'model_objective_gpu_memory_ratio{target="chat"} 0.9',
        "# TYPE model_objective_cpu_ratio gauge",
        'model_objective_cpu_ratio{target="chat"} 0.8',
        "# TYPE model_objective_memory_ratio gauge",
        'model_objective_memory_ratio{target="chat"} 0.85',
    ]


def test_what_is_not_wanted_is_not_on_the_page() -> None:
    assert published(NOTHING) == []


def test_a_service_without_objectives_leaves_those_of_another_alone() -> None:
    assert published(NOTHING, EVERYTHING) == published(EVERYTHING)


def test_every_objective_that_can_be_set_can_be_published() -> None:
    names = {field.name.removesuffix("_seconds") for field in fields(Objectives)} - {"target"}

    assert names == set(ObjectiveSettings.settings())
