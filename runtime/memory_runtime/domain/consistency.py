"""The consistency token: names a committed write, so that a recall can wait until it has seen it.

It carries the transaction that made the write. Callers treat it as opaque.
"""

from __future__ import annotations

from memory_contracts.errors import Rejected

_PREFIX = "t1-"
_LARGEST = 2**63 - 1


def encode_token(transaction: int) -> str:
    """Return the token of a write."""
    return f"{_PREFIX}{transaction:x}"


def decode_token(token: str) -> int:
    """Return the transaction a token names; raises `Rejected` for anything that is not a token."""
    digits = token.removeprefix(_PREFIX)
    if token == digits or not digits or not set(digits) <= set("0123456789abcdef"):
        raise Rejected("not a consistency token; send one that a write returned, or none", field="token")
    transaction = int(digits[:17], 16)
    if len(digits) > 16 or transaction > _LARGEST:
        raise Rejected("not a consistency token; send one that a write returned, or none", field="token")
    return transaction
