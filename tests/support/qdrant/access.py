"""Who may do what: the API key, the read-only key, and JWTs (HS256) signed with the API key."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from qdrant.refusals import NotAuthenticated, Refused


class Need(Enum):
    """What a request asks for."""

    NOTHING = "open to everybody"
    KEY = "any valid credential"
    READ = "reads one collection"
    WRITE = "writes points and payload indexes of one collection"
    MANAGE = "creates, changes and deletes collections and aliases"

    @property
    def changes_something(self) -> bool:
        return self in (Need.WRITE, Need.MANAGE)


@dataclass(frozen=True, slots=True)
class Keys:
    """What the server was started with; without an API key everybody may do everything."""

    api: str | None = None
    read_only: str | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """`everywhere` is "m" (manage) or "r" (read) on the whole server; otherwise collection → "rw" or "r"."""

    everywhere: str | None = None
    collections: Mapping[str, str] = field(default_factory=dict)

    def check(self, need: Need, collection: str = "") -> None:
        if self.everywhere:
            if self.everywhere == "r" and need.changes_something:
                raise Refused(403, "Forbidden: Global manage access is required")
        elif need is Need.MANAGE:
            raise Refused(403, "Forbidden: Global access is required")
        elif need in (Need.READ, Need.WRITE):
            self._check_collection(need, collection)

    def _check_collection(self, need: Need, collection: str) -> None:
        # The claim is matched against the name in the request, alias or not.
        if collection not in self.collections:
            raise Refused(403, f"Forbidden: Access to collection {collection} is required")
        if need is Need.WRITE and self.collections[collection] != "rw":
            raise Refused(403, f"Forbidden: Write access to collection {collection} is required")

    def sees(self, collection: str) -> bool:
        return self.everywhere is not None or collection in self.collections


def authenticate(headers: Mapping[str, str], keys: Keys, value_exists: Callable[[dict[str, Any]], bool]) -> Access:
    """Return the access of whoever sent `headers`; `value_exists` looks up the claim of that name."""
    if keys.api is None:
        return Access("m")
    credential = headers.get("api-key") or headers.get("authorization", "").removeprefix("Bearer ")
    if not credential:
        raise NotAuthenticated(401, "Must provide an API key or an Authorization bearer token")
    if same(credential, keys.api):
        return Access("m")
    if keys.read_only and same(credential, keys.read_only):
        return Access("r")
    claims = verified_claims(credential, keys.api)
    if "value_exists" in claims and not value_exists(claims["value_exists"]):
        raise NotAuthenticated(401, "Invalid JWT, stateful validation failed")
    return access_of(claims)


def access_of(claims: Mapping[str, Any]) -> Access:
    access = claims.get("access", "m")
    if isinstance(access, str):
        return Access(access)
    return Access(None, {each["collection"]: each["access"] for each in access})


def verified_claims(token: str, key: str) -> dict[str, Any]:
    try:
        signed, _, signature = token.rpartition(".")
        genuine = hmac.compare_digest(decoded(signature), digest(signed, key))
        claims: dict[str, Any] = json.loads(decoded(signed.split(".")[1])) if genuine else {}
    except (ValueError, IndexError, binascii.Error):
        genuine = False
    if not genuine:
        raise NotAuthenticated(401, "Invalid API key or JWT")
    if "exp" in claims and claims["exp"] < time.time():
        raise NotAuthenticated(403, "ExpiredSignature")
    return claims


def signed_token(claims: Mapping[str, Any], key: str) -> str:
    """Make a JWT, as an owner of the API key may."""
    parts = [{"alg": "HS256", "typ": "JWT"}, claims]
    signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{encoded(digest(signed, key))}"


def digest(signed: str, key: str) -> bytes:
    return hmac.digest(key.encode(), signed.encode(), hashlib.sha256)


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
