"""A scripted Ollama: one model in memory and a clock of its own, kept and loaded again as `server/sched.go` has it."""

import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

from tests.services.scripted import Answer, Request, Service, Stage, Step, head, reply

FOR_EVER = 292 * 365.25 * 86400.0
BERLIN = timezone(timedelta(hours=1))


class Ollama:
    """One model, when it is unloaded, and how often it was loaded."""

    def __init__(self, stage: Stage, *, keep: float = 300.0, context: int = 8192, version: str = "0.33.0-rc2") -> None:
        self.now = time.time()
        """Its clock, which only a test moves on."""
        self.keep = keep
        self.context = context
        self.loads = 0
        self.dated = True
        self.broken = False
        self.busy = False
        self._until = 0.0
        self.used()
        self.service: Service = stage.serve(
            {
                "GET /": reply("Ollama is running", 200, "Content-Type: text/plain"),
                "GET /api/version": reply(json.dumps({"version": version}), 200, "Content-Type: application/json"),
                "GET /api/ps": self._ps,
                "POST /api/chat": self._chat,
            }
        )

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory now."""
        return self.busy or self.now < self._until

    @property
    def left(self) -> float:
        """For how long it will be, if nobody uses it."""
        return self._until - self.now

    def used(self, *, context: int | None = None, keep: float | None = None) -> None:
        """Answer somebody, with options and for a time that are his if he names them."""
        if not self.loaded or context not in (None, self.context):
            self.loads += 1
        self.context = context or self.context
        # Kept for all who come after and name none.
        self.keep = keep if keep is not None else self.keep
        self._until = self.now + (FOR_EVER if self.keep < 0 else self.keep)

    def prompts(self) -> list[Any]:
        """The documents of the prompts so far."""
        return [json.loads(request.body) for request in self.service.asked("POST")]

    def _ps(self, _request: Request) -> Iterable[Step]:
        end = datetime.fromtimestamp(self._until, BERLIN)
        model = {
            "name": "tiny:latest",
            "model": "tiny:latest",
            "details": {"family": "llama"},
            # Go writes nanoseconds.
            "expires_at": end.strftime("%Y-%m-%dT%H:%M:%S.%f") + "123+01:00",
            "size_vram": 1,
            "context_length": self.context,
        }
        return self._dated(json.dumps({"models": [model] if self.loaded else []}))

    def _dated(self, document: str) -> Iterable[Step]:
        date = format_datetime(datetime.fromtimestamp(self.now, UTC), usegmt=True)
        fields = [f"Date: {date}"] if self.dated else []
        answer: Answer = reply(document, 200, "Content-Type: application/json", *fields)
        return answer(Request(method="GET", path="/api/ps", headers={}, body=b""))

    def _chat(self, request: Request) -> Iterable[Step]:
        asked = json.loads(request.body)
        self.used(context=asked["options"].get("num_ctx", 4096), keep=asked.get("keep_alive"))
        if self.broken:
            return reply('{"error":"out of memory"}', 500)(request)
        said = [{"message": {"content": "four"}, "done": False}, {"done": True, "done_reason": "stop", "eval_count": 1}]
        lines = [json.dumps(line).encode() + b"\n" for line in said]
        return [head(200, "Content-Type: application/x-ndjson", "Connection: close"), *lines]
