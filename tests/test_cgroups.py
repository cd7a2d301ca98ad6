"""The limits of the control groups that the program runs in."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from exporter.cgroups import room

MIB = 2**20


def told(folder: Path, files: Mapping[str, str]) -> Path:
    """A folder with these files."""
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def group(limit: str, used: int, cached: int = 0) -> Mapping[str, str]:
    """What version 2 tells of one group."""
    stat = f"anon 1\ninactive_file {cached}\nactive_file 0\nshmem 5\n"
    return {"memory.max": f"{limit}\n", "memory.current": f"{used}\n", "memory.stat": stat}


@pytest.mark.parametrize(
    ("outer", "inner", "left"),
    [
        pytest.param(group("max", 9 * MIB), group("max", MIB), None, id="no limit"),
        pytest.param(group("max", 9 * MIB), group(str(64 * MIB), 40 * MIB), 20 * MIB, id="its own"),
        pytest.param(group(str(64 * MIB), 60 * MIB), group(str(64 * MIB), MIB), 0, id="that of one around it"),
        pytest.param({}, group(str(64 * MIB), 60 * MIB, cached=8 * MIB), 8 * MIB, id="files give way"),
        pytest.param({}, {}, None, id="nothing is told"),
    ],
)
def test_what_is_left_of_memory_is_what_the_tightest_group_leaves_but_for_a_reserve(
    outer: Mapping[str, str], inner: Mapping[str, str], left: int | None, tmp_path: Path
) -> None:
    files = {**outer, **{f"pod/{name}": text for name, text in inner.items()}}
    mounted = told(tmp_path / "mounted", files)
    own = told(tmp_path, {"own": "0::/pod\n"}) / "own"

    assert room(own, mounted) == left


def test_version_1_is_understood_too(tmp_path: Path) -> None:
    files = {"memory.limit_in_bytes": f"{64 * MIB}\n", "memory.usage_in_bytes": f"{50 * MIB}\n"}
    stat = f"cache {MIB}\ntotal_inactive_file {2 * MIB}\n"
    mounted = told(tmp_path / "mounted", {f"memory/pod/{name}": text for name, text in files.items()})
    told(mounted, {"memory/pod/memory.stat": stat})
    own = told(tmp_path, {"own": "4:memory:/pod\n0::/\n"}) / "own"

    assert room(own, mounted) == 12 * MIB


def test_where_groups_are_not_told_there_is_no_limit(tmp_path: Path) -> None:
    assert room(tmp_path / "nowhere", tmp_path) is None
