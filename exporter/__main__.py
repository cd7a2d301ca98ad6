"""The command line: settings, logging, the event loop, signals and the exit status."""

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, closing, nullcontext, suppress
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from threading import Timer
from typing import NoReturn

import uvloop

from exporter import __version__, app, log
from exporter.commands import baseline, check, config, healthcheck, reference
from exporter.commands.demo import scenarios, stage
from exporter.commands.demo.gpu import SimulatedDriver
from exporter.nvml import Nvml
from exporter.nvml.lease import Lease
from exporter.reload import Asked
from exporter.renewal import LAST_MOMENT, SIGNS, Renewal
from exporter.settings import Settings, WrongSettings, load
from exporter.supervisor import Supervisor
from exporter.web import OPEN, Unbound, bind
from exporter.webconfig import Guard, WrongWebConfig

# Seconds after which one thread lets another run: the usual 0.005 would be added to a token's arrival, and to a
# scrape's time, whenever both are at work.
TURN = 0.0005
# Objects after which garbage is searched for among the new ones, and how many such searches make one among those that
# have lasted: the usual 10 would have it take 5 to 15 ms, in which nothing else is done.
GARBAGE = 700, 3
WRONG = 2
INTERRUPTED = 128 + signal.SIGINT


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and which name was meant."""

    def error(self, message: str) -> NoReturn:
        # What was typed may hold what moves a terminal's cursor.
        told = "".join(each if each.isprintable() else repr(each)[1:-1] for each in message)
        self.exit(WRONG, f"{self.prog}: {told}; see {self.prog} --help\n")

    def parsed(self, arguments: Sequence[str], commands: Collection[str] = ()) -> argparse.Namespace:
        """The arguments; one that is not known ends the program with the nearest that is."""
        known, unknown = self.parse_known_args(arguments)
        if commands:
            self._no_command(known.url or "", commands)
        for typed in unknown:
            typed, _, _ = typed.partition("=")  # noqa: PLW2901  what follows may be a secret
            near = get_close_matches(typed, self._option_string_actions, 1)
            self.error(f"unknown argument {typed}" + (f", did you mean {near[0]}?" if near else ""))
        return known

    def _no_command(self, url: str, commands: Collection[str]) -> None:
        if url in commands:
            self.error(f"{url} is a command and stands first: {self.prog} {url}")
        near = () if "://" in url else get_close_matches(url, commands, 1)
        if near:
            self.error(f"unknown command {url}, did you mean {near[0]}?")


def _parser(prog: str, description: str) -> _Parser:
    parser = _Parser(prog=prog, description=description, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"model-sidecar {__version__}")
    told = parser.add_argument
    told("--config.file", dest="file", type=Path, metavar="FILE", help="YAML file of settings.")
    told("--name", metavar="NAME", help="The service's name; host:port of its URL by default.")
    told("--web.listen-address", dest="listen_address", action="append", metavar="ADDRESS",
         help="Address to listen on, again for several; :10068 by default.")  # fmt: skip
    told("--web.config.file", dest="config_file", metavar="FILE",
         help="TLS, passwords, headers and a rate limit, as Prometheus' exporters have them.")  # fmt: skip
    told("--web.enable-lifecycle", dest="enable_lifecycle", action="store_const", const=True,
         help="Let a POST to /-/reload read the settings anew, and to /-/gpu/release free the GPUs.")  # fmt: skip
    told("--log.level", dest="level", metavar="LEVEL", help="debug, info, warning or error; info by default.")
    told("--log.format", dest="format", metavar="FORMAT", help="logfmt or json; logfmt by default.")
    return parser


def _flags(given: argparse.Namespace, *urls: str) -> Mapping[str, object]:
    """The settings that the command line gives."""
    web = {name: getattr(given, name) for name in ("listen_address", "config_file", "enable_lifecycle")}
    logs = {name: getattr(given, name) for name in ("level", "format")}
    named = {} if given.name is None else {"name": given.name}
    flags: dict[str, object] = {"web": _given(web), "log": _given(logs)}
    services = [{"url": url, **named} for url in urls] or [named] * bool(named)
    return {**flags, "targets": services} if services else flags


def _given(settings: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in settings.items() if value is not None}


def run(arguments: Sequence[str]) -> int:
    """Watch services until told to stop."""
    parser = _parser("model-sidecar", "Watches model services and publishes what is true of them for Prometheus.")
    parser.add_argument("url", nargs="?", help="The service, such as http://localhost:8000.")
    parser.epilog = f"Commands: {', '.join(COMMANDS)}; see model-sidecar COMMAND --help."
    given = parser.parsed(arguments, COMMANDS)
    flags = _flags(given, *filter(None, [given.url]))

    read = partial(load, flags, file=given.file, environ=os.environ)

    def loadable() -> bool:
        with suppress(WrongSettings, WrongWebConfig):
            _guard(read())
            return True
        return False

    nvml = Nvml(read().gpu.library)
    return _serve(read, nullcontext(), Lease(nvml), Renewal(nvml, possible=loadable))


def run_demo(arguments: Sequence[str]) -> int:
    """Watch a scripted model and simulated GPUs."""
    parser = _parser("model-sidecar demo", "Shows everything with no model and no GPU: both are simulated.")
    parser.add_argument("--scenario", type=_scenario, default=scenarios.DEFAULT, metavar="NAME",
                        help=f"What is to be seen; {scenarios.DEFAULT} by default.")  # fmt: skip
    parser.epilog = f"Scenarios:\n{scenarios.described()}"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    given = parser.parsed(arguments)
    port, driver = stage.reserved(), SimulatedDriver()
    flags = {**stage.SETTINGS, **_flags(given), "targets": [stage.target(port, given.name or "demo")]}
    read = partial(load, flags, file=given.file, environ=os.environ)
    return _serve(read, stage.played(given.scenario, port, driver), Lease(driver))


def _scenario(typed: str) -> str:
    names = [*scenarios.SCENARIOS, scenarios.TOUR]
    if typed not in names:
        near = get_close_matches(typed, names, 1)
        meant = f"did you mean {near[0]}?" if near else f"only {', '.join(names)}"
        raise argparse.ArgumentTypeError(f"{typed} is no scenario, {meant}")
    return typed


def run_check(arguments: Sequence[str]) -> int:
    """Ask one service once."""
    parser = _parser("model-sidecar check", "Asks a service once and says what it found.")
    parser.add_argument("url", nargs="?", help="The service; without it, those of the configuration.")
    parser.add_argument("--json", action="store_true", help="Write JSON.")
    given = parser.parsed(arguments)
    settings = load(_flags(given, *filter(None, [given.url])), file=given.file, environ=os.environ)
    log.configure("error", settings.log.format)
    return uvloop.run(check.check(settings, as_json=given.json))


def run_baseline(arguments: Sequence[str]) -> int:
    """Ask services several times."""
    parser = _parser("model-sidecar baseline", "Asks services several times and says how long they take.")
    parser.add_argument("url", nargs="?", help="The service; without it, those of the configuration.")
    parser.add_argument("--prompts", type=_count, default=20, metavar="N", help="How many to send each; 20 by default.")
    parser.add_argument("--write", type=Path, metavar="FILE", help="A new file for the configuration that follows.")
    parser.add_argument("--json", action="store_true", help="Write JSON.")
    given = parser.parsed(arguments)
    settings = load(_flags(given, *filter(None, [given.url])), file=given.file, environ=os.environ)
    log.configure("error", settings.log.format)
    return uvloop.run(baseline.baseline(settings, given.prompts, file=given.write, as_json=given.json))


def _count(typed: str) -> int:
    if not typed.isdecimal() or int(typed) < 1:
        raise argparse.ArgumentTypeError(f"{typed} is not a number from 1")
    return int(typed)


def run_config(arguments: Sequence[str]) -> int:
    """Look at the settings without using them."""
    parser = _parser("model-sidecar config", "Checks settings, prints those in force, or describes them to an editor.")
    parser.add_argument("what", choices=("check", "print", "schema"))
    parser.add_argument("where", nargs="?", help="A file of settings, or a service's URL.")
    given = parser.parsed(arguments)
    if given.what == "schema":
        return config.schema()
    urls = [given.where] if given.where and "://" in given.where else []
    file = given.file if urls or not given.where else Path(given.where)
    settings = load(_flags(given, *urls), file=file, environ=os.environ)
    if given.what == "print":
        return config.print_effective(settings)
    _guard(settings)
    return config.check(settings)


def run_healthcheck(arguments: Sequence[str]) -> int:
    """Ask the exporter that runs beside it whether it is well."""
    return healthcheck.healthcheck(arguments, os.environ)


def run_reference(arguments: Sequence[str]) -> int:
    """Put the tables of engines, settings and metrics into a file between their marks."""
    parser = _Parser(prog="model-sidecar reference", description="Writes tables and rules anew.")
    parser.add_argument("file", type=Path)
    file = parser.parsed(arguments).file
    if not file.is_file():
        parser.error(f"there is no file {file}")
    return reference.write(file)


COMMANDS = {
    "baseline": run_baseline,
    "check": run_check,
    "config": run_config,
    "demo": run_demo,
    "healthcheck": run_healthcheck,
    "reference": run_reference,
}


def main() -> int:
    """Run the command that was typed; its exit status is 2 where what was typed is wrong."""
    arguments = sys.argv[1:]
    command = COMMANDS.get(arguments[0]) if arguments else None
    try:
        return run(arguments) if command is None else command(arguments[1:])
    except WrongSettings as wrong:
        for mistake in wrong.mistakes:
            sys.stderr.write(f"model-sidecar: {mistake}\n")
    except (Unbound, WrongWebConfig) as refused:
        sys.stderr.write(f"model-sidecar: {refused}\n")
    except KeyboardInterrupt:
        return INTERRUPTED
    return WRONG


def _serve(
    read: Callable[[], Settings],
    beside: AbstractAsyncContextManager[object],
    lease: Lease,
    renewal: Renewal | None = None,
) -> int:
    sys.setswitchinterval(TURN)
    gc.set_threshold(*GARBAGE)
    settings = read()
    log.configure(settings.log.level, settings.log.format)
    guard = _guard(settings)
    sockets = bind(settings.web.listen_address)

    async def life() -> None:
        asked = Asked(load=read, supervisor=Supervisor(os.environ))
        loop = asyncio.get_running_loop()

        def end() -> None:
            loop.call_soon_threadsafe(asked.stop.set)

        def told_to_stop(*_signal: object) -> None:
            if renewal:
                renewal.forgo()
            # Whatever is stuck by then, a driver's call or a name server's, is left behind.
            # Nor does it write a word, since the log may be what is stuck.
            latest = Timer(LAST_MOMENT, os._exit, (0,))
            latest.daemon = True
            latest.start()
            asked.supervisor.stopping()
            end()

        def told_to_reload(*_signal: object) -> None:
            loop.call_soon_threadsafe(asked.reload.set)

        if renewal:
            renewal.end, lease.refused = end, renewal.refused
        for sign in SIGNS:
            # Not the loop's own handlers, which wait while the loop is busy.
            signal.signal(sign, told_to_stop)
        signal.signal(signal.SIGHUP, told_to_reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNS)
        with closing(asked.supervisor), guard.followed() if guard else nullcontext():
            async with beside:
                await app.run(settings, sockets, asked, lease, guard or OPEN)

    uvloop.run(life())
    if renewal:
        renewal.begin()
    _leave()
    return 0


def _guard(settings: Settings) -> Guard | None:
    file = settings.web.config_file
    return None if file is None else Guard(Path(file))


def _leave() -> None:
    # Not sys.exit, since the interpreter would wait for threads that may never return.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
