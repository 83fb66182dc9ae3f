"""Decides what has to change in Qdrant for one tenant: (desired, observed) → steps. Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from memory_contracts.conditions import Reason
from memory_operator.providers.shapes import Blocked

OLDEST_VERSION = (1, 16)  # the first with metadata of collections, where the mark is
TENANT_KEY = "memory-operator/tenant"
UID_KEY = "memory-operator/uid"


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose a collection is: namespace and name of the MemoryNamespace, and its UID, which no other object ever has."""

    tenant: str
    uid: str

    @classmethod
    def read(cls, metadata: Mapping[str, object] | None) -> Mark | None:
        """Return the mark in a collection's metadata."""
        tenant, uid = ((metadata or {}).get(key) for key in (TENANT_KEY, UID_KEY))
        return cls(tenant, uid) if isinstance(tenant, str) and isinstance(uid, str) else None

    def as_metadata(self) -> dict[str, str]:
        """Return what is written into the collection's metadata, beside what others write there."""
        return {TENANT_KEY: self.tenant, UID_KEY: self.uid}


@dataclass(frozen=True, slots=True)
class DesiredCollection:
    """What Qdrant should hold for one tenant.

    `collection` is the physical name, `alias` the stable one that clients use. `payload_indexes` are pairs of field and
    schema, e.g. ``("type", "keyword")``. `adopts` holds the UIDs of earlier objects of the same name, known from the
    ledger of claims, whose collections this one takes over; True stands for any earlier object. Prefer the UIDs: a
    ledger says nothing of objects that another Postgres knows, and they may live.
    """

    tenant: str
    uid: str
    collection: str
    alias: str
    dimensions: int
    distance: str = "Cosine"
    payload_indexes: tuple[tuple[str, str], ...] = ()
    adopts: frozenset[str] | bool = False

    @property
    def mark(self) -> Mark:
        """What the metadata of the tenant's collections says."""
        return Mark(self.tenant, self.uid)

    def may_take_over(self, uid: str) -> bool:
        """Whether a collection marked with this UID is the object's own, or was left to it."""
        return uid == self.uid or (self.adopts if isinstance(self.adopts, bool) else uid in self.adopts)

    def owns(self, mark: Mark | None) -> bool:
        """Whether a collection with this mark is the object's own, or was left to it."""
        return mark is not None and mark.tenant == self.tenant and self.may_take_over(mark.uid)


@dataclass(frozen=True, slots=True)
class ObservedCollection:
    """A collection as it is; `dimensions` and `distance` are None when it has no single unnamed vector."""

    mark: Mark | None
    dimensions: int | None
    distance: str | None
    payload_indexes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AliasTarget:
    """Where the alias leads; to the alias' own name when a collection, not an alias, has that name."""

    collection: str
    mark: Mark | None


@dataclass(frozen=True, slots=True)
class ObservedQdrant:
    """What Qdrant holds under the names of one tenant."""

    version: str
    collection: ObservedCollection | None = None
    alias: AliasTarget | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The names of all collections, and all aliases with their targets: two requests, whatever the number."""

    collections: frozenset[str]
    aliases: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CreateCollection:
    """Create the collection with the mark in it, in one request: there is never an unmarked one."""

    collection: str
    dimensions: int
    distance: str
    mark: Mark

    @property
    def summary(self) -> str:
        """One line for log and dry run."""
        vectors = f"{self.dimensions}-dimensional vectors, {self.distance}"
        return f"create collection {self.collection} for {self.mark.tenant}: {vectors}"


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Write another UID into the mark of a collection that an earlier object of the same name left behind."""

    collection: str
    mark: Mark
    previous_uid: str

    @property
    def summary(self) -> str:
        """One line for log and dry run."""
        return (
            f"take over collection {self.collection} of {self.mark.tenant} from its former object {self.previous_uid}"
        )


@dataclass(frozen=True, slots=True)
class SetIndex:
    """Create the index of a payload field; one of another type is replaced by it."""

    collection: str
    name: str
    schema: str
    previous: str | None = None

    @property
    def summary(self) -> str:
        """One line for log and dry run."""
        what = f"payload field {self.name} of collection {self.collection}"
        if self.previous is None:
            return f"index {what} as {self.schema}"
        return f"index {what} as {self.schema} instead of {self.previous}"


@dataclass(frozen=True, slots=True)
class PointAlias:
    """Let the alias lead to the collection; when it leads elsewhere, it moves in one atomic action."""

    alias: str
    collection: str
    previous: str | None = None

    @property
    def summary(self) -> str:
        """One line for log and dry run."""
        if self.previous is None:
            return f"point alias {self.alias} to collection {self.collection}"
        return f"move alias {self.alias} from collection {self.previous} to {self.collection}"


@dataclass(frozen=True, slots=True)
class DropCollection:
    """Drop a collection with its vectors; Qdrant drops the aliases that lead to it as well."""

    collection: str

    @property
    def summary(self) -> str:
        """One line for log and dry run."""
        return f"drop collection {self.collection} and its aliases"


Step: TypeAlias = CreateCollection | TakeOver | SetIndex | PointAlias | DropCollection


def plan(desired: DesiredCollection, observed: ObservedQdrant) -> list[Step] | Blocked:
    """Return the steps from `observed` to `desired`, in order; ``[]`` when they agree."""
    if blocked := _blocked(desired, observed):
        return blocked
    # The alias comes last: who follows it finds a collection that is complete.
    return [*_collection(desired, observed), *_indexes(desired, observed), *_alias(desired, observed)]


def plan_deletion(desired: DesiredCollection, observed: ObservedQdrant) -> list[Step]:
    """Return the steps after which nothing of this object is left, nor of those whose claim it took over.

    What has another mark, or none, stays.
    """
    doomed = {}
    if observed.collection:
        doomed[desired.collection] = observed.collection.mark
    if observed.alias:
        doomed[observed.alias.collection] = observed.alias.mark
    return [DropCollection(name) for name, mark in doomed.items() if desired.owns(mark)]


def differs(desired: DesiredCollection, listing: Listing) -> bool:
    """Tell from the names alone whether something of the tenant is missing or leads elsewhere."""
    return desired.collection not in listing.collections or listing.aliases.get(desired.alias) != desired.collection


def in_turn(everything: Sequence[DesiredCollection], after: str, count: int) -> list[DesiredCollection]:
    """Return the `count` tenants that follow the tenant `after` in order of name, beginning again at the end."""
    ordered = sorted(everything, key=lambda each: each.tenant)
    start = bisect_right([each.tenant for each in ordered], after)
    return (ordered[start:] + ordered[:start])[:count]


def knows_metadata(version: str) -> bool:
    """Whether a server of this version keeps metadata of collections; an unreadable version counts as too old."""
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= OLDEST_VERSION


def _blocked(desired: DesiredCollection, observed: ObservedQdrant) -> Blocked | None:
    if not knows_metadata(observed.version):
        return Blocked(
            Reason.REJECTED,
            f"the server is Qdrant {observed.version}; 1.16 or newer is needed, for it can say whose a collection is",
        )
    found, alias = observed.collection, observed.alias
    if found:
        refused = _not_ours(desired, f"collection {desired.collection}", found.mark) or _mismatch(desired, found)
        if refused:
            return refused
    if alias and alias.collection == desired.alias:
        return Blocked(
            Reason.FOREIGN_OBJECT,
            f"a collection has the name {desired.alias}, which the alias of {desired.tenant} needs; "
            "move its points elsewhere and delete it",
        )
    if alias:
        what = f"collection {alias.collection}, to which alias {desired.alias} leads,"
        return _not_ours(desired, what, alias.mark)
    return None


def _not_ours(desired: DesiredCollection, what: str, mark: Mark | None) -> Blocked | None:
    """Refuse what the tenant did not create: neither the name nor the contents tell whose it is, the mark does."""
    remedy = "move or delete it, or give the MemoryNamespace another name"
    if mark is None:
        return Blocked(Reason.FOREIGN_OBJECT, f"{what} exists, but carries no mark of an owner; {remedy}")
    if mark.tenant != desired.tenant:
        return Blocked(Reason.FOREIGN_OBJECT, f"{what} exists, but belongs to {mark.tenant}; {remedy}")
    if not desired.may_take_over(mark.uid):
        return Blocked(
            Reason.CLAIMED_BY_ANOTHER,
            f"{what} belongs to another MemoryNamespace {mark.tenant}, with uid {mark.uid}, of another Kubernetes "
            "cluster perhaps; give one of the two another name, or another Qdrant",
        )
    return None


def _mismatch(desired: DesiredCollection, found: ObservedCollection) -> Blocked | None:
    """Vectors of another kind cannot be converted, and dropping them is nobody's wish."""
    if found.dimensions is None:
        says, remedy = "has no single unnamed vector", "delete the collection"
    elif found.dimensions != desired.dimensions:
        says = f"stores {found.dimensions}-dimensional vectors, the spec asks for {desired.dimensions}"
        remedy = f"restore an embedding of {found.dimensions} dimensions"
    elif found.distance != desired.distance:
        says = f"compares vectors by {found.distance}, the spec asks for {desired.distance}"
        remedy = f"restore the distance {found.distance}"
    else:
        return None
    return Blocked(
        Reason.VECTOR_MISMATCH,
        f"collection {desired.collection} {says}; {remedy}, or make a new MemoryNamespace",
    )


def _collection(desired: DesiredCollection, observed: ObservedQdrant) -> Iterator[Step]:
    if observed.collection is None:
        yield CreateCollection(desired.collection, desired.dimensions, desired.distance, desired.mark)
    elif observed.collection.mark and observed.collection.mark != desired.mark:
        yield TakeOver(desired.collection, desired.mark, observed.collection.mark.uid)


def _indexes(desired: DesiredCollection, observed: ObservedQdrant) -> Iterator[Step]:
    """An index that nobody asked for stays: clients of the tenant may create their own."""
    found = observed.collection.payload_indexes if observed.collection else {}
    for name, schema in desired.payload_indexes:
        if found.get(name) != schema:
            yield SetIndex(desired.collection, name, schema, found.get(name))


def _alias(desired: DesiredCollection, observed: ObservedQdrant) -> Iterator[Step]:
    previous = observed.alias.collection if observed.alias else None
    if previous != desired.collection:
        yield PointAlias(desired.alias, desired.collection, previous)
