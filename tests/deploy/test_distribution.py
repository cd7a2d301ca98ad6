"""What is handed to users: a wheel and a source distribution, built, installed and run."""

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from exporter import __version__
from tests.daemon import ROOT
from tests.services.scripted import Stage

pytest.importorskip("hatchling", reason="there is no hatchling to build wheel and source distribution with")

GUARD = 300.0  # Seconds.
WHEEL, SOURCES = f"model_sidecar-{__version__}-py3-none-any.whl", f"model_sidecar-{__version__}.tar.gz"


def run(*command: str | Path, status: int = 0, folder: Path = ROOT) -> str:
    """What a command writes that ends as it should."""
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=GUARD)
    assert ended.returncode == status, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both, and under `again` the wheel that the source distribution makes."""
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", folder)
    shutil.unpack_archive(folder / SOURCES, folder / "unpacked")
    inside = folder / "unpacked" / SOURCES.removesuffix(".tar.gz")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "again", folder=inside)
    return folder


def of_project(*folders: str) -> Iterator[str]:
    """The files in these folders of the project, without what is made of them."""
    for folder in folders:
        for file in (ROOT / folder).rglob("*"):
            name = file.relative_to(ROOT)
            if file.is_file() and not {"__pycache__", "node_modules"} & {*name.parts}:
                yield name.as_posix()


def test_the_wheel_holds_the_program_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(built / WHEEL) as archive:
        names = set(archive.namelist())

    meta = f"model_sidecar-{__version__}.dist-info/"
    assert {name for name in names if not name.startswith(meta)} == set(of_project("exporter"))
    assert f"{meta}licenses/LICENSE" in names


def test_the_source_distribution_holds_all_that_is_deployed_and_all_that_tests_it(built: Path) -> None:
    with tarfile.open(built / SOURCES) as archive:
        names = {PurePosixPath(*PurePosixPath(each.name).parts[1:]).as_posix() for each in archive if each.isfile()}

    assert set(of_project("exporter", "deploy", "tests")) <= names
    assert {"Dockerfile", ".dockerignore", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"} <= names
    assert not {name for name in names if name.startswith((".git/", ".ci", "build", "dist"))}


def test_the_source_distribution_makes_the_very_same_wheel(built: Path) -> None:
    assert (built / "again" / WHEEL).read_bytes() == (built / WHEEL).read_bytes()


@pytest.fixture(scope="module")
def program(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program as installed in an environment of its own, which has what it needs from this one."""
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", built / WHEEL)
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    (Path(packages) / "needed.pth").write_text(sysconfig.get_path("purelib"))
    return environment / "bin" / "model-sidecar"


def test_what_is_installed_runs(program: Path, tmp_path: Path) -> None:
    version = run(program, "--version", folder=tmp_path)

    assert version == f"model-sidecar {__version__}\n"
    where = run(program.with_name("python"), "-c", "import exporter; print(exporter.__file__)", folder=tmp_path)
    assert where.startswith(str(program.parent.parent))


def test_what_is_installed_asks_a_service(program: Path, tmp_path: Path, stage: Stage) -> None:
    told = run(program, "check", f"http://127.0.0.1:{stage.closed_port()}", status=1, folder=tmp_path)

    assert "nobody answers there" in told


def test_what_is_installed_knows_whether_it_is_well(program: Path, tmp_path: Path, stage: Stage) -> None:
    address = f"127.0.0.1:{stage.closed_port()}"

    told = run(program, "healthcheck", f"--web.listen-address={address}", status=1, folder=tmp_path)

    assert told == f"{address} does not answer: [Errno 111] Connection refused\n"
