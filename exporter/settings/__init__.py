"""Everything an operator may set, and what becomes of it when it is set wrong."""

from exporter.settings.checks import Checks, Image
from exporter.settings.loading import load
from exporter.settings.mistakes import Mistake, WrongSettings
from exporter.settings.model import Expect, Gpu, Health, Host, Log, Process, Server, Settings, Target, Tls, Verdict, Web
from exporter.settings.objectives import Objectives
from exporter.settings.prompt import Case, Prompt
from exporter.settings.reference import SettingEntry, as_yaml, reference, schema

__all__ = [
    "Case",
    "Checks",
    "Expect",
    "Gpu",
    "Health",
    "Host",
    "Image",
    "Log",
    "Mistake",
    "Objectives",
    "Process",
    "Prompt",
    "Server",
    "SettingEntry",
    "Settings",
    "Target",
    "Tls",
    "Verdict",
    "Web",
    "WrongSettings",
    "as_yaml",
    "load",
    "reference",
    "schema",
]
