"""The network under httpx: names resolved apart from connecting, and a stamp on every read and write.

All stamps are seconds of `time.perf_counter`.
"""

from exporter.clock.flight import Flight
from exporter.clock.network import HERE, Transport
from exporter.clock.stream import Method

__all__ = ["HERE", "Flight", "Method", "Transport"]
