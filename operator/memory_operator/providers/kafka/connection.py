"""Where a Kafka cluster is and who connects to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

SaslMechanism: TypeAlias = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True, slots=True)
class Sasl:
    """A login."""

    mechanism: SaslMechanism
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """A cluster and the user that may create, change and delete topics there.

    `ca_certificates` is PEM text; with `tls` and without it the roots of the system are trusted. A broker's certificate
    is always verified, its name too. `request_seconds` bounds a request with everything before it: finding the host,
    connecting, logging in.
    """

    bootstrap_servers: str
    sasl: Sasl | None = None
    tls: bool = False
    ca_certificates: str | None = field(default=None, repr=False)
    connect_seconds: float = 5.0
    request_seconds: float = 8.0
