"""Bearer tokens (RFC 6750): several, compared in constant time, each with the scopes it grants. No token, no start."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum

from fastapi import Request
from pydantic import SecretStr

from memory_contracts.errors import ReadOnly, Rejected
from memory_contracts.settings import RuntimeSettings, split_tokens
from memory_runtime.api.problems import HttpProblem
from memory_runtime.composition import Application


class Scope(StrEnum):
    """What a token may do."""

    READ = "read"
    WRITE = "write"


class Tokens:
    """The accepted tokens as SHA-256 digests, with their scopes."""

    def __init__(self, settings: RuntimeSettings) -> None:
        self._grants: list[tuple[bytes, frozenset[Scope]]] = [
            *((_digest(token), frozenset(Scope)) for token in _split(settings.token, "SOMA_API_TOKEN")),
            *(
                (_digest(token), frozenset({Scope.READ}))
                for token in _split(settings.read_token, "SOMA_API_READ_TOKEN")
            ),
        ]
        if not self._grants:
            raise Rejected(
                "no token is set, and nobody may call a service without one; set SOMA_API_TOKEN or SOMA_API_TOKEN_FILE",
                field="SOMA_API_TOKEN",
            )

    def scopes(self, token: str) -> frozenset[Scope]:
        """Return what `token` grants; takes the same time for every token."""
        offered = _digest(token)
        granted: frozenset[Scope] = frozenset()
        for digest, scopes in self._grants:
            if hmac.compare_digest(digest, offered):
                granted |= scopes
        return granted


@dataclass(frozen=True, slots=True)
class Guard:
    """A dependency that lets a request pass with `scope` and names the caller in ``request.state.caller``."""

    scope: Scope

    async def __call__(self, request: Request) -> None:
        """Raise `HttpProblem` 401 for an unknown caller, 403 for one without the scope; `ReadOnly` when nobody may."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise _challenge(401, "send a token: Authorization: Bearer …", "")
        tokens: Tokens = request.app.state.tokens
        granted = tokens.scopes(token.strip())
        if not granted:
            raise _challenge(401, "this token is not known here", ', error="invalid_token"')
        if self.scope not in granted:
            hint = f', error="insufficient_scope", scope="{self.scope}"'
            raise _challenge(403, f"this token may not {self.scope}", hint)
        application: Application = request.app.state.application
        if self.scope is Scope.WRITE and application.settings.read_only:
            raise ReadOnly
        request.state.caller = _digest(token.strip()).hex()


def _challenge(status: int, detail: str, parameters: str) -> HttpProblem:
    return HttpProblem(
        status, detail, field="Authorization", headers={"WWW-Authenticate": f'Bearer realm="memory"{parameters}'}
    )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _split(secret: SecretStr | None, variable: str) -> list[str]:
    return split_tokens(secret.get_secret_value(), variable) if secret else []
