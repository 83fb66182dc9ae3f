"""What a container of a Pod would be started with: its environment and command, resolved as Kubernetes does. Pure."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from typing import Any

from memory_contracts.errors import Rejected
from memory_operator.specs.labels import Manifest
from memory_operator.specs.workload import Workload

# How a container refers to an object: field of the whole object, field of one key, and the kind.
SOURCES = (("configMapRef", "configMapKeyRef", "ConfigMap"), ("secretRef", "secretKeyRef", "Secret"))


def container_of(workload: Workload) -> Manifest:
    """Return the one container of the Deployment's pods."""
    (container,) = pod_of(workload)["containers"]
    return dict(container)


def resolve_environment(workload: Workload) -> dict[str, str]:
    """Return the variables of the container; ``env`` wins over ``envFrom``, a later source over an earlier one.

    Raises `Rejected` for what only a cluster can give: a field of the pod, an object of somebody else, files.
    """
    _refuse_files(workload)
    container, variables = container_of(workload), dict[str, str]()
    for source in container.get("envFrom", []):
        variables |= _source(source, workload)
    for entry in container.get("env", []):
        variables[entry["name"]] = entry["value"] if "value" in entry else _referred(entry, workload)
    return variables


def resolve_command(workload: Workload) -> tuple[str, ...]:
    """Return the command of the container; its ``python`` is the one that runs this program."""
    command: list[str] = container_of(workload)["command"]
    return (sys.executable, *command[1:]) if command[0] == "python" else tuple(command)


def pod_of(workload: Workload) -> Manifest:
    """Return the specification of the Deployment's pods."""
    pod: Manifest = workload.deployment["spec"]["template"]["spec"]
    return pod


def _refuse_files(workload: Workload) -> None:
    """An empty folder at /tmp needs nothing done; a folder with files would have to be where the settings say."""
    for volume in pod_of(workload).get("volumes", []):
        if "emptyDir" not in volume:
            raise Rejected(
                f"the pods mount a volume with files ({volume['name']}), and local mode has no mounts; leave out the "
                "reference to certificates (tls.caSecretRef)"
            )


def _source(source: Mapping[str, Any], workload: Workload) -> dict[str, str]:
    for whole, _, kind in SOURCES:
        if whole in source and (values := _values(workload, kind, source[whole]["name"])) is not None:
            return values
    raise Rejected(f"the Deployment takes its environment from {dict(source)}, which is not part of the workload")


def _referred(entry: Mapping[str, Any], workload: Workload) -> str:
    variable, reference = entry["name"], entry.get("valueFrom", {})
    for _, one, kind in SOURCES:
        if one in reference:
            name, key = reference[one]["name"], reference[one]["key"]
            values = _values(workload, kind, name)
            if values is None or key not in values:
                raise Rejected(f"variable {variable}: key {key} of {kind} {name} is not part of the workload")
            return values[key]
    raise Rejected(f"variable {variable}: local mode resolves values and keys of ConfigMaps and Secrets only")


def _values(workload: Workload, kind: str, name: str) -> dict[str, str] | None:
    for manifest in workload.children:
        if manifest["kind"] == kind and manifest["metadata"]["name"] == name:
            data: dict[str, str] = manifest.get("data", {})
            return {key: _decoded(text) for key, text in data.items()} if kind == "Secret" else dict(data)
    return None


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()
