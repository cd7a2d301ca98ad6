"""What prometheus_client tells of the process that it runs in: the same metrics, at a third of what they cost there."""

import gc
import platform
import resource
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Annotated

from exporter.frozen import frozen
from exporter.kernel import said, written
from exporter.pids import TICKS
from exporter.reading import Counter, Gauge, Label, Reading
from exporter.usage import PAGE, open_files


@frozen
class Process(Reading):
    """The exporter's own process."""

    PREFIX = "process"
    virtual_memory_bytes: Annotated[int, Gauge("Virtual memory size in bytes.")]
    resident_memory_bytes: Annotated[int, Gauge("Resident memory size in bytes.")]
    start_time_seconds: Annotated[float | None, Gauge("Start time of the process since unix epoch in seconds.")]
    cpu_seconds: Annotated[float, Counter("Total user and system CPU time spent in seconds.")]
    open_fds: Annotated[int, Gauge("Number of open file descriptors.")]
    max_fds: Annotated[int, Gauge("Maximum number of open file descriptors.")]


@frozen
class Python(Reading):
    """Which Python it runs on."""

    PREFIX = "python"
    implementation: Annotated[str, Label("Whose it is.")]
    major: Annotated[str, Label("The first number of its version.")]
    minor: Annotated[str, Label("The second.")]
    patchlevel: Annotated[str, Label("The third.")]
    version: Annotated[str, Label("All of its version.")]
    info: Annotated[int, Gauge("Python platform information")] = 1


@frozen
class Garbage(Reading):
    """What Python's garbage collector has done."""

    PREFIX = "python_gc"
    objects_collected: Annotated[Mapping[str, int], Counter("Objects collected during gc", by="generation")]
    objects_uncollectable: Annotated[
        Mapping[str, int], Counter("Uncollectable objects found during GC", by="generation")
    ]
    collections: Annotated[Mapping[str, int], Counter("Number of times this generation was collected", by="generation")]


KINDS = (Process, Python, Garbage)
"""What is told, in the order of the page."""


class Own:
    """What the exporter's own process tells of itself, some of which never changes."""

    @cached_property
    def _python(self) -> Python:
        major, minor, patchlevel = platform.python_version_tuple()
        return Python(
            implementation=platform.python_implementation(),
            major=major,
            minor=minor,
            patchlevel=patchlevel,
            version=platform.python_version(),
        )

    @cached_property
    def _booted(self) -> float | None:
        lines = said("/proc/stat").splitlines()
        return next((float(line.split()[1]) for line in lines if line.startswith("btime ")), None)

    def readings(self) -> Iterator[Reading]:
        """All that can be told now."""
        with suppress(OSError):  # as where no file can be opened any more
            yield self._process()
        yield self._python
        yield _garbage()

    def _process(self) -> Process:
        told = written("/proc/self/stat").rpartition(b")")[2].split()
        user, system, started, virtual, resident = (int(told[place]) for place in (11, 12, 19, 20, 21))
        return Process(
            virtual_memory_bytes=virtual,
            resident_memory_bytes=resident * PAGE,
            start_time_seconds=None if self._booted is None else self._booted + started / TICKS,
            cpu_seconds=(user + system) / TICKS,
            open_fds=open_files("/proc/self/fd"),
            max_fds=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        )


def _garbage() -> Garbage:
    told = {str(generation): each for generation, each in enumerate(gc.get_stats())}
    return Garbage(
        objects_collected={generation: each["collected"] for generation, each in told.items()},
        objects_uncollectable={generation: each["uncollectable"] for generation, each in told.items()},
        collections={generation: each["collections"] for generation, each in told.items()},
    )
