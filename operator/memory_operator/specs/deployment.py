"""The Deployment of the API."""

from __future__ import annotations

from memory_contracts.settings import LIVENESS_PATH, READINESS_PATH
from memory_contracts.v1alpha1 import API_GROUP, MemoryCluster, MemoryNamespace
from memory_operator.specs.environment import Listen, tenant_names
from memory_operator.specs.labels import API_COMPONENT, Manifest, build_metadata, labels, selector_labels

CONFIG_HASH = f"{API_GROUP}/config-hash"
COMMAND = ["python", "-m", "memory_runtime"]
# One thread a process for BLAS: replicas, not threads, use the cores. Unbuffered, so that last words reach the log.
PROCESS_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
# Loading a large namespace into memory takes minutes; the start-up probe waits that long, the others need not.
STARTUP_SECONDS = 600


def build_deployment(namespace: MemoryNamespace, cluster: MemoryCluster, listen: Listen, config_hash: str) -> Manifest:
    """Return the Deployment; `config_hash` replaces the pods when their ConfigMap or Secret has changed."""
    names = tenant_names(namespace)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": build_metadata(names, names.api, API_COMPONENT),
        "spec": {
            "replicas": namespace.spec.api.replicas,
            "selector": {"matchLabels": selector_labels(names, API_COMPONENT)},
            "template": {
                "metadata": {
                    "labels": labels(names, API_COMPONENT),
                    "annotations": {CONFIG_HASH: config_hash},
                },
                "spec": {
                    "automountServiceAccountToken": False,
                    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [_build_container(namespace, cluster, listen)],
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                },
            },
        },
    }


def _build_container(namespace: MemoryNamespace, cluster: MemoryCluster, listen: Listen) -> Manifest:
    names = tenant_names(namespace)
    ready = {"httpGet": {"path": READINESS_PATH, "port": "http"}}
    return {
        "name": API_COMPONENT,
        "image": cluster.spec.defaults.image,
        "command": list(COMMAND),
        "envFrom": [{"configMapRef": {"name": names.api}}, {"secretRef": {"name": names.credentials}}],
        "env": [{"name": name, "value": value} for name, value in PROCESS_ENVIRONMENT.items()],
        "ports": [{"name": "http", "containerPort": listen.port, "protocol": "TCP"}],
        "startupProbe": ready | {"periodSeconds": 2, "failureThreshold": STARTUP_SECONDS // 2},
        "readinessProbe": ready | {"periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 2},
        "livenessProbe": {
            "httpGet": {"path": LIVENESS_PATH, "port": "http"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - an emptyDir of the pod's own
    }
