"""Encryption of the connections: the address with the settings laid over it, and the authorities to trust."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from memory_contracts.settings import RuntimeSettings

MODE, ROOT_CERTIFICATE = "sslmode", "sslrootcert"
VERIFYING = ("verify-ca", "verify-full")


class Encryption:
    """What the driver is told about address and TLS; the operating system's authorities are read once, when needed."""

    def __init__(self, settings: RuntimeSettings) -> None:
        self._address = _laid_over(settings)
        self._system: ssl.SSLContext | None = None

    async def arguments(self) -> dict[str, Any]:
        """Return the driver's arguments ``dsn`` and, where the driver would trust nobody, ``ssl``.

        Left alone, it looks for authorities in ``~/.postgresql`` and refuses to verify anything when there are none.
        """
        query = dict(parse_qsl(self._address.query))
        found: dict[str, Any] = {"dsn": self._address.geturl()}
        if query.get(MODE) in VERIFYING and not query.get(ROOT_CERTIFICATE):
            if self._system is None:  # reading them takes tens of milliseconds
                self._system = await asyncio.to_thread(ssl.create_default_context)
            self._system.check_hostname = query[MODE] == "verify-full"
            found["ssl"] = self._system
        return found


def _laid_over(settings: RuntimeSettings) -> SplitResult:
    """Return the address; TLS settings of their own win over those in it."""
    parts = urlsplit(settings.postgres_url.get_secret_value())
    given = {MODE: settings.postgres_ssl_mode, ROOT_CERTIFICATE: settings.postgres_ssl_root_cert}
    wanted = {name: value for name, value in given.items() if value}
    return parts._replace(query=urlencode(dict(parse_qsl(parts.query)) | wanted)) if wanted else parts
