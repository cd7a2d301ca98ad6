"""Bytes on a wire: what is asked, what comes back piece by piece, and the ways in which it goes wrong."""

import re
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus

import httpx

from exporter.frozen import frozen
from exporter.paths import Json

TEXT_KEPT = 64 * 2**10
LOGPROBS_KEPT = 4096


class Step(StrEnum):
    """How far a request has come on its way through the network."""

    BEGUN = "begun"
    CONNECTED = "connected"
    SECURED = "secured"
    WRITTEN = "written"
    HEADED = "headed"


Trace = Callable[[Step, object], None]
"""What is told of a request's way, step by step, with the connection over which it goes."""


class Failure(StrEnum):
    """Why a service did not answer as it should."""

    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    RESOLVE = "resolve"
    TLS = "tls"
    TIMEOUT_CONNECT = "timeout_connect"
    TIMEOUT_FIRST_TOKEN = "timeout_first_token"  # noqa: S105  a deadline's name, no secret
    TIMEOUT_STALL = "timeout_stall"
    TIMEOUT_TOTAL = "timeout_total"
    STATUS_4XX = "status_4xx"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    RATE_LIMITED = "rate_limited"
    BUSY = "busy"
    LOADING = "loading"
    STATUS_5XX = "status_5xx"
    STREAM_ERROR = "stream_error"
    DISCONNECTED = "disconnected"
    INVALID = "invalid"
    TOO_LARGE = "too_large"
    REDIRECTED = "redirected"
    EMPTY = "empty"
    REPETITIVE = "repetitive"
    UNEXPECTED = "unexpected"
    OUT_OF_RANGE = "out_of_range"


class Failed(Exception):  # noqa: N818  it reads as the sentence it raises
    """A service failed, for a known reason; the detail is for a person and holds no body."""

    def __init__(self, failure: Failure, detail: str = "") -> None:
        super().__init__(failure, detail)
        self.failure = failure
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.failure} ({self.detail})" if self.detail else self.failure


# The most specific first: the first row that fits any error of the chain is the reason.
CAUSES: Mapping[type[Exception], Failure] = {
    socket.gaierror: Failure.RESOLVE,
    ssl.SSLError: Failure.TLS,
    ConnectionRefusedError: Failure.REFUSED,
    ConnectionResetError: Failure.DISCONNECTED,
    BrokenPipeError: Failure.DISCONNECTED,
    httpx.ConnectTimeout: Failure.TIMEOUT_CONNECT,
    httpx.ReadError: Failure.DISCONNECTED,
    httpx.WriteError: Failure.DISCONNECTED,
    httpx.ConnectError: Failure.UNREACHABLE,
    httpx.RemoteProtocolError: Failure.INVALID,
    httpx.UnsupportedProtocol: Failure.REDIRECTED,
    httpx.HTTPError: Failure.INVALID,
    httpx.InvalidURL: Failure.INVALID,
    UnicodeError: Failure.INVALID,
    OSError: Failure.UNREACHABLE,
}

NOBODY = frozenset({Failure.REFUSED, Failure.UNREACHABLE, Failure.RESOLVE, Failure.TLS, Failure.TIMEOUT_CONNECT})
"""Failures of which nobody at the service knows."""

FAULTS: tuple[type[Exception], ...] = (Failed, *CAUSES)
"""Every error that a service can cause."""


def failed(error: Exception) -> Failed:
    """The failure that one of the FAULTS amounts to."""
    chain = tuple(_chain(error))
    for link in chain:
        if isinstance(link, Failed):
            # Anew, since where it was raised holds all that was read until then, for as long as the failure is told.
            return Failed(link.failure, link.detail)
    for kind, failure in CAUSES.items():
        for link in chain:
            if isinstance(link, kind):
                return Failed(failure, _worded(link))
    raise error


def _worded(error: BaseException) -> str:
    # What the system says; a parser's words would quote what the service sent.
    return str(error) if isinstance(error, OSError) else type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


STATUSES: Mapping[int, Failure] = {
    HTTPStatus.UNAUTHORIZED: Failure.UNAUTHORIZED,
    HTTPStatus.NOT_FOUND: Failure.NOT_FOUND,
    HTTPStatus.TOO_MANY_REQUESTS: Failure.RATE_LIMITED,
    HTTPStatus.FAILED_DEPENDENCY: Failure.STATUS_5XX,  # how TGI and TEI say that generation broke
}
LOADING = re.compile(rb"loading|starting|warming", re.IGNORECASE)
BUSY = re.compile(rb"busy|overloaded|queue|no slot available|capacity|too many|pending requests", re.IGNORECASE)


def refusal(status: int, body: bytes) -> Failure:
    """The failure that a status other than 2xx stands for; the body of a 503 tells loading and busy apart."""
    if status == HTTPStatus.SERVICE_UNAVAILABLE and LOADING.search(body):
        return Failure.LOADING
    if status == HTTPStatus.SERVICE_UNAVAILABLE and BUSY.search(body):
        return Failure.BUSY
    if status in STATUSES:
        return STATUSES[status]
    if status < HTTPStatus.BAD_REQUEST:
        return Failure.REDIRECTED
    return Failure.STATUS_4XX if status < HTTPStatus.INTERNAL_SERVER_ERROR else Failure.STATUS_5XX


@dataclass(slots=True, kw_only=True)
class Memory:
    """What earlier prompts taught about a service."""

    wording: int = 0
    """The wording of the question that it took."""


@frozen
class Prompt:
    """What is asked of a service, once."""

    text: str = ""
    nonce: str = ""
    model: str | None = None
    max_tokens: int = 16
    method: str = "POST"
    path: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Json = None
    """The request of protocol plain; for any other protocol an object of further fields of the request."""
    answer: str | None = None
    documents: tuple[str, ...] = ()
    """What a reranker is to order by relevance to the text."""
    trace: Trace | None = None
    memory: Memory = field(default_factory=Memory, compare=False)
    """Shared with every prompt that is made of this one."""


MARK = re.compile(r"\$\{(text|nonce)\}")


def filled(template: Json, prompt: Prompt) -> Json:
    """A template with `${text}` and `${nonce}` filled in, wherever a string stands."""
    match template:
        case str():
            return MARK.sub(lambda mark: prompt.text if mark[1] == "text" else prompt.nonce, template)
        case list():
            return [filled(part, prompt) for part in template]
        case dict():
            return {key: filled(part, prompt) for key, part in template.items()}
        case _:
            return template


@frozen
class Usage:
    """Tokens that an answer cost, as the service counted them; None where it does not say."""

    prompt: int | None = None
    output: int | None = None
    cached: int | None = None


@frozen
class Delta:
    """One piece of an answer, as the wire brought it."""

    text: str = ""
    reasoning: str = ""
    tool: str = ""
    usage: Usage | None = None
    finish: str | None = None
    """Why the model stopped, in the server's word."""
    logprobs: tuple[float, ...] = ()
    vectors: tuple[tuple[float, ...], ...] = ()
    scores: tuple[float, ...] = ()
    """Relevance of the prompt's documents, in their order."""
    images: tuple[bytes, ...] = ()
    size: int = 0
    """Bytes of an answer that is no text."""
    whole: bool = False
    """Whether the answer came as one body, so that nothing is known of its first token."""

    @property
    def spoken(self) -> bool:
        """Whether the model said something, rather than the server about it."""
        return bool(self.text or self.reasoning or self.tool or self.vectors or self.scores or self.images)


@frozen
class Answer:
    """All that was said, as far as the checks want to know it."""

    text: str = ""
    """What was said, its first 64 KiB."""
    thought: bool = False
    """Whether there was reasoning or a tool call."""
    finish: str | None = None
    logprobs: tuple[float, ...] = ()
    vectors: tuple[tuple[float, ...], ...] = ()
    scores: tuple[float, ...] = ()
    images: tuple[bytes, ...] = ()
    size: int = 0

    def plus(self, delta: Delta) -> "Answer":
        """This answer and one more piece."""
        return Answer(
            text=self.text + delta.text[: max(TEXT_KEPT - len(self.text), 0)],
            thought=self.thought or bool(delta.reasoning or delta.tool),
            finish=delta.finish or self.finish,
            logprobs=(self.logprobs + delta.logprobs)[:LOGPROBS_KEPT],
            vectors=self.vectors + delta.vectors,
            scores=self.scores + delta.scores,
            images=self.images + delta.images,
            size=self.size + (delta.size or len(delta.text.encode())),
        )

    @property
    def empty(self) -> bool:
        """Whether nothing was said at all."""
        return not (self.text.strip() or self.thought or self.vectors or self.scores or self.images)


@frozen
class Outcome:
    """How one attempt at a service ended; times are the loop's, in seconds."""

    failed: Failed | None = None
    began: float
    ended: float
    quiet: float | None = None
    """Seconds from its last token to its end; None where no token came."""
    tokens_per_second: float | None = None

    def __str__(self) -> str:
        return "answered" if self.failed is None else str(self.failed)


Protocol = Callable[[httpx.AsyncClient, Prompt], AsyncGenerator[Delta, None]]
"""Asks once; ends when the answer is complete, raises Failed or a transport's error when it cannot be."""


@frozen
class Dialect:
    """A protocol, and what is to be known before it is used."""

    ask: Protocol
    streams: bool
    chats: bool = False
    """Whether a question is answered in words, so that a sum can be asked."""
    ranks: bool = False
    """Whether it orders documents."""
    tensors: bool = False
    """Whether its vectors may be outputs of any kind, rather than embeddings."""


@frozen
class Recognition:
    """What a service was recognised as, and by which evidence."""

    engine: str = "unknown"
    version: str = ""
    model: str = ""
    protocol: str = ""
    evidence: str = ""
    certain: bool = True
    """Whether nothing more is to be learnt by looking again."""
    path: str = field(default="", compare=False)
    """Where it is asked, if elsewhere than in the protocol's own place."""
    fields: Mapping[str, Json] = field(default_factory=dict, compare=False)
    """Further fields of a request, which switch thinking off."""


@frozen
class Sight:
    """What is seen of a service just before it is asked."""

    skip: str | None = None
    """Why it is not to be asked now; None where nothing is seen against it."""
    fields: Mapping[str, Json] = field(default_factory=dict)
    """What the request has to carry for it to change nothing about the model."""
    until: float | None = None
    """When the model is unloaded unless somebody uses it before, by the service's clock; None where it is not."""
