"""Where a server can listen."""

import socket


def free_port() -> int:
    """A port of loopback at which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
