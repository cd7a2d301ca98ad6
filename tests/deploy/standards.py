"""In what a Pod goes beyond the strictest of the Pod security standards of Kubernetes."""

from collections.abc import Iterator

from tests.deploy.kubernetes import Object, containers

HARMLESS = frozenset(
    {
        *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"),
    }
)
"""Kinds of volumes that the standard named restricted allows."""


def breaches(pod: Object) -> set[str]:
    """In what a Pod does not keep to the Pod security standard named restricted."""
    spaces = {name for name in ("hostNetwork", "hostPID", "hostIPC") if pod["spec"].get(name)}
    kinds = {kind for volume in pod["spec"].get("volumes", ()) for kind in volume.keys() - {"name"}}
    inside = {breach for each in containers(pod) for breach in _breaches(each, secured(pod, each))}
    return spaces | {f"a volume {kind}" for kind in kinds - HARMLESS} | inside


def secured(pod: Object, container: Object) -> Object:
    """What holds for a container: its own word goes before the Pod's."""
    return {**pod["spec"].get("securityContext", {}), **container.get("securityContext", {})}


def _breaches(container: Object, word: Object) -> Iterator[str]:
    capabilities = word.get("capabilities", {})
    held = {
        "hostPort": not any("hostPort" in each for each in container.get("ports", ())),
        "privileged": not word.get("privileged"),
        "allowPrivilegeEscalation": word.get("allowPrivilegeEscalation") is False,
        "root": word.get("runAsNonRoot") is True and word.get("runAsUser") != 0,
        "a root that can be written": word.get("readOnlyRootFilesystem") is True,
        "capabilities": capabilities.get("drop") == ["ALL"],
        "seccompProfile": word.get("seccompProfile", {}).get("type") == "RuntimeDefault",
    }
    yield from (breach for breach, kept in held.items() if not kept)
    yield from (f"a capability {each}" for each in capabilities.get("add", ()))
