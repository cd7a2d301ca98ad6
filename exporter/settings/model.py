"""Everything an operator may set: one field with its kind, its default as one would type it, and what it is for."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator
from pydantic.json_schema import SkipJsonSchema

from exporter.figures import Publish
from exporter.settings.addresses import ListenAddress, ServiceUrl, Url, default_name, is_localhost, socket_in
from exporter.settings.checks import Checks, PatternText
from exporter.settings.gpus import GpuName, Gpus
from exporter.settings.kinds import (
    AnyCase,
    ApiKey,
    Auto,
    CaFile,
    Duration,
    FilePath,
    FromJson,
    HeaderName,
    HeaderValue,
    JsonPathText,
    KeysByVariable,
    Listed,
    Misses,
    Name,
    NoneIsAWord,
    OrNone,
    OrOff,
    Port,
    Resolved,
    Status,
    Switch,
    TargetsFile,
    Text,
    UnitName,
    UrlPath,
)
from exporter.settings.objectives import Objectives
from exporter.settings.prompt import Prompt
from exporter.settings.sections import Contradiction, Section, overlaid, refuse, setting

Engine = Literal[
    "vllm",
    "vllm-omni",
    "sglang",
    "sglang-diffusion",
    "tgi",
    "tei",
    "transformers",
    "llama-server",
    "llama-cpp-python",
    "ollama",
    "triton",
    "triton-openai",
    "mlserver",
    "kserve",
    "trtllm",
    "nim",
    "lmdeploy",
    "gradio",
    "a1111",
    "comfyui",
    "ray-serve",
    "bentoml",
    "litserve",
    "infinity",
    "torchserve",
    "fastapi",
    "flask",
    "unknown",
]
Level = Literal["debug", "info", "warning", "error"]


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
    path: Auto[UrlPath] = setting("auto", "The health endpoint's path; auto is its engine's, else /health.")
    every: Duration = setting("15s", "Time between two health checks.")
    timeout: Auto[Duration] = setting("auto", "How long one health check may take; auto is its engine's, else 5s.")
    expect: Expect = setting({}, "What a healthy answer looks like.")
    values: Listed[JsonPathText] = setting((), "Numbers and booleans of the body to publish, as JSON paths.")


class Server(Section):
    """The engine's own metrics."""

    enabled: Auto[Switch] = setting(
        "auto", "Whether they are read; auto leaves out what a look would disturb, and what is not there."
    )
    url: OrNone[Url] = setting(
        "none", "Another address than the service's, where they live on another port; the path is added."
    )
    path: Auto[UrlPath] = setting("auto", "Where they stand; auto is as its engine has it.")
    every: Duration = setting("15s", "Time between two looks at them.")
    publish: Annotated[Publish, AnyCase, NoneIsAWord] = setting(
        "gauges", "What is published: none, gauges (and counters), or all (histograms too)."
    )


class Verdict(Section):
    """When the state of a service turns."""

    misses: Misses = setting(
        3, "How many attempts in a row must fail before the state turns; more, up to 10, where some always fail."
    )
    blind_after: Duration = setting(
        "10m", "How long a service that does not answer counts as busy where nothing shows whether it still works."
    )
    prefill_grace: Duration = setting(
        "3m", "How long a service that reads prompts and generates nothing counts as busy."
    )
    startup_allowance: Duration = setting("20m", "How long a service may take to start before that is a failure.")
    restart_allowance: Duration = setting(
        "5m", "How long a service that was up may refuse connections, where its process cannot be seen."
    )


NAMING = ("unit", "pid_file", "cmdline")
"""Ways to name a service's processes, of which one alone may be given."""


class Process(Section):
    """How the service's processes are found."""

    port: Auto[Port] = setting(
        "auto",
        "The port on which the service listens; auto is the url's. Its process is the one that listens there, unless "
        "a unit, a pid file or a command line names it.",
    )
    unit: OrNone[UnitName] = setting(
        "none", "The systemd unit that the service's processes belong to, which tells of them without any privilege."
    )
    pid_file: OrNone[FilePath] = setting(
        "none", "A file with the pid of the service's topmost process, which is not believed where that began after it."
    )
    cmdline: OrNone[PatternText] = setting(
        "none",
        "A regular expression, in the syntax of RE2, that a part of its command line matches, and of no other's.",
    )

    def contradictions(self) -> Iterator[Contradiction]:
        """What does not go together here."""
        first, *others = [name for name in NAMING if getattr(self, name) is not None] or [""]
        yield from (((other,), f"none, since {first} names the processes already") for other in others)


class Tls(Section):
    """How the service proves who it is."""

    ca_file: OrNone[CaFile] = setting(
        "none",
        "PEM certificates that the service's is checked against, read anew when they change; none takes the system's.",
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
    url: ServiceUrl = Field(
        description="Where the service is, http, https or unix:///path; a /v1 at the end is left out. With dns+ before "
        "it, such as dns+http://chat:8000, every address of the name is a service, and who comes and goes is followed."
    )
    engine: Auto[Annotated[Engine, AnyCase]] = setting(
        "auto", "What the service is, by its name in the table of engines; auto looks."
    )
    model: Auto[Text] = setting("auto", "The model to ask; auto is the first that the service lists.")
    api_key_file: OrNone[Text] = setting(
        "none",
        "A file with the service's key, read anew when it changes; ${VARIABLES} of the environment are filled in.",
    )
    headers: Mapping[HeaderName, HeaderValue] = setting(
        {}, "Headers that go with every request; their values are secret."
    )
    tls: Tls = setting({}, "How the service proves who it is.")
    health: Health = setting({}, "As at the top level, for this service alone.")
    prompt: Prompt = setting({}, "As at the top level, for this service alone.")
    checks: Checks = setting({}, "As at the top level, for this service alone.")
    objectives: Objectives = setting({}, "As at the top level, for this service alone.")
    server: Server = setting({}, "As at the top level, for this service alone.")
    verdict: Verdict = setting({}, "As at the top level, for this service alone.")
    process: OrOff[Process] = setting("on", "As at the top level, for this service alone.")
    gpus: Auto[Listed[GpuName]] = setting(
        "auto", "The service's GPUs, by index or UUID; auto is those on which its processes run."
    )
    api_key: SkipJsonSchema[ApiKey] = Field(None, exclude=True)
    address: SkipJsonSchema[Resolved] = Field(None, exclude=True)

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
        misjudged = self.checks.contradictions(len(self.prompt.documents))
        yield from ((("checks", *place), expected) for place, expected in misjudged)
        yield from ((("tls", *place), expected) for place, expected in self.tls.contradictions())
        if self.process is not None:
            yield from ((("process", *place), expected) for place, expected in self.process.contradictions())
        if self.tls != Tls() and not f"{self.url} {self.health.url} {self.server.url}".count("https://"):
            yield ("tls",), "an https:// url beside it"
        for section, url in (("health", self.health.url), ("server", self.server.url)):
            if socket_in(self.url) is not None and url is not None and is_localhost(url):
                yield (section, "url"), "http://127.0.0.1, since at localhost is what the socket leads to"


class Gpu(Section):
    """The GPUs of this machine."""

    enabled: Switch = setting(default=True, description="Whether the GPUs are read.")
    devices: Gpus = setting(
        "all",
        "Which GPUs are told of: all, targets for those of the services, or a list of indexes and UUIDs.",
    )
    every: Duration = setting("5s", "Time between two looks at the GPUs.")
    medium: Duration = setting("15s", "Time between two looks at what changes more slowly, or is dearer to ask.")
    slow: Duration = setting("5m", "Time between two looks at what hardly ever changes, such as links and limits.")
    pid_labels: Switch = setting(
        default=False, description="Whether the memory of processes is told by pid, rather than by name."
    )
    call_metrics: Switch = setting(
        default=False, description="Whether the time that each function of the driver took is published."
    )
    library: Auto[FilePath] = setting("auto", "The NVML library's file; auto is where the driver puts it.")


class Host(Section):
    """This machine."""

    enabled: Switch = setting(default=True, description="Whether the host is read.")
    every: Duration = setting(
        "5s", "Time between two looks at the host and the services' processes; at file systems 5 s at least."
    )
    paths: Listed[FilePath] = setting(("/",), "Paths whose file systems' space is published.")


class Web(Section):
    """Where the metrics are served."""

    listen_address: Annotated[Listed[ListenAddress], Field(min_length=1)] = setting(
        (":10068",), "Addresses to listen on; without a host, all of this machine, IPv4 and IPv6."
    )
    config_file: OrNone[Text] = setting(
        "none", "A file with TLS, passwords, headers and a rate limit, in the format of Prometheus' own exporters."
    )
    enable_lifecycle: Switch = setting(
        default=False,
        description="Whether a POST to /-/reload reads the settings anew, one to /-/gpu/release lets go of the GPUs' "
        "driver, and one to /-/gpu/acquire takes it up.",
    )


class Log(Section):
    """What is told, and how it is written."""

    level: Annotated[Level, AnyCase] = setting("info", "The least level that is told.")
    format: Annotated[Literal["logfmt", "json"], AnyCase] = setting("logfmt", "How a line is written.")


class Settings(Section):
    """Everything an operator may set."""

    targets: tuple[Target, ...] = Field((), description="The services.")
    targets_files: Listed[TargetsFile] = setting(
        (), "Files that list more services, in the format of Prometheus's file_sd; they are followed without a reload."
    )
    health: Health = setting({}, "The question for health, for every target.")
    prompt: Prompt = setting({}, "The synthetic prompt, for every target.")
    checks: Checks = setting({}, "What is asked of an answer, for every target.")
    objectives: Objectives = setting({}, "What is wanted of a service, in figures; for every target.")
    server: Server = setting({}, "The engine's own metrics, for every target.")
    verdict: Verdict = setting({}, "When the state of a service turns, for every target.")
    process: OrOff[Process] = setting("on", "How a service's processes are found, or off; for every target.")
    gpu: Gpu = setting({}, "The GPUs of this machine.")
    host: Host = setting({}, "This machine.")
    web: Web = setting({}, "Where the metrics are served.")
    log: Log = setting({}, "What is told, and how it is written.")
    keys_of_files: SkipJsonSchema[KeysByVariable] = Field({}, exclude=True)

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


SHARED = ("health", "prompt", "checks", "objectives", "server", "verdict", "process")
"""Sections that stand for every target, and may stand in a target for it alone."""


def _under(shared: Mapping[str, object], target: object) -> object:
    return overlaid(Target, shared, target) if isinstance(target, Mapping) else target
