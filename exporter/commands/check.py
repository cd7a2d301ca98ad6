"""Asks services once, and tells a person what was found and what to try."""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeVar

import yaml

from exporter.assessor import Assessor, Surroundings
from exporter.frozen import frozen
from exporter.reading import Reading
from exporter.services import sites, watches_of
from exporter.settings import Settings, Target
from exporter.site import Site, rules_of
from exporter.sources.health import Health
from exporter.sources.prompt import Answers, Service
from exporter.verdict.standing import State
from exporter.verdict.words import TRIES, said
from exporter.watch import Watch
from exporter.wire import NOBODY, Failed, Failure, Outcome

ADVICE: Mapping[Failure, str] = {
    Failure.REFUSED: "nothing listens there: is the server started, and is the port the right one?",
    Failure.UNREACHABLE: "no way leads there: look at the address, the network and the firewall",
    Failure.RESOLVE: "the name is not known: look at its spelling and at DNS",
    Failure.TLS: "the certificate is not trusted or the port speaks no TLS: try http://, or set tls.ca_file",
    Failure.TIMEOUT_CONNECT: "connecting takes too long: look at the firewall, and at the server's accept queue",
    Failure.TIMEOUT_FIRST_TOKEN: "no token came: the server is hung or its queue is long; look at its load and its log",
    Failure.TIMEOUT_STALL: "the answer stopped in its middle: look at the server's log and at its GPUs",
    Failure.TIMEOUT_TOTAL: "the answer takes too long: raise the timeout if that is usual, else look at the load",
    Failure.STATUS_4XX: "the server does not take the request: set prompt.protocol and prompt.path to what it speaks",
    Failure.UNAUTHORIZED: "a key is needed, or is wrong: set api_key_file, or MODEL_SIDECAR_API_KEY",
    Failure.NOT_FOUND: "there is no such path or model: set health.path, prompt.path or model",
    Failure.RATE_LIMITED: "the server limits requests: set prompt.every to ask less often",
    Failure.BUSY: "the server is at its limit: look at its queue",
    Failure.LOADING: "the model is still being loaded: try again later",
    Failure.STATUS_5XX: "the server fails inside: its log says why",
    Failure.STREAM_ERROR: "generation failed after it had begun: the server's log says why",
    Failure.DISCONNECTED: "the server closed the connection: look for a crash in its log, or a proxy's timeout",
    Failure.INVALID: "what came is not what this protocol is: is the port the right one? set prompt.protocol",
    Failure.TOO_LARGE: "the answer has no end that can be waited for: set prompt.max_tokens, look at prompt.path",
    Failure.REDIRECTED: "the server sends us to another address: give that one as the url",
    Failure.EMPTY: "the model said nothing: look at its chat template, and raise prompt.max_tokens",
    Failure.REPETITIVE: "the model repeats itself: look at its weights, precision and sampling",
    Failure.UNEXPECTED: "the answer is not as the configuration expects: look at health.expect and prompt.answer",
    Failure.OUT_OF_RANGE: "a value is out of its range: look at the model's weights and precision",
}
"""What to try, for every way in which a service can fail."""

BEFORE = ("health", "process", "server")
AFTER = ("prompt", "process", "server")

R = TypeVar("R", bound=Reading)


@frozen
class Report:
    """What was found of one service; what could not be told is None."""

    target: str
    url: str
    ok: bool
    state: str
    state_evidence: Sequence[str]
    verdict: str
    reachable: bool | None
    engine: str
    evidence: str | None
    protocol: str | None
    model: str | None
    health_ok: bool | None
    health_seconds: float | None
    health_failure: str | None
    answer_ok: bool | None
    answer_failure: str | None
    first_token_seconds: float | None
    duration_seconds: float | None
    output_tokens: int | None
    tokens_per_second: float | None
    advice: Sequence[str]
    configuration: str


async def check(settings: Settings, *, as_json: bool) -> int:
    """Print a report of each service; 0 where all are well, 1 where one is not, 2 where there is none to ask."""
    here = await sites(settings)
    if not here:
        sys.stderr.write("model-sidecar: no service to ask: give its URL, or a configuration with targets\n")
        return 2
    reports = [await _report(site, settings) for site in here]
    if as_json:
        told = json.dumps([asdict(report) for report in reports], indent=2)
    else:
        told = "\n\n".join("\n".join(_lines(report)) for report in reports)
    sys.stdout.write(f"{told}\n")
    return 0 if all(report.ok for report in reports) else 1


async def _report(site: Site, settings: Settings) -> Report:
    target = site.target
    watched, assessor = _once(site, settings)
    # What tells of progress is looked at before the prompt and after it, and judged together with it.
    for sources in (BEFORE, AFTER):
        for source in sources:
            if source in watched:
                await watched[source].once()
        assessor.look()
    told = [reading for watch in watched.values() for reading in watch.latest]
    health = _of(Health, told) or Health(target=target.name)
    answers = _of(Answers, told) or Answers(target=target.name, interval_seconds=0)
    service = _of(Service, told) or Service(target=target.name)
    failures = [last.failed for last in (health.last, answers.last) if last is not None and last.failed is not None]
    return Report(
        target=target.name,
        url=target.url,
        ok=not failures,
        state=assessor.standing.state,
        state_evidence=sorted(assessor.standing.evidence),
        verdict=said(assessor.standing),
        reachable=_reachable(health, answers, failures),
        engine=" ".join(filter(None, [service.engine, service.version])),
        evidence=service.evidence or None,
        protocol=service.protocol or None,
        model=service.model or None,
        health_ok=health.up,
        health_seconds=health.last_duration_seconds,
        health_failure=_said(health.last),
        answer_ok=answers.up,
        answer_failure=_said(answers.last),
        first_token_seconds=answers.last_first_token_seconds,
        duration_seconds=answers.last_duration_seconds,
        output_tokens=answers.output_tokens,
        tokens_per_second=answers.tokens_per_second,
        advice=tuple(_advice(failures, assessor.standing.state)) or tuple(_why_not_asked(target, service)),
        configuration=_configuration(target, service),
    )


def _once(site: Site, settings: Settings) -> tuple[Mapping[str, Watch], Assessor]:
    """The watches of a service, and a judge who goes by one attempt."""
    watched = {each.collection.source: each for each in watches_of(site, lambda: settings)}
    rules = replace(rules_of(site), misses=1, blind_after=math.inf)
    around = Surroundings(prompts="prompt" in watched, watched=rules.startup_allowance)
    return watched, Assessor(tuple(watched.values()), rules, target=site.target.name, around=around)


def _reachable(health: Health, answers: Answers, failures: Sequence[Failed]) -> bool | None:
    if health.up is None and answers.up is None:
        return None
    return all(failure.failure not in NOBODY for failure in failures)


def _of(kind: type[R], readings: Sequence[Reading]) -> R | None:
    return next((reading for reading in readings if isinstance(reading, kind)), None)


def _said(last: Outcome | None) -> str | None:
    return None if last is None or last.failed is None else str(last.failed)


def _advice(failures: Sequence[Failed], state: State) -> Iterator[str]:
    yield from dict.fromkeys(ADVICE[failure.failure] for failure in failures)
    if failures:
        yield TRIES[state]


def _why_not_asked(target: Target, service: Service) -> Iterator[str]:
    if target.prompt.enabled is False:
        yield "no prompt was sent, since prompt.enabled is false"
    elif not service.protocol:
        why = f", since {service.evidence}" if service.evidence and service.engine == "unknown" else ""
        yield f"no prompt was sent{why}: set model, or prompt.protocol (for plain with prompt.body and prompt.answer)"


def _configuration(target: Target, service: Service) -> str:
    """What to paste into a configuration for this service."""
    watched = as_set(target, protocol=service.protocol, model=service.model)
    return yaml.safe_dump({"targets": [watched]}, sort_keys=False, allow_unicode=True)


def as_set(target: Target, *, protocol: str | None, model: str | None) -> dict[str, Any]:
    """A target as a file would set it: what was set stays as it was, but for secrets, which are pasted nowhere.

    How it is asked, and for which model, stands there too where it is asked at all.
    """
    typed = {
        "name": target.name,
        **target.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"headers"}),
    }
    if protocol:
        typed |= {"model": model} if model else {}
        typed["prompt"] = {"protocol": protocol, **typed.get("prompt", {})}
    return typed


def _lines(report: Report) -> Iterator[str]:
    yield f"{report.target}  {report.url}"
    yield f"  {'is':<12} {report.verdict}"
    for what, found in _findings(report):
        yield f"  {what:<12} {found}"
    for advice in report.advice:
        yield f"  {'try':<12} {advice}"
    yield "  to watch it, put this into the configuration:"
    yield from (f"    {line}" for line in report.configuration.splitlines())


def _findings(report: Report) -> Iterator[tuple[str, str]]:
    if report.reachable is not None:
        yield "reachable", "yes" if report.reachable else "no"
    yield "engine", f"{report.engine}{f', by {report.evidence}' if report.evidence else ''}"
    yield "asked in", " ".join(filter(None, [report.protocol, report.model])) or "nothing but its health"
    if report.health_ok is not None:
        yield "health", report.health_failure or f"ok in {_seconds(report.health_seconds)}"
    if report.answer_ok is not None:
        tokens = "" if report.output_tokens is None else f"{report.output_tokens} tokens "
        yield "answer", report.answer_failure or f"ok, {tokens}in {_seconds(report.duration_seconds)}"
    if report.first_token_seconds is not None:
        yield "first token", f"after {_seconds(report.first_token_seconds)}"
    if report.tokens_per_second is not None:
        yield "tokens/s", f"{report.tokens_per_second:.1f}"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "an unknown time"
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
