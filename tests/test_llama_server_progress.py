"""What a real llama-server proves of its progress: at work, idle, frozen, and going on."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest

from exporter.reading import Reading
from exporter.sources import server
from exporter.sources.server import Progress, ServerMetrics, Whereabouts
from tests.daemon import PATIENCE
from tests.services.client import client
from tests.services.llama import MISSING, PROGRAM, LlamaServer
from tests.sources.looks import DOWN, progress, told

if PROGRAM is None:
    pytest.skip(MISSING, allow_module_level=True)

LOOKS = 5
BETWEEN = 0.2

Said = Sequence[Sequence[Reading]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What was said at each look of every station."""

    working: Sequence[Said]
    idle: Sequence[Said]
    frozen: Said
    going_on: Said


@pytest.fixture(scope="module", params=[False, True], ids=["slots", "metrics"])
def life(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One server, looked at through everything: at its slots, or at its metrics alone."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "SILENCE", 1.0)
        patch.setattr(server, "PATIENCE", 3.0)
        # An answer goes on for as long as it is read, since there is room for its words however many they are.
        options = ("--context-shift", "--parallel", "1", "--threads", "1", "--no-slots" if request.param else "--slots")
        service = stack.enter_context(LlamaServer(tmp_path_factory.mktemp("llama"), *options)).start()
        yield asyncio.run(_lived(service, asked=request.param))


async def _lived(service: LlamaServer, *, asked: bool) -> Life:
    async with asyncio.timeout(3 * PATIENCE), client(service.url) as asking:
        where = Whereabouts(service=service.url, enabled=asked)
        source = ServerMetrics(asking, where, target="chat", engine=lambda: "llama-server", publish="gauges")
        async with _answering(service.url):
            working: list[Said] = []
            while len(set(generating(working))) < LOOKS:
                working.append(await _look(source))
        while told((await _look(source))[-1]).get("requests_running") != 0:
            pass
        idle = [await _look(source) for _ in range(LOOKS)]
        service.signal(signal.SIGSTOP)
        frozen = await _look(source)
        service.signal(signal.SIGCONT)
        return Life(working=working, idle=idle, frozen=frozen, going_on=await _look(source))


@asynccontextmanager
async def _answering(url: str) -> AsyncIterator[None]:
    """While an answer without end is read, from its first token on."""
    body = {"prompt": "hello world", "n_predict": -1, "ignore_eos": True, "stream": True}
    async with (
        httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as reader,
        reader.stream("POST", f"{url}/completion", json=body) as answer,
    ):
        lines = answer.aiter_lines()
        while "content" not in await anext(lines):
            pass
        reading = asyncio.create_task(_read(lines))
        yield
        assert not reading.done(), "the answer ended before it was looked at"
        reading.cancel()
        await asyncio.wait({reading})


async def _read(lines: AsyncIterator[str]) -> None:
    async for _ in lines:
        pass


async def _look(source: ServerMetrics) -> Said:
    await asyncio.sleep(BETWEEN)
    return [said async for said in source.read()]


def generating(life: Sequence[Said]) -> Sequence[float | None]:
    """What was told at each look of what is generated."""
    return [each.generating if (each := progress(said[-1])) else None for said in life]


def test_while_it_answers_one_look_after_another_finds_that_it_went_on(life: Life) -> None:
    seen = [value for value in generating(life.working) if value is not None]

    assert len(seen) == len(life.working)
    assert seen == sorted(seen)
    assert len(set(seen)) == LOOKS


def test_while_it_is_idle_no_look_finds_that_it_went_on(life: Life) -> None:
    assert len(set(generating(life.idle))) == 1
    assert None not in generating(life.idle)


def test_frozen_it_is_silent_before_its_metrics_are_down(life: Life) -> None:
    waiting, after = life.frozen

    assert progress(waiting) == Progress(target="chat", silent=True)
    assert told(waiting) == told(life.idle[-1][-1])
    assert told(after) == DOWN


def test_going_on_it_is_heard_again(life: Life) -> None:
    assert generating([life.going_on]) == [generating(life.idle)[-1]]
