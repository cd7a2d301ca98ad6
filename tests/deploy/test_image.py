"""The image: what its recipe promises, and who uses it by which name."""

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pytest
import yaml

from exporter import __version__
from exporter.commands.healthcheck import DEFAULT
from tests.daemon import ROOT
from tests.deploy.test_requirements import PINNED

DEPLOY = ROOT / "deploy"
OURS = f"model-sidecar:{__version__}"
TOOLS = DEPLOY / "requirements-build.txt"

USED = re.compile(r"""^\s*(?:- )?["']?image["']?: *["']?([^\s"'{}#]+)""", re.MULTILINE)
NAMED = re.compile(r"\bmodel-sidecar:v?(\d[\w.+-]*)")
EXACT = re.compile(r"python:3\.\d+\.\d+-slim-[a-z]+")
PINNED_IMAGE = re.compile(r"[a-z0-9./_-]+:(?!latest\b)[\w.-]*\d[\w.-]*(?:@sha256:[0-9a-f]{64})?")


UNTRACKED = {"__pycache__", "node_modules"}


def texts(*endings: str) -> Iterator[tuple[str, str]]:
    """The files of the project that an operator reads or an engine takes, by their names."""
    files = [ROOT / "Dockerfile", ROOT / "README.md", *sorted(DEPLOY.rglob("*"))]
    for file in files:
        if file.is_file() and (not endings or file.suffix in endings) and not UNTRACKED & set(file.parts):
            yield str(file.relative_to(ROOT)), file.read_text()


@dataclass(frozen=True, slots=True)
class Instruction:
    """One step of the recipe."""

    word: str
    text: str

    @property
    def words(self) -> Sequence[str]:
        """What is run without a shell."""
        told: list[str] = json.loads(self.text)
        return told


def recipe() -> Sequence[Instruction]:
    """The steps of the Dockerfile."""
    text = re.sub(r"\\\n(?:\s*#.*\n)*", " ", (ROOT / "Dockerfile").read_text())
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [Instruction(word, " ".join(rest.split())) for word, rest in steps]


def stages() -> Sequence[Sequence[Instruction]]:
    """The steps of each stage, from its FROM on."""
    steps = recipe()
    begins = [number for number, step in enumerate(steps) if step.word == "FROM"]
    return [steps[a:b] for a, b in zip(begins, [*begins[1:], len(steps)], strict=True)]


def last(word: str) -> str:
    """What the last stage says with this word, and says once."""
    (told,) = (step.text for step in stages()[-1] if step.word == word)
    return told


def test_every_file_that_names_the_image_names_this_version() -> None:
    others = {(name, found) for name, text in texts() for found in NAMED.findall(text) if found != __version__}

    assert not others, f"the version is {__version__}"


def test_every_manifest_uses_the_image_by_its_one_name_and_others_at_one_version() -> None:
    used = [(name, image) for name, text in texts(".yaml", ".yml") for image in USED.findall(text)]

    assert {(name, image) for name, image in used if "sidecar" in image.rpartition("/")[2] and image != OURS} == set()
    assert [(name, image) for name, image in used if not PINNED_IMAGE.fullmatch(image)] == []
    assert {name for name, image in used if image == OURS} >= {"deploy/compose.yaml", "deploy/compose.sidecar.yaml"}


def test_the_recipe_has_two_stages_on_one_base_at_an_exact_version() -> None:
    named = [step.text for step in recipe() if step.word == "FROM"]
    (default,) = (step.text for step in recipe()[:1] if step.word == "ARG")

    assert named == ["${PYTHON} AS build", "${PYTHON}"]
    assert EXACT.fullmatch(default.removeprefix("PYTHON="))
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert default.removeprefix("PYTHON=python:") >= wanted.removeprefix(">=")


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="there is no hadolint to judge the Dockerfile")
def test_the_recipe_is_as_its_linter_wants_it() -> None:
    judged = subprocess.run(["hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)

    assert judged.returncode == 0, judged.stdout


def test_the_image_is_labelled_with_this_version() -> None:
    assert f'org.opencontainers.image.version="{__version__}"' in last("LABEL")


def test_it_runs_as_nobody_and_without_a_shell() -> None:
    user = last("USER")
    entry, check = Instruction("", last("ENTRYPOINT")).words, last("HEALTHCHECK").partition(" CMD ")[2]

    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user), "a number, so that an orchestrator sees that it is not root"
    assert list(entry) == ["model-sidecar"]
    assert json.loads(check) == ["model-sidecar", "healthcheck"]
    assert last("EXPOSE") == DEFAULT.removeprefix(":")
    assert [step.word for step in stages()[-1] if step.word in {"CMD", "SHELL", "VOLUME", "ADD"}] == []


def test_whatever_is_installed_in_it_is_held_by_a_hash_or_was_made_in_the_build() -> None:
    installed = [
        command
        for step in recipe()
        if step.word == "RUN"
        for command in step.text.split("&&")
        if re.search(r"\bpip\b.* install\b", command)
    ]

    assert len(installed) == 3
    assert [it for it in installed if "--require-hashes" not in it and "--no-index" not in it] == []
    rest = PINNED.sub("", TOOLS.read_text())
    assert [line for line in rest.splitlines() if line and not line.lstrip().startswith("#")] == []


def test_the_engine_is_handed_what_the_recipe_copies_and_nothing_else() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = {
        file
        for step in recipe()
        if step.word == "COPY" and not step.text.startswith("--from")
        for file in step.text.split()[:-1]
    }

    assert ignored[0] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert [file for file in copied if not (ROOT / file).exists()] == []


def services(file: str) -> Mapping[str, Mapping[str, object]]:
    """The services of a compose file."""
    told: Mapping[str, Mapping[str, object]] = yaml.safe_load((DEPLOY / file).read_text())["services"]
    return told


COMPOSED = [
    pytest.param(file, name, id=f"{name} in {file}")
    for file in ("compose.yaml", "compose.sidecar.yaml")
    for name in services(file)
]


@pytest.mark.parametrize(("file", "name"), COMPOSED)
def test_a_composed_service_may_do_no_more_than_it_must(file: str, name: str) -> None:
    service = services(file)[name]
    if service["image"] == OURS:
        assert service["read_only"] is True
    if name != "model":
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


@pytest.mark.parametrize(("file", "name"), COMPOSED)
def test_what_a_composed_service_mounts_is_there(file: str, name: str) -> None:
    told = yaml.safe_load((DEPLOY / file).read_text())
    mounts = [mount.split(":")[0] for mount in told["services"][name].get("volumes", [])]

    assert [mount for mount in mounts if mount.startswith(".") and not (DEPLOY / mount).exists()] == []
    assert {mount for mount in mounts if not mount.startswith(".")} <= {*told.get("volumes", [])}


def test_of_the_composed_exporters_each_profile_has_one_and_one_begins_by_default() -> None:
    profiles = [service["profiles"] for service in services("compose.yaml").values() if service["image"] == OURS]
    default = (DEPLOY / ".env").read_text().splitlines()[-1]

    assert sorted(profiles, key=str) == [["demo"], ["gpu"], ["model"]]
    assert default == "COMPOSE_PROFILES=model"


def test_an_exporter_that_looks_at_gpus_gets_what_it_takes_to_look_and_no_more() -> None:
    looking = {
        name: service["deploy"]
        for file in ("compose.yaml", "compose.sidecar.yaml")
        for name, service in services(file).items()
        if service["image"] == OURS and "deploy" in service
    }

    device = {"driver": "nvidia", "count": "all", "capabilities": ["gpu", "utility"]}
    assert set(looking) == {"exporter-with-gpus", "sidecar", "joined"}
    assert [it for it in looking.values() if it != {"resources": {"reservations": {"devices": [device]}}}] == []


def test_an_exporter_in_the_models_namespaces_begins_anew_with_it() -> None:
    joined = services("compose.sidecar.yaml")["joined"]

    assert (joined["network_mode"], joined["pid"]) == ("service:model", "service:model")
    assert joined["depends_on"] == {"model": {"condition": "service_started", "restart": True}}
