"""How far the clock is to be believed while the page is scraped: `python -m tests.bench.stream HOW URL PORT PROMPTS`.

In one process, as in the program: prompts on a loop, and the page of two thousand samples served beside it. Every token
says when it was written, and all processes share that clock.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, closing, suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles

import httpx
import uvloop

from exporter.clock import Flight
from exporter.listening import bind
from exporter.protocols.openai import chat
from exporter.routes import routes
from exporter.services import CATALOG
from exporter.web import Server
from exporter.wire import Prompt
from tests.bench.program import Scraper
from tests.bench.readings import looks, told
from tests.bench.service import ROOT, speaking
from tests.ports import free_port
from tests.services.client import client

SAMPLES = 2000
SCRAPES_A_SECOND = 10
TURN = 0.0005  # As the program sets it.
TICK = 0.001

Heard = tuple[float, Sequence[tuple[float, int]]]
"""When a prompt was sent, and of each token when it was read and when it was written, in nanoseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """How late things were told, in seconds."""

    first_token: float
    """Median of what the first token was told too late."""
    arrival_p99: float
    gap_p99: float
    lag_p99: float
    """Of a timer that goes off every millisecond."""


def errors(how: str, prompts: int) -> Errors:
    """How a client fares in a process of its own, scraped all the while: `ours`, or `httpx`."""
    port = free_port()
    with speaking() as url:
        command = [sys.executable, "-m", "tests.bench.stream", how, url, str(port), str(prompts)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        _scrape_until(process, port)
        out, _ = process.communicate()
    return Errors(**json.loads(out))


def _scrape_until(process: "subprocess.Popen[bytes]", port: int) -> None:
    with closing(Scraper(port)) as scrape:
        while process.poll() is None:
            with suppress(OSError):
                scrape()
            time.sleep(1 / SCRAPES_A_SECOND)


async def _ours(url: str) -> AsyncIterator[Heard]:
    async with client(url) as asking:
        while True:
            flight = Flight()
            prompt = Prompt(text="Say when.", max_tokens=32, model="bench", trace=flight.trace)
            async with aclosing(chat(asking, prompt)) as deltas:
                tokens = [(flight.arrived(), int(delta.text)) async for delta in deltas if delta.text]
            assert flight.written is not None
            yield flight.written, tokens


async def _httpx(url: str) -> AsyncIterator[Heard]:
    body = {"model": "bench", "max_tokens": 32, "stream": True, "messages": [{"role": "user", "content": "Say when."}]}
    async with httpx.AsyncClient(trust_env=False) as asking:
        while True:
            began, tokens = time.perf_counter(), []
            async with asking.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
                async for line in response.aiter_lines():
                    at = time.perf_counter()
                    if line.startswith("data: {"):
                        said = json.loads(line[6:])["choices"][0]["delta"].get("content", "")
                        tokens += [(at, int(said))] if said else []
            yield began, tokens


CLIENTS: Mapping[str, Callable[[str], AsyncIterator[Heard]]] = {"ours": _ours, "httpx": _httpx}


async def _measured(how: str, url: str, prompts: int) -> Errors:
    lags: list[float] = []
    ticking = asyncio.create_task(_tick(lags))
    first, arrivals, gaps = [], [], []
    async with httpx.AsyncClient(trust_env=False) as asking:
        async for began, tokens in CLIENTS[how](url):
            late = [at - written * 1e-9 for at, written in tokens]
            truth = (await asking.get(f"{url}/truth")).json()[""]
            first.append(tokens[0][0] - began - truth)
            arrivals += late
            gaps += [abs(after - before) for before, after in pairwise(late)]
            if len(first) == prompts:
                break
    ticking.cancel()
    # The first prompt pays for what is made only once.
    return Errors(first_token=median(first[1:]), arrival_p99=_p99(arrivals), gap_p99=_p99(gaps), lag_p99=_p99(lags))


async def _tick(lags: list[float]) -> None:
    while True:
        due = time.perf_counter() + TICK
        await asyncio.sleep(TICK)
        lags.append(time.perf_counter() - due)


def _p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100)[-1]


def _main(how: str, url: str, port: int, prompts: int) -> None:
    sys.setswitchinterval(TURN)
    with tempfile.TemporaryDirectory() as folder:
        readings = told(Path(folder) / "gpus", SAMPLES)
    Server(routes(CATALOG, partial(next, looks(readings)), {}), bind([f"127.0.0.1:{port}"])).start()
    sys.stdout.write(json.dumps(asdict(uvloop.run(_measured(how, url, prompts)))))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
