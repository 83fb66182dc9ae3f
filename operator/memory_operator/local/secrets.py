"""The secret store of local mode: one private file a secret, made once and used ever after."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from memory_contracts.errors import Rejected, Unavailable
from memory_contracts.naming import Slot
from memory_contracts.reasons import Reason
from memory_contracts.settings import split_tokens
from memory_contracts.v1alpha1 import MemoryNamespace
from memory_operator.local.files import write_private
from memory_operator.local.state import StateDirectory
from memory_operator.specs.labels import Manifest
from memory_operator.specs.secret import SLOTS, StoredCredentials, read_credentials

ADMIN_SECRET = "postgres-admin"  # noqa: S105 - the name of a secret
SECRET_BYTES = 32
SLOT_FILE = "slot"


@dataclass(frozen=True, slots=True)
class Administrator:
    """Who may create schemas and roles."""

    user: str
    password: str = field(repr=False)


class LocalSecretStore:
    """Keeps the tenant's secrets in the state directory; `administrator` is the database's, known once that answers."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state
        self.administrator: Administrator | None = None

    async def read(self, namespace: str, name: str) -> Mapping[str, str]:
        """Return the administrator; there is no other Secret on one machine."""
        if name != ADMIN_SECRET:
            raise Rejected(f"Secret {name}: there are none on one machine", reason=Reason.SECRET_NOT_FOUND)
        if self.administrator is None:
            raise Unavailable("the database has not been started yet")
        return {"username": self.administrator.user, "password": self.administrator.password}

    async def stored(self, namespace: MemoryNamespace) -> StoredCredentials:
        """Return what the files hold. Tokens that somebody wrote into theirs count from then on.

        Raises `Rejected` when the API would refuse them.
        """
        folder = self._folder(namespace)
        passwords = {slot: _text(folder / _password_file(slot)) for slot in SLOTS}
        said = _text(folder / SLOT_FILE)
        return StoredCredentials(
            api_token=_tokens(self._state.token_file(namespace.metadata.name)),
            slot=next((slot for slot in SLOTS if slot == said), None),
            postgres_passwords={slot: password for slot, password in passwords.items() if password},
        )

    async def keep(self, namespace: MemoryNamespace, manifest: Manifest) -> None:
        """Write what is new in the Secret into its files."""
        made, known = read_credentials(manifest["data"]), await self.stored(namespace)
        folder = self._folder(namespace)
        self._state.secrets.mkdir(mode=0o700, exist_ok=True)
        if made.api_token and made.api_token != known.api_token:
            write_private(self._state.token_file(namespace.metadata.name), made.api_token)
        for slot, password in made.postgres_passwords.items():
            if password != known.postgres_passwords.get(slot):
                write_private(folder / _password_file(slot), password)
        if made.slot and made.slot != known.slot:
            write_private(folder / SLOT_FILE, made.slot)

    def _folder(self, namespace: MemoryNamespace) -> Path:
        return self._state.token_file(namespace.metadata.name).parent


def new_secret() -> str:
    """Return 256 random bits as text."""
    return secrets.token_urlsafe(SECRET_BYTES)


def _password_file(slot: Slot) -> str:
    return f"postgres-password-{slot}"


def _tokens(file: Path) -> str | None:
    if not file.is_file():
        return None
    try:
        return "\n".join(split_tokens(_text(file), str(file)))
    except Rejected as error:
        raise Rejected(f"{error.detail}; correct it, or delete the file and have one made") from None


def _text(file: Path) -> str:
    """Return what the file holds; "" when there is none, or what cannot be text."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
