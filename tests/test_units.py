"""Units of systemd, by the names that people type and the cgroups that the kernel tells."""

from pathlib import Path

import pytest

from exporter import units
from exporter.units import Unit, of_a_user


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("vllm", "vllm.service"),
        ("vllm.service", "vllm.service"),
        ("vllm@llama-3.1", "vllm@llama-3.1.service"),
        ("docker-3f2a.scope", "docker-3f2a.scope"),
        ("models.slice", "models.slice"),
    ],
)
def test_a_name_without_its_kind_is_a_service_s(typed: str, meant: str) -> None:
    assert Unit.named(typed).name == meant


@pytest.mark.parametrize(
    ("unit", "cgroup", "own"),
    [
        pytest.param("vllm", "/system.slice/vllm.service", "/system.slice/vllm.service", id="a service"),
        pytest.param("vllm", "/system.slice/vllm.service/worker", "/system.slice/vllm.service", id="a part of it"),
        pytest.param(
            "vllm@a",
            "/system.slice/system-vllm.slice/vllm@a.service",
            "/system.slice/system-vllm.slice/vllm@a.service",
            id="one of a template",
        ),
        pytest.param("vllm@a", "/system.slice/system-vllm.slice/vllm@b.service", None, id="another of it"),
        pytest.param(
            "vllm",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/vllm.service",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/vllm.service",
            id="a user's",
        ),
        pytest.param("cpu", "/system.slice/_cpu.service", "/system.slice/_cpu.service", id="named like the kernel's"),
        pytest.param("_vllm", "/system.slice/__vllm.service", "/system.slice/__vllm.service", id="with a _ of its own"),
        pytest.param("models.slice", "/models.slice/models-a.slice/a.service", "/models.slice", id="a slice"),
        pytest.param("vllm", "/../../system.slice/vllm.service", "/../../system.slice/vllm.service", id="from inside"),
        pytest.param("vllm", "/system.slice/vllm.service-old", None, id="a longer name"),
        pytest.param("vllm", "/system.slice/docker-3f2a.scope", None, id="a container"),
        pytest.param("vllm", "/", None, id="none"),
    ],
)
def test_a_cgroup_is_a_unit_s_where_its_name_stands_in_it(unit: str, cgroup: str, own: str | None) -> None:
    assert Unit.named(unit).part_of(cgroup) == own


def test_a_user_s_unit_is_told_from_the_system_s() -> None:
    assert of_a_user("/user.slice/user-1000.slice/user@1000.service/app.slice/vllm.service")
    assert not of_a_user("/system.slice/vllm.service")


@pytest.mark.parametrize(
    ("file", "unit", "installed"),
    [
        ("system/vllm.service", "vllm", True),
        ("user/vllm.service", "vllm", True),
        ("system/vllm@.service", "vllm@llama", True),
        ("system/vllm@llama.service", "vllm@llama", True),
        ("system/vllm@.service", "vllm", False),
        ("system/other.service", "vllm", False),
    ],
)
def test_a_unit_is_installed_where_its_file_or_its_template_s_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, unit: str, *, installed: bool
) -> None:
    monkeypatch.setattr(units, "FOLDERS", (tmp_path / "system", tmp_path / "user"))
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).touch()

    assert Unit.named(unit).installed is installed


def test_one_run_of_a_unit_is_told_from_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "RUNS", tmp_path)
    (tmp_path / "invocation:vllm.service").symlink_to("0123456789abcdef")

    assert Unit.named("vllm").run == "0123456789abcdef"
    assert Unit.named("other").run is None
