"""Looks at the GPUs once for each line it reads, and answers with what the watch then holds."""

import argparse
import asyncio
import logging
import pickle
import sys
from pathlib import Path

from exporter.blocking import Blocking, BlockingWatch
from exporter.nvml import Nvml
from exporter.sources.gpu import PCI, REASONS, Gpus, Options
from exporter.threads import Thread
from exporter.watch import Clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library")
    parser.add_argument("--proc", type=Path, default=Path("/proc"))
    parser.add_argument("--pci", type=Path, default=PCI)
    parser.add_argument("--timeout", type=float, default=20.0)
    parser.add_argument("--medium", type=float, default=0.0, help="asked at every look, unless a test says otherwise")
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--devices", nargs="+")
    parser.add_argument("--by-pid", action="store_true")
    parser.add_argument("--timed", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    if given.verbose:
        logging.basicConfig(level=logging.INFO)
    options = Options(
        medium=given.medium,
        slow=given.slow,
        devices=frozenset(given.devices) if given.devices else None,
        by_pid=given.by_pid,
        timed=given.timed,
        proc=given.proc,
        pci=given.pci,
    )
    clock = Clock(every=lambda: 1.0, timeout=given.timeout)
    gpus = Gpus(Nvml(given.library), options)
    watch = BlockingWatch(Blocking(gpus.look, Thread("gpu")), clock, source="gpu", reasons=REASONS)
    with asyncio.Runner() as runner:
        for _ in sys.stdin:
            runner.run(watch.once())
            pickle.dump(watch.latest, sys.stdout.buffer)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
