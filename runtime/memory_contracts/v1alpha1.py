"""The API types of ``memory.somafractal.io/v1alpha1``: MemoryCluster and MemoryNamespace.

This module is the source of the field texts, defaults and bounds. A field exists here only when it works.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from memory_contracts.conditions import Condition

API_GROUP = "memory.somafractal.io"
API_VERSION: Final = "memory.somafractal.io/v1alpha1"

# RFC 1123 label, the form Kubernetes asks of namespaces and of names that become Service names.
DnsLabel = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


class ApiModel(BaseModel):
    """Base of all API types: camelCase on the wire, unknown fields refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class ObjectMeta(ApiModel):
    """The part of the object's metadata that this service reads."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    name: DnsLabel
    namespace: DnsLabel = "default"
    uid: str = ""
    generation: int = 0


class SecretReference(ApiModel):
    """A Secret in the same namespace as the object that names it."""

    name: DnsLabel = Field(description="Name of the Secret.")


class ExternalPostgres(ApiModel):
    """A Postgres server (15 or newer) that somebody else runs."""

    host: str = Field(min_length=1, max_length=253, description="Host name or address.")
    port: int = Field(default=5432, ge=1, le=65535, description="TCP port.")
    database: str = Field(default="soma", min_length=1, max_length=63, description="Database that holds the schemas.")
    ssl_mode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = Field(
        default="verify-full", description="TLS policy, with the meaning that libpq gives to sslmode."
    )
    admin_secret_ref: SecretReference = Field(
        description="Secret with the keys username and password of a role that may create schemas and roles."
    )


class PostgresBackend(ApiModel):
    """Where the canonical rows live."""

    mode: Literal["External"] = Field(default="External", description="External: a server that somebody else runs.")
    external: ExternalPostgres = Field(description="The external server.")


class ClusterDefaults(ApiModel):
    """Values for every MemoryNamespace that does not set its own."""

    image: str = Field(
        default="memory-runtime:latest", min_length=1, max_length=512, description="Image of the API containers."
    )


class MemoryClusterSpec(ApiModel):
    """The backends that the namespaces of this cluster share."""

    postgres: PostgresBackend = Field(description="The database of record.")
    defaults: ClusterDefaults = Field(default=ClusterDefaults(), description="Defaults for the namespaces.")


class MemoryCluster(ApiModel):
    """Where memories live: one set of backends, shared by many MemoryNamespaces."""

    api_version: Literal["memory.somafractal.io/v1alpha1"] = API_VERSION
    kind: Literal["MemoryCluster"] = "MemoryCluster"
    metadata: ObjectMeta
    spec: MemoryClusterSpec


class ClusterReference(ApiModel):
    """Names the MemoryCluster that holds this namespace's memories."""

    name: DnsLabel = Field(default="default", description="Name of the MemoryCluster.")
    namespace: DnsLabel | None = Field(default=None, description="Its namespace; the object's own when absent.")


class Embedding(ApiModel):
    """How text becomes vectors."""

    provider: Literal["builtin", "hash"] = Field(
        default="builtin",
        description="builtin: potion-base-8M, in the image, offline. hash: feature hashing, no model at all.",
    )
    dimensions: int | None = Field(
        default=None, ge=64, le=4096, description="Length of the vectors of the hash provider; 512 when absent."
    )

    @model_validator(mode="after")
    def _dimensions_belong_to_hash(self) -> Embedding:
        if self.provider == "builtin" and self.dimensions is not None:
            raise ValueError("embedding.dimensions goes with provider hash only; the builtin model has 256")
        return self


class Api(ApiModel):
    """The HTTP service of the namespace."""

    replicas: int = Field(default=1, ge=1, le=100, description="How many API processes serve the namespace.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe event that is logged."
    )


class MemoryNamespaceSpec(ApiModel):
    """What one tenant's memory should be."""

    cluster_ref: ClusterReference = Field(default=ClusterReference(), description="The backends; immutable.")
    embedding: Embedding = Field(default=Embedding(), description="How text becomes vectors.")
    api: Api = Field(default=Api(), description="The HTTP service.")


class ExternalNames(ApiModel):
    """Names of the objects that the operator made in the backends."""

    postgres_schema: str
    postgres_role: str


class MemoryNamespaceStatus(ApiModel):
    """What is known of the namespace; written by the operator only."""

    observed_generation: int = 0
    endpoint: str | None = None
    external: ExternalNames | None = None
    conditions: list[Condition] = Field(default_factory=list)


class MemoryNamespace(ApiModel):
    """One tenant's memory: a schema in the backends and an HTTP service that stores and recalls."""

    api_version: Literal["memory.somafractal.io/v1alpha1"] = API_VERSION
    kind: Literal["MemoryNamespace"] = "MemoryNamespace"
    metadata: ObjectMeta
    spec: MemoryNamespaceSpec = MemoryNamespaceSpec()
    status: MemoryNamespaceStatus | None = None
