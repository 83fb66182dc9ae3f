"""Who may hold a tenant: the oldest claim wins, and the loser learns who has it and what to do. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from memory_contracts.conditions import Reason
from memory_operator.providers.postgres.claimant import Claimant
from memory_operator.providers.postgres.sql import Literal, statement
from memory_operator.providers.shapes import Blocked


@dataclass(frozen=True, slots=True)
class TenantClaim:
    """A row of the ledger: object `uid` of Kubernetes cluster `identity` holds `tenant`, unless it was released.

    `predecessors` are the uids of earlier objects whose claim went over to this one.
    """

    tenant: str
    uid: str
    identity: str
    predecessors: frozenset[str]
    claimed_at: datetime
    released_at: datetime | None = None

    def held_by(self, uid: str, identity: str) -> bool:
        """Return whether this very object holds the tenant."""
        return (self.uid, self.identity) == (uid, identity) and self.released_at is None

    def open_to(self, uid: str, claimant: Claimant) -> bool:
        """Return whether the object may take the claim over.

        It may when an object of its own Kubernetes cluster released it, or is gone without that: its finalizer was
        removed by hand, or its backends did not answer at the end. An earlier holder never takes it back from a later.
        """
        if self.identity != claimant.identity:
            return False
        is_gone = claimant.unique_names and uid not in {self.uid, *self.predecessors}
        return self.released_at is not None or is_gone

    def taken_over_by(self, uid: str) -> TenantClaim:
        """Return the claim as it is after this object took it over."""
        return replace(self, uid=uid, predecessors=self.predecessors | ({self.uid} - {uid}), released_at=None)


def outcome(claim: TenantClaim, uid: str, identity: str) -> TenantClaim | Blocked:
    """Return the claim when the object holds it, else why it cannot."""
    if claim.held_by(uid, identity):
        return claim
    where = "of this Kubernetes cluster" if claim.identity == identity else f"of Kubernetes cluster {claim.identity}"
    who = f"the object with uid {claim.uid} {where}"
    held = f"is held by {who} since {claim.claimed_at:%Y-%m-%d %H:%M}; rename this object, or if that one is gone"
    left = f"was left by {who}, which may come back for its data; to hand the data over"
    remedy = statement("hand_over", tenant=Literal(claim.tenant), uid=Literal(claim.uid), identity=Literal(identity))
    told = f"{left if claim.released_at else held}: {remedy}"
    return Blocked(Reason.CLAIMED_BY_ANOTHER, f"tenant {claim.tenant} {told}")
