"""Models that are unloaded once nobody uses them, and that being watched is not to keep in memory."""


class Residency:
    """Whether others have used a model since it was last asked, by the time at which it is to be unloaded."""

    def __init__(self) -> None:
        self._asked = False
        self._ours: float | None = None
        """The time that may be of our own making."""

    def unused(self, until: float | None, *, failing: bool = False) -> bool:
        """Whether a prompt now would lengthen its time for us alone; where not, a prompt is taken to follow.

        Every prompt begins its time anew, as everybody's does, and nothing tells whose was the last: so the time seen
        first after a prompt is taken for ours, and only another than that for the work of others. What failed last is
        asked on, so that its recovery is seen.
        """
        if until is None or failing or not self._asked:
            self._asked, self._ours = True, None
            return False
        if self._ours is None:
            self._ours = until
        elif until != self._ours:
            self._ours = None
        return self._ours is not None
