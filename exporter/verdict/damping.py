"""How a service's attempts end, and how many failures in a row are more than chance."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Generic, Self, TypeVar

from exporter.frozen import frozen

M = TypeVar("M")

DAY = 86400.0
KEPT = 500
FEWEST = 20  # A share of fewer attempts is not known: one of three that failed is no habit.
LATELY = 50  # A habit that began lately is one, too.
RECENT = 20
MOST = 10
FALSE_ALARMS = 0.01
"""How often in a day chance alone may turn a state."""


@frozen
class Attempts(Generic[M]):
    """The attempts at a service, as far as they are remembered."""

    habit: tuple[bool, ...] = ()
    """Whether each of up to 500 attempts failed, those left out that were part of an outage."""
    recent: tuple[bool, ...] = ()
    """Whether each of the last 20 failed, all of them."""
    run: tuple[M, ...] = ()
    """The failures in a row, up to the last attempt, oldest first."""
    good: int = 0
    """Good answers in a row, up to the last attempt."""
    turned: bool = False
    """Whether this run turned the state."""
    began: float | None = None
    """When the first attempt of this run began."""

    def failed(self, miss: M, began: float) -> Self:
        """These attempts and one more that failed."""
        return replace(
            self,
            recent=(*self.recent, True)[-RECENT:],
            run=(*self.run, miss)[-KEPT:],
            good=0,
            began=began if self.began is None else self.began,
        )

    def succeeded(self, *, well: bool) -> Self:
        """These attempts and one more that did not fail; while the service was not well, it is no habit."""
        habit = (*self.habit, *(True for _ in self.run)) if well and not self.turned else self.habit
        return replace(
            self,
            habit=((*habit, False) if well else habit)[-KEPT:],
            recent=(*self.recent, False)[-RECENT:],
            run=(),
            good=self.good + 1,
            turned=False,
            began=None,
        )

    def apart(self) -> Self:
        """These attempts once it slept or loaded: what comes next is not in a row with what was."""
        return replace(self, run=(), good=0, turned=False, began=None)

    @property
    def intermittent(self) -> bool:
        """Whether attempts fail now and then, though the last one did not."""
        return sum(self.recent) > 1 and not self.recent[-1]

    def needed(self, misses: int, interval: float) -> int:
        """How many failures in a row turn the state, of attempts that are so many seconds apart."""
        share = max(_share(self.habit), _share(self.habit[-LATELY:]))
        if share == 0:
            return misses
        if share == 1:
            return max(misses, MOST)
        by_chance = math.log(FALSE_ALARMS * interval / DAY) / math.log(share)
        return max(misses, min(math.ceil(by_chance), MOST))


def _share(failed: Sequence[bool]) -> float:
    return sum(failed) / max(len(failed), FEWEST)


def commonest(kinds: Sequence[M]) -> M:
    """The kind that most of them are, on a tie the latest."""
    return max(reversed(kinds), key=kinds.count)
