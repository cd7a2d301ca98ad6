"""Counts, inside the program that is soaked, what nobody sees from outside, and writes it where it is told."""

import asyncio
import gc
import os
import threading
import time
from pathlib import Path


def count_for_ever(file: Path) -> None:
    """Write the number of tasks and of objects that the collector knows, every few seconds."""
    while True:
        objects = gc.get_objects()
        tasks = sum(isinstance(each, asyncio.Task) for each in objects)
        told = f"{tasks} {len(objects)}"
        del objects
        new = file.with_suffix(".new")
        new.write_text(told)
        new.replace(file)
        time.sleep(3)


if "SOAK_COUNTS" in os.environ:
    # Of the program alone: a process that it starts finds no such variable.
    threading.Thread(target=count_for_ever, args=(Path(os.environ.pop("SOAK_COUNTS")),), daemon=True).start()
