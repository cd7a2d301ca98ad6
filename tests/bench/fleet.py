"""What many services cost one exporter."""

import json
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from prometheus_client.parser import text_string_to_metric_families

from tests.bench.program import Program, Scraper
from tests.bench.service import speaking
from tests.bench.sidecar import watched, watching

FIRST = "model_probe_last_first_token_seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What a hundred services cost that are asked often."""

    cpu: float
    """Share of one core."""
    first_token_p99: float
    """By how much a first token was told too late, in seconds."""


def a_hundred(seconds: float) -> Fleet:
    """Health every second, and a prompt of 32 tokens every ten."""
    with tempfile.TemporaryDirectory() as folder, speaking() as url:
        settings = watching(_places(url, 100), polls=5, health=1, prompts=10)
        with watched(Path(folder), settings) as (program, _):
            time.sleep(15)
            before, began = program.cpu(), time.monotonic()
            late: list[float] = []
            while time.monotonic() - began < seconds:
                time.sleep(10)
                late += _late(program, url)
            return Fleet(
                cpu=(program.cpu() - before) / (time.monotonic() - began), first_token_p99=quantiles(late, n=100)[-1]
            )


def memory(targets: int, seconds: float) -> float:
    """MiB with so many services, asked for their health every 15 s and prompted once a minute."""
    with ExitStack() as stack:
        folder, url = stack.enter_context(tempfile.TemporaryDirectory()), stack.enter_context(speaking())
        settings = watching(_places(url, targets), polls=15, health=15, prompts=60)
        program, _ = stack.enter_context(watched(Path(folder), settings))
        scrape = stack.enter_context(closing(Scraper(program.port)))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            scrape()
            time.sleep(5)
        return program.rss()


def _places(url: str, targets: int) -> Sequence[str]:
    return [f"{url}/{number}" for number in range(targets)]


def _late(program: Program, url: str) -> Sequence[float]:
    before = _truth(url)
    page = Scraper(program.port, plain=True)().decode()
    after = _truth(url)
    told = {
        f"/{sample.labels['target'].removeprefix('service-')}": sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == FIRST
    }
    # Of a service that was just being answered, the two need not speak of the same prompt.
    return [told[name] - true for name, true in before.items() if name in told and after[name] == true]


def _truth(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/truth") as answer:
        truth: dict[str, float] = json.load(answer)
    return truth
