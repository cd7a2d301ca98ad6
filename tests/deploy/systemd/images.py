"""A model server that draws: for every prompt one image of many colours."""

import base64
import json
import os
import struct
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SIDE = 64


def part(kind: bytes, content: bytes) -> bytes:
    """One part of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def image() -> bytes:
    """A PNG of noise."""
    lines = b"".join(b"\0" + os.urandom(3 * SIDE) for _ in range(SIDE))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(lines)) + part(b"IEND", b"")


class Drawing(BaseHTTPRequestHandler):
    """Says which model it has, and draws."""

    def do_GET(self) -> None:
        self._say({"object": "list", "data": [{"id": "tiny", "object": "model", "owned_by": "us"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._say({"created": 1, "data": [{"b64_json": base64.b64encode(image()).decode()}]})

    def _say(self, said: object) -> None:
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", 8001), Drawing).serve_forever()
