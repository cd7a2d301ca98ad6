"""Every test of hypothesis for long, two at a time: `python -m tests.fuzz [seconds] [tests…]`."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.daemon import ROOT

AT_ONCE = 2
PLUGIN = ("-m", "pytest", "-q", "-p", "tests.fuzz.plugin")
STUCK = 120.0  # Seconds beyond its time after which a test hangs.
PASSED, NO_TESTS = 0, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How one test went: how often it was tried, the memory its process had at most, and what was found."""

    test: str
    examples: int
    mebibytes: int
    found: str

    def __str__(self) -> str:
        return f"{self.examples:>9} {self.mebibytes:>6} MiB  {'FOUND' if self.found else 'ok':5}  {self.test}"


def properties(where: Sequence[str]) -> Sequence[str]:
    """The tests of hypothesis there are."""
    listed = _pytest("--collect-only", *where, patience=STUCK)
    return [line for line in listed.stdout.splitlines() if "::" in line]


def tried(test: str, seconds: float) -> Trial:
    """One test, in a process of its own, for so many seconds."""
    with TemporaryDirectory() as folder:
        counts = Path(folder) / "counts"
        try:
            run = _pytest(f"--for-seconds={seconds}", f"--counts={counts}", test, patience=seconds + STUCK)
            found = "" if run.returncode in (PASSED, NO_TESTS) else run.stdout + run.stderr
        except subprocess.TimeoutExpired as hung:
            found = f"it hangs: {hung}"
        examples, mebibytes = json.loads(counts.read_text()) if counts.exists() else (0, 0)
    return Trial(test=test, examples=examples, mebibytes=mebibytes, found=found)


def _pytest(*arguments: str, patience: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *PLUGIN, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=patience)


def main() -> int:
    """Try them all, and say so line by line; the exit status is 1 where something was found."""
    os.nice(5)
    seconds, *where = [*sys.argv[1:], "600"] if len(sys.argv) < 2 else sys.argv[1:]
    every = properties(where)
    share = float(seconds) * AT_ONCE / max(len(every), 1)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        trials = []
        for trial in pool.map(lambda test: tried(test, share), every):
            trials.append(trial)
            sys.stdout.write(f"{trial}\n{trial.found}")
            sys.stdout.flush()
    found = [trial for trial in trials if trial.found]
    total = sum(trial.examples for trial in trials)
    sys.stdout.write(f"{total:>9} examples of {len(trials)} tests, {share:.0f} s each, {len(found)} found\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
