"""What is locked for a deployment: all that the package needs and nothing more, at one version each, by its hashes."""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
LOCKED = ROOT / "deploy" / "requirements.txt"
PINNED = re.compile(
    r"^([A-Za-z0-9._-]+)==(\S+)((?: ;[^\\\n]+)?)(?: \\\n    --hash=sha256:[0-9a-f]{64})+$", re.MULTILINE
)


def locked() -> Mapping[str, str]:
    """The version at which each package is locked."""
    return {canonicalize_name(name): version for name, version, _ in PINNED.findall(LOCKED.read_text())}


def wanted() -> list[Requirement]:
    """What the package says that it needs."""
    return [Requirement(it) for it in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]]


def test_every_line_locks_one_version_by_its_hashes() -> None:
    rest = PINNED.sub("", LOCKED.read_text())

    assert [line for line in rest.splitlines() if line and not line.lstrip().startswith("#")] == []
    assert "://" not in LOCKED.read_text()


def test_what_the_package_needs_is_locked_at_a_version_that_will_do() -> None:
    versions = locked()

    wrong = [
        str(need)
        for need in wanted()
        if not need.specifier.contains(versions.get(canonicalize_name(need.name), "0"), prereleases=True)
    ]

    assert wrong == [], "lock anew, with the command in its first lines"


def test_what_is_needed_by_what_is_needed_is_locked_and_nothing_else() -> None:
    versions, needed = locked(), set(_closed(wanted()))

    assert needed <= versions.keys()
    if sys.version_info < (3, 12):  # What only an older Python needs is locked too.
        assert versions.keys() <= needed


def _closed(needs: list[Requirement]) -> Iterator[str]:
    """The names of these, and of all that they need here, as the packages that are installed say it."""
    seen: set[tuple[str, str]] = set()
    while needs:
        need = needs.pop()
        for extra in need.extras or {""}:
            name = canonicalize_name(need.name)
            if (name, extra) not in seen:
                seen.add((name, extra))
                yield name
                inner = (Requirement(it) for it in requires(name) or ())
                needs += [it for it in inner if it.marker is None or it.marker.evaluate({"extra": extra})]
