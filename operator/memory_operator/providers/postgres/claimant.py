"""In whose name the ledger is kept, and the statements that refuse everybody else. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from memory_operator.providers.postgres.sql import Literal, statement

PROGRAM = "memory-operator"


@dataclass(frozen=True, slots=True)
class Claimant:
    """A Kubernetes cluster, and the term of its leader.

    `identity` is the uid of the kube-system namespace, or a word that machines share; `epoch` is None on one machine,
    where no other leader can be. `unique_names`: an object that holds a name is gone when another one has it.
    """

    identity: str
    epoch: int | None = None
    unique_names: bool = False

    @property
    def label(self) -> str:
        """What its sessions are called in ``pg_stat_activity``."""
        return PROGRAM if self.epoch is None else f"{PROGRAM} {self.identity} {self.epoch}"

    def fence(self) -> str:
        """Return the statement that fails when a newer leader has announced itself, and announces this one."""
        return statement("fence", identity=Literal(self.identity), epoch=self.epoch or 0)

    def guard(self, tenant: str, uid: str) -> str:
        """Return the statements that fail also when the tenant is not held by this object."""
        held = statement("hold", identity=Literal(self.identity), tenant=Literal(tenant), uid=Literal(uid))
        return f"{self.fence()};\n{held}"
