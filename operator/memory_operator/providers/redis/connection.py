"""Where a Redis is and who administers it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RedisConnection:
    """A server and its administrator's account; ``default`` is the user of a server that knows only ``requirepass``.

    With `tls` the server's certificate must be for `host` and come from `ca_certificates` (PEM), and from nobody else;
    without them, from an authority that this machine trusts. The timeouts are in seconds.
    """

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    tls: bool = False
    ca_certificates: str | None = field(default=None, repr=False)
    connect_timeout: float = 5.0
    command_timeout: float = 10.0

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port}"
