"""A hundred services, most of them hostile, in processes of their own: `python -m tests.fleet CREW SHARE`."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from threading import Event, Thread
from urllib.parse import urlsplit

from tests.daemon import ROOT
from tests.hostile import (
    BAD_CHUNK,
    BAD_FIELD,
    CLOSED,
    DEEP,
    ENDLESS_BODY,
    ENDLESS_HEAD,
    GARBAGE,
    NO_GZIP,
    TORN_HEAD,
    TWO_LENGTHS,
    dripping,
    endless,
    gzip_bomb,
)
from tests.services.openai import CHAT, DONE, ROLE, STOP, WORDS, frame, last, piece
from tests.services.scripted import FOREVER, STREAM_HEAD, Answer, Stage, Step, chunks, head, reply, script, stream

SSE = "Content-Type: text/event-stream"
JSON = "Content-Type: application/json"
EVERY = 3.0
FIRST_TOKEN, WHOLE = 0.2, 0.5
"""After how many seconds a healthy service says its first token, and its last."""

GOOD = stream(ROLE, FIRST_TOKEN, WORDS[0], 0.15, WORDS[1], 0.15, *WORDS[2:], STOP, last(3), DONE)


def says(*steps: Step) -> Answer:
    """An answer that streams this and no end."""
    return script(STREAM_HEAD, *chunks(*steps))


def random_bytes(_request: object) -> Iterable[Step]:
    """Other nonsense each time, now with a head before it and now without."""
    nonsense = os.urandom(4096)
    return (head(200, SSE), nonsense) if nonsense[0] % 2 else (nonsense, 0.1)


HANGING: Mapping[str, tuple[Answer, str]] = {
    "accepts-and-says-nothing": (script(FOREVER), "timeout_first_token"),
    "sends-half-a-head": (script(b"HTTP/1.1 200 OK\r\nContent-Ty", FOREVER), "timeout_first_token"),
    "sends-a-head": (script(STREAM_HEAD, FOREVER), "timeout_first_token"),
    "sends-a-role": (says(ROLE, FOREVER), "timeout_first_token"),
    "pings": (dripping(head(200, SSE), b": ping\n\n"), "timeout_first_token"),
    "stalls": (says(ROLE, *WORDS, FOREVER), "timeout_stall"),
}
ENDLESS: Mapping[str, tuple[Answer, str]] = {
    "tokens": (endless(head(200, SSE), piece(content="word ") * 400), "too_large"),
    "long-tokens": (endless(head(200, SSE), piece(content="word " * 4000) * 3), "too_large"),
    "line": (endless(head(200, SSE), b"data: ", b"x" * 65536), "too_large"),
    "event": (endless(head(200, SSE), b"data: " + b"x" * 65000 + b"\n"), "too_large"),
    "empty-lines": (endless(head(200, SSE), b"\n" * 65536), "too_large"),
    "comments": (endless(head(200, SSE), b": ping\n\n" * 8192), "too_large"),
    "body": (ENDLESS_BODY, "too_large"),
    "head": (ENDLESS_HEAD, "invalid"),
    "status-500": (endless(head(500), b"x" * 65536), "status_5xx"),
    "gzip-bomb": (gzip_bomb(b"\n", "text/event-stream"), "too_large"),
    "drops": (dripping(head(200, SSE), WORDS[0], 0.02), "timeout_total"),
}
NONSENSE: Mapping[str, tuple[Answer, str]] = {
    "another-protocol": (GARBAGE, "invalid"),
    "closed": (CLOSED, "disconnected"),
    "torn-head": (TORN_HEAD, "disconnected"),
    "two-lengths": (TWO_LENGTHS, "invalid"),
    "bad-chunk": (BAD_CHUNK, "invalid"),
    "bad-field": (BAD_FIELD, "invalid"),
    "no-gzip": (NO_GZIP, "invalid"),
    "no-json": (says(b"data: hello\n\n"), "invalid"),
    "no-object": (says(frame([1, 2])), "invalid"),
    "too-deep": (says(f"data: {DEEP}\n\n".encode()), "invalid"),
    "no-utf8": (says(WORDS[0].replace(b"answer", b"\xff\xfe")), "invalid"),
    "half-a-character": (says(WORDS[0].replace(b"answer", rb"\ud800")), "invalid"),
    "page-for-people": (reply("<html>It works!</html>", 200, "Content-Type: text/html"), "invalid"),
    "body-too-deep": (reply(DEEP, 200, JSON), "invalid"),
    "error-frame": (says(frame({"error": {"message": "out of memory"}})), "stream_error"),
    "nothing-said": (stream(STOP, last(0), DONE), "empty"),
    "status-500": (reply("", 500), "status_5xx"),
    "unknown-status": (reply("", 799), "status_5xx"),
}
CREWS: Mapping[str, Mapping[str, tuple[Answer, str]]] = {
    "healthy": {"healthy": (GOOD, "")},
    "hanging": HANGING,
    "endless": ENDLESS,
    "nonsense": NONSENSE,
}


def names(crew: str, share: int) -> list[str]:
    """So many names of services of one crew, their kinds in turn."""
    return [f"{crew}-{kind}-{number}" for number, kind in enumerate(islice(cycle(CREWS[crew]), share))]


def expected(name: str) -> str:
    """The reason for which the prompts of a service with this name fail; empty where they do not."""
    crew, _, rest = name.partition("-")
    return CREWS[crew][rest.rpartition("-")[0]][1]


@contextmanager
def played(crew: str, share: int) -> Iterator[dict[str, str]]:
    """So many services of one crew by their names, where they are; they play in a process of their own."""
    command = [sys.executable, "-m", "tests.fleet", crew, str(share)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield dict(zip(names(crew, share), islice(map(str.strip, process.stdout), share), strict=True))
        finally:
            process.kill()


DEADLINES: Mapping[str, tuple[float, float, float]] = {
    "healthy": (30, 30, 40),
    "hanging": (2, 2, 40),
    "endless": (8, 8, 8),
    "nonsense": (30, 30, 40),
}
"""Seconds to the first token, between two, and to the last: short only where the deadline is what is to be seen."""


def settings(places: Mapping[str, str]) -> Mapping[str, object]:
    """The settings with which the program watches these services."""
    return {
        "targets": [_target(name, url) for name, url in places.items()],
        "health": {"enabled": False},
        "server": {"enabled": False},
        "prompt": {"protocol": "openai-chat", "every": EVERY, "jitter": 0},
        "gpu": {"enabled": False},
        "host": {"enabled": False},
    }


def _target(name: str, url: str) -> Mapping[str, object]:
    first_token, stall, whole = DEADLINES[name.partition("-")[0]]
    prompt = {"first_token_timeout": first_token, "stall_timeout": stall, "timeout": whole}
    return {"name": name, "url": url, "model": "tiny", "process": "off", "prompt": prompt}


@contextmanager
def bystander(urls: Iterable[str], told: list[float]) -> Iterator[None]:
    """Another client of these services, in a process of its own, which tells by how much each first token was late."""
    command = [sys.executable, "-m", "tests.fleet", "bystander", *urls]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield
        assert process.stdin is not None
        process.stdin.close()
        assert process.stdout is not None
        told.extend(map(float, process.stdout))


def stand_by(urls: Sequence[str]) -> None:
    """Ask them in turn until whoever started this has enough."""
    done = Event()

    def wait() -> None:
        sys.stdin.read()
        done.set()

    Thread(target=wait, daemon=True).start()
    for url in cycle(urls):
        if done.is_set():
            return
        place = urlsplit(url)
        with socket.create_connection((place.hostname, place.port)) as client:
            began = time.perf_counter()
            client.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
            said = b""
            while WORDS[0] not in said:
                said += client.recv(65536)
            sys.stdout.write(f"{time.perf_counter() - began - FIRST_TOKEN}\n")
        sys.stdout.flush()


def main(crew: str, share: str) -> None:
    """Play until whoever started this ends it."""
    with Stage() as stage:
        for answer, _ in islice(cycle(CREWS[crew].values()), int(share)):
            sys.stdout.write(stage.serve({f"POST {CHAT}": answer}).url + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    if sys.argv[1] == "bystander":
        stand_by(sys.argv[2:])
    else:
        main(*sys.argv[1:])
