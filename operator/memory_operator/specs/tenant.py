"""What the builders are given: one tenant, its backends, where it listens, and its secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from memory_contracts.api.workload import ResourceRequirements
from memory_contracts.naming import Slot, TenantNames
from memory_contracts.v1alpha1 import MemoryCluster, MemoryNamespace


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the API listens; the workload target knows which address is right."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Credentials:
    """The secrets of one tenant.

    `api_token` may hold several tokens, one a line. Both database roles have a password; `slot` says which one the
    processes log in with.
    """

    api_token: str = field(repr=False)
    postgres_passwords: Mapping[Slot, str] = field(repr=False)
    slot: Slot = "a"
    redis_password: str | None = field(default=None, repr=False)

    @property
    def postgres_password(self) -> str:
        """The password of the role in use."""
        return self.postgres_passwords[self.slot]


# Of a tenant whose data is only to be removed.
NO_CREDENTIALS = Credentials(api_token="", postgres_passwords={})


@dataclass(frozen=True, slots=True)
class Tenant:
    """One MemoryNamespace with all that its manifests are made of. `postgres_ca` holds certificates in PEM.

    `old_code_gone` says that every process that is left runs what the manifests say.
    """

    namespace: MemoryNamespace
    cluster: MemoryCluster
    listen: Listen
    credentials: Credentials
    postgres_ca: str | None = None
    old_code_gone: bool = False

    @property
    def names(self) -> TenantNames:
        """The external names."""
        return tenant_names(self.namespace)

    @property
    def resources(self) -> ResourceRequirements:
        """What a process of the API gets: its own, else the default of the MemoryCluster."""
        return self.namespace.spec.api.resources or self.cluster.spec.defaults.resources


def tenant_names(namespace: MemoryNamespace) -> TenantNames:
    """Return the external names of the object."""
    return TenantNames(namespace.metadata.namespace, namespace.metadata.name)
