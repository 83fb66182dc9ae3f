"""SCRAM-SHA-256 verifiers: what Postgres stores for a password (RFC 5802, RFC 5803). Pure.

Passwords must be ASCII, so that SASLprep changes nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

from memory_contracts.errors import Rejected

ITERATIONS = 4096
_VERIFIER = re.compile(r"SCRAM-SHA-256\$(?P<iterations>\d+):(?P<salt>[^$:]+)\$(?P<stored>[^$:]+):(?P<server>[^$:]+)")


def scram_verifier(password: str, salt: bytes, iterations: int = ITERATIONS) -> str:
    """Return what Postgres stores for `password`. Raises `Rejected` when it is not ASCII."""
    if not password.isascii():
        raise Rejected("a database password holds characters beyond ASCII; choose another")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key, server_key = hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(each).decode() for each in (salt, stored_key, server_key))
    return f"SCRAM-SHA-256${iterations}:{salt64}${stored64}:{server64}"


def verifies(verifier: str, password: str) -> bool:
    """Return whether `verifier` was made from `password`; an MD5 hash counts as none. Takes a millisecond."""
    match = _VERIFIER.fullmatch(verifier)
    if match is None:
        return False
    mine = scram_verifier(password, base64.b64decode(match["salt"]), int(match["iterations"]))
    return hmac.compare_digest(mine, verifier)
