"""Decides what has to change in Redis for one tenant: (desired, observed) → steps. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from memory_contracts.conditions import Reason
from memory_operator.providers.redis.acl import disabled_rules, full_rules, owner_mark, read_only_rules
from memory_operator.providers.shapes import Blocked, Claim, Release

# No character that means something in a pattern, no space, and a ":" at the end: no tenant's keys begin like another's.
_PREFIX = re.compile(r"([a-z0-9][a-z0-9._-]*:)+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHOWN_RULES = 6


@dataclass(frozen=True, slots=True)
class DesiredUser:
    """What Redis should hold for one tenant: an ACL user for the keys and channels that begin with `prefix`.

    `enabled=False` is a fenced tenant: no login, and connections that are open can do nothing. `read_only` reads keys
    and listens to channels. The password is needed for an enabled user only. `predecessors` are the uids of earlier
    objects of the same name whose released claim this one has taken over.
    """

    tenant: str
    uid: str
    user: str
    prefix: str
    password: str = field(repr=False)
    enabled: bool = True
    read_only: bool = False
    predecessors: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError(f"{self.prefix!r} cannot be a prefix: lower-case words, each followed by ':'")
        if not _NAME.fullmatch(self.user) or self.user == "default":
            raise ValueError(f"{self.user!r} cannot be the name of a tenant's user")
        if not _NAME.fullmatch(self.uid):
            raise ValueError(f"{self.uid!r} cannot be a uid")

    @property
    def rules(self) -> tuple[str, ...]:
        """What the user may do, as ``ACL SETUSER`` takes it."""
        if not self.enabled:
            return disabled_rules(self.prefix, self.uid)
        if not self.password:
            raise ValueError(f"user {self.user} needs a password")
        choose = read_only_rules if self.read_only else full_rules
        return choose(self.prefix, self.uid, self.password)


@dataclass(frozen=True, slots=True)
class ObservedUser:
    """What Redis holds for one tenant. `rules` is None where there is no such user.

    `password_works` tells how a login ended; it is False where none was tried. `claimed` is what the ledger says.
    """

    rules: frozenset[str] | None
    password_works: bool
    claimed: bool

    @property
    def exists(self) -> bool:
        """Whether there is a user of this name."""
        return self.rules is not None


@dataclass(frozen=True, slots=True)
class SetUser:
    """Create or reset the user: one command that takes all from it and gives it `rules`, without a moment between."""

    user: str
    rules: tuple[str, ...] = field(repr=False)
    why: str

    @property
    def summary(self) -> str:
        """One line for log and dry run."""
        return f"set user {self.user}: {self.why}"


@dataclass(frozen=True, slots=True)
class DeleteUser:
    """Delete the user, which also ends its connections, so that nobody writes a key afterwards."""

    user: str

    @property
    def summary(self) -> str:
        """One line for log and dry run."""
        return f"delete user {self.user}"


@dataclass(frozen=True, slots=True)
class DeleteKeys:
    """Delete every key of the prefix. They are copies and counters; what a tenant stores lies in Postgres."""

    prefix: str

    @property
    def summary(self) -> str:
        """One line for log and dry run."""
        return f"delete the keys {self.prefix}*"


Step: TypeAlias = Claim | SetUser | DeleteUser | DeleteKeys | Release


def plan(desired: DesiredUser, observed: ObservedUser) -> list[Step] | Blocked:
    """Return the steps from `observed` to `desired`, none when they agree."""
    if (blocked := _foreign(desired, observed)) is not None:
        return blocked
    steps: list[Step] = [] if observed.claimed else [Claim((desired.user,))]
    rules = desired.rules
    if (why := _difference(desired, observed, frozenset(rules))) is not None:
        steps.append(SetUser(desired.user, rules, why))
    return steps


def plan_deletion(desired: DesiredUser, observed: ObservedUser) -> list[Step]:
    """Return the steps that remove what is this tenant's, none when nothing is; what is not, survives.

    The claim outlives user and keys, so a crash anywhere leaves the rest to be found.
    """
    release = Release((desired.user,))
    if _foreign(desired, observed) is not None:
        return [release] if observed.claimed else []
    if not observed.exists and not observed.claimed:
        return []
    claim: list[Step] = [] if observed.claimed else [Claim((desired.user,))]
    delete: list[Step] = [DeleteUser(desired.user)] if observed.exists else []
    return [*claim, *delete, DeleteKeys(desired.prefix), release]


def drifted_tenants(
    all_desired: Iterable[DesiredUser], users: Iterable[tuple[str, frozenset[str]]], claimed: Collection[str]
) -> set[str]:
    """Return the tenants for which a pass would do or report something; `users` are names and rules of all there are.

    They are looked at one by one: the rules of thousands at once would take a hundred megabytes.
    """
    absent = {desired.user: desired for desired in all_desired}
    drifted = set()
    for name, rules in users:
        if (desired := absent.pop(name, None)) is None:
            continue
        # The hash of the password is among the rules, so no login is needed to see that it is another one.
        if plan(desired, ObservedUser(rules, password_works=True, claimed=name in claimed)) != []:
            drifted.add(desired.tenant)
    return drifted | {desired.tenant for desired in absent.values()}


def _foreign(desired: DesiredUser, observed: ObservedUser) -> Blocked | None:
    """Say whose the user is, if not this tenant's.

    The mark decides. It tells two Kubernetes clusters apart that each have a ledger, and a name claimed in both; and it
    keeps a user known as ours when the server is reached under another address. A user whose mark was edited away is
    ours if the ledger says so.
    """
    if observed.rules is None:
        return None
    mark = owner_mark(desired.prefix, "")
    owners = {rule.removeprefix(mark) for rule in observed.rules if rule.startswith(mark)}
    if owners & {desired.uid, *desired.predecessors}:
        return None
    remedy = f"remove it (ACL DELUSER {desired.user}) if nothing needs it"
    if owners:
        who = (
            f"the MemoryNamespace with uid {min(owners)}, of another Kubernetes cluster or an earlier one of this name"
        )
        return Blocked(Reason.CLAIMED_BY_ANOTHER, f"user {desired.user} belongs to {who}; {remedy}")
    if not observed.claimed:
        why = f"user {desired.user} exists, and {desired.tenant} has not claimed it"
        return Blocked(Reason.FOREIGN_OBJECT, f"{why}; {remedy}")
    return None


def _difference(desired: DesiredUser, observed: ObservedUser, rules: frozenset[str]) -> str | None:
    """Say why the user must be set, without its password's hash; None when all is as desired."""
    if observed.rules is None:
        return f"may use {desired.prefix}* only" if desired.enabled else "may do nothing"
    if observed.rules != rules:
        return "; ".join(
            f"{which} {_shown(some)}"
            for which, some in (("to take", observed.rules - rules), ("to give", rules - observed.rules))
            if some
        )
    if desired.enabled and not observed.password_works:
        return "its password was refused"
    return None


def _shown(rules: frozenset[str]) -> str:
    names = sorted({"a password" if rule.startswith("#") else rule for rule in rules})
    more = len(names) - _SHOWN_RULES
    return ", ".join(names[:_SHOWN_RULES]) + (f" and {more} more" if more > 0 else "")
