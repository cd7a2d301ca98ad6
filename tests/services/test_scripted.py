"""The scripted services do to a socket what their scripts say."""

import socket
import ssl
from pathlib import Path

import pytest

from tests.services.openai import CHAT, GOOD, models
from tests.services.scripted import FOREVER, Ending, Stage, chunks, head, in_turn, reply, script

GET = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Who: a test\r\n\r\n"
POST = b"POST /ask HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CERTIFICATE = Path(__file__).with_name("self-signed.pem")


def connected(url: str) -> socket.socket:
    host, port = url.rpartition("/")[2].split(":")
    return socket.create_connection((host, int(port)), timeout=5)


def said(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65536), b""))


def exchanged(url: str, request: bytes) -> bytes:
    with connected(url) as client:
        client.sendall(request)
        return said(client)


def test_a_script_is_said_byte_for_byte_and_the_connection_closed(stage: Stage) -> None:
    service = stage.serve({"GET /health": script(b"\x00not ", 0.01, b"HTTP\xff")})

    heard = exchanged(service.url, GET)

    assert heard == b"\x00not HTTP\xff"


def test_a_request_is_kept_as_it_came(stage: Stage) -> None:
    service = stage.serve({"POST /ask": reply("ok")})

    exchanged(service.url, POST)
    exchanged(service.url, GET)

    asked = service.asked("POST")
    assert [(it.path, it.body) for it in asked] == [("/ask", b"hello")]
    assert service.asked("GET", "/health")[0].headers["x-who"] == "a test"
    assert service.asked("GET", "/elsewhere") == []


def test_a_path_without_an_answer_is_not_found(stage: Stage) -> None:
    service = stage.serve({})

    heard = exchanged(service.url, GET)

    assert heard.startswith(b"HTTP/1.1 404 Not Found\r\n")


def test_answers_come_in_turn(stage: Stage) -> None:
    service = stage.serve({"GET /health": in_turn(reply("", 503), reply("fine"))})

    heard = [exchanged(service.url, GET)[9:12] for _ in range(3)]

    assert heard == [b"503", b"200", b"200"]


def test_a_reset_is_a_reset(stage: Stage) -> None:
    service = stage.serve({"GET /health": script(head(200), 0.05, Ending.RESET)})

    with pytest.raises(ConnectionResetError):
        exchanged(service.url, GET)


def test_a_client_that_leaves_ends_its_script(stage: Stage) -> None:
    service = stage.serve({"POST /ask": script(b"wait", FOREVER), "GET /health": reply("ok")})

    for _ in range(3):
        with connected(service.url) as client:
            client.sendall(POST)
            client.recv(4)
        exchanged(service.url, GET)

    assert service.most_at_once == {"POST": 1, "GET": 1}


def test_requests_under_way_at_once_are_counted(stage: Stage) -> None:
    service = stage.serve({"POST /ask": script(b"wait", FOREVER)})

    with connected(service.url) as one, connected(service.url) as other:
        for client in (one, other):
            client.sendall(POST)
            client.recv(4)

    assert service.most_at_once["POST"] == 2


def test_a_stream_that_never_ends_does_not_hold_up_the_end(stage: Stage) -> None:
    service = stage.serve({"GET /health": lambda _request: iter(lambda: b"x" * 65536, b"")})

    with connected(service.url) as client:
        client.sendall(GET)
        heard = client.recv(65536)

    assert set(heard) == {ord("x")}


def test_chunks_carry_their_length() -> None:
    steps = list(chunks(b"data: a long one\n", 0.5, Ending.RESET))

    assert steps == [b"11\r\ndata: a long one\n\r\n", 0.5, Ending.RESET]


def test_the_greeting_of_tls_at_a_plain_port_is_answered_in_plain_text(stage: Stage) -> None:
    service = stage.serve({})

    with connected(service.url) as client, pytest.raises(ssl.SSLError, match=r"(?i)wrong.version"):
        ssl.create_default_context().wrap_socket(client, server_hostname="localhost")


def test_a_service_with_a_certificate_speaks_tls(stage: Stage) -> None:
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(CERTIFICATE)
    service = stage.serve({"GET /health": reply("hidden")}, tls=ours)
    theirs = ssl.create_default_context(cafile=str(CERTIFICATE))

    with connected(service.url) as client, theirs.wrap_socket(client, server_hostname="127.0.0.1") as tunnel:
        tunnel.sendall(GET)
        heard = said(tunnel)

    assert service.url.startswith("https://")
    assert heard.endswith(b"hidden")


def test_nobody_gets_through_to_a_closed_port(stage: Stage) -> None:
    port = stage.closed_port()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_nobody_gets_through_to_a_crowded_port(stage: Stage) -> None:
    port = stage.crowded_port()

    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", port), timeout=0.3)


def test_a_good_chat_names_its_model_and_ends_well(stage: Stage) -> None:
    service = stage.serve({"GET /v1/models": models("tiny"), f"POST {CHAT}": GOOD})

    listed = exchanged(service.url, GET.replace(b"/health", b"/v1/models"))
    heard = exchanged(service.url, POST.replace(b"/ask", CHAT.encode()))

    assert b'"id": "tiny"' in listed
    assert heard.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
