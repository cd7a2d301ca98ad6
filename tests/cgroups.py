"""Cgroups as systemd makes them, where this machine lets tests make one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.services.forking import until


@contextmanager
def a_unit(name: str = "model") -> Iterator[Path]:
    """A cgroup like a systemd service's, where this machine lets us make one."""
    roots = [Path("/sys/fs/cgroup", hierarchy) for hierarchy in ("systemd", "unified", "")]
    able = [root for root in roots if os.access(root / "cgroup.procs", os.W_OK)]
    if not able:
        pytest.skip("no cgroup can be made here")
    place = able[0] / f"{name}-{os.getpid()}.service"
    place.mkdir()
    try:
        yield place
    finally:
        until(lambda: not (place / "cgroup.procs").read_text())
        place.rmdir()
