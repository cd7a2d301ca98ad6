"""The synthetic prompt, as an operator may set it."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, field_serializer, model_validator

from exporter.settings.checks import Checks
from exporter.settings.kinds import (
    Amount,
    AnyCase,
    Auto,
    Count,
    Duration,
    Jitter,
    Json,
    JsonPathText,
    Listed,
    OrNone,
    Share,
    Switch,
    Text,
    UrlPath,
    spelled,
)
from exporter.settings.sections import Contradiction, Place, Section, setting

Protocol = Literal[
    "openai-chat",
    "openai-completions",
    "openai-embeddings",
    "openai-images",
    "rerank",
    "tgi",
    "ollama",
    "ollama-embed",
    "gradio",
    "kserve",
    "triton-generate",
    "tei",
    "plain",
]
Method = Literal["POST", "GET", "PUT"]


class Case(Section):
    """One of several prompts that are asked in turn; what it leaves out is as for every prompt."""

    text: OrNone[Text] = setting("none", "The question.")
    body: OrNone[Json] = setting("none", "As prompt.body, for this prompt alone.")
    answer: OrNone[JsonPathText] = setting("none", "Where the answer stands in the body, a JSON path.")
    checks: Checks = setting({}, "As at the top level, for this prompt alone; what is left out is as there.")

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if self.text is None and self.body is None:
            raise ValueError("a text or a body")
        return self

    @field_serializer("checks", when_used="json")
    def _what_was_typed(self, checks: Checks) -> dict[str, object]:
        # A default that is printed would be taken for what this prompt alone is to be checked by.
        return checks.typed()


class Prompt(Section):
    """The synthetic prompt: what is asked, how often, and how long an answer may take."""

    enabled: Auto[Switch] = setting(
        "auto", "Whether the service is asked; auto where it is recognised or a protocol is set."
    )
    protocol: Auto[Annotated[Protocol, AnyCase]] = setting(
        "auto", "How the service is asked; auto is as its engine is."
    )
    path: Auto[UrlPath] = setting(
        "auto", "The path that is asked, of gradio the endpoint's; auto is the protocol's own."
    )
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
    documents: Listed[Text] = setting(
        (), "What a reranker orders by relevance to the text; with none, a pair of which one is plainly relevant."
    )
    body: OrNone[Json] = setting(
        "none",
        "The request of protocol plain, of any other the fields that its request has too, or instead; "
        "plain, gradio and kserve fill in ${text} and ${nonce}.",
    )
    answer: OrNone[JsonPathText] = setting(
        "none", "Where the answer of protocol plain stands, a JSON path; none takes the whole body."
    )
    cases: Listed[Case] = setting((), "Several prompts that are asked in turn instead of the one text.")
    daily_token_budget: OrNone[Count] = setting(
        "none", "How many tokens the prompts may cost the service in a day, after which they are skipped."
    )
    skip_when_waiting_above: OrNone[Amount] = setting(
        "none", "How many requests may wait at the service before a prompt is skipped; two in a row never are."
    )

    def contradictions(self) -> Iterator[Contradiction]:
        """What does not go together here."""
        yield from self._deadlines()
        yield from self._plain() if self.protocol == "plain" else self._only_for_plain()
        if self.documents and self.protocol not in {None, "rerank"}:
            yield ("documents",), "an empty list, since prompt.protocol is not rerank"
        yield from self._misjudged()

    def _deadlines(self) -> Iterator[Contradiction]:
        # Only what was typed: a shorter timeout alone is no contradiction, it ends the others' waiting too.
        for name in sorted({"first_token_timeout", "stall_timeout"} & self.model_fields_set):
            if getattr(self, name) > self.timeout:
                yield (name,), f"at most prompt.timeout, {spelled(self.timeout)}"

    def _plain(self) -> Iterator[Contradiction]:
        bodies = [case.body for case in self.cases] or [self.body]
        if self.method == "GET":
            yield from ((place, "none, since prompt.method is GET") for place, _ in self._given("body"))
        elif self.body is None and None in bodies:
            yield ("body",), "what to send, since prompt.protocol is plain and prompt.method not GET"

    def _only_for_plain(self) -> Iterator[Contradiction]:
        for place, body in self._given("body"):
            if not isinstance(body, dict):
                yield place, "names and values, since prompt.protocol is not plain"
        for place, _ in self._given("answer"):
            yield place, "none, since prompt.protocol is not plain"
        if self.method != "POST":
            yield ("method",), "POST, since prompt.protocol is not plain"

    def _given(self, name: str) -> Iterator[tuple[Place, object]]:
        places: list[tuple[Place, Section]] = [((), self)]
        places += [(("cases", number), case) for number, case in enumerate(self.cases)]
        for above, section in places:
            if (value := getattr(section, name)) is not None:
                yield (*above, name), value

    def _misjudged(self) -> Iterator[Contradiction]:
        for number, case in enumerate(self.cases):
            for place, expected in case.checks.contradictions(len(self.documents)):
                yield ("cases", number, "checks", *place), expected
