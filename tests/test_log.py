import json
import re
import subprocess
import sys

import pytest

CALL = """
import logging
from exporter.log import configure

configure({level!r}, {form!r})
log = logging.getLogger({logger!r})
{call}
"""


def said(call: str, *, level: str = "info", form: str = "logfmt", logger: str = "exporter.watch") -> str:
    """What a program that makes this call writes to stderr."""
    program = CALL.format(level=level, form=form, logger=logger, call=call)
    return subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, check=True, encoding="utf-8").stderr


def fields(call: str) -> dict[str, object]:
    """What it writes, as JSON."""
    line = said(call, form="json")
    assert line.count("\n") == 1
    parsed: dict[str, object] = json.loads(line)
    return parsed


def test_an_event_is_one_line_of_key_and_value() -> None:
    line = said("log.warning('cannot be read (%s): %s', 'stuck', 'no answer', extra={'source': 'gpu', 'tries': 3})")

    stamp, rest = line.split(" ", 1)
    assert re.fullmatch(r"ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp)
    assert rest == 'level=warning logger=exporter.watch msg="cannot be read (stuck): no answer" source=gpu tries=3\n'


def test_an_event_is_one_object_of_json() -> None:
    event = fields("log.error('gone', extra={'source': 'gpu', 'tries': 3, 'last': True, 'load': float('inf')})")

    assert event.pop("ts")
    assert event == {
        "level": "error",
        "logger": "exporter.watch",
        "msg": "gone",
        "source": "gpu",
        "tries": 3,
        "last": True,
        "load": "inf",
    }


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_empty_fields_are_left_out(form: str) -> None:
    line = said("log.info('begun', extra={'target': '', 'model': None, 'misses': 0})", form=form)

    assert "target" not in line
    assert "model" not in line
    assert "misses" in line


@pytest.mark.parametrize("form", ["logfmt", "json"])
@pytest.mark.parametrize(
    "mark",
    ["\n", "\r", "\r\n", "\v", "\f", "\0", "\x1b[2J", "\x7f", "\x85", "\u2028", "\u2029", "\u202e", "\ud800"],
    ids=ascii,
)
def test_no_text_can_forge_a_line(mark: str, form: str) -> None:
    forged = f"x{mark}ts=2030 level=error msg=forged"

    text = said(f"log.info({forged!r}, extra={{'target': {forged!r}}})", form=form)

    assert text.endswith("\n")
    assert text[:-1].isprintable()
    assert len(text.splitlines()) == 1


def test_a_value_that_holds_quotes_spaces_or_an_equals_sign_stays_one_value() -> None:
    line = said("""log.info('x', extra={'model': 'a "b" level=error \\\\', 'title': 'naïve', 'flag': False})""")

    assert line.endswith(r' msg=x model="a \"b\" level=error \\" title="naïve" flag=false' + "\n")


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_a_traceback_is_one_field_of_the_line(form: str) -> None:
    line = said("try:\n    1 / 0\nexcept ZeroDivisionError:\n    log.exception('failed')", form=form)

    assert line.count("\n") == 1
    assert re.search(r'traceback"?[=:] ?"Traceback \(most recent call last\):\\n  File .*ZeroDivisionError', line)


def test_an_extra_cannot_take_the_place_of_what_every_line_tells() -> None:
    event = fields("log.info('real', extra={'level': 'forged', 'logger': 'forged', 'ts': 'forged'})")

    assert (event["level"], event["logger"]) == ("info", "exporter.watch")
    assert event["ts"] != "forged"


@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_a_level_leaves_out_what_is_below_it(level: str, told: list[str]) -> None:
    text = said("for each in ('debug', 'info', 'warning', 'error'): getattr(log, each)('x')", level=level)

    assert re.findall(r"level=(\w+)", text) == told


@pytest.mark.parametrize(("level", "told"), [("debug", ["warning", "error"]), ("error", ["error"])])
def test_of_libraries_only_warnings_and_errors_are_told(level: str, told: list[str]) -> None:
    text = said(
        "for each in ('debug', 'info', 'warning', 'error'): getattr(log, each)('x')", level=level, logger="httpx"
    )

    assert re.findall(r"level=(\w+)", text) == told


def test_a_warning_of_python_is_one_line_too() -> None:
    line = said("import warnings\nwarnings.warn('soon\\ngone')")

    assert len(line.splitlines()) == 1
    assert "level=warning logger=py.warnings" in line
