"""The exporter as a program: what was typed, logging, the event loop, signals and the exit status."""

import argparse
import asyncio
import ctypes
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, closing, nullcontext, suppress
from functools import partial
from pathlib import Path
from threading import Timer
from typing import NoReturn

import uvloop

from exporter import __version__, app, log
from exporter.listening import Unbound, bind
from exporter.nearest import nearest
from exporter.nvml import Nvml
from exporter.nvml.lease import Lease
from exporter.reload import Asked
from exporter.renewal import LAST_MOMENT, SIGNS, Renewal
from exporter.settings import Settings, WrongSettings, load
from exporter.supervisor import Supervisor
from exporter.web import OPEN, Guard
from exporter.webconfig.document import WrongWebConfig

# Seconds after which one thread lets another run: the usual 0.005 would be added to a token's arrival, and to a
# scrape's time, whenever both are at work.
TURN = 0.0005
# Objects after which garbage is searched for among the new ones, and how many such searches make one among those that
# have lasted: the usual 10 would have it take 5 to 15 ms, in which nothing else is done.
GARBAGE = 700, 3
# How many heaps there are, by malloc.h of glibc. Each thread would have its own, which keeps what is given back: in a
# month that was 10 MiB of no use.
M_ARENA_MAX, HEAPS = -8, 1
WRONG = 2
INTERRUPTED = 128 + signal.SIGINT
COMMANDS = ("baseline", "check", "config", "demo", "healthcheck", "reference")
"""What else can be typed first; each is loaded only where it is."""


class Parser(argparse.ArgumentParser):
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
            near = nearest(typed, self._option_string_actions)
            self.error(f"unknown argument {typed}" + (f", did you mean {near}?" if near else ""))
        return known

    def _no_command(self, url: str, commands: Collection[str]) -> None:
        if url in commands:
            self.error(f"{url} is a command and stands first: {self.prog} {url}")
        near = nearest(url, commands) if url and "://" not in url else None
        if near:
            self.error(f"unknown command {url}, did you mean {near}?")


def parser_of(prog: str, description: str) -> Parser:
    parser = Parser(prog=prog, description=description, allow_abbrev=False)
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


def flags_of(given: argparse.Namespace, *urls: str) -> Mapping[str, object]:
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
    parser = parser_of("model-sidecar", "Watches model services and publishes what is true of them for Prometheus.")
    parser.add_argument("url", nargs="?", help="The service, such as http://localhost:8000.")
    parser.epilog = f"Commands: {', '.join(COMMANDS)}; see model-sidecar COMMAND --help."
    given = parser.parsed(arguments, COMMANDS)
    flags = flags_of(given, *filter(None, [given.url]))

    read = partial(load, flags, file=given.file, environ=os.environ)

    def loadable() -> bool:
        with suppress(WrongSettings, WrongWebConfig):
            guard_of(read())
            return True
        return False

    settings = read()
    nvml = Nvml(settings.gpu.library)
    return serve(settings, read, nullcontext(), Lease(nvml), Renewal(nvml, possible=loadable))


def status(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """The exit status of a command; it is 2 where what was typed is wrong."""
    gc.freeze()  # What is loaded stays.
    gc.enable()
    try:
        return command(arguments)
    except WrongSettings as wrong:
        for mistake in wrong.mistakes:
            sys.stderr.write(f"model-sidecar: {mistake}\n")
    except (Unbound, WrongWebConfig) as refused:
        sys.stderr.write(f"model-sidecar: {refused}\n")
    except KeyboardInterrupt:
        return INTERRUPTED
    return WRONG


def serve(
    settings: Settings,
    again: Callable[[], Settings],
    beside: AbstractAsyncContextManager[object],
    lease: Lease,
    renewal: Renewal | None = None,
) -> int:
    """Watch and serve by these settings, or by others when told to read again, with that beside it, until it ends."""
    sys.setswitchinterval(TURN)
    gc.set_threshold(*GARBAGE)
    _share_heap()
    log.configure(settings.log.level, settings.log.format)
    guard = guard_of(settings)
    sockets = bind(settings.web.listen_address)

    async def life() -> None:
        asked = Asked(load=again, supervisor=Supervisor(os.environ))
        end = partial(asyncio.get_running_loop().call_soon_threadsafe, asked.stop.set)
        if renewal:
            renewal.end, lease.refused = end, renewal.refused
        _obey(asked, end, renewal)
        with closing(asked.supervisor), guard.followed():
            async with beside:
                await app.run(settings, sockets, asked, lease, guard)

    uvloop.run(life())
    if renewal:
        renewal.begin()
    _leave()
    return 0


def _obey(asked: Asked, end: Callable[[], object], renewal: Renewal | None) -> None:
    """Do as signals tell from now on."""
    loop = asyncio.get_running_loop()

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

    for sign in SIGNS:
        # Not the loop's own handlers, which wait while the loop is busy.
        signal.signal(sign, told_to_stop)
    signal.signal(signal.SIGHUP, told_to_reload)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNS)


def _share_heap() -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # which musl lacks, and with it such heaps
        mallopt(M_ARENA_MAX, HEAPS)


def guard_of(settings: Settings) -> Guard:
    """Who is let in: everybody, unless a file says otherwise."""
    file = settings.web.config_file
    if file is None:
        return OPEN
    from exporter.webconfig import guard  # noqa: PLC0415  for those alone who have such a file

    return guard.Guard(Path(file))


def _leave() -> None:
    # Not sys.exit, since the interpreter would wait for threads that may never return.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)
