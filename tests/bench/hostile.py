"""What ninety hostile services cost ten healthy ones: `python -m tests.bench.hostile [rounds]`."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.daemon import Daemon, started
from tests.fleet import FIRST_TOKEN, WHOLE, bystander, expected, names, played, settings

HEALTHY = 10
BYSTANDER = "a bystander"
HOSTILE = {"hanging": 30, "endless": 30, "nonsense": 30}
FIGURES = {"first token": ("model_probe_last_first_token_seconds", FIRST_TOKEN),
           "duration": ("model_probe_last_duration_seconds", WHOLE)}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What was seen of the healthy services, and of the program, in one run."""

    late: dict[str, list[float]]
    """By how many seconds each answer was told later than its service had said it at the earliest."""
    scrapes: Sequence[float] = ()
    resident: Sequence[float] = ()
    files: Sequence[float] = ()
    cpu: float = 0.0
    wrong: Sequence[str] = field(default_factory=list)


def run(crews: Mapping[str, int], rounds: int) -> Run:
    """So many seconds three of the program beside these crews."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        places = {
            name: url for crew, share in crews.items() for name, url in stack.enter_context(played(crew, share)).items()
        }
        # The healthy among the others, so that none is asked at a time of its own.
        daemon = stack.enter_context(
            started(folder, settings(dict(sorted(places.items(), key=lambda each: each[0][::-1]))))
        )
        told: list[float] = []
        with bystander([url for name, url in places.items() if name.startswith("healthy")], told):
            seen = _seen(daemon, crews, rounds)
        seen.late[BYSTANDER] = told
        return seen


def _seen(daemon: Daemon, crews: Mapping[str, int], rounds: int) -> Run:
    late: dict[str, list[float]] = {name: [] for name in FIGURES}
    scrapes, resident, files = [], [], []
    last: dict[str, float] = {}
    daemon.until(lambda page: len(page.samples("model_probe_up")) == sum(crews.values()))
    before, end = _cpu(daemon), time.monotonic() + 3 * rounds
    while time.monotonic() < end:
        began = time.perf_counter()
        page = daemon.scrape()
        scrapes.append(time.perf_counter() - began)
        resident.append(page.value("process_resident_memory_bytes") or 0)
        files.append(page.value("process_open_fds") or 0)
        for name in names("healthy", crews["healthy"]):
            good = page.value("model_probe_last_success_timestamp_seconds", target=name) or 0
            if good != last.get(name):
                last[name] = good
                for figure, (metric, least) in FIGURES.items():
                    late[figure].append((page.value(metric, target=name) or 0) - least)
        time.sleep(0.2)
    spent = (_cpu(daemon) - before) / (3 * rounds)
    page = daemon.scrape()
    wrong = [
        f"{name}: {page.failures(name)}"
        for crew, share in crews.items()
        for name in names(crew, share)
        if set(page.failures(name)) != {expected(name)} - {""}
    ]
    return Run(late=late, scrapes=scrapes, resident=resident, files=files, cpu=spent, wrong=wrong)


def _cpu(daemon: Daemon) -> float:
    return daemon.scrape().value("process_cpu_seconds_total") or 0


SHARES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "median": median,
    "p95": lambda all_of_them: sorted(all_of_them)[int(len(all_of_them) * 0.95)],
    "worst": max,
}


def report(of: Mapping[str, Run]) -> Iterator[str]:
    """The table."""
    runs = of.values()
    yield f"{'':28}" + "".join(f"{name:>16}" for name in of)
    for figure in (*FIGURES, BYSTANDER):
        for share, taken in SHARES.items():
            told = (taken(run.late[figure]) * 1000 for run in runs)
            yield f"{figure + ', late, ' + share:28}" + "".join(f"{late:13.2f} ms" for late in told)
    yield f"{'answers':28}" + "".join(f"{len(run.late['duration']):16}" for run in runs)
    yield f"{'scrape, median':28}" + "".join(f"{median(run.scrapes) * 1000:13.2f} ms" for run in runs)
    yield f"{'memory, most':28}" + "".join(f"{max(run.resident) / 2**20:13.1f} MB" for run in runs)
    yield f"{'files, most':28}" + "".join(f"{max(run.files):16.0f}" for run in runs)
    yield f"{'cpu':28}" + "".join(f"{run.cpu:16.2f}" for run in runs)
    for name, each in of.items():
        yield from (f"{name}: by another reason than its own: {wrong}" for wrong in each.wrong)


if __name__ == "__main__":
    ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    RUNS = {"alone": run({"healthy": HEALTHY}, ROUNDS)}
    for CREW, SHARE in HOSTILE.items():
        if not sys.argv[2:] or CREW in sys.argv[2:]:
            RUNS[CREW] = run({"healthy": HEALTHY, CREW: SHARE}, ROUNDS)
    RUNS["all"] = run({"healthy": HEALTHY, **HOSTILE}, ROUNDS)
    sys.stdout.write("\n".join([*report(RUNS), ""]))
