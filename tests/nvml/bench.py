"""What looking at GPUs costs: `python -m tests.nvml.bench` prints it.

CPU of a look at eight, and as a ratio to what 320 calls take through pynvml where the library does nothing, which is
the floor of all looking. Then memory and readings while eight GPUs of 56 instances are looked at over and over, and
their processes are others each time.
"""

import argparse
import ctypes
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pynvml

from exporter.nvml import Nvml
from exporter.sources.gpu import Gpus, Options
from tests.nvml.driver import COMPILER, Driver

GPUS = 8
FLOOR_CALLS = 320
NEVER = 1e9
INSTANCES = 7
HOLDERS = 30
MOST_PID = 1 << 22
MIB = 1 << 20


def milliseconds(act: Callable[[], object], times: int) -> float:
    """The CPU time of this thread that one act takes, in the median."""
    taken = []
    for _ in range(times):
        began = time.thread_time()
        act()
        taken.append(time.thread_time() - began)
    return statistics.median(taken) * 1e3


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def loaded(folder: Path, board: str = "h100", **said: object) -> Driver:
    """A driver of eight such boards, whose library the pynvml of this process has loaded."""
    folder.mkdir()
    driver = Driver(folder, board=board)
    driver.script({"gpus": GPUS, **{word.replace("__", "."): value for word, value in said.items()}})
    os.environ["NVML_SCRIPT"] = driver.environment["NVML_SCRIPT"]
    pynvml.nvmlLib = ctypes.CDLL(str(driver.library))
    pynvml._nvmlGetFunctionPointer_cache.clear()
    return driver


def floor(folder: Path, times: int) -> float:
    """What so many calls take through pynvml of a library that does nothing."""
    source, library = folder / "nothing.c", folder / "nothing.so"
    source.write_text("unsigned nvmlDeviceGetPowerUsage(void *gpu, unsigned *told) { *told = 1; return 0; }\n")
    subprocess.run([str(COMPILER), "-O1", "-fPIC", "-shared", "-o", library, source], check=True)
    pynvml.nvmlLib = ctypes.CDLL(str(library))
    return milliseconds(lambda: [pynvml.nvmlDeviceGetPowerUsage(None) for _ in range(FLOOR_CALLS)], times)


def resident() -> float:
    """MiB of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / MIB


def cost(folder: Path, looks: int) -> None:
    """What a look costs, by what is due at it."""
    least = floor(folder, looks)
    say(f"{FLOOR_CALLS} calls through pynvml: {least:.3f} ms")
    loaded(folder / "whole", script__still=1)
    nvml = Nvml()
    for name, options in {
        "fast": Options(medium=NEVER, slow=NEVER),
        "fast, calls timed": Options(medium=NEVER, slow=NEVER, timed=True),
        "fast and medium": Options(medium=0, slow=NEVER),
        "all": Options(medium=0, slow=0),
    }.items():
        gpus = Gpus(nvml, options)
        gpus.look()
        taken = milliseconds(gpus.look, looks)
        say(f"a look at {GPUS} GPUs, {name}: {taken:.3f} ms, {taken / least:.2f} of the floor")
        gpus.xids.release()
    nvml.release()


def churn(folder: Path, looks: int) -> None:
    """Whether anything grows."""
    driver = loaded(folder / "split", "h100-mig")
    driver.script({f"gpu.*.mig.{slot}.ids": f"{slot + 1}:0" for slot in range(INSTANCES)})
    gpus = Gpus(Nvml(), Options(medium=0, slow=0))
    for look in range(looks + 1):
        holders = ",".join(f"{1 + (look * HOLDERS + each) % MOST_PID}:1048576:1:0" for each in range(HOLDERS))
        driver.script({"gpu.*.processes": holders})
        told = len(gpus.look())
        if look % max(looks // 5, 1) == 0:
            say(f"{GPUS * INSTANCES} instances, look {look}: {told} readings, {resident():.1f} MiB")
    gpus.xids.release()


def main() -> None:
    """Print a line for each thing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--looks", type=int, default=300)
    parser.add_argument("--churn", type=int, default=2000, help="looks at processes that are others each time")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cost(Path(folder), given.looks)
        churn(Path(folder), given.churn)


if __name__ == "__main__":
    main()
