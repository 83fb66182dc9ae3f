"""What Postgres should hold for one tenant, and what it does hold. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from memory_contracts import naming
from memory_contracts.database.migrations import Applied, Migration, all_migrations
from memory_contracts.database.structure import structure
from memory_contracts.settings import RuntimeSettings
from memory_operator.providers.postgres.acl import Acl, Privileges
from memory_operator.providers.postgres.marks import Mark

# Beside its pool a process holds a few connections of its own (LISTEN, loading).
CONNECTIONS_BESIDE_POOL = 4

Access: TypeAlias = Literal["full", "read", "none"]
ObjectKind: TypeAlias = Literal["table", "sequence", "function"]
# right: the password that is wanted; wrong: another one; none: nobody can log in with any.
PasswordState: TypeAlias = Literal["right", "wrong", "none", "unknown"]

NOTHING: Privileges = frozenset()
TABLE_PRIVILEGES: Mapping[Access, Privileges] = {
    "full": frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"}),
    "read": frozenset({"SELECT"}),
    "none": NOTHING,
}
SEQUENCE_PRIVILEGES: Mapping[Access, Privileges] = {
    "full": frozenset({"USAGE", "SELECT"}),
    "read": frozenset({"SELECT"}),
    "none": NOTHING,
}
SCHEMA_PRIVILEGES: Mapping[Access, Privileges] = {
    "full": frozenset({"USAGE"}),
    "read": frozenset({"USAGE"}),
    "none": NOTHING,
}


@dataclass(frozen=True, slots=True)
class Slot:
    """One of the two roles to log in with; without a password nobody can."""

    role: str
    password: str | None = field(repr=False)
    active: bool


@dataclass(frozen=True, slots=True)
class DesiredTenant:
    """What Postgres should hold for one tenant.

    `predecessors` are the uids of earlier objects of the same name whose released claim this one has taken over.
    `old_code_gone` says that no process runs any more that an earlier build has started.
    """

    tenant: str
    schema: str
    owner_role: str
    slots: tuple[Slot, Slot]
    connection_limit: int
    uid: str = ""
    access: Access = "full"
    predecessors: frozenset[str] = frozenset()
    statement_timeout: str = "60s"
    migrations: tuple[Migration, ...] = ()
    structure: tuple[str, ...] = ()
    old_code_gone: bool = False

    @property
    def active(self) -> Slot:
        """The slot that the workloads are given."""
        return next(slot for slot in self.slots if slot.active)

    @property
    def login_roles(self) -> tuple[str, str]:
        """The roles of both slots."""
        return self.slots[0].role, self.slots[1].role

    @property
    def roles(self) -> tuple[str, str, str]:
        """All roles of the tenant."""
        return self.owner_role, *self.login_roles

    @property
    def schema_mark(self) -> Mark:
        """The comment that says whose the schema is."""
        return Mark(self.tenant, self.uid)

    def role_mark(self, database: str) -> Mark:
        """The comment of the roles."""
        return Mark(self.tenant, self.uid, database)

    def may_log_in(self, slot: Slot) -> bool:
        """Return whether the slot is open."""
        return self.access != "none" and slot.password is not None


@dataclass(frozen=True, slots=True)
class ObservedRole:
    """A role as it is.

    `settings` are those of ALTER ROLE … SET, `settings_here` those of ALTER ROLE … IN DATABASE … SET, which win.
    `oldest_code` is the newest migration that the oldest of the connected API processes knows.
    """

    comment: str | None
    can_login: bool
    privileged: bool
    connection_limit: int
    settings: Mapping[str, str]
    settings_here: tuple[str, ...] = ()
    member_of: tuple[str, ...] = ()
    expires: bool = False
    may_connect: bool = True
    may_use_extension: bool = True
    admin_may_be: bool = True
    sessions: int = 0
    oldest_code: int | None = None
    password: PasswordState = "unknown"  # noqa: S105 - a state, not a password

    @property
    def may_be_open(self) -> bool:
        """Whether somebody could log in, now or as soon as LOGIN is given back."""
        return self.can_login or self.password in ("right", "wrong")

    @property
    def password_is_missing(self) -> bool:
        """Whether the wanted password has to be set. A role that cannot log in has lost its password with that."""
        return self.password in ("wrong", "none") or (self.password == "unknown" and not self.can_login)  # noqa: S105


@dataclass(frozen=True, slots=True)
class ObservedObjects:
    """Objects of one kind in the schema that have the same owner and the same privileges (None: the built-in ones)."""

    kind: ObjectKind
    owner: str
    acl: Acl | None
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ObservedSchema:
    """A schema as it is.

    `defaults` are the privileges that new objects of the owner get. `applied` are the migrations by version,
    None when it cannot be read yet. `lost` are the lines of the structure that hold no longer, None when
    nobody looked.
    """

    comment: str | None
    owner: str
    acl: Acl
    defaults: Mapping[ObjectKind, Acl]
    objects: tuple[ObservedObjects, ...]
    applied: Mapping[int, Applied] | None
    lost: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ObservedTenant:
    """What Postgres holds for one tenant.

    `elsewhere` names what the roles own or may use outside the schema; it is looked at for a deletion only.
    """

    version: int
    database: str
    admin: str
    admin_inherits: bool
    extension_schema: str | None
    public_may_connect: bool
    public_may_use_extension: bool
    roles: Mapping[str, ObservedRole]
    schema: ObservedSchema | None
    elsewhere: tuple[str, ...] = ()


def desired_tenant(
    names: naming.TenantNames,
    passwords: Mapping[naming.Slot, str],
    replicas: int,
    *,
    active: naming.Slot = "a",
    uid: str = "",
    access: Access = "full",
    predecessors: frozenset[str] = frozenset(),
    old_code_gone: bool = False,
) -> DesiredTenant:
    """Return what a namespace with this many API processes needs; a slot without a password is closed."""
    # The field's default, whatever the operator's own environment says; and one process more runs during a roll-out.
    each = int(RuntimeSettings.model_fields["postgres_pool_size"].default) + CONNECTIONS_BESIDE_POOL
    return DesiredTenant(
        tenant=names.qualified,
        uid=uid,
        schema=names.schema,
        owner_role=names.owner_role,
        slots=(
            Slot(names.login_role("a"), passwords.get("a"), active == "a"),
            Slot(names.login_role("b"), passwords.get("b"), active == "b"),
        ),
        connection_limit=(replicas + 1) * each,
        access=access,
        predecessors=predecessors,
        migrations=all_migrations(),
        structure=structure(),
        old_code_gone=old_code_gone,
    )
