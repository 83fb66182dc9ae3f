"""Where a database is, who connects to it, and how far the server has to prove who it is."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from memory_contracts.conditions import Reason
from memory_contracts.errors import Rejected

SslMode: TypeAlias = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """A database and the role that connects to it; `ca_certificates` is PEM text, absent means the system's."""

    host: str
    port: int
    database: str
    ssl_mode: SslMode
    user: str
    password: str = field(repr=False)
    ca_certificates: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"Postgres at {self.host}:{self.port}"

    def encryption(self) -> ssl.SSLContext | Literal["disable", "prefer", "require"]:
        """Return what `ssl_mode` means, as libpq reads it: ``require`` verifies too when authorities are given.

        Raises `Rejected` when the authorities cannot be read.
        """
        if self.ssl_mode in ("disable", "prefer") or (self.ssl_mode == "require" and not self.ca_certificates):
            return self.ssl_mode
        try:
            context = ssl.create_default_context(cadata=self.ca_certificates)
        except (ssl.SSLError, ValueError) as error:
            raise Rejected(
                f"{self}: the authorities are no certificates in PEM; put the bundle that signed the server's "
                "certificate there",
                reason=Reason.TLS_FAILED,
            ) from error
        context.check_hostname = self.ssl_mode == "verify-full"
        return context
