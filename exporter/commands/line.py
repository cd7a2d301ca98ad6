"""The commands beside watching, as they are typed."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import uvloop

from exporter import log
from exporter.commands import baseline, check, config, healthcheck, reference
from exporter.commands.demo import scenarios, stage
from exporter.commands.demo.gpu import SimulatedDriver
from exporter.nearest import nearest
from exporter.nvml.lease import Lease
from exporter.program import Parser, flags_of, guard_of, parser_of, serve
from exporter.settings import load


def run_demo(arguments: Sequence[str]) -> int:
    """Watch a scripted model and simulated GPUs."""
    parser = parser_of("model-sidecar demo", "Shows everything with no model and no GPU: both are simulated.")
    parser.add_argument("--scenario", type=_scenario, default=scenarios.DEFAULT, metavar="NAME",
                        help=f"What is to be seen; {scenarios.DEFAULT} by default.")  # fmt: skip
    parser.epilog = f"Scenarios:\n{scenarios.described()}"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    given = parser.parsed(arguments)
    port, driver = stage.reserved(), SimulatedDriver()
    flags = {**stage.SETTINGS, **flags_of(given), "targets": [stage.target(port, given.name or "demo")]}
    read = partial(load, flags, file=given.file, environ=os.environ)
    return serve(read(), read, stage.played(given.scenario, port, driver), Lease(driver))


def _scenario(typed: str) -> str:
    names = [*scenarios.SCENARIOS, scenarios.TOUR]
    if typed not in names:
        near = nearest(typed, names)
        meant = f"did you mean {near}?" if near else f"only {', '.join(names)}"
        raise argparse.ArgumentTypeError(f"{typed} is no scenario, {meant}")
    return typed


def run_check(arguments: Sequence[str]) -> int:
    """Ask one service once."""
    parser = parser_of("model-sidecar check", "Asks a service once and says what it found.")
    parser.add_argument("url", nargs="?", help="The service; without it, those of the configuration.")
    parser.add_argument("--json", action="store_true", help="Write JSON.")
    given = parser.parsed(arguments)
    settings = load(flags_of(given, *filter(None, [given.url])), file=given.file, environ=os.environ)
    log.configure("error", settings.log.format)
    return uvloop.run(check.check(settings, as_json=given.json))


def run_baseline(arguments: Sequence[str]) -> int:
    """Ask services several times."""
    parser = parser_of("model-sidecar baseline", "Asks services several times and says how long they take.")
    parser.add_argument("url", nargs="?", help="The service; without it, those of the configuration.")
    parser.add_argument("--prompts", type=_count, default=20, metavar="N", help="How many to send each; 20 by default.")
    parser.add_argument("--write", type=Path, metavar="FILE", help="A new file for the configuration that follows.")
    parser.add_argument("--json", action="store_true", help="Write JSON.")
    given = parser.parsed(arguments)
    settings = load(flags_of(given, *filter(None, [given.url])), file=given.file, environ=os.environ)
    log.configure("error", settings.log.format)
    return uvloop.run(baseline.baseline(settings, given.prompts, file=given.write, as_json=given.json))


def _count(typed: str) -> int:
    if not typed.isdecimal() or int(typed) < 1:
        raise argparse.ArgumentTypeError(f"{typed} is not a number from 1")
    return int(typed)


def run_config(arguments: Sequence[str]) -> int:
    """Look at the settings without using them."""
    parser = parser_of(
        "model-sidecar config", "Checks settings, prints those in force, or describes them to an editor."
    )
    parser.add_argument("what", choices=("check", "print", "schema"))
    parser.add_argument("where", nargs="?", help="A file of settings, or a service's URL.")
    given = parser.parsed(arguments)
    if given.what == "schema":
        return config.schema()
    urls = [given.where] if given.where and "://" in given.where else []
    file = given.file if urls or not given.where else Path(given.where)
    settings = load(flags_of(given, *urls), file=file, environ=os.environ)
    if given.what == "print":
        return config.print_effective(settings)
    guard_of(settings)
    return config.check(settings)


def run_healthcheck(arguments: Sequence[str]) -> int:
    """Ask the exporter that runs beside it whether it is well."""
    return healthcheck.healthcheck(arguments, os.environ)


def run_reference(arguments: Sequence[str]) -> int:
    """Put the tables of engines, settings and metrics into a file between their marks."""
    parser = Parser(prog="model-sidecar reference", description="Writes tables and rules anew.")
    parser.add_argument("file", type=Path)
    file = parser.parsed(arguments).file
    if not file.is_file():
        parser.error(f"there is no file {file}")
    return reference.write(file)


COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "baseline": run_baseline,
    "check": run_check,
    "config": run_config,
    "demo": run_demo,
    "healthcheck": run_healthcheck,
    "reference": run_reference,
}
