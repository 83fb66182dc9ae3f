"""The settings of the API process, and their split into what everybody may read and what is secret."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from pydantic import SecretStr

from memory_contracts.settings import FILE_VARIABLES, RuntimeSettings
from memory_operator.specs.tenant import Tenant

TLS_DIRECTORY: Final = "/etc/memory/tls"
POSTGRES_CA: Final = "postgres-ca.crt"


@dataclass(frozen=True, slots=True)
class Environment:
    """What one API process reads: variables in the two objects that carry them, and files of certificates."""

    plain: dict[str, str]
    secret: dict[str, str] = field(repr=False)
    certificates: dict[str, str]

    @property
    def digest(self) -> str:
        """A hash of all of it; it differs when a running process has to be replaced.

        It is no way to the secrets, for among them is a password of 256 random bits that nobody can try out.
        """
        content = json.dumps([self.plain, self.secret, self.certificates], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def build_environment(tenant: Tenant) -> Environment:
    """Return the environment of the API process."""
    variables = runtime_settings(tenant).to_environment()
    secret = {name: value for name, value in variables.items() if name in FILE_VARIABLES}
    return Environment(
        plain={name: value for name, value in variables.items() if name not in secret},
        secret=secret,
        certificates={} if tenant.postgres_ca is None else {POSTGRES_CA: tenant.postgres_ca},
    )


def runtime_settings(tenant: Tenant) -> RuntimeSettings:
    """Return what the API process of this namespace is to be told."""
    names, spec = tenant.names, tenant.namespace.spec
    return RuntimeSettings(
        namespace=names.qualified,
        host=tenant.listen.host,
        port=tenant.listen.port,
        token=SecretStr(tenant.credentials.api_token),
        read_only=spec.state == "ReadOnly",
        postgres_url=SecretStr(postgres_url(tenant)),
        postgres_schema=names.schema,
        postgres_ssl_mode=tenant.cluster.spec.postgres.external.tls.mode,
        postgres_ssl_root_cert=None if tenant.postgres_ca is None else f"{TLS_DIRECTORY}/{POSTGRES_CA}",
        migrate_on_start=False,
        embedding_provider=spec.embedding.provider,
        embedding_dimensions=spec.embedding.dimensions,
        log_level=spec.api.log_level,
    )


def postgres_url(tenant: Tenant) -> str:
    """Return the address of the database for the tenant's login role in use, as libpq writes it."""
    server, credentials = tenant.cluster.spec.postgres.external, tenant.credentials
    host = f"[{server.host}]" if ":" in server.host else server.host
    user, password = tenant.names.login_role(credentials.slot), quote(credentials.postgres_password, safe="")
    return f"postgresql://{user}:{password}@{host}:{server.port}/{quote(server.database, safe='')}"
