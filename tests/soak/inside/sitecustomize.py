"""Counts, inside the program that is soaked, what nobody sees from outside, and writes it where it is told."""

import asyncio
import gc
import os
import threading
import time
from collections.abc import Collection
from pathlib import Path

# Every task that is there, by the name that the version of Python has for them.
TASKS: Collection[object] = getattr(asyncio.tasks, "_scheduled_tasks", getattr(asyncio.tasks, "_all_tasks", ()))


def count_for_ever(file: Path) -> None:
    """Write the number of tasks and of objects that the collector knows, every few seconds."""
    while True:
        # Those that are set aside from the search for garbage are counted by their number alone.
        told = f"{len(TASKS)} {len(gc.get_objects()) + gc.get_freeze_count()}"
        new = file.with_suffix(".new")
        new.write_text(told)
        new.replace(file)
        time.sleep(3)


if "SOAK_COUNTS" in os.environ:
    # Of the program alone: a process that it starts finds no such variable.
    threading.Thread(target=count_for_ever, args=(Path(os.environ.pop("SOAK_COUNTS")),), daemon=True).start()
