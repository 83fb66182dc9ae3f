"""Names of everything the operator creates for a MemoryNamespace.

A name is made from namespace, name and a hash of both. Kubernetes names may hold ``-`` where Postgres wants ``_``;
the hash keeps ``a-b/c`` and ``a/b-c`` apart, so no user can choose a name that hits another tenant's object.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

MAX_POSTGRES_NAME = 63  # NAMEDATALEN - 1
MAX_KUBERNETES_NAME = 63  # RFC 1123 label
HASH_LENGTH = 8

Slot: TypeAlias = Literal["a", "b"]


class TopicKind(StrEnum):
    """What a Kafka topic is for; the value ends its name."""

    EVENTS = "events"
    INGEST = "ingest"
    DEAD_LETTER = "dead-letter"


@dataclass(frozen=True, slots=True)
class TenantNames:
    """The external names of one MemoryNamespace, each a function of (namespace, name)."""

    namespace: str
    name: str

    @property
    def qualified(self) -> str:
        """``namespace/name``: the tenant as the runtime and the ids know it."""
        return f"{self.namespace}/{self.name}"

    @property
    def digest(self) -> str:
        """The hash that keeps two tenants apart whose readable names are alike."""
        return hashlib.sha256(self.qualified.encode()).hexdigest()[:HASH_LENGTH]

    @property
    def schema(self) -> str:
        """Postgres schema, e.g. ``mem_team_a_research_3f9a1c02``; room is left for role suffixes."""
        readable = re.sub(r"[^a-z0-9]+", "_", f"{self.namespace}_{self.name}".lower())
        room = MAX_POSTGRES_NAME - len("mem_") - len("_owner") - HASH_LENGTH - 1
        return f"mem_{readable[:room].strip('_')}_{self.digest}"

    @property
    def owner_role(self) -> str:
        """NOLOGIN role that owns the schema and runs its migrations."""
        return f"{self.schema}_owner"

    def login_role(self, slot: Slot) -> str:
        """One of the two roles that the API logs in with: reads and writes rows, changes no structure.

        There are two, so that a new password can come into use while processes still work with the old one.
        """
        return f"{self.schema}_{slot}"

    @property
    def stem(self) -> str:
        """The readable and unique part of names in Qdrant, Kafka and Redis, e.g. ``mem-team-a-research-3f9a1c02``."""
        return f"mem-{self.namespace}-{self.name}-{self.digest}"

    @property
    def alias(self) -> str:
        """Qdrant alias: what clients use."""
        return self.stem

    @property
    def collection(self) -> str:
        """Qdrant collection behind the alias; the number leaves room for a successor."""
        return f"{self.stem}-1"

    def topic(self, kind: TopicKind) -> str:
        """Kafka topic, e.g. ``mem-team-a-research-3f9a1c02.events``."""
        return f"{self.stem}.{kind}"

    @property
    def redis_user(self) -> str:
        """ACL user in Redis."""
        return self.stem

    @property
    def redis_prefix(self) -> str:
        """Prefix of all keys and channels in Redis; ends so that no prefix is the beginning of another."""
        return f"{self.stem}:"

    @property
    def api(self) -> str:
        """API Deployment, Service, ConfigMap, and what else there is one of for the API."""
        return self._child("api")

    @property
    def binding(self) -> str:
        """Secret for servicebinding.io: how other workloads reach the API."""
        return self._child("binding")

    @property
    def credentials(self) -> str:
        """Secret with what the API needs to log in, and its token."""
        return self._child("credentials")

    def _child(self, suffix: str) -> str:
        plain = f"{self.name}-{suffix}"
        if len(plain) <= MAX_KUBERNETES_NAME:
            return plain
        room = MAX_KUBERNETES_NAME - len(suffix) - HASH_LENGTH - 2
        return f"{self.name[:room].rstrip('-.')}-{self.digest}-{suffix}"
