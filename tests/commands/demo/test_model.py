"""The scripted model: what it says to whoever asks, and that nobody disturbs it."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from exporter.commands.demo.engine import Manner
from exporter.commands.demo.model import MODEL

ROOT = Path(__file__).parent.parent.parent.parent
CHAT = "/v1/chat/completions"


class Scripted:
    """The model's process, started as the demo does, but for all that was ever installed: it needs none of it."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = free.getsockname()
        command = [sys.executable, "-P", "-S", "-m", "exporter.commands.demo.model", str(self.address[1])]
        self.process = subprocess.Popen(
            command, env={"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), "it listens"
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.address[1]}", trust_env=False)

    def behave(self, manner: Manner) -> None:
        """Be so from now on."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{manner}\n".encode())

    def frames(self, text: str = "Count.", **fields: object) -> list[dict[str, object]]:
        """What it streams as an answer."""
        asked = {"model": MODEL, "messages": [{"role": "user", "content": text}], "stream": True, **fields}
        *frames, done = self.client.post(CHAT, json=asked).text.split("\n\n")[:-1]
        assert done == "data: [DONE]"
        return [json.loads(frame.removeprefix("data: ")) for frame in frames]

    def said(self, text: str) -> str:
        """The first words of an answer, without what was thought before it."""
        deltas = (choice["delta"] for frame in self.frames(text, max_tokens=10) for choice in frame["choices"])  # type: ignore[attr-defined]  # JSON
        return "".join(delta.get("content", "") for delta in deltas)


@pytest.fixture(scope="module")
def scripted() -> Iterator[Scripted]:
    scripted = Scripted()
    try:
        yield scripted
    finally:
        scripted.process.communicate(timeout=30)
        assert scripted.process.returncode == 0


def test_no_more_tokens_are_said_than_are_asked_for(scripted: Scripted) -> None:
    frames = scripted.frames(max_tokens=2)

    assert frames[-1]["usage"] == {"prompt_tokens": 21, "completion_tokens": 2, "total_tokens": 23}
    assert json.dumps(frames).count('"reasoning_content"') == 2


def test_it_can_add(scripted: Scripted) -> None:
    assert scripted.said("What is 57 + 86? Say it.").startswith("143 ")


def test_its_garbage_is_nothing_but_garbage(scripted: Scripted) -> None:
    scripted.behave(Manner.GARBAGE)

    said = scripted.said("What is 57 + 86?")

    scripted.behave(Manner.WELL)
    assert set(said) == {"!"}


def test_a_path_it_does_not_have_is_not_found(scripted: Scripted) -> None:
    assert scripted.client.get("/nowhere").status_code == 404


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"\r\n\r\n",
        b"SSH-2.0\r\n\r\n",
        f"POST {CHAT} HTTP/1.1\r\n\r\n".encode(),
        f"POST {CHAT} HTTP/1.1\r\ncontent-length: 2\r\n\r\n[]".encode(),
        f"POST {CHAT} HTTP/1.1\r\ncontent-length: many\r\n\r\n".encode(),
    ],
)
def test_whoever_makes_no_sense_does_not_disturb_it(scripted: Scripted, nonsense: bytes) -> None:
    with socket.create_connection(scripted.address) as connection:
        connection.sendall(nonsense)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""

    assert scripted.client.get("/health").status_code == 200


def test_whoever_hangs_up_leaves_the_queue(scripted: Scripted) -> None:
    scripted.behave(Manner.HUNG)
    body = json.dumps({"model": MODEL, "messages": []}).encode()
    with socket.create_connection(scripted.address) as connection:
        connection.sendall(f"POST {CHAT} HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        assert connection.recv(12) == b"HTTP/1.1 200"
        held = requests(scripted)

    left = next(now for _ in range(1000) if (now := requests(scripted)) < held)

    scripted.behave(Manner.WELL)
    assert left == held - 1


def requests(scripted: Scripted) -> int:
    """How many it holds, those that wait among them."""
    lines = scripted.client.get("/metrics").text.splitlines()
    return sum(int(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests"))
