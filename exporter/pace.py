"""How often a service is asked, and how much it may cost on a day."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from exporter.frozen import frozen
from exporter.wire import Usage

AUTO_INTERVAL = 30.0
LONGEST_INTERVAL = 120.0


@frozen
class Pace:
    """How often prompts are sent: a fixed interval in seconds, or one that keeps to a share of the time."""

    every: float | None
    max_share: float

    def interval(self, good: Sequence[float], *, failing: bool) -> float:
        """Seconds to the next prompt, after good answers that took so long."""
        if self.every is not None:
            return self.every
        if failing or not good:
            return AUTO_INTERVAL
        return min(max(AUTO_INTERVAL, statistics.median(good) / self.max_share), LONGEST_INTERVAL)


@frozen
class Day:
    """What was spent on a day, which is reckoned in UTC."""

    number: int = 0
    spent: int = 0

    def today(self) -> Self:
        """This day, or a new one on which nothing was spent yet."""
        number = int(time.time() // 86400)
        return self if number == self.number else replace(self, number=number, spent=0)

    def plus(self, usage: Usage) -> Self:
        """This day and one more prompt."""
        return replace(self, spent=self.spent + (usage.prompt or 0) + (usage.output or 0))
