"""What is shipped for Kubernetes, as kubectl would apply it."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

SHIPPED = Path(__file__).parent.parent.parent / "deploy" / "kubernetes"
OVERLAYS = ("overlays/sidecar", "overlays/node")
MISSING = "there is no kubectl on PATH, with which the kustomizations are built"
NAME = "model-sidecar"

Object = Mapping[str, Any]
"""A part of an object, as its YAML stands."""


def present() -> bool:
    """Whether there is a kubectl."""
    return shutil.which("kubectl") is not None


def named(found: Object) -> tuple[str, str]:
    """What kind an object is of, and its name."""
    return found["kind"], found["metadata"]["name"]


@cache
def objects(folder: Path | str) -> Sequence[Object]:
    """The objects of a kustomization, of one that is shipped by its name."""
    command = ["kubectl", "kustomize", str(SHIPPED / folder)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    return list(yaml.load_all(told.stdout, yaml.CSafeLoader))


def one(kind: str, found: Sequence[Object]) -> Object:
    """The one object of a kind."""
    (only,) = (each for each in found if each["kind"] == kind)
    return only


def varied(
    folder: Path, *components: str, own: Sequence[Object] = (), patches: Sequence[Object] = ()
) -> Sequence[Object]:
    """The objects of the sidecar's overlay as an operator has them who adds components, objects and patches to it."""
    (folder / "own.yaml").write_text(yaml.safe_dump_all(own))
    kustomization = {
        "resources": [os.path.relpath(SHIPPED / "overlays" / "sidecar", folder), *["own.yaml"][: len(own)]],
        "components": [os.path.relpath(SHIPPED / each, folder) for each in components],
        "patches": list(patches),
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return objects(folder)


def pod(found: Sequence[Object]) -> Object:
    """The specification of the Pods that the one workload among these objects makes."""
    (workload,) = (each for each in found if "template" in each.get("spec", {}))
    template: Object = workload["spec"]["template"]
    return template


def containers(pod: Object) -> Iterator[Object]:
    """Every container of a Pod, those that start first first."""
    yield from pod["spec"].get("initContainers", ())
    yield from pod["spec"]["containers"]


def exporter(pod: Object) -> Object:
    """The exporter's container of a Pod."""
    (found,) = (each for each in containers(pod) if each["name"] == NAME)
    return found
