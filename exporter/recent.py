"""What was seen a moment ago, for those whom that is recent enough."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """What a look gave, for as long as those who ask find it recent enough."""

    def __init__(self, look: Callable[[], T]) -> None:
        self._look = look
        self._seen: tuple[float, T] | None = None

    def within(self, seconds: float) -> T:
        """What was seen within the last seconds, if need be now."""
        now = time.monotonic()
        if self._seen is None or now - self._seen[0] > seconds:
            self._seen = (now, self._look())
        return self._seen[1]
