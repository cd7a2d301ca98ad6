"""A driver that answers what a test scripts, and a process that looks at its GPUs."""

import hashlib
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

from exporter.gpus.xids import GpuXids
from exporter.reading import Reading
from tests.nvml.boards import words

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SOURCES = sorted((HERE / "library").iterdir())
LIBRARY = "libnvidia-ml.so.1"
COMPILER = shutil.which("cc") or shutil.which("gcc")
HANGS = "hangs"
PATIENCE = 30.0

DRIVER: Mapping[str, object] = {
    "gpus": 1,
    "driver.loaded": 1,
    "driver.generation": 1,
    "driver.version": "580.105.08",
    "driver.nvml": "13.580.105.08",
    "driver.cuda": 13000,
    "driver.fields": 274,
}
"""What the driver as a whole says, unless a test changes it."""

R = TypeVar("R", bound=Reading)
Readings = tuple[Reading, ...]
Look = Callable[[], Readings]


class Call(NamedTuple):
    """One call of the library; a process's first thread has the process's number."""

    process: int
    thread: int
    function: str
    gpu: int
    """Its index, -1 for the driver as a whole."""
    result: int
    at: float
    """When it began, as `time.monotonic` tells."""
    instance: int
    """Which of the GPU's MIG devices, -1 for the whole."""


class Driver:
    """A driver of so many GPUs that answers what its script says; as an older one, it lacks some functions.

    Of several boards each is one GPU; of one board there are as many GPUs as the script says.
    """

    def __init__(self, folder: Path, *, lacks: Sequence[str] = (), board: str | Sequence[str] = "h100") -> None:
        self._folder = folder
        self._built = built(lacks)
        self._said: dict[str, object] = {}
        self.library = folder / "library" / LIBRARY
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "LD_LIBRARY_PATH": str(self.library.parent),
            "NVML_SCRIPT": str(folder / "script"),
            "NVML_CALLS": str(folder / "calls"),
        }
        self.library.parent.mkdir(exist_ok=True)
        self.install()
        self.script({**DRIVER, **_boards(board)})

    def script(self, words: Mapping[str, object]) -> None:
        """Change what it answers from the next call on; None takes a word back."""
        self._said |= words
        lines = [f"{key} = {value}\n" for key, value in self._said.items() if value is not None]
        new = self._folder / "new"
        new.write_bytes("".join(lines).encode(errors="surrogateescape"))
        os.utime(new, ns=(time.time_ns(), time.time_ns()))  # finer than what the kernel stamps a file with
        new.replace(self._folder / "script")  # nobody reads half of it

    def install(self, version: str = "") -> None:
        """Put the library where it is looked for; one of another version than the driver's cannot be initialised.

        Who has loaded it already keeps what was there before.
        """
        stamp = self.library.with_name(f"{LIBRARY}.version")
        stamp.write_text(version)
        new = self.library.with_name("new")
        shutil.copy(self._built, new)
        new.replace(self.library)

    def uninstall(self) -> None:
        """Take the library away."""
        self.library.unlink()

    def calls(self) -> list[Call]:
        """Every call that has ended so far."""
        return [
            Call(int(process), int(thread), function, int(gpu), int(result), float(at), int(instance))
            for process, thread, function, gpu, result, at, instance in self._log()
            if result != HANGS
        ]

    def hanging(self) -> list[str]:
        """The functions that are being called and have not returned, of those that the script lets hang."""
        begun: dict[tuple[str, ...], str] = {}
        for process, thread, function, gpu, result, at, instance in self._log():
            call = (process, thread, function, gpu, at, instance)
            if result == HANGS:
                begun[call] = function
            else:
                begun.pop(call, None)
        return list(begun.values())

    def forget_calls(self) -> None:
        """Begin the list of calls anew."""
        (self._folder / "calls").unlink(missing_ok=True)

    def look(self, *arguments: str) -> Readings:
        """What one look says, in a process of its own."""
        with looking(self.environment, *arguments) as look:
            return look()

    def _log(self) -> list[list[str]]:
        log = self._folder / "calls"
        # The last line may still be on its way.
        whole, _, _ = log.read_text().rpartition("\n") if log.exists() else ("", "", "")
        return [line.split() for line in whole.splitlines()]


def _boards(board: str | Sequence[str]) -> Mapping[str, object]:
    if isinstance(board, str):
        return words(board)
    several: dict[str, object] = {"gpus": len(board)}
    for gpu, each in enumerate(board):
        several |= words(each, gpu)
    return several


def require_compiler() -> None:
    """Skip the test file that calls this, with one line for the whole file, where there is no C compiler."""
    if COMPILER is None:
        reason = "there is no C compiler, with which the stand-in for the NVIDIA driver's library is built"
        pytest.skip(reason, allow_module_level=True)


def built(lacks: Sequence[str] = ()) -> Path:
    """The library, compiled once for each version of its source."""
    assert COMPILER is not None, "a test file with a driver calls require_compiler"
    exported = "{ global: nvml*; local: *; " + "".join(f"{function}; " for function in lacks) + "};\n"
    content = hashlib.sha256(exported.encode() + b"".join(source.read_bytes() for source in SOURCES)).hexdigest()[:16]
    library = Path(tempfile.gettempdir()) / f"model-sidecar-tests-{os.getuid()}" / content / LIBRARY
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            _compile(COMPILER, exported, Path(folder))
            (Path(folder) / LIBRARY).replace(library)  # whole or not there, whoever else builds it now
    return library


def _compile(compiler: str, exported: str, folder: Path) -> None:
    (folder / "exported").write_text(exported)
    flags = ["-std=c11", "-O1", "-Wall", "-fPIC", "-shared", "-pthread"]
    link = [f"-Wl,-soname,{LIBRARY}", f"-Wl,--version-script={folder / 'exported'}", "-lm", "-ldl"]
    sources = [source for source in SOURCES if source.suffix == ".c"]
    subprocess.run([compiler, *flags, "-o", folder / LIBRARY, *sources, *link], check=True)


@contextmanager
def looking(environment: Mapping[str, str], *arguments: str) -> Iterator[Look]:
    """A process that looks each time it is asked to."""
    command = [sys.executable, str(HERE / "look.py"), *arguments]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, answers = process.stdin, process.stdout

        def look() -> Readings:
            asked.write(b"\n")
            asked.flush()
            readings: Readings = pickle.load(answers)
            return readings

        try:
            yield look
        finally:
            asked.close()
            assert process.wait(timeout=30) == 0


def of(kind: type[R], readings: Readings) -> list[R]:
    """The readings of one kind."""
    return [reading for reading in readings if isinstance(reading, kind)]


def until(look: Look, met: Callable[[Readings], object]) -> Readings:
    """What the first look says of which this is true."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        readings = look()
        if met(readings):
            return readings
        time.sleep(0.05)
    raise AssertionError("it never came about")


def until_heard(look: Look) -> Readings:
    """What the first look says after Xids are waited for, which is another thread's work."""
    return until(look, lambda readings: of(GpuXids, readings))
