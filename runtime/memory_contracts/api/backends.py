"""The backends of a MemoryCluster: Postgres, and where wanted Qdrant, Kafka and Redis."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from memory_contracts.api.base import (
    ApiModel,
    Duration,
    Host,
    ObjectName,
    SecretKey,
    SecretReference,
    cel,
    parse_duration,
)


class CaReference(ApiModel):
    """A key of a Secret that holds PEM certificates of the authorities to trust."""

    name: ObjectName = Field(description="Name of the Secret, in the namespace of the MemoryCluster.")
    key: SecretKey = Field(default="ca.crt", description="Key that holds the certificates, in PEM.")


class ApiKeyReference(ApiModel):
    """A key of a Secret that holds an API key."""

    name: ObjectName = Field(description="Name of the Secret, in the namespace of the MemoryCluster.")
    key: SecretKey = Field(default="api-key", description="Key that holds the API key.")


_CA_UNUSED = (
    "tls.caSecretRef goes with mode verify-ca or verify-full, for the others trust any certificate; "
    "change the mode or remove the reference"
)


class PostgresTls(ApiModel):
    """How connections to Postgres are encrypted."""

    model_config = ConfigDict(
        json_schema_extra=cel(("!has(self.caSecretRef) || self.mode in ['verify-ca', 'verify-full']", _CA_UNUSED)),
    )

    mode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = Field(
        default="verify-full",
        description="TLS policy, with the meaning that libpq gives to sslmode; only the last two verify the server.",
    )
    ca_secret_ref: CaReference | None = Field(
        default=None, description="Authorities to trust; those of the image's operating system when absent."
    )

    @model_validator(mode="after")
    def _authorities_are_used(self) -> PostgresTls:
        if self.ca_secret_ref and self.mode not in ("verify-ca", "verify-full"):
            raise ValueError(_CA_UNUSED)
        return self


class ExternalPostgres(ApiModel):
    """A Postgres server (15 or newer) that somebody else runs."""

    host: Host = Field(description="Host name or address, without port.")
    port: int = Field(default=5432, ge=1, le=65535, description="TCP port.")
    database: str = Field(
        default="soma",
        min_length=1,
        max_length=63,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="Database that holds the schemas; it must exist.",
    )
    tls: PostgresTls = Field(default=PostgresTls(), description="Encryption of the connections.")
    admin_secret_ref: SecretReference = Field(
        description="Secret with the keys username and password of a role that may create schemas and roles."
    )


class PostgresBackend(ApiModel):
    """Where the canonical rows live."""

    mode: Literal["External"] = Field(default="External", description="External: a server that somebody else runs.")
    external: ExternalPostgres = Field(description="The external server.")


class Tls(ApiModel):
    """Encryption with a verified certificate."""

    ca_secret_ref: CaReference | None = Field(
        default=None, description="Authorities to trust; those of the image's operating system when absent."
    )


_TLS_WITHOUT_HTTPS = "qdrant.external.tls goes with an address that begins with https://; change url or remove tls"


class ExternalQdrant(ApiModel):
    """A Qdrant server (1.16 or newer) that somebody else runs."""

    model_config = ConfigDict(
        json_schema_extra=cel(("!has(self.tls) || self.url.startsWith('https://')", _TLS_WITHOUT_HTTPS)),
    )

    url: str = Field(
        min_length=8,
        max_length=512,
        pattern=r"^https?://([-A-Za-z0-9._]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?/?$",
        description="Address of the REST interface, e.g. https://qdrant.example:6333.",
    )
    api_key_secret_ref: ApiKeyReference | None = Field(
        default=None, description="Key that may manage collections; none is sent when absent."
    )
    tls: Tls | None = Field(default=None, description="Which authorities to trust; only with https.")

    @model_validator(mode="after")
    def _tls_is_used(self) -> ExternalQdrant:
        if self.tls and not self.url.startswith("https://"):
            raise ValueError(_TLS_WITHOUT_HTTPS)
        return self


class QdrantBackend(ApiModel):
    """Where vectors are indexed for namespaces that outgrow the memory of their API processes."""

    mode: Literal["External"] = Field(default="External", description="External: a server that somebody else runs.")
    external: ExternalQdrant = Field(description="The external server.")


class KafkaSasl(ApiModel):
    """How the operator logs in to Kafka."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="SASL mechanism; PLAIN sends the password, so use it with tls only."
    )
    secret_ref: SecretReference = Field(
        description="Secret with the keys username and password of a user that may create topics."
    )


class ExternalKafka(ApiModel):
    """A Kafka cluster that somebody else runs."""

    bootstrap_servers: str = Field(
        min_length=3,
        max_length=2048,
        pattern=r"^([-A-Za-z0-9._]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}(,([-A-Za-z0-9._]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5})*$",
        description="Brokers to ask first, as host:port separated by commas.",
    )
    sasl: KafkaSasl | None = Field(default=None, description="Login; none when absent.")
    tls: Tls | None = Field(
        default=None,
        description="Encryption with a verified certificate; {} trusts the system's authorities. None when absent.",
    )


class KafkaDefaults(ApiModel):
    """How topics are made."""

    replication_factor: int = Field(
        default=1,
        ge=1,
        le=32767,
        description="Replicas of each partition, at most the number of brokers; topics that exist keep theirs.",
    )


class KafkaBackend(ApiModel):
    """Where changes are published, and where other systems leave memories to be stored."""

    mode: Literal["External"] = Field(default="External", description="External: a cluster that somebody else runs.")
    external: ExternalKafka = Field(description="The external cluster.")
    defaults: KafkaDefaults = Field(default=KafkaDefaults(), description="How topics are made.")


class ExternalRedis(ApiModel):
    """A Redis (7.2 or newer) or Valkey server that somebody else runs."""

    host: Host = Field(description="Host name or address, without port.")
    port: int = Field(default=6379, ge=1, le=65535, description="TCP port.")
    admin_secret_ref: SecretReference | None = Field(
        default=None,
        description="Secret with the keys username and password of a user that may manage ACL users; "
        "the default user without password when absent.",
    )
    tls: Tls | None = Field(
        default=None,
        description="Encryption with a verified certificate; {} trusts the system's authorities. None when absent.",
    )


class RedisBackend(ApiModel):
    """Where rate limits and caches are shared between API processes; everything works without it."""

    mode: Literal["External"] = Field(default="External", description="External: a server that somebody else runs.")
    external: ExternalRedis = Field(description="The external server.")


_INTERVAL = "resync.interval is between 5s and 10m; choose a time in it"


class Resync(ApiModel):
    """How often all backends are compared with what they should hold."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            ("duration(self.interval) >= duration('5s') && duration(self.interval) <= duration('10m')", _INTERVAL)
        ),
    )

    interval: Duration = Field(
        default="30s", description="Time between two comparisons, 5s to 10m; drift is found within it."
    )

    @model_validator(mode="after")
    def _interval_in_bounds(self) -> Resync:
        if not 5 <= parse_duration(self.interval).total_seconds() <= 600:
            raise ValueError(_INTERVAL)
        return self
