"""The Deployment of the API: how many pods, and how they are replaced without a failed request."""

from __future__ import annotations

from typing import Final

from memory_contracts.v1alpha1 import MemoryNamespace
from memory_operator.specs.container import STARTUP_SECONDS
from memory_operator.specs.environment import Environment
from memory_operator.specs.labels import API_COMPONENT, Manifest, build_metadata, selector_labels
from memory_operator.specs.pod import build_pod_template
from memory_operator.specs.tenant import Tenant

# A pod must stay ready this long before the next one is replaced.
MIN_READY_SECONDS: Final = 3
STOPPED_STATES: Final = frozenset({"Fenced", "Hibernated"})


def build_deployment(tenant: Tenant, environment: Environment) -> Manifest:
    """Return the Deployment; the environment's hash in it replaces the pods when what they read has changed."""
    names = tenant.names
    replicas = wanted_replicas(tenant.namespace)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": build_metadata(tenant.namespace, names.api, API_COMPONENT),
        "spec": ({} if replicas is None else {"replicas": replicas})
        | {
            "selector": {"matchLabels": selector_labels(names, API_COMPONENT)},
            # A new pod has to answer before an old one goes.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "minReadySeconds": MIN_READY_SECONDS,
            # Later than the start-up probe gives up, or a large namespace would be called stuck while it loads.
            "progressDeadlineSeconds": STARTUP_SECONDS + 60,
            "revisionHistoryLimit": 3,
            "template": build_pod_template(tenant, environment),
        },
    }


def wanted_replicas(namespace: MemoryNamespace) -> int | None:
    """Return how many pods there are to be; None leaves the number to the HorizontalPodAutoscaler."""
    if namespace.spec.state in STOPPED_STATES:
        return 0
    return None if namespace.spec.api.autoscaling else namespace.spec.api.replicas


def most_replicas(namespace: MemoryNamespace) -> int:
    """Return how many pods there can be when all is well: what the backends must have room for, in any state."""
    api = namespace.spec.api
    return api.autoscaling.max_replicas if api.autoscaling else api.replicas
