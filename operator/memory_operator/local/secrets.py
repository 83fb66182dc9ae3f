"""The secret store of local mode: one private file a secret, made once and used ever after."""

from __future__ import annotations

import secrets
from pathlib import Path

from memory_contracts.errors import Rejected
from memory_contracts.naming import TenantNames
from memory_contracts.v1alpha1 import MemoryCluster
from memory_operator.local.files import write_private
from memory_operator.local.state import StateDirectory
from memory_operator.specs.environment import Credentials
from memory_operator.world import Administrator

SECRET_BYTES = 32


class LocalSecretStore:
    """Keeps the tenant's secrets in the state directory; the administrator is the database's, given at start."""

    def __init__(self, state: StateDirectory, administrator: Administrator) -> None:
        self._state = state
        self._administrator = administrator

    async def administrator(self, cluster: MemoryCluster) -> Administrator:
        """Return the administrator; there is one cluster only."""
        return self._administrator

    async def credentials(self, names: TenantNames) -> Credentials:
        """Return token and password; a token that somebody wrote into the file counts from then on."""
        self._state.secrets.mkdir(mode=0o700, exist_ok=True)
        token = self._state.token_file(names.name)
        return Credentials(_kept(token), _kept(token.with_name("postgres-password")))


def _kept(file: Path) -> str:
    if not file.is_file():
        write_private(file, secrets.token_urlsafe(SECRET_BYTES))
    text = file.read_text(encoding="utf-8").strip()
    if not text or not text.isascii():
        raise Rejected(f"{file} holds no usable secret; delete it, and a new one is made")
    return text
