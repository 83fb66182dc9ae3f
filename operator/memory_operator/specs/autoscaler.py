"""The HorizontalPodAutoscaler, for namespaces that leave the number of processes to it."""

from __future__ import annotations

from memory_contracts.api.workload import Autoscaling
from memory_contracts.v1alpha1 import MemoryNamespace
from memory_operator.specs.labels import API_COMPONENT, Manifest, build_metadata
from memory_operator.specs.tenant import tenant_names


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
