"""The rule files of deploy/prometheus as objects of the Prometheus Operator."""

import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import indent

PROMETHEUS = Path(__file__).parent.parent.parent / "prometheus"
FOLDER = Path(__file__).parent.parent / "rules"
KUSTOMIZATION = "kustomization.yaml"
MADE = "# Made from deploy/prometheus/{source} by python -m deploy.kubernetes.make: change it there.\n"

OBJECT = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: model-sidecar-{name}
  labels:
    app.kubernetes.io/name: model-sidecar
spec:
"""
CHOICE = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
"""
GROUPS = "\ngroups:\n"
LISTED = re.compile(r"^rule_files:\n((?:(?: .*)?\n)+)", re.MULTILINE)


def files(prometheus: Path = PROMETHEUS) -> Mapping[str, str]:
    """The text of each file by its name: an object for each file of rules, and which of them are loaded."""
    sources = {file.name: file.read_text() for file in sorted(prometheus.glob("*.yml"))}
    objects = {name: rules(name, text) for name, text in sources.items() if GROUPS in text}
    return {**objects, KUSTOMIZATION: chosen(sources["prometheus.yml"])}


def rules(name: str, text: str) -> str:
    """A file of rules as an object; its own text, with every comment, one step further in."""
    about, _, rest = text.partition(GROUPS)
    return f"{MADE.format(source=name)}{about}\n{OBJECT.format(name=Path(name).stem)}  groups:\n{indent(rest, '  ')}"


def chosen(configuration: str) -> str:
    """Which objects are applied: those of the files that Prometheus's own configuration loads, others to be chosen."""
    listed = LISTED.search(configuration)
    if listed is None:
        raise ValueError("there is no list of rule_files in it")
    return MADE.format(source="prometheus.yml") + CHOICE + listed[1].rstrip("\n") + "\n"
