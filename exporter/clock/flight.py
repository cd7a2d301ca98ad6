"""What one request lives through on the network."""

from collections.abc import Mapping
from time import perf_counter

from exporter.clock.stream import Method, Stream
from exporter.wire import Step

# Seconds. Whatever is done after a few milliseconds of doing nothing takes three times as long as right after its like:
# a prompt of 32 tokens takes 8 ms of CPU so, and 13 where each token is taken up for itself.
TOGETHER = 0.1


class Flight:
    """The stamps of one request; absent ones were not reached."""

    def __init__(self) -> None:
        self.began = perf_counter()
        self.resolved: float | None = None
        self.connected: float | None = None
        self.secured: float | None = None
        self.written: float | None = None
        self.headed: float | None = None
        self.stream: Stream | None = None

    def trace(self, step: Step, over: object) -> None:
        """Take a step, over the connection that it was made on."""
        match step, over:
            case Step.BEGUN, _:
                # After a redirect the stamps of the hop before are not this one's.
                self.began, self.stream = perf_counter(), None
                self.resolved = self.connected = self.secured = self.written = self.headed = None
            case Step.CONNECTED, Stream() as stream:
                self.stream = stream
                # What is written already was on another connection, from which the answer counts.
                if self.written is None:
                    self.resolved, self.connected = stream.resolved, stream.connected
            case Step.SECURED, Stream() as stream:
                self.stream = stream
                if self.written is None:
                    self.secured = perf_counter()
            case Step.WRITTEN, Stream() as stream:
                self.written = stream.written
            case Step.HEADED, _:
                self.headed = self.arrived()

    def rest(self) -> None:
        """From now on take up together what follows closely, as tokens do; their stamps are what they are."""
        if self.stream is not None:
            self.stream.rest = TOGETHER

    def arrived(self) -> float:
        """When the bytes now being looked at were read."""
        return self.stream.stamp if self.stream is not None else perf_counter()

    @property
    def method(self) -> Method:
        """What stamped these bytes."""
        return self.stream.method if self.stream is not None else Method.USER

    def phases(self, ended: float) -> Mapping[str, float]:
        """Seconds spent in each phase that was reached, up to the last byte."""
        stamps = {
            "resolve": self.resolved,
            "connect": self.connected,
            "tls": self.secured,
            "send": self.written,
            "wait": self.headed,
            "stream": ended if self.headed is not None else None,
        }
        spent: dict[str, float] = {}
        before = self.began
        for phase, stamp in stamps.items():
            if stamp is not None:
                spent[phase] = max(stamp - before, 0.0)
                before = stamp
        return spent
