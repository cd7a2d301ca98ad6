"""What is wanted of a service, as figures beside those that it is measured by."""

from collections.abc import Mapping
from typing import Annotated

from exporter.frozen import frozen
from exporter.reading import Gauge, Label, Reading


@frozen
class Objectives(Reading):
    """What the configuration wants of one service; nothing of what it does not name."""

    PREFIX = "model_objective"
    target: Annotated[str, Label("The service's name in the configuration.")]
    first_token_seconds: Annotated[
        Mapping[str, float],
        Gauge("How long the first token may take at that percentile; absent where not set.", by="percentile"),
    ]
    duration_seconds: Annotated[
        Mapping[str, float],
        Gauge("How long the whole answer may take at that percentile; absent where not set.", by="percentile"),
    ]
    tokens_per_second: Annotated[
        float | None, Gauge("How many output tokens a second an answer is to have at least; absent where not set.")
    ]
    success_ratio: Annotated[
        float | None, Gauge("Least share of synthetic prompts that are to have a valid answer; absent where not set.")
    ]
    gpu_memory_ratio: Annotated[
        float | None, Gauge("Most memory that may be in use on the fullest of its GPUs; absent where not set.")
    ]
    cpu_ratio: Annotated[float | None, Gauge("Most of the host's CPU time that may be used; absent where not set.")]
    memory_ratio: Annotated[float | None, Gauge("Most of the host's memory that may be in use; absent where not set.")]
