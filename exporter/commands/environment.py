"""Every setting that a variable can give, with its default, as systemd and containers read a file of variables."""

from collections.abc import Iterator, Mapping
from textwrap import wrap

from exporter.settings import SettingEntry, reference
from exporter.settings.environment import ONE_SERVICE, variables
from exporter.settings.sections import dotted

WIDTH = 120
OF_ONE_SERVICE = "targets[]."


def lines() -> Iterator[str]:
    """Each variable commented out, after what it is for; first those of one service."""
    entries = {entry.name: entry for entry in reference()}
    for variable, setting in _named(entries).items():
        yield ""
        yield from wrap(setting.description, WIDTH, initial_indent="# ", subsequent_indent="# ")
        yield f"#{variable}={_quoted(setting.default)}"


def _named(entries: Mapping[str, SettingEntry]) -> Mapping[str, SettingEntry]:
    one = {variable: entries[f"{OF_ONE_SERVICE}{name}"] for variable, name in ONE_SERVICE.items()}
    every = {variable: entries.get(dotted(place)) for variable, place in variables().items()}
    return one | {variable: entry for variable, entry in every.items() if entry is not None}


def _quoted(value: str) -> str:
    return value if value.replace(".", "").replace("_", "").isalnum() else f"'{value}'" if value else ""
