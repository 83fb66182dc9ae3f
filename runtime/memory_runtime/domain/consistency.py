"""The consistency token: names what a client has seen, so that a recall can wait until it has seen it too.

It carries a transaction, and means it and all before it. Callers treat it as opaque.
"""

from __future__ import annotations

import re

from memory_contracts.errors import Rejected

_FORM = re.compile(r"t1-([0-9a-f]{1,16})")
_LARGEST = 2**63 - 1


def encode_token(transaction: int) -> str:
    """Return the token of `transaction`, 0 .. 2**63 - 1."""
    return f"t1-{transaction:x}"


def decode_token(text: str) -> int:
    """Return the transaction that a token carries; raises `Rejected` for anything that is not a token."""
    found = _FORM.fullmatch(text)
    if found is None or (transaction := int(found[1], 16)) > _LARGEST:
        raise Rejected("not a consistency token; send one that was returned here, or none", field="token")
    return transaction
