"""Everything an operator may set: one field with its kind, its default as one would type it, and what it is for."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, model_validator
from pydantic.json_schema import SkipJsonSchema

from exporter.settings import later
from exporter.settings.addresses import ListenAddress, ServiceUrl, Url, default_name
from exporter.settings.kinds import (
    Auto,
    CaFile,
    Count,
    Duration,
    FilePath,
    FromJson,
    HeaderName,
    HeaderValue,
    Jitter,
    Json,
    JsonPathText,
    Listed,
    LoadedKey,
    Name,
    OrNone,
    OrOff,
    Port,
    Share,
    Status,
    Switch,
    Text,
    UrlPath,
    one_of,
    spelled,
)
from exporter.settings.sections import Contradiction, Section, overlaid, refuse

Protocol = Literal["openai-chat", "openai-completions", "plain"]
Method = Literal["POST", "GET", "PUT"]
Level = Literal["debug", "info", "warning", "error"]


def setting(default: object, description: str) -> Any:  # noqa: ANN401  the field's kind is its annotation
    """A setting with its default as one would type it."""
    return Field(default, description=description)


class Expect(Section):
    """What a healthy answer looks like; with none of these, any status of success is healthy."""

    status: Listed[Status] = setting((), "Statuses of a healthy answer; none means any of 200 to 299.")
    text: OrNone[Text] = setting("none", "Text that a healthy body holds.")
    fields: Annotated[Mapping[JsonPathText, JsonValue], FromJson] = Field(
        {}, alias="json", description="What stands where in a healthy body: JSON paths and their values."
    )


class Health(Section):
    """The question for the service's own word on its health."""

    enabled: Switch = setting(default=True, description="Whether the health endpoint is asked.")
    url: OrNone[Url] = setting(
        "none", "Another address than the service's, where the health endpoint lives elsewhere; the path is added."
    )
    path: Auto[UrlPath] = setting("auto", "The health endpoint's path; auto is /health.")
    every: Duration = setting("15s", "Time between two health checks.")
    timeout: Auto[Duration] = setting("auto", "How long one health check may take; auto is 5s.")
    expect: Expect = Field(default_factory=Expect, description="What a healthy answer looks like.")
    values: Listed[JsonPathText] = setting((), "Numbers and booleans of the body to publish, as JSON paths.")


class Case(Section):
    """One of several prompts that are asked in turn; what it leaves out is as for every prompt."""

    text: OrNone[Text] = setting("none", "The question.")
    body: OrNone[Json] = setting("none", "The request of protocol plain.")
    answer: OrNone[JsonPathText] = setting("none", "Where the answer stands in the body, a JSON path.")

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if self.text is None and self.body is None:
            raise ValueError("a text or a body")
        return self


class Prompt(Section):
    """The synthetic prompt: what is asked, how often, and how long an answer may take."""

    enabled: Auto[Switch] = setting(
        "auto", "Whether the service is asked; auto where it is recognised or a protocol is set."
    )
    protocol: Auto[Annotated[Protocol, one_of(*later.PROTOCOLS)]] = setting(
        "auto", "How the service is asked; auto is openai-chat where it lists its models."
    )
    path: Auto[UrlPath] = setting("auto", "The path that is asked; auto is the protocol's own.")
    method: Annotated[Method, BeforeValidator(lambda word: word.upper() if isinstance(word, str) else word)] = setting(
        "POST", "The method of protocol plain."
    )
    every: Auto[Duration] = setting(
        "auto", "Time between two prompts; auto is 30s, stretched up to 2m to keep to max_share."
    )
    max_share: Share = setting(0.02, "The share of time that prompts may take of the service, where every is auto.")
    jitter: Jitter = setting(0.1, "How much the time between two prompts varies, so that targets do not fire together.")
    first_token_timeout: Duration = setting("30s", "How long the first token may take.")
    stall_timeout: Duration = setting("10s", "How long the stream may pause between two tokens.")
    timeout: Duration = setting("60s", "How long the whole answer may take.")
    text: Text = setting("Count from one to twenty.", "The question.")
    max_tokens: Count = setting(16, "How many tokens are asked for.")
    body: OrNone[Json] = setting("none", "The request of protocol plain; ${text} and ${nonce} are filled in.")
    answer: OrNone[JsonPathText] = setting(
        "none", "Where the answer of protocol plain stands, a JSON path; none takes the whole body."
    )
    cases: Listed[Case] = setting((), "Several prompts that are asked in turn instead of the one text.")

    def contradictions(self) -> Iterator[Contradiction]:
        """What does not go together here."""
        yield from self._deadlines()
        yield from self._plain() if self.protocol == "plain" else self._only_for_plain()

    def _deadlines(self) -> Iterator[Contradiction]:
        # Only what was typed: a shorter timeout alone is no contradiction, it ends the others' waiting too.
        for name in sorted({"first_token_timeout", "stall_timeout"} & self.model_fields_set):
            if getattr(self, name) > self.timeout:
                yield (name,), f"at most prompt.timeout, {spelled(self.timeout)}"

    def _plain(self) -> Iterator[Contradiction]:
        bodies = [case.body for case in self.cases] or [self.body]
        if self.method == "GET":
            yield from ((place, "none, since prompt.method is GET") for place in self._given("body"))
        elif self.body is None and None in bodies:
            yield ("body",), "what to send, since prompt.protocol is plain and prompt.method not GET"

    def _only_for_plain(self) -> Iterator[Contradiction]:
        for place in (*self._given("body"), *self._given("answer")):
            yield place, "none, since prompt.protocol is not plain"
        if self.method != "POST":
            yield ("method",), "POST, since prompt.protocol is not plain"

    def _given(self, name: str) -> Iterator[tuple[str | int, ...]]:
        if getattr(self, name) is not None:
            yield (name,)
        for number, case in enumerate(self.cases):
            if getattr(case, name) is not None:
                yield ("cases", number, name)


class Process(Section):
    """How the service's processes are found."""

    port: Auto[Port] = setting("auto", "The port on which the service's process listens; auto is the url's.")


class Tls(Section):
    """How the service proves who it is."""

    ca_file: OrNone[CaFile] = setting(
        "none", "PEM certificates that the service's is checked against; none takes the system's."
    )
    insecure_skip_verify: Switch = setting(default=False, description="Whether any certificate is taken.")
    server_name: OrNone[Text] = setting("none", "The name on the certificate, where it is not the url's host.")

    def contradictions(self) -> Iterator[Contradiction]:
        """What does not go together here."""
        if self.ca_file is not None and self.insecure_skip_verify:
            yield ("ca_file",), "none, since insecure_skip_verify is on"


class Target(Section):
    """One service."""

    name: Name = setting("auto", "The service's name, unique; auto is its url's host:port, or local:port on loopback.")
    url: ServiceUrl = Field(description="Where the service is, http or https; a /v1 at the end is left out.")
    engine: Annotated[Literal["auto"], one_of(*later.ENGINES)] = setting("auto", "What the service is; auto looks.")
    model: Auto[Text] = setting("auto", "The model to ask; auto is the first that the service lists.")
    api_key_file: OrNone[Text] = setting(
        "none", "A file with the service's key; ${VARIABLES} of the environment are filled in."
    )
    headers: Mapping[HeaderName, HeaderValue] = setting(
        {}, "Headers that go with every request; their values are secret."
    )
    tls: Tls = Field(default_factory=Tls, description="How the service proves who it is.")
    health: Health = Field(default_factory=Health, description="As at the top level, for this service alone.")
    prompt: Prompt = Field(default_factory=Prompt, description="As at the top level, for this service alone.")
    process: OrOff[Process] = Field(default_factory=Process, description="As at the top level, for this service alone.")
    api_key: SkipJsonSchema[LoadedKey] = Field(None, exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: object) -> object:
        if not isinstance(given, Mapping) or given.get("name", "auto") != "auto":
            return given
        return {**given, "name": default_name(given.get("url"))}

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        refuse(self, self._contradictions())
        return self

    def _contradictions(self) -> Iterator[Contradiction]:
        yield from ((("prompt", *place), expected) for place, expected in self.prompt.contradictions())
        yield from ((("tls", *place), expected) for place, expected in self.tls.contradictions())
        if self.tls != Tls() and not f"{self.url} {self.health.url}".count("https://"):
            yield ("tls",), "an https:// url beside it"


class Gpu(Section):
    """The GPUs of this machine."""

    enabled: Switch = setting(default=True, description="Whether the GPUs are read.")
    every: Duration = setting("5s", "Time between two looks at the GPUs.")
    library: Auto[FilePath] = setting("auto", "The NVML library's file; auto is where the driver puts it.")


class Host(Section):
    """This machine."""

    enabled: Switch = setting(default=True, description="Whether the host is read.")
    every: Duration = setting("5s", "Time between two looks at the host, and at the services' processes.")
    paths: Listed[FilePath] = setting(("/",), "Paths whose file systems' space is published.")


class Web(Section):
    """Where the metrics are served."""

    listen_address: Annotated[Listed[ListenAddress], Field(min_length=1)] = setting(
        (":10068",), "Addresses to listen on; without a host, all of this machine, IPv4 and IPv6."
    )


class Log(Section):
    """What is told, and how it is written."""

    level: Annotated[Level, one_of()] = setting("info", "The least level that is told.")
    format: Annotated[Literal["logfmt", "json"], one_of()] = setting("logfmt", "How a line is written.")


class Settings(Section):
    """Everything an operator may set."""

    targets: tuple[Target, ...] = Field((), description="The services.")
    health: Health = Field(default_factory=Health, description="The question for health, for every target.")
    prompt: Prompt = Field(default_factory=Prompt, description="The synthetic prompt, for every target.")
    process: OrOff[Process] = Field(
        default_factory=Process, description="How a service's processes are found, or off; for every target."
    )
    gpu: Gpu = Field(default_factory=Gpu, description="The GPUs of this machine.")
    host: Host = Field(default_factory=Host, description="This machine.")
    web: Web = Field(default_factory=Web, description="Where the metrics are served.")
    log: Log = Field(default_factory=Log, description="What is told, and how it is written.")

    @model_validator(mode="before")
    @classmethod
    def _each_target_whole(cls, given: object) -> object:
        if not isinstance(given, Mapping) or not isinstance(given.get("targets"), list | tuple):
            return given
        shared = {name: given[name] for name in SHARED if given.get(name) is not None}
        return {**given, "targets": [_under(shared, target) for target in given["targets"]]}

    @model_validator(mode="after")
    def _names_unique(self) -> Self:
        first = {target.name: number for number, target in reversed(list(enumerate(self.targets)))}
        again = ((number, first[target.name]) for number, target in enumerate(self.targets))
        refuse(
            self,
            (
                (("targets", number, "name"), f"another than that of targets[{other}]")
                for number, other in again
                if number != other
            ),
        )
        return self


SHARED = ("health", "prompt", "process")
"""Sections that stand for every target, and may stand in a target for it alone."""


def _under(shared: Mapping[str, object], target: object) -> object:
    return overlaid(Target, shared, target) if isinstance(target, Mapping) else target
