"""The service as it sees itself: its own metrics, by the same names whatever serves the model."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import partial
from http import HTTPStatus
from itertools import chain
from typing import Annotated, TypeVar

import httpx

from exporter.apart import JUDGED_HERE, apart, judged
from exporter.clock import Flight
from exporter.figures import Figure, Form, Place, Proof, Publish, Vocabulary, Way
from exporter.forms import awake, samples
from exporter.frozen import frozen
from exporter.normal import SERIES_LIMIT, START, Figures, Owner, Sample, Value
from exporter.reading import Counter, Distribution, Gauge, Histogram, Label, Note, Reading
from exporter.response import accepted, opened, origin, whole
from exporter.threads import Thread
from exporter.vocabularies import VOCABULARIES
from exporter.wire import FAULTS, failed

log = logging.getLogger(__name__)

T = TypeVar("T")

SILENCE = 10.0  # Seconds after which a service that was reached is silent, though it may yet answer.
PATIENCE = 30.0
RESTING = 20  # Looks that are left out once nothing was found.
NOT_OFFERED = frozenset(
    {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED}
)
ACCEPT = {True: "text/plain;version=0.0.4, */*;q=0.1", False: "application/json"}
# What else a service may have at that path, as one does that answers every path alike.
OTHER_KINDS = {True: frozenset({"text/html", "application/json"}), False: frozenset({"text/html"})}


@frozen
class Server(Reading):
    """What a service says of itself, counted since the first look and through its restarts."""

    PREFIX = "model_server"
    target: Annotated[str, Label("The service's name in the configuration.")]
    model: Annotated[str, Label("The model, where the service names several.")] = ""
    handler: Annotated[str, Label("The route, where the service tells its requests by routes.")] = ""
    method: Annotated[str, Label("The request's method, where the service tells its requests by routes.")] = ""
    status: Annotated[str, Label("The status's class, such as 5xx, where the service tells its requests by it.")] = ""
    metrics_up: Annotated[
        bool | None,
        Gauge("Whether the service's own metrics could be read; absent where it has none and none were asked for."),
    ] = None
    requests_running: Annotated[
        float | None, Gauge("Requests that are being worked on; absent where the service does not tell.")
    ] = None
    requests_waiting: Annotated[
        float | None, Gauge("Requests that wait for their turn; absent where the service does not tell.")
    ] = None
    kv_cache_usage_ratio: Annotated[
        float | None, Gauge("Share of the KV cache in use, the mean over replicas; absent where it is not told.")
    ] = None
    prompt_tokens: Annotated[
        float | None, Counter("Prompt tokens, those from a cache included; absent where the service does not tell.")
    ] = None
    generation_tokens: Annotated[float | None, Counter("Tokens generated; absent where the service does not tell.")] = (
        None
    )
    cached_prompt_tokens: Annotated[
        float | None, Counter("Prompt tokens answered from a prefix cache; absent where the service does not tell.")
    ] = None
    preemptions: Annotated[
        float | None, Counter("Requests put back for want of KV cache; absent where the service does not tell.")
    ] = None
    requests: Annotated[
        float | None, Counter("Requests, however they ended; absent until the service tells of one.")
    ] = None
    request_failures: Annotated[
        float | None,
        Counter("Requests that the service failed or aborted, never the client's mistakes; absent where untold."),
    ] = None
    first_token_seconds: Annotated[
        Distribution | None,
        Histogram("From arrival at the service to the first token; absent unless histograms are published."),
    ] = None
    time_per_output_token_seconds: Annotated[
        Distribution | None,
        Histogram("Time between tokens as the service sees it; absent unless histograms are published."),
    ] = None
    request_duration_seconds: Annotated[
        Distribution | None,
        Histogram("From arrival at the service to the end of the answer; absent unless histograms are published."),
    ] = None
    queue_seconds: Annotated[
        Distribution | None, Histogram("Time spent waiting for a turn; absent unless histograms are published.")
    ] = None


@frozen
class Progress(Reading):
    """What a service's own figures prove of its progress; a new object with each look, whatever it says."""

    PREFIX = "model_server"
    target: Annotated[str, Label("The service's name in the configuration.")]
    generating: Annotated[
        float | None,
        Note(
            "Moves while the service generates answers, and stands while it does not; absent where it does not tell.",
            shown=False,
        ),
    ] = None
    answered: Annotated[
        float | None,
        Note(
            "Answers that were no refusals, those to our own prompts too; absent where the service does not tell.",
            shown=False,
        ),
    ] = None
    ended: Annotated[
        float | None,
        Note(
            "Moves when requests end, so that it proves nothing while it stands; absent where it is not told.",
            shown=False,
        ),
    ] = None
    prefilling: Annotated[
        float | None,
        Note("Moves while prompts are read or the engine iterates; absent where it is not told.", shown=False),
    ] = None
    silent: Annotated[
        bool,
        Note(
            "Whether the service was reached and then said nothing for 10 seconds; it tells nothing else then.",
            shown=False,
        ),
    ] = False


@frozen
class Whereabouts:
    """Where a service tells its own figures; what the operator leaves open is the engine's to say."""

    service: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Said to the service's own origin alone, since a key may be among them."""
    url: str | None = None
    path: str | None = None
    enabled: bool = False
    """Whether they are to be read even where that disturbs whoever reads them too."""

    @property
    def asked(self) -> bool:
        """Whether the operator said that there are some, or where."""
        return self.enabled or self.url is not None or self.path is not None

    def ways(self, vocabulary: Vocabulary) -> Sequence[Way]:
        """What may be read, the best first."""
        if self.path is not None:
            return ((Place(self.path),),)
        return (*vocabulary.ways_if_asked, *vocabulary.ways) if self.asked else vocabulary.ways

    def address(self, vocabulary: Vocabulary, path: str) -> httpx.URL | None:
        """Where to look; None where only the operator can know the port."""
        service = httpx.URL(self.service)
        if self.url is not None or vocabulary.ports is None:
            return httpx.URL((self.url or self.service).rstrip("/") + path)
        usual, metrics = vocabulary.ports
        return service.copy_with(port=metrics, raw_path=path.encode()) if service.port == usual else None


class ServerMetrics:
    """The source of a service's Server and Progress; tells neither where its engine does not, or is to be left alone.

    The engine is asked for at each look, and is no known one until the service was recognised.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        whereabouts: Whereabouts,
        *,
        target: str,
        engine: Callable[[], str],
        publish: Publish,
    ) -> None:
        self.figures = Figures()
        self.thread = Thread("figures")
        """Where figures are read and added up; the same for many services, so that only one of them is at work."""
        self._client = client
        self._where = whereabouts
        self._target = target
        self._engine = engine
        self._publish = publish
        self._vocabulary: Vocabulary | None = None
        self._found: Way | None = None
        self._resting = 0
        self._told = ""
        self._said: Sequence[Server] = ()
        self._flight = Flight()

    @property
    def waiting(self) -> float | None:
        """Requests that wait at the service now, over all its models; None where that is not known."""
        values = [value for (figure, _), value in self.figures.now.items() if figure is Figure.REQUESTS_WAITING]
        return sum(value for value in values if isinstance(value, float)) if values else None

    async def read(self) -> AsyncGenerator[Sequence[Reading], None]:
        """Look once, unless nothing was found a while ago, and say what is there; and before, where it is silent."""
        progress: Sequence[Progress] = ()
        self._flight = Flight()
        look = asyncio.create_task(self._look())
        try:
            await asyncio.wait({look}, timeout=SILENCE)
            if not look.done() and self._flight.connected is not None:
                progress = (Progress(target=self._target, silent=True),)
                yield (*self._said, *progress)
            up = await look
        finally:
            look.cancel()
            await asyncio.wait({look})
        if up:
            progress = tuple(self._progress())
        else:
            self.figures = self.figures.unheard()
        self._said = () if self._publish == "none" else tuple(self._readings(up=up))
        yield (*self._said, *progress)

    def _progress(self) -> Iterator[Progress]:
        if told := self.figures.proven:
            yield Progress(
                target=self._target,
                generating=told.get(Proof.GENERATING),
                answered=told.get(Proof.ANSWERED),
                ended=told.get(Proof.ENDED),
                prefilling=told.get(Proof.PREFILLING),
            )

    def _readings(self, *, up: bool | None) -> Iterator[Server]:
        if up is not None:
            yield Server(target=self._target, metrics_up=up)
        by_owner: dict[Owner, dict[Figure, Value]] = {}
        for (figure, owner), value in self.figures.now.items():
            by_owner.setdefault(owner, {})[figure] = value
        for owner, told in by_owner.items():
            yield server(self._target, owner, told)

    async def _look(self) -> bool | None:
        vocabulary = self._spoken()
        if vocabulary is None:
            return None
        if self._resting:
            self._resting -= 1
            return self._missing
        try:
            async with asyncio.timeout(PATIENCE):
                samples = await self._samples(vocabulary)
        except FAULTS as error:
            self._found = None
            self._tell(logging.WARNING, "own metrics cannot be read: %s", _worded(error))
            return False
        if samples is None:
            self._resting = RESTING
            self._tell(logging.INFO, "no own metrics to read; where it has some, set server.url or server.path")
            return self._missing
        await self._take(vocabulary, samples)
        self._tell(logging.INFO, "own metrics are read")
        return True

    def _spoken(self) -> Vocabulary | None:
        vocabulary = VOCABULARIES.get(self._engine())
        if vocabulary is not self._vocabulary:
            self._vocabulary, self._found, self._resting = vocabulary, None, 0
        return vocabulary

    @property
    def _missing(self) -> bool | None:
        return False if self._where.asked else None

    async def _take(self, vocabulary: Vocabulary, samples: Sequence[Sample]) -> None:
        before = self.figures.dropped
        more = partial(self.figures.plus, vocabulary, samples, spreads=self._publish == "all")
        self.figures = await self._off_the_loop(more)
        if self.figures.dropped and not before:
            who = {"target": self._target}
            log.warning("own metrics beyond %d series are dropped and counted", SERIES_LIMIT, extra=who)

    async def _samples(self, vocabulary: Vocabulary) -> Sequence[Sample] | None:
        ways = self._where.ways(vocabulary)
        for way in sorted(ways, key=lambda way: way != self._found):
            first, *others = way
            told = await self._at(first, vocabulary)
            if told is not None:
                self._found = way
                more = [await self._at(place, vocabulary) or () for place in others]
                return tuple(chain(told, *more))
        return None

    async def _at(self, place: Place, vocabulary: Vocabulary) -> Sequence[Sample] | None:
        if place.ask_first:
            state = await self._body(self._where.address(vocabulary, place.ask_first), Form.SLOTS)
            if state is not None and not await judged(awake, state):
                return ()
        body = await self._body(self._where.address(vocabulary, place.path), place.form)
        wanted = vocabulary.wanted(spreads=self._publish == "all") | {START}
        if body is None:
            return None
        if len(body) > JUDGED_HERE:
            return await apart(samples, body, place.form, wanted)
        return await self._off_the_loop(partial(samples, body, place.form, wanted))

    async def _off_the_loop(self, function: Callable[[], T]) -> T:
        # Shielded, since a call that is given up would keep the thread from all others until it ends.
        return await asyncio.shield(self.thread.call(function))

    async def _body(self, url: httpx.URL | None, form: Form) -> bytes | None:
        if url is None:
            return None
        own = origin(url) == origin(httpx.URL(self._where.service))
        headers = {**(self._where.headers if own else {}), "Accept": ACCEPT[form is Form.PAGE]}
        request = self._client.build_request("GET", url, headers=headers)
        self._flight = Flight()
        async with opened(self._client, request, self._flight.trace) as response:
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if response.status_code in NOT_OFFERED or (response.is_success and kind in OTHER_KINDS[form is Form.PAGE]):
                return None
            await accepted(response)
            return await whole(response)

    def _tell(self, level: int, message: str, *args: object) -> None:
        if message != self._told:
            log.log(level, message, *args, extra={"target": self._target})
        self._told = message


def _worded(error: Exception) -> object:
    return f"no answer within {PATIENCE:g} s" if isinstance(error, TimeoutError) else failed(error)


def server(target: str, owner: Owner, told: Mapping[Figure, Value]) -> Server:
    """What a service says of one of its models or routes, or of itself."""

    def number(figure: Figure) -> float | None:
        value = told.get(figure)
        return value if isinstance(value, float) else None

    def spread(figure: Figure) -> Distribution | None:
        value = told.get(figure)
        return value if isinstance(value, Distribution) else None

    return Server(
        target=target,
        model=owner.model,
        handler=owner.handler,
        method=owner.method,
        status=owner.status,
        requests_running=number(Figure.REQUESTS_RUNNING),
        requests_waiting=number(Figure.REQUESTS_WAITING),
        kv_cache_usage_ratio=number(Figure.KV_CACHE_USAGE_RATIO),
        prompt_tokens=number(Figure.PROMPT_TOKENS),
        generation_tokens=number(Figure.GENERATION_TOKENS),
        cached_prompt_tokens=number(Figure.CACHED_PROMPT_TOKENS),
        preemptions=number(Figure.PREEMPTIONS),
        requests=number(Figure.REQUESTS),
        request_failures=number(Figure.REQUEST_FAILURES),
        first_token_seconds=spread(Figure.FIRST_TOKEN_SECONDS),
        time_per_output_token_seconds=spread(Figure.TIME_PER_OUTPUT_TOKEN_SECONDS),
        request_duration_seconds=spread(Figure.REQUEST_DURATION_SECONDS),
        queue_seconds=spread(Figure.QUEUE_SECONDS),
    )
