"""The HorizontalPodAutoscaler, for namespaces that leave the number of processes to it."""

from __future__ import annotations

from memory_contracts.api.workload import Autoscaling
from memory_contracts.v1alpha1 import MemoryNamespace
from memory_operator.specs.deployment import wanted_replicas
from memory_operator.specs.labels import API_COMPONENT, Manifest, build_metadata
from memory_operator.specs.tenant import Tenant, tenant_names


def build_autoscaler(namespace: MemoryNamespace, autoscaling: Autoscaling) -> Manifest:
    """Return the autoscaler. It rests by itself while the Deployment has 0 replicas (Fenced, Hibernated)."""
    names = tenant_names(namespace)
    target = {"type": "Utilization", "averageUtilization": autoscaling.target_cpu_utilization}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": build_metadata(namespace, names.api, API_COMPONENT),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": names.api},
            "minReplicas": autoscaling.min_replicas,
            "maxReplicas": autoscaling.max_replicas,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }


def nothing_to_measure(tenant: Tenant) -> str | None:
    """Return why an autoscaler cannot work, or None: it compares CPU use with what the pods ask for.

    The API types refuse a namespace whose own resources lack it; what the MemoryCluster's lack shows only here. The
    autoscaler is made all the same: to hold back everything else would keep a namespace from being fenced or repaired.
    """
    if wanted_replicas(tenant.namespace) is not None or tenant.resources.asks_for_cpu:
        return None
    home = tenant.cluster.metadata
    return (
        "spec.api.autoscaling measures CPU use against requests.cpu, which spec.defaults.resources of MemoryCluster "
        f"{home.namespace}/{home.name} lacks; give it there or in spec.api.resources, or remove autoscaling"
    )
