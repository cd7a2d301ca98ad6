"""How many requests are answered in a time: a bucket of tokens, of which each request takes one."""

import time
from collections.abc import Callable

from exporter.frozen import frozen


@frozen
class Rate:
    """One request an interval, in seconds, and so many at once."""

    interval: float
    burst: int


class Bucket:
    """Full at first; a token comes back every interval."""

    def __init__(self, rate: Rate, now: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._now = now
        self._tokens = float(rate.burst)
        self._since = now()

    def takes(self) -> bool:
        """Whether there is a token, which is gone then."""
        now = self._now()
        self._tokens = min(self._rate.burst, self._tokens + (now - self._since) / self._rate.interval)
        self._since = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
