"""The service's own word on its health: one GET, and whether the answer is the expected one."""

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from math import isfinite
from typing import Annotated, Self

import httpx

from exporter.apart import judged
from exporter.clock import Flight
from exporter.frozen import frozen
from exporter.paths import Json, Path
from exporter.reading import Counter, Gauge, Label, Note, Reading, counted
from exporter.response import opened, parsed, whole
from exporter.wire import FAULTS, Failed, Failure, Outcome, failed, refusal

log = logging.getLogger(__name__)

FAILURES = tuple(
    failure
    for failure in Failure
    if failure
    not in {
        Failure.TIMEOUT_FIRST_TOKEN,
        Failure.TIMEOUT_STALL,
        Failure.STREAM_ERROR,
        Failure.EMPTY,
        Failure.REPETITIVE,
        Failure.OUT_OF_RANGE,
    }
)


@frozen
class Health(Reading):
    """What the health endpoint has answered since the exporter started."""

    PREFIX = "model_health"
    target: Annotated[str, Label("The service's name in the configuration.")]
    up: Annotated[
        bool | None, Gauge("Whether the health endpoint gave the expected answer; absent before the first.")
    ] = None
    attempts: Annotated[int, Counter("Health checks begun.")] = 0
    failures: Annotated[Mapping[str, int], Counter("Health checks without the expected answer.", by="reason")] = field(
        default_factory=lambda: dict.fromkeys(FAILURES, 0)
    )
    last_duration_seconds: Annotated[
        float | None, Gauge("From beginning to connect to the last byte of the answer; absent after a failure.")
    ] = None
    value: Annotated[
        Mapping[str, float] | None,
        Gauge("Numbers and booleans that the health answer holds; absent where it did not hold them.", by="field"),
    ] = None
    last: Annotated[Outcome | None, Note("How the last check ended.")] = None

    def begun(self) -> Self:
        """These checks and one more that has begun."""
        return replace(self, attempts=self.attempts + 1)

    def plus(self, check: "Check", last: Outcome) -> Self:
        """These checks once that one has ended."""
        failure = check.failed
        return replace(
            self,
            up=failure is None,
            failures=self.failures if failure is None else counted(self.failures, failure.failure),
            last_duration_seconds=check.seconds,
            value=check.values,
            last=last,
        )


@frozen
class Certificate(Reading):
    """The certificate with which the service proved who it is."""

    PREFIX = "model_tls_certificate"
    target: Annotated[str, Label("The service's name in the configuration.")]
    expiry_timestamp_seconds: Annotated[
        float, Gauge("When the service's certificate ends; absent without TLS and where it is not verified.")
    ]


@frozen
class Expectation:
    """What a healthy answer looks like; an empty expectation is met by any status of success."""

    status: Sequence[int] = ()
    text: str | None = None
    json: Mapping[str, Json] = field(default_factory=dict)
    values: Sequence[str] = ()


@frozen
class Check:
    """How one health check went."""

    seconds: float | None = None
    values: Mapping[str, float] | None = None
    failed: Failed | None = None
    expiry: float | None = None


def faulty(status: int, body: bytes) -> Failure | None:
    """What an answer fails by where nothing is known of the service: any status but success."""
    return None if httpx.codes.is_success(status) else refusal(status, body)


@frozen
class Asked:
    """What a service is asked for its health: one GET, and another where there is nothing at the first."""

    requests: Sequence[httpx.Request]
    timeout: float
    fault: Callable[[int, bytes], Failure | None] = faulty
    """What an answer fails by, as the service words it."""


class HealthEndpoint:
    """The source of a service's Health; what is asked may depend on what the service was recognised as by then."""

    def __init__(
        self, client: httpx.AsyncClient, asked: Callable[[], Awaitable[Asked]], *, target: str, expected: Expectation
    ) -> None:
        self._client = client
        self._asked = asked
        self._expected = expected
        self._health = Health(target=target)

    async def read(self) -> AsyncGenerator[Sequence[Reading], None]:
        """Ask once, and say what came of it."""
        target = self._health.target
        self._health = self._health.begun()
        yield [self._health]
        before, began = self._health.up, time.monotonic()
        check = await checked(self._client, await self._asked(), self._expected)
        self._health = self._health.plus(check, Outcome(failed=check.failed, began=began, ended=time.monotonic()))
        _tell(check.failed, target=target, before=before)
        certificate = (
            [] if check.expiry is None else [Certificate(target=target, expiry_timestamp_seconds=check.expiry)]
        )
        yield [self._health, *certificate]


async def checked(client: httpx.AsyncClient, asked: Asked, expected: Expectation) -> Check:
    """One health check, of the first place that there is."""
    check = Check()
    for request in asked.requests:
        check = await _checked(client, request, asked, expected)
        if check.failed is None or check.failed.failure is not Failure.NOT_FOUND:
            break
    return check


async def _checked(client: httpx.AsyncClient, asking: httpx.Request, asked: Asked, expected: Expectation) -> Check:
    flight = Flight()
    request = client.build_request(asking.method, asking.url, headers=asking.headers)
    try:
        async with asyncio.timeout(asked.timeout), opened(client, request, flight.trace) as response:
            body = await whole(response)
        arrived = flight.arrived() - flight.began
        _accept(response.status_code, body, asked, expected)
        # Judged after the deadline: the service has answered, and a long answer is read apart.
        values = await judged(verdict, body, expected)
    except TimeoutError:
        late = Failure.TIMEOUT_CONNECT if flight.connected is None else Failure.TIMEOUT_TOTAL
        return Check(failed=Failed(late, f"no answer within {asked.timeout:g} s"))
    except FAULTS as error:
        return Check(failed=failed(error), expiry=_expiry(flight))
    return Check(seconds=arrived, values=values, expiry=_expiry(flight))


def _accept(status: int, body: bytes, asked: Asked, expected: Expectation) -> None:
    if expected.status:
        fault = None if status in expected.status else (faulty(status, body) or Failure.UNEXPECTED)
    else:
        fault = asked.fault(status, body)
    if fault is not None:
        raise Failed(fault, f"status {status}")


def verdict(body: bytes, expected: Expectation) -> Mapping[str, float] | None:
    """The values that a body holds; raises Failed where it is not as expected."""
    if expected.text is not None and expected.text.encode() not in body:
        raise Failed(Failure.UNEXPECTED, f"the text {expected.text!r} is missing")
    if not expected.json and not expected.values:
        return None
    document = parsed(body)
    for place, wanted in expected.json.items():
        found = Path.parse(place).values(document)
        if not found or found[0] != wanted or isinstance(found[0], bool) is not isinstance(wanted, bool):
            raise Failed(Failure.UNEXPECTED, f"{place} is not {wanted!r}")
    told = {place: _number(Path.parse(place).values(document)) for place in expected.values}
    return {place: value for place, value in told.items() if value is not None}


def _number(found: Sequence[Json]) -> float | None:
    if not found or not isinstance(found[0], int | float):
        return None
    with suppress(OverflowError):
        return float(found[0]) if isfinite(found[0]) else None
    return None


def _expiry(flight: Flight) -> float | None:
    tls = flight.stream.tls if flight.stream is not None else None
    certificate = None if tls is None else tls.getpeercert()
    with suppress(KeyError, TypeError):
        return float(ssl.cert_time_to_seconds(certificate["notAfter"]))  # type: ignore[index, arg-type]  # suppressed
    return None


def _tell(failure: Failed | None, *, target: str, before: bool | None) -> None:
    who = {"target": target}
    if failure is not None and before is not False:
        log.warning("health check fails: %s", failure, extra=who)
    elif failure is None and before is not True:
        log.info("health check is as expected", extra=who)
