"""What a container of a Pod would be started with: its environment and command, resolved as Kubernetes does. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from memory_contracts.errors import Rejected
from memory_operator.specs.labels import Manifest
from memory_operator.specs.workload import Workload


def container_of(workload: Workload) -> Manifest:
    """Return the one container of the Deployment's pods."""
    (container,) = workload.deployment["spec"]["template"]["spec"]["containers"]
    return dict(container)


def resolve_environment(workload: Workload) -> dict[str, str]:
    """Return the variables of the container; ``env`` wins over ``envFrom``, a later source over an earlier one."""
    container, variables = container_of(workload), dict[str, str]()
    for source in container.get("envFrom", []):
        variables |= _source(source, workload)
    for entry in container.get("env", []):
        if "value" not in entry:
            raise Rejected(f"variable {entry['name']}: local mode resolves plain values only")
        variables[entry["name"]] = entry["value"]
    return variables


def resolve_command(workload: Workload) -> tuple[str, ...]:
    """Return the command of the container; its ``python`` is the one that runs this program."""
    command: list[str] = container_of(workload)["command"]
    return (sys.executable, *command[1:]) if command[0] == "python" else tuple(command)


def _source(source: Mapping[str, Any], workload: Workload) -> dict[str, str]:
    for reference, manifest, field in (
        ("configMapRef", workload.config_map, "data"),
        ("secretRef", workload.secret, "stringData"),
    ):
        if reference in source and source[reference]["name"] == manifest["metadata"]["name"]:
            return dict(manifest[field])
    raise Rejected(f"the Deployment takes its environment from {dict(source)}, which is not part of the workload")
