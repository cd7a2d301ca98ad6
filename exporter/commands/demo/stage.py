"""The demo's stage: a scripted model in a process of its own, simulated GPUs, and one scenario after another."""

import asyncio
import logging
import os
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import cycle
from typing import TypeVar

from exporter.commands.demo import model
from exporter.commands.demo.engine import Manner
from exporter.commands.demo.gpu import MODELS, NAME, SimulatedDriver
from exporter.commands.demo.scenarios import DEFAULT, SCENARIOS, TOUR

P = TypeVar("P")

log = logging.getLogger(__name__)

SETTINGS: Mapping[str, object] = {
    "prompt": {"every": 3, "first_token_timeout": 3, "stall_timeout": 3, "timeout": 8},
    "health": {"every": 3},
    "server": {"every": 3},
    "gpu": {"every": 2},
    "host": {"every": 3},
}
"""Everything at a pace at which a person can watch it."""

WELL_FIRST = 6.0


def reserved() -> socket.socket:
    """A port of loopback that is the model's, whether it listens or not."""
    # Bound and not listening: nobody else is given the port while the model is dead.
    port = socket.socket()
    port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    port.bind(("127.0.0.1", 0))
    return port


def target(port: socket.socket, name: str) -> Mapping[str, object]:
    """The model that has this port, as a service to watch."""
    return {"url": f"http://127.0.0.1:{port.getsockname()[1]}", "name": name, "gpus": [0]}


@asynccontextmanager
async def played(scenario: str, port: socket.socket, driver: SimulatedDriver) -> AsyncIterator[None]:
    """A scenario, or all in turn, for as long as somebody watches."""
    scripted = Model(port, driver)
    await scripted.behave(Manner.WELL, gpu_memory=MODELS)
    try:
        async with asyncio.TaskGroup() as group:
            playing = group.create_task(_play(scenario, scripted, driver))
            yield
            playing.cancel()
    finally:
        await scripted.end()


async def _play(scenario: str, scripted: "Model", driver: SimulatedDriver) -> None:
    log.info("the model is scripted, and every GPU is simulated: %s", NAME)
    for name, seconds in order(scenario):
        part = SCENARIOS[name]
        log.info("scenario %s: %s", name, part.sentence, extra={"expected": part.state})
        driver.befalls(part.gpu)
        await scripted.behave(part.model, gpu_memory=part.gpu_memory)
        await asyncio.sleep(seconds)


def order(scenario: str) -> Iterator[tuple[str, float]]:
    """What is shown, and for how many seconds; the last stays."""
    if scenario == TOUR:
        yield from ((name, part.seconds) for name, part in cycle(SCENARIOS.items()))
    if SCENARIOS[scenario].well_first:
        yield DEFAULT, WELL_FIRST
    yield scenario, 0.0


class Model:
    """The scripted model's process, which is started again after it was gone."""

    def __init__(self, port: socket.socket, driver: SimulatedDriver) -> None:
        self._port = port
        self._driver = driver
        self._process: Process | None = None
        self._following: asyncio.Task[None] | None = None

    async def behave(self, manner: Manner | None, *, gpu_memory: int) -> None:
        """Be so from now on; with no manner at all, be gone."""
        if manner is None:
            await self.end()
            return
        if self._process is None or self._process.returncode is not None:
            self._process = await self._started()
        self._driver.processes = {self._process.pid: gpu_memory}
        _pipe(self._process.stdin).write(f"{manner}\n".encode())

    async def end(self) -> None:
        """Be gone."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        self._driver.processes = {}

    async def _started(self) -> Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", model.__name__, str(self._port.getsockname()[1])),
            stdin=PIPE,
            stdout=PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # An interrupt typed at the terminal is ours alone.
        )
        pulses = _pipe(process.stdout)
        if not await pulses.readline():
            raise RuntimeError(f"the scripted model ended with {await process.wait()} before it listened")
        self._following = asyncio.create_task(self._follow(pulses))
        return process

    async def _follow(self, pulses: asyncio.StreamReader) -> None:
        async for load in pulses:
            self._driver.load = float(load)
        self._driver.processes = {}


def _pipe(pipe: P | None) -> P:
    """One end of a pipe that was asked for."""
    if pipe is None:
        raise RuntimeError("a process without the pipe that it was started with")
    return pipe
