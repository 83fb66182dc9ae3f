"""The container of the API: command, environment, probes, and the restrictions it runs under."""

from __future__ import annotations

from typing import Any, Final

from memory_contracts.settings import LIVENESS_PATH, READINESS_PATH
from memory_operator.specs.environment import TLS_DIRECTORY, Environment
from memory_operator.specs.labels import API_COMPONENT, Manifest
from memory_operator.specs.tenant import Tenant

COMMAND: Final = ("python", "-m", "memory_runtime")
# One thread a process for BLAS: replicas, not threads, use the cores. Unbuffered, so that last words reach the log.
PROCESS_ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
# Loading a large namespace into memory takes minutes; the start-up probe waits that long, the others need not.
STARTUP_SECONDS: Final = 600
# A stopping pod still gets requests until every node has heard that it is gone; so it answers for this long.
PRE_STOP_SECONDS: Final = 5
TEMPORARY, TLS = "tmp", "tls"


def build_container(tenant: Tenant, environment: Environment) -> Manifest:
    """Return the container; Pod Security Standards allow it at their level `restricted`."""
    return {
        "name": API_COMPONENT,
        "image": tenant.cluster.spec.defaults.image,
        # The default image has the tag latest and no registry: it is on the node, or nowhere.
        "imagePullPolicy": "IfNotPresent",
        "command": list(COMMAND),
        "env": _variables(tenant, environment),
        "ports": [{"name": "http", "containerPort": tenant.listen.port, "protocol": "TCP"}],
        "resources": tenant.resources.model_dump(by_alias=True, exclude_none=True),
        **_probes(),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        # The runtime's last line says why it ended.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": _mounts(environment),
    }


def _variables(tenant: Tenant, environment: Environment) -> list[Manifest]:
    """Name each variable: `envFrom` would also hand over certificates, and passwords that are not in use."""
    names = tenant.names
    return [
        *({"name": name, "value": value} for name, value in PROCESS_ENVIRONMENT.items()),
        *(_reference(name, "configMapKeyRef", names.api) for name in environment.plain),
        *(_reference(name, "secretKeyRef", names.credentials) for name in environment.secret),
    ]


def _reference(variable: str, kind: str, name: str) -> Manifest:
    return {"name": variable, "valueFrom": {kind: {"name": name, "key": variable}}}


def _probes() -> dict[str, Manifest]:
    # The server itself gives the database two seconds; a probe that waits no longer would miss the answer.
    return {
        "startupProbe": _probe(READINESS_PATH, period=2, timeout=3, failures=STARTUP_SECONDS // 2),
        "readinessProbe": _probe(READINESS_PATH, period=2, timeout=3, failures=2),
        "livenessProbe": _probe(LIVENESS_PATH, period=10, timeout=5, failures=3),
    }


def _probe(path: str, *, period: int, timeout: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }


def _mounts(environment: Environment) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [{"name": TEMPORARY, "mountPath": "/tmp"}]  # noqa: S108 - the pod's own
    if environment.certificates:
        mounts.append({"name": TLS, "mountPath": TLS_DIRECTORY, "readOnly": True})
    return mounts
