"""A proxy as many stand before a model: it answers for its health itself, and passes on all else."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LONGEST_HEAD = 64 * 2**10
HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\nConnection: close\r\n\r\n"
BODY = b'{"status":"ok"}'


@contextmanager
def proxy(port: int) -> Iterator[str]:
    """The URL at which a service at this port of loopback seems healthy whatever becomes of it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening, port), daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket, port: int) -> None:
    with suppress(OSError):
        while True:
            asking, _ = listening.accept()
            threading.Thread(target=_serve, args=(asking, port), daemon=True).start()


def _serve(asking: socket.socket, port: int) -> None:
    with asking, suppress(OSError):
        head = b""
        while b"\r\n\r\n" not in head and len(head) < LONGEST_HEAD:
            more = asking.recv(LONGEST_HEAD)
            if not more:
                return
            head += more
        if head.startswith(b"GET /health "):
            asking.sendall(HEALTHY + BODY)
            return
        with socket.create_connection(("127.0.0.1", port)) as service:
            service.sendall(head)
            threading.Thread(target=_pump, args=(asking, service), daemon=True).start()
            _pump(service, asking)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(LONGEST_HEAD):
            sink.sendall(part)
        sink.shutdown(socket.SHUT_WR)
