"""The pods of the API: where they run and as whom, and what a MemoryNamespace may change about that."""

from __future__ import annotations

from typing import Final

from memory_contracts.api.base import API_GROUP
from memory_contracts.naming import TenantNames
from memory_contracts.settings import SHUTDOWN_SECONDS
from memory_operator.specs.container import PRE_STOP_SECONDS, TEMPORARY, TLS, build_container
from memory_operator.specs.environment import Environment
from memory_operator.specs.labels import API_COMPONENT, Manifest, labels, selector_labels
from memory_operator.specs.tenant import Tenant

CONFIG_HASH: Final = f"{API_GROUP}/config-hash"
# The account that the images have; a number, for a name cannot be shown not to be root.
USER_ID: Final = 65532
# After the last request the process closes its two pools, each within the database timeout of 5 s.
CLOSE_SECONDS: Final = 12
SPREAD_OVER: Final = ("kubernetes.io/hostname", "topology.kubernetes.io/zone")


def build_pod_template(tenant: Tenant, environment: Environment) -> Manifest:
    """Return the template; labels and annotations of the operator's own cannot be overridden."""
    names, overrides = tenant.names, tenant.namespace.spec.api.pod_template
    added = overrides.metadata
    # The overrides are an allow-list with the very names of a PodSpec; what is absent keeps the operator's value.
    changes = overrides.spec.model_dump(by_alias=True, exclude_none=True)
    return {
        "metadata": {
            "labels": (added.labels or {}) | labels(names, API_COMPONENT),
            "annotations": (added.annotations or {}) | {CONFIG_HASH: environment.digest},
        },
        "spec": _pod_spec(tenant, environment) | {"topologySpreadConstraints": _spread(names)} | changes,
    }


def _pod_spec(tenant: Tenant, environment: Environment) -> Manifest:
    return {
        "serviceAccountName": tenant.names.api,
        "automountServiceAccountToken": False,
        # Else a Service called soma-api would set SOMA_API_PORT to tcp://… in every pod of its Kubernetes namespace.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": PRE_STOP_SECONDS + SHUTDOWN_SECONDS + CLOSE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [build_container(tenant, environment)],
        "volumes": _volumes(tenant.names, environment),
    }


def _volumes(names: TenantNames, environment: Environment) -> list[Manifest]:
    volumes: list[Manifest] = [{"name": TEMPORARY, "emptyDir": {}}]
    if environment.certificates:
        # Only the certificates: the ConfigMap's other keys are variables.
        items = [{"key": file, "path": file} for file in environment.certificates]
        volumes.append({"name": TLS, "configMap": {"name": names.api, "items": items, "defaultMode": 0o444}})
    return volumes


def _spread(names: TenantNames) -> list[Manifest]:
    """Return constraints that spread the pods where that is possible, each generation of a roll-out by itself."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector_labels(names, API_COMPONENT)},
            "matchLabelKeys": ["pod-template-hash"],
        }
        for key in SPREAD_OVER
    ]
