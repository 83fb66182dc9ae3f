"""The PodDisruptionBudget: a drained node takes one API process at a time."""

from __future__ import annotations

from memory_contracts.v1alpha1 import MemoryNamespace
from memory_operator.specs.labels import API_COMPONENT, Manifest, build_metadata, selector_labels
from memory_operator.specs.tenant import tenant_names


def build_disruption_budget(namespace: MemoryNamespace) -> Manifest:
    """Return the budget. It is counted from above: `minAvailable` would let one replica block a drain for ever."""
    names = tenant_names(namespace)
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": build_metadata(namespace, names.api, API_COMPONENT),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector_labels(names, API_COMPONENT)},
            # Pods that do not answer protect nothing, and must not keep a node from being drained.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
