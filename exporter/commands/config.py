"""Looks at settings without using them: what they watch, what is in force, and what an editor is to know."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from exporter import settings as model
from exporter.settings import Settings, Target
from exporter.settings.addresses import socket_in
from exporter.settings.kinds import spelled
from exporter.sources.prompt import DURATION_LADDER, FIRST_TOKEN_LADDER

LADDERS: Mapping[str, Sequence[float]] = {"first_token": FIRST_TOKEN_LADDER, "duration": DURATION_LADDER}
NEAR = 0.2
"""How far the nearest edge of a histogram may lie from an objective, as a share of it."""


def check(settings: Settings) -> int:
    """Say that the settings are valid, what they watch, and which objectives will be told roughly."""
    told = "\n".join(["the settings are valid", *_watched(settings)])
    sys.stdout.write(f"{told}\n")
    sys.stderr.write("".join(f"model-sidecar: {line}\n" for line in dict.fromkeys(_between_edges(settings))))
    return 0


def print_effective(settings: Settings) -> int:
    """Write the settings in force as a file would give them, secrets masked."""
    sys.stdout.write(model.as_yaml(settings))
    return 0


def schema() -> int:
    """Write the JSON schema of the settings file."""
    sys.stdout.write(f"{json.dumps(model.schema(), indent=2, ensure_ascii=False)}\n")
    return 0


def _watched(settings: Settings) -> Iterator[str]:
    for target in settings.targets:
        yield f"  {target.name}  {target.url}  {', '.join(_asked(target))}"
    for file in settings.targets_files:
        yield f"  the services that {file} lists"
    if not settings.targets and not settings.targets_files:
        yield "  no target: the GPUs, the host and the exporter itself are all that is published"


def _asked(target: Target) -> Iterator[str]:
    health, prompt = target.health, target.prompt
    yield f"health every {spelled(health.every)}" if health.enabled else "health off"
    if prompt.enabled is False:
        yield "prompt off"
    else:
        every = "auto" if prompt.every is None else spelled(prompt.every)
        yield f"prompt {prompt.protocol or 'if recognised'} every {every}"
    yield f"process {_found_by(target)}"


def _found_by(target: Target) -> str:
    asked = target.process
    if asked is None:
        return "off"
    named = ((name, getattr(asked, name)) for name in ("unit", "pid_file", "cmdline", "port"))
    usual = "off" if socket_in(target.url) else "by its port"
    return next((f"by {name.replace('_', ' ')} {value}" for name, value in named if value is not None), usual)


def _between_edges(settings: Settings) -> Iterator[str]:
    """What follows for objectives that have no edge of their histogram near them."""
    for wanted in (settings.objectives, *(target.objectives for target in settings.targets)):
        for name, ladder in LADDERS.items():
            for percentile, objective in getattr(wanted, name).items():
                if follows := _follows(objective, ladder):
                    yield f"objectives.{name}.{percentile} is {spelled(objective)}, {follows}"


def _follows(objective: float, ladder: Sequence[float]) -> str | None:
    if objective >= ladder[-1]:
        return (
            f"and the last edge of its histogram is {ladder[-1]:g}s: "
            "no percentile is told above that, so this one never seems missed"
        )
    if any(abs(edge - objective) <= NEAR * objective for edge in ladder):
        return None
    below, above = next((low, high) for low, high in pairwise((0.0, *ladder)) if objective < high)
    return (
        f"and its histogram has no edge within {NEAR * 100:g} % of that: between {below:g}s and {above:g}s the "
        "percentile is interpolated, so it may seem missed while it is kept, or kept while it is missed"
    )
