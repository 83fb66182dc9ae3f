"""The rules of a MemoryCluster about who may use it: which namespaces, and how many."""

from __future__ import annotations

from collections.abc import Mapping

from memory_contracts.api.workload import LabelSelector, LabelSelectorRequirement
from memory_contracts.conditions import Reason
from memory_contracts.errors import Rejected, Unavailable
from memory_contracts.v1alpha1 import AllowedNamespaces, MemoryCluster, MemoryNamespace
from memory_operator.keys import Key, key_of
from memory_operator.kube.cache import Cache


class KubeConsent:
    """Knows the labels of the Kubernetes namespaces and who came first."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def check(self, namespace: MemoryNamespace, cluster: MemoryCluster) -> None:
        """Raise `Rejected` when the namespace may not use the cluster."""
        here, name = namespace.metadata.namespace, f"{cluster.metadata.namespace}/{cluster.metadata.name}"
        if cluster.spec.allowed_namespaces.from_ == "Selector" and self._cache.namespace_labels(here) is None:
            # A label that is absent may be what the selector asks for.
            raise Unavailable(f"the labels of namespace {here} are not known yet", reason=Reason.PROGRESSING)
        if not self._lets_in(here, cluster):
            raise Rejected(
                f"MemoryCluster {name} does not allow namespace {here}; its owner can, in spec.allowedNamespaces",
                reason=Reason.NAMESPACE_NOT_ALLOWED,
            )
        limit = cluster.spec.capacity.max_namespaces
        if limit is not None and self._came_before(key_of(namespace), cluster) >= limit:
            raise Rejected(
                f"MemoryCluster {name} takes {limit} namespaces, and as many came before; "
                "raise its spec.capacity.maxNamespaces, or use another cluster",
                reason=Reason.CAPACITY_EXCEEDED,
            )

    def _lets_in(self, namespace: str, cluster: MemoryCluster) -> bool:
        labels = self._cache.namespace_labels(namespace) or {}
        return allows(cluster.spec.allowed_namespaces, namespace, cluster.metadata.namespace, labels)

    def _came_before(self, key: Key, cluster: MemoryCluster) -> int:
        """Return how many older objects use the cluster; those that it does not let in take nobody's place."""
        users = {user: entry.created for user in self._cache.users_of(key_of(cluster))
                 if (entry := self._cache.entry(user))}  # fmt: skip
        own = (users[key], key) if key in users else None
        older = [user for user, created in users.items() if own is None or (created, user) < own]
        return sum(self._lets_in(user.namespace, cluster) for user in older)


def allows(rules: AllowedNamespaces, namespace: str, home: str, labels: Mapping[str, str]) -> bool:
    """Return whether the rules of a cluster in `home` let the Kubernetes namespace in."""
    match rules.from_:
        case "All":
            return True
        case "Same":
            return namespace == home
        case "Selector":
            return rules.selector is not None and matches(rules.selector, labels)


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Return whether the labels match, as Kubernetes defines it for label selectors."""
    wanted = selector.match_labels or {}
    expressions = selector.match_expressions or []
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _holds(each, labels) for each in expressions
    )


def _holds(requirement: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(requirement.key), requirement.values or []
    match requirement.operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
