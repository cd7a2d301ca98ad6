"""Everything an operator may set, and what becomes of it when it is set wrong."""

from exporter.settings.loading import load
from exporter.settings.mistakes import Mistake, WrongSettings
from exporter.settings.model import Case, Expect, Gpu, Health, Host, Log, Process, Prompt, Settings, Target, Tls, Web
from exporter.settings.reference import SettingEntry, as_yaml, reference, schema

__all__ = [
    "Case",
    "Expect",
    "Gpu",
    "Health",
    "Host",
    "Log",
    "Mistake",
    "Process",
    "Prompt",
    "SettingEntry",
    "Settings",
    "Target",
    "Tls",
    "Web",
    "WrongSettings",
    "as_yaml",
    "load",
    "reference",
    "schema",
]
