"""The consistency token: names what a client has seen, so that a recall can wait until it has seen it too.

A write's token names its one transaction. A recall's token names the state it was answered from: that transaction and
all before it. Callers treat both as opaque.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from memory_contracts.errors import Rejected

_FORM = re.compile(r"(?P<kind>[ts])1-(?P<transaction>[0-9a-f]{1,16})")
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ConsistencyToken:
    """`state` tells whether all earlier transactions are meant too."""

    transaction: int
    state: bool = False

    def __str__(self) -> str:
        """Return the token as it travels."""
        return f"{'s' if self.state else 't'}1-{self.transaction:x}"


def decode_token(text: str) -> ConsistencyToken:
    """Return what a token names; raises `Rejected` for anything that is not a token."""
    found = _FORM.fullmatch(text)
    if found is None or (transaction := int(found["transaction"], 16)) > _LARGEST:
        raise Rejected("not a consistency token; send one that was returned here, or none", field="token")
    return ConsistencyToken(transaction, state=found["kind"] == "s")
