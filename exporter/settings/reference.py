"""The settings as others read them: rows for a table, a schema for editors, YAML of what is in force."""

import json
from collections.abc import Iterator, Mapping

import yaml
from pydantic.fields import FieldInfo

from exporter.frozen import frozen
from exporter.settings.model import SHARED, Settings
from exporter.settings.sections import Section, is_joined, section_in

DRAFT = "https://json-schema.org/draft/2020-12/schema"
MASK = "**********"


@frozen
class SettingEntry:
    """One setting: its name from the top, its default as one would type it, and what it is for."""

    name: str
    default: str
    description: str


def reference() -> Iterator[SettingEntry]:
    """Every setting, in the order of the settings file."""
    return _entries(Settings, "")


def _entries(section: type[Section], above: str) -> Iterator[SettingEntry]:
    for name, field in section.settings().items():
        inner, there = section_in(field), f"{above}{name}"
        apart = section is not Settings and name in SHARED  # its settings stand once, at the top level
        if inner is None or apart or field.metadata or not is_joined(field):
            yield SettingEntry(name=there, default=_default(field), description=field.description or "")
        if inner is not None and not apart:
            yield from _entries(inner, f"{there}." if is_joined(field) else f"{there}[].")


def _default(field: FieldInfo) -> str:
    default = "" if field.is_required() else field.default
    return default if isinstance(default, str) else json.dumps(default)


def schema() -> Mapping[str, object]:
    """The JSON schema of the settings file, for editors."""
    return {"$schema": DRAFT, **Settings.model_json_schema(by_alias=True)}


def as_yaml(settings: Settings) -> str:
    """The settings as a file would give them, every secret masked."""
    dump = settings.model_dump(mode="json", by_alias=True)
    for target, dumped in zip(settings.targets, dump["targets"], strict=True):
        if target.api_key is not None and target.api_key_file is None:
            dumped["api_key"] = MASK
    return yaml.safe_dump(dump, sort_keys=False, allow_unicode=True)
