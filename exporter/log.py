"""One line an event, as key=value or as JSON, whatever a name, a message or a traceback holds."""

import json
import logging
import math
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

OURS = "exporter"
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
BARE = re.compile(r"[A-Za-z0-9_.:/@+-]+")

Value = str | bool | int | float


def configure(level: str, form: str) -> None:
    """Logs to stderr from a level on, in the form `logfmt` or `json`; of libraries, warnings and errors alone.

    What a library says below that would be a line for each request, and may quote what was sent.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    lines = _Lines(sys.stderr)
    lines.setFormatter(FORMS[form]())
    logging.captureWarnings(capture=True)
    logging.basicConfig(force=True, handlers=[lines], level=max(logging.WARNING, number))
    logging.getLogger(OURS).setLevel(number)


class _Lines(logging.StreamHandler[TextIO]):
    """Lines that are lost where there is no room for them, such as on a disk that is full."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging names it
        # The usual word on it would be written to the same place, a traceback longer than the line itself.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class Logfmt(logging.Formatter):
    """An event as key=value pairs."""

    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{key}={_quoted(value)}" for key, value in _fields(self, record).items())


class Json(logging.Formatter):
    """An event as a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_fields(self, record))


FORMS: Mapping[str, type[logging.Formatter]] = {"logfmt": Logfmt, "json": Json}


def _fields(formatter: logging.Formatter, record: logging.LogRecord) -> Mapping[str, Value]:
    said = {
        "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "msg": record.getMessage().strip(),
    }
    extra = {key: value for key, value in vars(record).items() if key not in STANDARD and key not in said}
    trace = {
        "traceback": formatter.formatException(record.exc_info) if record.exc_info else "",
        "stack": record.stack_info,
    }
    every = {**said, **extra, **trace}
    return {key: _told(value) for key, value in every.items() if value not in (None, "")}


def _told(value: object) -> Value:
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)


def _quoted(value: Value) -> str:
    text = json.dumps(value) if isinstance(value, bool) else str(value)
    # Beyond what is printable lie line breaks of Unicode's own, and marks that turn the reading direction.
    return text if BARE.fullmatch(text) else json.dumps(text, ensure_ascii=not text.isprintable())
