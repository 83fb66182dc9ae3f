"""Where a database is and who connects to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

SslMode: TypeAlias = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """A database and the role that connects to it."""

    host: str
    port: int
    database: str
    ssl_mode: SslMode
    user: str
    password: str = field(repr=False)
