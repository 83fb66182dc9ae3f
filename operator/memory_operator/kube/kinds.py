"""The kinds that the operator reads or writes, and where the API server serves them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memory_contracts.v1alpha1 import API_VERSION


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind in one version; `plural` is its name in paths and in RBAC rules."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the path of one object; without a name of the collection, without a namespace of all namespaces."""
        parts = ["apis" if self.group else "api", self.api_version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/" + "/".join(parts)


MEMORY_CLUSTER = Kind(API_VERSION, "MemoryCluster", "memoryclusters")
MEMORY_NAMESPACE = Kind(API_VERSION, "MemoryNamespace", "memorynamespaces")

NAMESPACE = Kind("v1", "Namespace", "namespaces", namespaced=False)
SECRET = Kind("v1", "Secret", "secrets")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
SERVICE = Kind("v1", "Service", "services")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
POD_DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
AUTOSCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
ENDPOINT_SLICE = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")

# Everything that one MemoryNamespace may own, in the order in which it is applied.
CHILD_KINDS = (
    SERVICE_ACCOUNT,
    CONFIG_MAP,
    SECRET,
    SERVICE,
    DEPLOYMENT,
    POD_DISRUPTION_BUDGET,
    AUTOSCALER,
    NETWORK_POLICY,
)
_BY_NAME = {(kind.api_version, kind.kind): kind for kind in (*CHILD_KINDS, MEMORY_CLUSTER, MEMORY_NAMESPACE)}


def kind_of(manifest: dict[str, Any]) -> Kind:
    """Return the kind of a manifest that the operator itself has built."""
    return _BY_NAME[manifest["apiVersion"], manifest["kind"]]
