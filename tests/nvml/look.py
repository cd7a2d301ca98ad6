"""Looks at the GPUs once for each line it reads, and answers with what the watch then holds."""

import argparse
import asyncio
import pickle
import sys
from pathlib import Path

from exporter.nvml import Nvml
from exporter.sources.gpu import REASONS, Gpus
from exporter.watch import Clock, Watch


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--library")
    options.add_argument("--proc", type=Path, default=Path("/proc"))
    options.add_argument("--timeout", type=float, default=20.0)
    given = options.parse_args()
    clock = Clock(every=lambda: 1.0, timeout=given.timeout)
    watch = Watch(Gpus(Nvml(given.library), given.proc).read, clock, source="gpu", reasons=REASONS)
    with asyncio.Runner() as runner:
        for _ in sys.stdin:
            runner.run(watch.once())
            pickle.dump(watch.latest, sys.stdout.buffer)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
