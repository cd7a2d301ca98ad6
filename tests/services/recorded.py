"""What real servers once answered, said again byte for byte, read for read and at the pace of then."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from tests.services.scripted import Answer, Step, script

FOLDER = Path(__file__).parent.parent / "recordings"


def replayed(name: str) -> Answer:
    """The recorded answer of this name, such as `flask-json/predict`."""
    return script(*_steps(name))


def recorded(name: str) -> bytes:
    """The bytes of that answer, from its status on."""
    _request, _, answer = (FOLDER / f"{name}.http").read_bytes().partition(b"\n<<< RESPONSE\n")
    return answer.removesuffix(b"\n")


def body(name: str) -> bytes:
    """The bytes of that answer after its head."""
    return recorded(name).partition(b"\r\n\r\n")[2]


def _steps(name: str) -> Iterator[Step]:
    answer = recorded(name)
    # The first event is the connection made and the last its end; between them is one event for each read.
    events = json.loads((FOLDER / f"{name}.http.timing.json").read_text())[:-1]
    for before, event in pairwise(events):
        yield event["t"] - before["t"]
        yield answer[: event["n"]]
        answer = answer[event["n"] :]
    assert not answer, f"{name} has bytes that no read brought"
