"""Objectives: what is wanted of a service, in figures."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator

from exporter.settings.kinds import Duration, FromJson, Matching, OrNone, Share, Speed
from exporter.settings.sections import Section, setting

Percentile = Annotated[
    str,
    Matching(r"p[1-9][0-9]?(?:\.[0-9]{0,2}[1-9])?", "a percentile from p1 to p99.999, such as p50, p95 or p99.9"),
    BeforeValidator(str),  # Whoever types 95 is told of percentiles, not of text and quotes.
]
Percentiles = Annotated[Mapping[Percentile, Duration], FromJson]


class Objectives(Section):
    """What is wanted of a service; nothing by default, and what is set is published."""

    first_token: Percentiles = setting(
        {}, "How long the first token may take, by percentile of answers, such as {p95: 2s}."
    )
    duration: Percentiles = setting(
        {}, "How long the whole answer may take, by percentile of answers, such as {p95: 15s, p99: 30s}."
    )
    tokens_per_second: OrNone[Speed] = setting("none", "How many output tokens a second an answer is to have at least.")
    success_ratio: OrNone[Share] = setting(
        "none", "The least share of prompts that are to have a valid answer, such as 0.99."
    )
    gpu_memory_ratio: OrNone[Share] = setting(
        "none", "The most memory that may be in use on the fullest of the service's GPUs, such as 0.9."
    )
    cpu_ratio: OrNone[Share] = setting("none", "The most of the host's CPU time that may be used, such as 0.8.")
    memory_ratio: OrNone[Share] = setting("none", "The most of the host's memory that may be in use, such as 0.85.")
