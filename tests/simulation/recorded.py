"""A busy hour of a real llama-server, as its sources would have told it, and the verdict on it event by event."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from exporter.figures import Proof
from exporter.forms import slots
from exporter.lookup import Lookup
from exporter.normal import Figures
from exporter.sources.health import Health
from exporter.sources.process import Process
from exporter.sources.prompt import Answers
from exporter.sources.server import Progress, Server
from exporter.verdict import verdict
from exporter.verdict.standing import Rules, Seen, Standing
from exporter.vocabularies import VOCABULARIES
from exporter.wire import Failed, Failure, Outcome

FILE = Path(__file__).parent.parent / "recordings" / "llama-server-0.7.0" / "busy-hour.jsonl"
EPOCH = 1_800_000_000.0
INTERVAL = 30.0

Event = Mapping[str, Any]
"""A line of the recording: its time, and a prompt's end, a look or an answer to a health check."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """An hour, event by event."""

    facts: Event
    events: Sequence[Event]

    @classmethod
    def of(cls, file: Path) -> "Recording":
        """What is in a file."""
        first, *others = (json.loads(line) for line in file.read_text().splitlines())
        return cls(facts=first, events=others)

    @cached_property
    def prompts(self) -> Sequence[Event]:
        """How each prompt ended."""
        return [event for event in self.events if "began" in event]

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return float(self.events[-1]["t"])

    def answered(self, now: float) -> float:
        """When a prompt was last answered."""
        return max((prompt["t"] for prompt in self.prompts if not prompt["failed"] and prompt["t"] <= now), default=0.0)

    def failed_in_a_row(self, now: float) -> int:
        """How many prompts have failed since."""
        return sum(self.answered(now) < prompt["t"] <= now for prompt in self.prompts)


@dataclass(frozen=True, kw_only=True)
class Ears:
    """What of a recording is heard."""

    slots: bool = True
    every: int = 3
    """Of how many looks one is made, since the recording holds more of them than the exporter would make."""
    first: int = 0
    freezes: float = float("inf")
    """When everything stands still from then on."""


def standings(recording: Recording, ears: Ears) -> Iterator[Standing]:
    """How the service stands after each event."""
    rules, told = Rules(), Told()
    standing = Standing.at_first(Seen(now=0.0, time=EPOCH))
    for event in _in_turn(recording, ears):
        told.hear(event, ears)
        standing = verdict(told.seen(event["t"]), standing, rules)
        yield standing


def _in_turn(recording: Recording, ears: Ears) -> Sequence[Event]:
    """The events that are heard; the begin of each prompt is one of its own."""
    looks = [event for event in recording.events if "slots" in event][ears.first :: ears.every]
    health = [event for event in recording.events if "health" in event]
    begins = [{"t": prompt["began"], "begins": True} for prompt in recording.prompts]
    return sorted((*looks, *health, *begins, *recording.prompts), key=lambda event: event["t"])


class Told:
    """What a service's sources said last."""

    def __init__(self) -> None:
        self._answers = Answers(target="chat", interval_seconds=INTERVAL)
        self._health: Health | None = None
        self._figures = Figures()
        self._slots: Any = []
        self._cpu = 0.0
        self._progress: Progress | None = None
        self._server: tuple[Server, ...] = ()
        self._process: Process | None = None

    def seen(self, now: float) -> Seen:
        """All of it."""
        return Seen(
            now=now,
            time=EPOCH + now,
            answers=self._answers,
            health=self._health,
            server=self._server,
            progress=self._progress,
            process=self._process,
        )

    def hear(self, event: Event, ears: Ears) -> None:
        """Take in what happened."""
        frozen = event["t"] >= ears.freezes
        match event:
            case {"begins": True}:
                self._answers = replace(self._answers, attempts=self._answers.attempts + 1, asking=True)
            case {"began": began, "failed": failed, "t": ended}:
                failure = Failure.TIMEOUT_FIRST_TOKEN if frozen else failed and Failure(failed)
                last = Outcome(failed=Failed(failure) if failure else None, began=began, ended=ended)
                self._answers = replace(self._answers, asking=False, last=last, up=failure is None)
            case {"health": failed, "t": now}:
                last = Outcome(failed=Failed(Failure(failed)) if failed else None, began=now, ended=now)
                self._health = Health(target="chat", up=failed is None, last=last)
            case {"slots": document, "cpu": cpu}:
                if not frozen:
                    self._slots, self._cpu = document, cpu
                self._look(ears)

    def _look(self, ears: Ears) -> None:
        self._process = Process(
            target="chat",
            lookup={each: each is Lookup.FOUND for each in Lookup},
            up=True,
            start_timestamp_seconds=EPOCH - 86_400,
            cpu_seconds={"user": self._cpu, "system": 0.0},
            accept_queue_full=False,
        )
        if not ears.slots:
            return
        self._figures = self._figures.plus(VOCABULARIES["llama-server"], slots(self._slots), spreads=False)
        proven = self._figures.proven
        self._progress = Progress(
            target="chat", generating=proven.get(Proof.GENERATING), prefilling=proven.get(Proof.PREFILLING)
        )
        running = sum(slot["is_processing"] for slot in self._slots)
        self._server = (Server(target="chat", requests_running=running),)
