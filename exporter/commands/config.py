"""Looks at settings without using them: what they watch, what is in force, and what an editor is to know."""

import json
import sys
from collections.abc import Iterator

from exporter import settings as model
from exporter.settings import Settings, Target
from exporter.settings.kinds import spelled


def check(settings: Settings) -> int:
    """Say that the settings are valid, and what they watch."""
    told = "\n".join(["the settings are valid", *_watched(settings)])
    sys.stdout.write(f"{told}\n")
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
    if not settings.targets:
        yield "  no target: the GPUs, the host and the exporter itself are all that is published"


def _asked(target: Target) -> Iterator[str]:
    health, prompt = target.health, target.prompt
    yield f"health every {spelled(health.every)}" if health.enabled else "health off"
    if prompt.enabled is False:
        yield "prompt off"
    else:
        every = "auto" if prompt.every is None else spelled(prompt.every)
        yield f"prompt {prompt.protocol or 'if recognised'} every {every}"
    if target.process is None:
        yield "process off"
    else:
        yield f"process by port {target.process.port}" if target.process.port else "process by its port"
