"""What Prometheus's own tool says of the page."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.daemon import Page, started

PROMTOOL = shutil.which("promtool")
if PROMTOOL is None:
    pytest.skip("there is no promtool, which comes with Prometheus, to judge the page", allow_module_level=True)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page of the demo, GPUs and all."""
    with started(tmp_path_factory.mktemp("demo"), None, "demo") as daemon:
        yield daemon.until(lambda page: bool(page.by("target", "model_probe_up")))


def checked(text: str) -> subprocess.CompletedProcess[str]:
    """What the tool says of a page."""
    return subprocess.run([str(PROMTOOL), "check", "metrics"], input=text, capture_output=True, text=True, check=False)


def test_promtool_finds_nothing_on_the_page(page: Page) -> None:
    found = checked(page.text)

    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_promtool_would_find_what_is_wrong(page: Page) -> None:
    found = checked(f"{page.text}# TYPE kettles counter\nkettles 1\n")

    assert found.returncode != 0
    assert "kettles" in found.stderr
