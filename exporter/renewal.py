"""The program started anew in its own place, for a driver's library of which an old one is loaded already."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from threading import Timer

from exporter.nvml import Nvml
from exporter.nvml.library import File
from exporter.reading import Reason, Unreadable

log = logging.getLogger(__name__)

# Not MODEL_SIDECAR_…, which would be taken for a setting.
DONE_FOR = "_MODEL_SIDECAR_STARTED_ANEW_FOR"
SIGNS = (signal.SIGTERM, signal.SIGINT)
LAST_MOMENT = 1.5  # Seconds after which whatever is stuck is left behind; a supervisor sees the end within two.


class Renewal:
    """Starts the program anew once for each file of the library, where no other process than a new one can use it.

    The process keeps its number, so that no supervisor takes it for ended.
    """

    def __init__(self, nvml: Nvml, *, possible: Callable[[], bool]) -> None:
        self.end: Callable[[], object] = _nothing
        """What has the program end in good order."""
        self._nvml = nvml
        self._possible = possible
        self._file: File | None = None
        self._impossible = False

    def refused(self, error: Unreadable) -> None:
        """Ends the program, to begin anew, where the library's file is another than the one that does not fit."""
        if error.reason is not Reason.VERSION_MISMATCH or self._file is not None or not self._nvml.replaced():
            return
        file = self._nvml.installed
        if file is None or os.environ.get(DONE_FOR) == _told(file):
            return
        if not self._possible():
            self._warn()
            return
        log.warning("the driver's library was replaced: the program starts anew, and its counters begin at 0")
        self._file = file
        late = Timer(LAST_MOMENT, self.begin)
        late.daemon = True
        late.start()
        self.end()

    def forgo(self) -> None:
        """Do not begin anew, since the program was told to stop."""
        self._file = None

    def begin(self) -> None:
        """Be the program that was typed once more; returns where that is not due."""
        # One that comes now waits for the program that follows.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNS)
        if self._file is not None:
            environment = {**os.environ, DONE_FOR: _told(self._file)}
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606  as it was typed

    def _warn(self) -> None:
        if not self._impossible:
            log.warning("the driver's library was replaced, but the settings cannot be loaded anew: correct them")
        self._impossible = True


def _told(file: File) -> str:
    return f"{file.device}:{file.inode}:{file.modified}"


def _nothing() -> None:
    pass
