"""Everything that makes one namespace's API run, built together so that the parts agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from memory_operator.specs.autoscaler import build_autoscaler
from memory_operator.specs.binding import build_binding
from memory_operator.specs.config_map import build_config_map
from memory_operator.specs.deployment import build_deployment
from memory_operator.specs.disruption_budget import build_disruption_budget
from memory_operator.specs.environment import build_environment
from memory_operator.specs.labels import Manifest
from memory_operator.specs.network_policy import build_network_policy
from memory_operator.specs.secret import build_secret
from memory_operator.specs.service import build_service
from memory_operator.specs.service_account import build_service_account
from memory_operator.specs.tenant import Tenant

# apiVersion and kind of everything the builders can emit; the operator's permissions are compared with it.
KINDS: Final = (
    ("v1", "ServiceAccount"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("apps/v1", "Deployment"),
    ("v1", "Service"),
    ("policy/v1", "PodDisruptionBudget"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
)


@dataclass(frozen=True, slots=True)
class Workload:
    """The manifests of one API; None for those that this namespace does not want.

    The Secrets are kept out of the representation, which may reach a log or a test's output.
    """

    service_account: Manifest
    config_map: Manifest
    secret: Manifest = field(repr=False)
    binding: Manifest = field(repr=False)
    network_policy: Manifest | None
    deployment: Manifest
    service: Manifest
    disruption_budget: Manifest
    autoscaler: Manifest | None

    @property
    def children(self) -> tuple[Manifest, ...]:
        """The manifests in the order of applying: what pods refer to, and the policy that confines them, come first."""
        every = (
            self.service_account,
            self.config_map,
            self.secret,
            self.binding,
            self.network_policy,
            self.deployment,
            self.service,
            self.disruption_budget,
            self.autoscaler,
        )
        return tuple(each for each in every if each is not None)

    @property
    def replicas(self) -> int:
        """How many pods there are to be: the fewest, when an autoscaler may add to them."""
        fewest = self.autoscaler["spec"]["minReplicas"] if self.autoscaler else 0
        return int(self.deployment["spec"].get("replicas", fewest))


def build_workload(tenant: Tenant) -> Workload:
    """Return the manifests; the Deployment carries the hash of what its pods read in ConfigMap and Secret.

    Raises `Rejected` when the API token is one that the API would refuse to start with.
    """
    namespace, environment = tenant.namespace, build_environment(tenant)
    autoscaling = namespace.spec.api.autoscaling
    return Workload(
        service_account=build_service_account(namespace),
        config_map=build_config_map(tenant, environment),
        secret=build_secret(tenant, environment),
        binding=build_binding(tenant),
        network_policy=build_network_policy(tenant) if namespace.spec.network_policy.mode == "Strict" else None,
        deployment=build_deployment(tenant, environment),
        service=build_service(namespace),
        disruption_budget=build_disruption_budget(namespace),
        autoscaler=build_autoscaler(namespace, autoscaling) if autoscaling else None,
    )
