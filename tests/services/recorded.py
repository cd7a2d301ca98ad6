"""What real servers once answered, said again byte for byte and read for read."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.services.scripted import Answer, Step, script

FOLDER = Path(__file__).parent.parent / "recordings"


def recorded(name: str) -> Mapping[str, Answer]:
    """The answer of this name, such as `flask-json/predict`, at the method and path that it was given to."""
    method, path, _ = _request(name).split(b" ", 2)
    return {f"{method.decode()} {path.decode()}": script(*_steps(name))}


def body(name: str) -> bytes:
    """What that answer says after its head, where that is no chunked body."""
    return _answer(name).partition(b"\r\n\r\n")[2]


def _request(name: str) -> bytes:
    return _exchange(name).partition(b"\n<<< RESPONSE\n")[0].removeprefix(b">>> REQUEST\n")


def _answer(name: str) -> bytes:
    return _exchange(name).partition(b"\n<<< RESPONSE\n")[2].removesuffix(b"\n")


def _exchange(name: str) -> bytes:
    return (FOLDER / f"{name}.http").read_bytes()


def _steps(name: str) -> Iterator[Step]:
    answer = _answer(name)
    for event in json.loads((FOLDER / f"{name}.http.timing.json").read_text()):
        read = event.get("n", 0)  # The first event is the connection made, and the last its end.
        yield answer[:read]
        answer = answer[read:]
    assert not answer, f"{name} has bytes that no read brought"
