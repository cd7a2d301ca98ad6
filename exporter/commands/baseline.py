"""Asks services several times, and says how long they take: what objectives and checks are set by."""

import json
import math
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import asdict, field, replace
from itertools import cycle, islice
from pathlib import Path

import yaml

from exporter import engines
from exporter.ask import Attempt
from exporter.checks.canary import Trust
from exporter.checks.vectors import Vector, similarity
from exporter.commands.check import as_set
from exporter.frozen import frozen
from exporter.protocols import PROTOCOLS
from exporter.questions import Question, asked
from exporter.services import sites
from exporter.settings import Settings, Target
from exporter.site import Site, limits, questions
from exporter.wire import Recognition

PERCENTS = (50, 90, 95, 99)
HEADROOM = 1.5
FLOOR = 0.7
SUCCESS = 0.99
EMBEDDING = frozenset({"openai-embeddings", "ollama-embed", "tei"})
CHOSEN = (
    f"# times: {HEADROOM:g} x what was measured, rounded up; tokens_per_second: {FLOOR:g} x its median, rounded down",
    "# success_ratio: a usual aim, whatever was measured",
)


@frozen
class Spread:
    """How some figures are distributed; a percentile is None where they are too few for it."""

    count: int
    min: float
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    max: float


@frozen
class Baseline:
    """What several prompts told of one service; a figure is None where no good answer has it."""

    target: str
    url: str
    engine: str = "unknown"
    protocol: str | None = None
    model: str | None = None
    unasked: str | None = None
    """Why no prompt was sent, or no more of them."""
    asked: int = 0
    good: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    first_token_seconds: Spread | None = None
    duration_seconds: Spread | None = None
    time_per_output_token_seconds: Spread | None = None
    tokens_per_second: Spread | None = None
    dimensions: int | None = None
    golden: tuple[float, ...] | None = None
    remark: str | None = None
    """Why there is no golden vector, although the answers are embeddings."""


async def baseline(settings: Settings, prompts: int, *, file: Path | None, as_json: bool) -> int:
    """Print what so many prompts told of each service; 0 where each had a good answer, 1 where one had none.

    The configuration that follows from it goes into a new file where one is named; 2 where that cannot be, or where
    there is no service to ask.
    """
    here = await sites(settings)
    if not here:
        return _wrong("no service to ask: give its URL, or a configuration with targets")
    if file is not None and (hindrance := _hindrance(file)):
        return _wrong(hindrance)
    found = [(site.target, await _measured(site, prompts)) for site in here]
    configuration = _configuration(found)
    if as_json:
        sys.stdout.write(f"{json.dumps([asdict(one) for _, one in found], indent=2)}\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _lines([one for _, one in found], configuration)))
    if file is not None and configuration and (hindrance := _unwritten(file, configuration)):
        return _wrong(hindrance)
    return 0 if all(one.good for _, one in found) else 1


def _hindrance(file: Path) -> str | None:
    """Why a new file cannot be made, told before a service is asked for nothing."""
    if file.exists():
        return f"{file} is there already, and is not overwritten"
    return None if file.parent.is_dir() else f"there is no directory {file.parent}"


def _unwritten(file: Path, text: str) -> str | None:
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except OSError as error:
        return f"{file} cannot be written: {error.strerror}"
    return None


def _wrong(words: str) -> int:
    sys.stderr.write(f"model-sidecar: {words}\n")
    return 2


async def _measured(site: Site, prompts: int) -> Baseline:
    nothing = Baseline(target=site.target.name, url=site.target.url)
    if site.target.prompt.enabled is False:
        return replace(nothing, unasked="prompt.enabled is off")
    found = await site.known.look()
    if found is None or not found.protocol:
        return replace(nothing, unasked=f"{found.evidence if found else 'not recognised'}: set prompt.protocol")
    known = replace(nothing, engine=found.engine, protocol=found.protocol, model=found.model or None)
    # Asking would wake it, or load a model.
    sight = await engines.sight(site.client, site.headers, found)
    if sight.skip is not None:
        return replace(known, unasked=f"the model is {sight.skip}")
    found = replace(found, fields={**found.fields, **sight.fields})
    return _summed(known, [attempt async for attempt in _attempts(site, found, prompts)], site.target)


async def _attempts(site: Site, found: Recognition, prompts: int) -> AsyncGenerator[Attempt, None]:
    for question in islice(cycle(tuple(questions(site))), prompts):
        yield await _attempt(site, found, question)


async def _attempt(site: Site, found: Recognition, question: Question) -> Attempt:
    # What is recorded anew is not measured by what was recorded before, and a golden vector is of the text alone.
    anew = replace(
        question,
        checks=replace(question.checks, golden=(), dimensions=None),
        alone=found.protocol in EMBEDDING,
    )
    attempt, verdict = await asked(PROTOCOLS[found.protocol], site.client, anew, found, limits(site))
    return replace(attempt, failed=verdict.settled(Trust().plus(right=verdict.right), anew.checks.canary).failed)


def _summed(known: Baseline, attempts: Sequence[Attempt], target: Target) -> Baseline:
    good = [attempt for attempt in attempts if attempt.failed is None]
    vectors = [attempt.answer.vectors[0] for attempt in good if attempt.answer.vectors]
    embeddings = vectors if known.protocol in EMBEDDING else []
    golden = _golden(embeddings, target.checks.min_similarity)
    return replace(
        known,
        asked=len(attempts),
        good=len(good),
        failed=dict(Counter(attempt.failed.failure.value for attempt in attempts if attempt.failed is not None)),
        first_token_seconds=_spread([attempt.first_token for attempt in good]),
        duration_seconds=_spread([attempt.seconds for attempt in good]),
        time_per_output_token_seconds=_spread([attempt.time_per_token for attempt in good]),
        tokens_per_second=_spread([attempt.tokens_per_second for attempt in good]),
        dimensions=len(embeddings[0]) if len(set(map(len, embeddings))) == 1 else None,
        golden=golden,
        remark="no golden vector: the embeddings do not agree" if embeddings and golden is None else None,
    )


def _golden(vectors: Sequence[Vector], least: float) -> tuple[float, ...] | None:
    """The first of vectors that agree with it."""
    cosines = [similarity(vectors[0], vector) for vector in vectors]
    agree = bool(vectors) and all(cosine is not None and cosine >= least for cosine in cosines)
    return tuple(float(f"{number:.6g}") for number in vectors[0]) if agree else None


def _spread(told: Sequence[float | None]) -> Spread | None:
    figures = sorted(figure for figure in told if figure is not None)
    if not figures:
        return None
    p50, p90, p95, p99 = (_percentile(figures, percent) for percent in PERCENTS)
    return Spread(count=len(figures), min=figures[0], p50=p50, p90=p90, p95=p95, p99=p99, max=figures[-1])


def _percentile(ascending: Sequence[float], percent: int) -> float | None:
    # With fewer, not one of them would be expected to lie above it.
    if len(ascending) * (100 - percent) < 100:  # noqa: PLR2004  a whole in percent
        return None
    return ascending[-(-len(ascending) * percent // 100) - 1]


def _configuration(found: Sequence[tuple[Target, Baseline]]) -> str:
    """What to paste into a configuration for the services that answered."""
    parts = [_pasted(target, one) for target, one in found if one.good]
    return f"targets:\n{''.join(parts)}" if parts else ""


def _pasted(target: Target, found: Baseline) -> str:
    watched = as_set(target, protocol=found.protocol, model=found.model)
    if recorded := _recorded(found):
        before = {
            name: check for name, check in watched.get("checks", {}).items() if name not in {"golden", "dimensions"}
        }
        watched["checks"] = {**before, **recorded}
    objectives = {"success_ratio": SUCCESS, **watched.pop("objectives", {}), **_objectives(found)}
    typed = yaml.safe_dump([watched], sort_keys=False, allow_unicode=True, default_flow_style=None)
    wanted = yaml.safe_dump({"objectives": objectives}, sort_keys=False)
    return typed + "".join(f"  {line}\n" for line in (*CHOSEN, *wanted.splitlines()))


def _recorded(found: Baseline) -> Mapping[str, object]:
    recorded = {"dimensions": found.dimensions, "golden": None if found.golden is None else list(found.golden)}
    return {name: value for name, value in recorded.items() if value is not None}


def _objectives(found: Baseline) -> Mapping[str, object]:
    speed = found.tokens_per_second
    objectives = {
        "first_token": _longest(found.first_token_seconds),
        "duration": _longest(found.duration_seconds, "p99"),
        "tokens_per_second": None if speed is None or speed.p50 is None else -_rounded_up(-FLOOR * speed.p50),
    }
    return {name: objective for name, objective in objectives.items() if objective}


def _longest(measured: Spread | None, *further: str) -> Mapping[str, str]:
    percentiles: Mapping[str, float | None] = {} if measured is None else asdict(measured)
    told = {name: percentiles.get(name) for name in ("p95", *further)}
    return {name: _typed(_rounded_up(HEADROOM * value)) for name, value in told.items() if value is not None}


def _typed(duration: float) -> str:
    return f"{duration:g}s" if duration >= 1 else f"{duration * 1000:g}ms"


def _rounded_up(figure: float) -> float:
    """The next figure of two digits."""
    step = 10.0 ** (math.floor(math.log10(abs(figure))) - 1) if figure else 1.0
    return float(f"{math.ceil(round(figure / step, 6)) * step:.2g}")


def _lines(found: Sequence[Baseline], configuration: str) -> Iterator[str]:
    for one in found:
        yield f"{one.target}  {one.url}"
        yield from (f"  {what:<14} {said}" for what, said in _findings(one))
        yield ""
    yield "to watch this, put it into the configuration:" if configuration else "nothing to put into a configuration"
    yield from (f"  {line}" for line in configuration.splitlines())


def _findings(found: Baseline) -> Iterator[tuple[str, str]]:
    if found.unasked is not None:
        yield "not asked", found.unasked
        return
    yield "asked in", " ".join(filter(None, [found.protocol, found.model]))
    yield "answers", f"{found.good} good of {found.asked}"
    for reason, count in found.failed.items():
        yield "failed", f"{count} {reason}"
    yield from _distributions(found)
    if found.dimensions is not None:
        yield "embedding", f"{found.dimensions} numbers"
    if found.remark is not None:
        yield "golden", found.remark


def _distributions(found: Baseline) -> Iterator[tuple[str, str]]:
    rows = (
        ("first token", found.first_token_seconds, 1000, " ms"),
        ("duration", found.duration_seconds, 1000, " ms"),
        ("token after", found.time_per_output_token_seconds, 1000, " ms"),
        ("tokens/s", found.tokens_per_second, 1, ""),
    )
    for what, spread, per, unit in rows:
        if spread is not None:
            told = ((name, value) for name, value in asdict(spread).items() if name != "count" and value is not None)
            yield what, "  ".join(f"{name} {value * per:.4g}{unit}" for name, value in told)
