"""Do the passwords in the database match the ones that are wanted?

Where the administrator may read ``pg_authid`` (a superuser, or one who was granted its columns), the stored verifier is
compared: exact, without a login, and for all tenants at once. Where it may not, only a login tells. Its success is
remembered for half a minute and for this very role (its oid), so a wrong memory heals with the next sweep.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from memory_operator.providers.postgres.scram import scram_verifier, verifies
from memory_operator.providers.postgres.tenant import DesiredTenant, PasswordState, Slot

REMEMBER_SECONDS = 30.0
LogIn = Callable[[str, str], Awaitable[bool]]


class PasswordMemory:
    """What was found out about passwords; holds digests, never a password."""

    def __init__(self, log_in: LogIn, clock: Callable[[], float]) -> None:
        self._log_in = log_in
        self._clock = clock
        self._matched: dict[str, bytes] = {}
        self._logged_in: dict[str, tuple[bytes, float]] = {}

    async def states(
        self, desired: DesiredTenant, roles: Mapping[str, Mapping[str, Any]], *, readable: bool
    ) -> dict[str, PasswordState]:
        """Return role → state for the slots whose roles exist; `roles` holds oid, can_login and verifier of each."""
        for role in set(desired.login_roles) - roles.keys():
            self._forget(role)
        slots = [slot for slot in desired.slots if slot.role in roles]
        found = [await self._state(desired, slot, roles[slot.role], readable) for slot in slots]
        return {slot.role: state for slot, state in zip(slots, found, strict=True)}

    def new_verifier(self, role: str, password: str) -> str:
        """Return what to store for a password, and remember that the two match."""
        verifier = scram_verifier(password, os.urandom(16))
        self._matched[role] = _digest(verifier, password)
        return verifier

    def _forget(self, role: str) -> None:
        self._matched.pop(role, None)
        self._logged_in.pop(role, None)

    async def _state(
        self, desired: DesiredTenant, slot: Slot, found: Mapping[str, Any], readable: bool
    ) -> PasswordState:
        if readable and not found["verifier"]:
            return "none"
        if readable:
            right = bool(slot.password) and await self._matches(slot.role, found["verifier"], slot.password or "")
        elif not (found["can_login"] and slot.password and desired.may_log_in(slot)):
            return "unknown"
        else:
            right = await self._opens(slot.role, slot.password, found)
        return "right" if right else "wrong"

    async def _matches(self, role: str, verifier: str, password: str) -> bool:
        """A verifier and a password match for ever, so this needs no clock."""
        digest = _digest(verifier, password)
        if self._matched.get(role) != digest:
            if not await asyncio.to_thread(verifies, verifier, password):
                return False
            self._matched[role] = digest
        return True

    async def _opens(self, role: str, password: str, found: Mapping[str, Any]) -> bool:
        digest, now = _digest(str(found["oid"]), password), self._clock()
        remembered, until = self._logged_in.get(role, (b"", 0.0))
        if remembered == digest and now < until:
            return True
        if not await self._log_in(role, password):
            self._forget(role)
            return False
        self._logged_in[role] = (digest, now + REMEMBER_SECONDS)
        return True


def _digest(*texts: str) -> bytes:
    return hashlib.sha256("\0".join(texts).encode()).digest()
