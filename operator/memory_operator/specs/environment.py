"""The settings of the API process, and their split into what everybody may read and what is secret."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from urllib.parse import quote

from pydantic import SecretStr

from memory_contracts.naming import TenantNames
from memory_contracts.settings import FILE_VARIABLES, RuntimeSettings
from memory_contracts.v1alpha1 import MemoryCluster, MemoryNamespace


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the API listens; the workload target knows which address is right."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Credentials:
    """The secrets of one tenant: the bearer token of its API and the password of its database role."""

    api_token: str = field(repr=False)
    postgres_password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables of one API process, in the two objects that carry them."""

    plain: dict[str, str]
    secret: dict[str, str] = field(repr=False)

    @property
    def digest(self) -> str:
        """A hash of all variables; it differs when a running process has to be replaced."""
        return hashlib.sha256(json.dumps([self.plain, self.secret], sort_keys=True).encode()).hexdigest()


def tenant_names(namespace: MemoryNamespace) -> TenantNames:
    """Return the external names of the object."""
    return TenantNames(namespace.metadata.namespace, namespace.metadata.name)


def runtime_settings(
    namespace: MemoryNamespace, cluster: MemoryCluster, listen: Listen, credentials: Credentials
) -> RuntimeSettings:
    """Return what the API process of this namespace is to be told."""
    names = tenant_names(namespace)
    return RuntimeSettings(
        namespace=names.qualified,
        host=listen.host,
        port=listen.port,
        token=SecretStr(credentials.api_token),
        postgres_url=SecretStr(postgres_url(namespace, cluster, credentials)),
        postgres_schema=names.schema,
        postgres_ssl_mode=cluster.spec.postgres.external.ssl_mode,
        migrate_on_start=False,
        embedding_provider=namespace.spec.embedding.provider,
        embedding_dimensions=namespace.spec.embedding.dimensions,
        log_level=namespace.spec.api.log_level,
    )


def postgres_url(namespace: MemoryNamespace, cluster: MemoryCluster, credentials: Credentials) -> str:
    """Return the address of the database for the tenant's login role, as libpq writes it."""
    server = cluster.spec.postgres.external
    host = f"[{server.host}]" if ":" in server.host else server.host
    user, password = tenant_names(namespace).login_role, quote(credentials.postgres_password, safe="")
    return f"postgresql://{user}:{password}@{host}:{server.port}/{quote(server.database, safe='')}"


def build_environment(
    namespace: MemoryNamespace, cluster: MemoryCluster, listen: Listen, credentials: Credentials
) -> Environment:
    """Return the environment of the API process."""
    variables = runtime_settings(namespace, cluster, listen, credentials).to_environment()
    secret = {name: value for name, value in variables.items() if name in FILE_VARIABLES}
    return Environment({name: value for name, value in variables.items() if name not in secret}, secret)
