"""The objects that Kubernetes itself does not know: what Prometheus Operator and KEDA want of them."""

import os
from collections.abc import Mapping
from pathlib import Path

import yaml

from tests.deploy.kubernetes import Object

TEXT: Object = {"type": "string"}
TEXTS: Object = {"type": "object", "additionalProperties": TEXT}
NUMBER: Object = {"type": "integer"}


def closed(*needed: str, **fields: Object) -> Object:
    """An object with these fields and no other."""
    return {"type": "object", "properties": fields, "required": list(needed), "additionalProperties": False}


def several(each: Object) -> Object:
    """At least one of what is alike."""
    return {"type": "array", "items": each, "minItems": 1}


def whole(spec: Object) -> Object:
    """An object of the cluster."""
    about = {"apiVersion": TEXT, "kind": TEXT, "metadata": {"type": "object"}}
    return closed("apiVersion", "kind", "metadata", "spec", **about, spec=spec)


RELABELING = closed("targetLabel", targetLabel=TEXT, replacement=TEXT, sourceLabels=several(TEXT))
ENDPOINT = closed(
    "port", port=TEXT, path=TEXT, interval=TEXT, scrapeTimeout=TEXT, relabelings={"type": "array", "items": RELABELING}
)
WORDS: Mapping[str, Object] = {"for": TEXT, "keep_firing_for": TEXT, "labels": TEXTS, "annotations": TEXTS}
RULE = closed("expr", record=TEXT, alert=TEXT, expr=TEXT, **WORDS)
GROUP = closed("name", "rules", name=TEXT, interval=TEXT, rules=several(RULE))
TRIGGER = closed("type", "metadata", type=TEXT, name=TEXT, metricType=TEXT, metadata=TEXTS)
SCALED: Mapping[str, Object] = {
    "scaleTargetRef": closed("name", apiVersion=TEXT, kind=TEXT, name=TEXT),
    "minReplicaCount": NUMBER,
    "maxReplicaCount": NUMBER,
    "triggers": several(TRIGGER),
    "advanced": closed(horizontalPodAutoscalerConfig=closed(behavior={"type": "object"})),
}
USED: Mapping[str, Object] = {
    "PodMonitor": whole(closed("selector", selector={"type": "object"}, podMetricsEndpoints=several(ENDPOINT))),
    "PrometheusRule": whole(closed("groups", groups=several(GROUP))),
    "ScaledObject": whole(closed("scaleTargetRef", "triggers", **SCALED)),
}
"""What is used of each, as its definition has it."""


def schemas() -> Mapping[str, Object]:
    """What each kind is to be like: by its own definition in the folder that CRDS names, else by what is used of it."""
    if "CRDS" not in os.environ:
        return USED
    definitions = [yaml.safe_load(file.read_text()) for file in Path(os.environ["CRDS"]).glob("*.yaml")]
    return {each["spec"]["names"]["kind"]: _closed(_stored(each)) for each in definitions}


def _stored(definition: Object) -> Object:
    (version,) = (each for each in definition["spec"]["versions"] if each["storage"])
    schema: Object = version["schema"]["openAPIV3Schema"]
    return {**schema, "properties": {**schema["properties"], "metadata": {"type": "object"}}}


def _closed(schema: Object) -> Object:
    """A schema that refuses what it does not name, as kubectl apply does."""
    within = {name: _within(name, value) for name, value in schema.items()}
    if "properties" in within and not within.get("x-kubernetes-preserve-unknown-fields"):
        within.setdefault("additionalProperties", False)
    return within


def _within(name: str, value: object) -> object:
    if name == "properties" and isinstance(value, dict):
        return {key: _closed(part) for key, part in value.items()}
    return _closed(value) if isinstance(value, dict) else value
