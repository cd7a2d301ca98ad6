"""What is read once, whatever is served here: the GPUs and the host."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType

from exporter import reload, watch
from exporter.blocking import Blocking, BlockingWatch
from exporter.exposition import Catalog
from exporter.gpus import tiers
from exporter.nvml import Door
from exporter.reading import Reading, Reason
from exporter.settings import Settings
from exporter.sources import gpu, host, itself
from exporter.threads import Thread
from exporter.watch import COMMON, Clock, Watch
from exporter.webconfig import told

Now = Callable[[], Settings]
"""The settings in force, which may be others the next time."""

LONGEST_POLL = 10.0
WHOLE_UUID = len("GPU-00000000-0000-0000-0000-000000000000")
LOCAL = (*COMMON, Reason.STUCK, Reason.NOT_PERMITTED, Reason.NOT_FOUND)


def _gpu_watch(now: Now, nvml: Door) -> Watch | None:
    if not now().gpu.enabled:
        return None
    gpus = gpu.Gpus(nvml, _options(now()))

    def look() -> Sequence[Reading]:
        gpus.options = _options(now())
        return gpus.look()

    clock = Clock(every=lambda: now().gpu.every, timeout=LONGEST_POLL)
    return BlockingWatch(Blocking(look, Thread("gpu")), clock, source="gpu", reasons=gpu.REASONS)


def _options(settings: Settings) -> gpu.Options:
    wanted = settings.gpu
    return gpu.Options(
        medium=wanted.medium,
        slow=wanted.slow,
        devices=_asked(settings),
        by_pid=wanted.pid_labels,
        timed=wanted.call_metrics,
    )


def _asked(settings: Settings) -> frozenset[str] | None:
    """Which GPUs are asked; None for all, which the services' are found among where not each has named its own."""
    if settings.gpu.devices == "all":
        return None
    if settings.gpu.devices != "targets":
        return frozenset(map(str, settings.gpu.devices))
    if settings.targets_files:
        return None
    named = [name for target in settings.targets for name in target.gpus or (None,)]
    return frozenset(map(str, named)) if all(map(_names_one, named)) else None


def _names_one(name: int | str | None) -> bool:
    """Whether a GPU's name is as its driver tells it, rather than a part's, or the beginning of one."""
    return isinstance(name, int) or (name is not None and name.startswith("GPU-") and len(name) == WHOLE_UUID)


def _host_watch(now: Now, _nvml: Door) -> Watch | None:
    if not now().host.enabled:
        return None
    hosts = host.Hosts(now().host.paths)

    def look() -> Sequence[Reading]:
        hosts.paths = now().host.paths
        return hosts.look()

    clock = Clock(every=lambda: now().host.every, timeout=LONGEST_POLL)
    return BlockingWatch(Blocking(look, Thread("host")), clock, source="host", reasons=LOCAL)


SOURCES: Mapping[ModuleType, Callable[[Now, Door], Watch | None]] = {gpu: _gpu_watch, host: _host_watch}
"""What is read once, whatever is served here."""


def watches(now: Now, nvml: Door) -> Iterator[Watch]:
    """A watch for everything that is read once, whatever is served here."""
    for watch_of_all in SOURCES.values():
        if watching := watch_of_all(now, nvml):
            yield watching


def kinds(modules: Sequence[ModuleType]) -> Iterator[type[Reading]]:
    """Every kind of reading that these modules declare."""
    for module in modules:
        for each in vars(module).values():
            if isinstance(each, type) and issubclass(each, Reading) and each.__module__ == module.__name__:
                yield each


MODULES = (gpu, *tiers.MODULES, host, watch, itself, reload, told)
CATALOG = Catalog(tuple(kinds(MODULES)))
"""Every reading of what is not a service's, in the order in which the page tells them."""
