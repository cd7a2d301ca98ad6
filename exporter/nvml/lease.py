"""The way to the driver for as long as its operator does not want it back."""

from collections.abc import Callable, Mapping

from exporter.nvml.door import Cost, Door, Respondent
from exporter.nvml.events import Event, Events, Unheard
from exporter.reading import Reason, Unreadable


class Lease:
    """A door that stays shut while `released`, which any thread may say; all else is for the thread of the GPUs.

    A look opens the door first, so that letting go and taking up again happen between two looks and never amid one.
    """

    def __init__(self, door: Door) -> None:
        self.released = False
        self.refused: Callable[[Unreadable], None] = _nothing
        """Who is told why the driver could not be opened."""
        self._door = door
        self._opened = False
        self._events: list[_Events] = []

    @property
    def held(self) -> bool:
        """Whether the driver may count us among those who use it."""
        return self._opened or any(each.opened for each in self._events)

    def open(self) -> bool:
        """Make the driver ready, unless it is; whether that opened it anew. Raises Unreadable."""
        if self.released:
            self.release()
            raise Unreadable(Reason.RELEASED, "the driver was let go of, until a POST to /-/gpu/acquire")
        self._opened = True
        try:
            return self._door.open()
        except Unreadable as error:
            self._opened = False
            self.refused(error)
            raise

    def release(self) -> None:
        """Let go of the driver; opening takes it up again, unless it is to stay released."""
        self._door.release()
        self._opened = False

    def events(self) -> Events:
        """Where what happens to GPUs is heard, while the driver is not released."""
        events = _Events(self, self._door.events())
        self._events.append(events)
        return events

    def driver(self) -> Respondent:
        """The driver as a whole."""
        return self._door.driver()

    def gpu(self, index: int) -> Respondent | None:
        """The GPU at an index; None where this process may not see it; raises Lost where it does not answer."""
        return self._door.gpu(index)

    def told(self, function: str, *arguments: object) -> object:
        """What a function of pynvml answers; None where the driver cannot say."""
        return self._door.told(function, *arguments)

    def ask_anew(self) -> None:
        """Forget what GPUs did not support, since they may by now."""
        self._door.ask_anew()

    def costs(self) -> Mapping[str, Cost]:
        """What the calls of each function have taken since this was first asked."""
        return self._door.costs()


class _Events:
    """Events of a driver that may be released."""

    def __init__(self, lease: Lease, events: Events) -> None:
        self.opened = False
        self._lease = lease
        self._events = events

    def open(self) -> None:
        if self._lease.released:
            raise Unheard
        self.opened = True
        try:
            self._events.open()
        except Unheard:
            self.opened = False
            raise

    def register(self, uuid: str, index: int, /) -> bool:
        return self._events.register(uuid, index)

    def next(self, seconds: float) -> Event | None:
        return self._events.next(seconds)

    def close(self) -> None:
        self._events.close()
        self.opened = False


def _nothing(_error: Unreadable) -> None:
    pass
