"""A driver that answers what a test scripts, and a process that looks at its GPUs."""

import hashlib
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

from exporter.reading import Reading

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SOURCE = HERE / "fake.c"
LIBRARY = "libnvidia-ml.so.1"
COMPILER = shutil.which("cc") or shutil.which("gcc")

R = TypeVar("R", bound=Reading)
Readings = tuple[Reading, ...]
Look = Callable[[], Readings]


class Call(NamedTuple):
    """One call of the library; a process's first thread has the process's number."""

    process: int
    thread: int
    function: str
    gpu: int
    result: int


class Driver:
    """A driver of so many GPUs that answers what its script says; as an older one, it lacks some functions."""

    def __init__(self, folder: Path, *, lacks: Sequence[str] = ()) -> None:
        self.library = built(lacks)
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "LD_LIBRARY_PATH": str(self.library.parent),
            "NVML_SCRIPT": str(folder / "script"),
            "NVML_CALLS": str(folder / "calls"),
        }
        self._folder = folder
        self._words: dict[str, object] = {}
        self.script({})

    def script(self, words: Mapping[str, object]) -> None:
        """Change what it answers from the next call on; None takes a word back."""
        self._words |= words
        lines = [f"{key} = {value}\n" for key, value in self._words.items() if value is not None]
        (self._folder / "new").write_text("".join(lines))
        (self._folder / "new").replace(self._folder / "script")  # nobody reads half of it

    def calls(self) -> list[Call]:
        """Every call so far."""
        lines = (self._folder / "calls").read_text().splitlines()
        return [
            Call(int(process), int(thread), function, int(gpu), int(result))
            for process, thread, function, gpu, result in (line.split() for line in lines)
        ]

    def look(self, *arguments: str) -> Readings:
        """What one look says, in a process of its own."""
        with looking(self.environment, *arguments) as look:
            return look()


def require_compiler() -> None:
    """Skip the test file that calls this, with one line for the whole file, where there is no C compiler."""
    if COMPILER is None:
        reason = "there is no C compiler, with which the stand-in for the NVIDIA driver's library is built"
        pytest.skip(reason, allow_module_level=True)


def built(lacks: Sequence[str] = ()) -> Path:
    """The library, compiled once for each version of its source."""
    assert COMPILER is not None, "a test file with a driver calls require_compiler"
    exported = "{ global: nvml*; local: *; " + "".join(f"{function}; " for function in lacks) + "};\n"
    content = hashlib.sha256(SOURCE.read_bytes() + exported.encode()).hexdigest()[:16]
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
    link = [f"-Wl,-soname,{LIBRARY}", f"-Wl,--version-script={folder / 'exported'}"]
    subprocess.run([compiler, *flags, *link, "-o", folder / LIBRARY, SOURCE], check=True)


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
