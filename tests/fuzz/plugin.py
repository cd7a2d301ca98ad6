"""For pytest: of all tests only those of hypothesis, each over and over for so many seconds, its examples counted."""

import json
import resource
import time
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

MEMORY = 1536 * 2**20
"""What a test's process may hold of memory; beyond it is a finding."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--for-seconds", type=float, help="how long each test is tried")
    parser.addoption("--counts", type=Path, help="where the number of examples is written")


def pytest_configure(config: pytest.Config) -> None:
    settings.register_profile("long", deadline=None, database=None, suppress_health_check=list(HealthCheck))
    settings.load_profile("long")
    if config.getoption("--for-seconds"):
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items[:] = [each for each in items if isinstance(each, pytest.Function) and is_hypothesis_test(each.obj)]


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """One test, as many examples of it as there is time for."""
    seconds, file = pyfuncitem.config.getoption("--for-seconds"), pyfuncitem.config.getoption("--counts")
    if not seconds or file is None:
        yield
        return
    given, counts = pyfuncitem.obj.hypothesis, [0]
    inner, end = given.inner_test, time.monotonic() + seconds
    given.inner_test = _counted(inner, counts)
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    try:
        yield
        while time.monotonic() < end:
            pyfuncitem.obj(**arguments)
    finally:
        given.inner_test = inner
        file.write_text(json.dumps([counts[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024]))


def _counted(test: Callable[..., Any], counts: list[int]) -> Callable[..., Any]:
    @wraps(test)
    def counting(*args: object, **kwargs: object) -> object:
        counts[0] += 1
        return test(*args, **kwargs)

    return counting
