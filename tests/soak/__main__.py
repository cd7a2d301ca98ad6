"""A month in minutes: `python -m tests.soak [days] [minutes] [plot.svg]`, whichever of the two is over first."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.soak.program import Run, Sample, running
from tests.soak.slopes import PROMPTS_A_DAY, SCRAPES_A_DAY, plot, table

PAUSE = 3.0


def lived(run: Run, days: float, minutes: float) -> Iterator[Sample]:
    """Samples until so many days of prompts and of scrapes are over, or so many minutes."""
    while True:
        time.sleep(PAUSE)
        yield (sample := run.sample())
        full = sample.prompts >= days * PROMPTS_A_DAY and sample.scrapes >= days * SCRAPES_A_DAY
        if full or sample.seconds > 60 * minutes:
            return


def main() -> None:
    """Soak the program, and say what has grown."""
    days, minutes, where = [*sys.argv[1:], *("30", "15", "soak.svg")[len(sys.argv) - 1 :]]
    samples = []
    with TemporaryDirectory() as folder, running(Path(folder)) as run:
        for sample in lived(run, float(days), float(minutes)):
            samples.append(sample)
            if len(samples) % 20 == 0:
                sys.stderr.write("\n".join(table(samples)) + "\n\n")
    Path(where).write_text(plot(samples))
    sys.stdout.write("\n".join(table(samples)) + "\n")


if __name__ == "__main__":
    main()
