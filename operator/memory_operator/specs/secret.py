"""Secrets of a tenant as manifests, and the Secret in which the operator keeps what it generated.

The values are written as `data`: under server-side apply a key once given as `stringData` is never removed again.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, get_args

from memory_contracts.naming import Slot
from memory_contracts.settings import MIN_TOKEN_LENGTH
from memory_contracts.v1alpha1 import MemoryNamespace
from memory_operator.specs.environment import Environment
from memory_operator.specs.labels import API_COMPONENT, WATCH_LABEL, WATCH_OWNED, Manifest, build_metadata
from memory_operator.specs.tenant import Credentials, Tenant

SLOTS: Final[tuple[Slot, ...]] = get_args(Slot)
# Only the operator reads these; the process is given the environment's variables, which have their own keys.
API_TOKEN = "api-token"  # noqa: S105 - a key, not a token
SLOT = "slot"
POSTGRES_PASSWORD = "postgres-password-{}"  # noqa: S105
REDIS_PASSWORD = "redis-password"  # noqa: S105


@dataclass(frozen=True, slots=True)
class StoredCredentials:
    """What the Secret holds of what the operator generated; None or absent where it is missing or unusable."""

    api_token: str | None = field(default=None, repr=False)
    slot: Slot | None = None
    postgres_passwords: Mapping[Slot, str] = field(default_factory=dict, repr=False)
    redis_password: str | None = field(default=None, repr=False)

    def complete(self, generate: Callable[[], str], *, tokens: str | None = None, redis: bool = False) -> Credentials:
        """Return the credentials, with what is missing generated; the slot that nobody logs in with needs none.

        `tokens` are those of ``spec.api.auth.tokenSecretRef`` and take the place of a token of the operator's own.
        """
        slot = self.slot or SLOTS[0]
        return Credentials(
            api_token=tokens or self.api_token or generate(),
            postgres_passwords={**self.postgres_passwords, slot: self.postgres_passwords.get(slot) or generate()},
            slot=slot,
            redis_password=(self.redis_password or generate()) if redis else None,
        )


def build_secret(tenant: Tenant, environment: Environment) -> Manifest:
    """Return the Secret with the process's variables, and with what `read_credentials` finds again.

    A token that the user brought is not among the latter: when it is withdrawn, it must not be accepted any longer.
    """
    credentials = tenant.credentials
    kept: dict[str, str] = {SLOT: credentials.slot}
    kept |= {POSTGRES_PASSWORD.format(slot): each for slot, each in sorted(credentials.postgres_passwords.items())}
    if tenant.namespace.spec.api.auth.token_secret_ref is None:
        kept[API_TOKEN] = credentials.api_token
    if credentials.redis_password is not None:
        kept[REDIS_PASSWORD] = credentials.redis_password
    return secret_manifest(tenant.namespace, tenant.names.credentials, "Opaque", environment.secret | kept)


def read_credentials(data: Mapping[str, str]) -> StoredCredentials:
    """Return what the `data` of the Secret (base64, as the API server gives it) holds, however it was edited."""
    passwords = {slot: _secret(data, POSTGRES_PASSWORD.format(slot)) for slot in SLOTS}
    slot = _text(data, SLOT)
    return StoredCredentials(
        api_token=_secret(data, API_TOKEN),
        slot=next((each for each in SLOTS if each == slot), None),
        postgres_passwords={slot: each for slot, each in passwords.items() if each is not None},
        redis_password=_secret(data, REDIS_PASSWORD),
    )


def secret_manifest(namespace: MemoryNamespace, name: str, kind: str, values: Mapping[str, str]) -> Manifest:
    """Return a Secret of type `kind` that the operator watches."""
    metadata = build_metadata(namespace, name, API_COMPONENT)
    metadata["labels"] |= {WATCH_LABEL: WATCH_OWNED}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "data": data}


def _secret(data: Mapping[str, str], key: str) -> str | None:
    """Return the value unless somebody has made it too short to be a secret, or unfit for a header or an address."""
    value = _text(data, key)
    usable = len(value) >= MIN_TOKEN_LENGTH and value.isascii() and value.isprintable() and not set(value) & set(" ,")
    return value if usable else None


def _text(data: Mapping[str, str], key: str) -> str:
    try:
        return base64.b64decode(data.get(key, ""), validate=True).decode()
    except (binascii.Error, ValueError, TypeError):
        return ""
