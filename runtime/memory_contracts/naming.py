"""Names of everything the operator creates for a MemoryNamespace.

A name is made from namespace, name and a hash of both. Kubernetes names may hold ``-`` where Postgres wants ``_``;
the hash keeps ``a-b/c`` and ``a/b-c`` apart, so no user can choose a name that hits another tenant's object.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

MAX_POSTGRES_NAME = 63  # NAMEDATALEN - 1
MAX_KUBERNETES_NAME = 63  # RFC 1123 label
HASH_LENGTH = 8


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

    @property
    def login_role(self) -> str:
        """The role the API logs in with: reads and writes rows, changes no structure."""
        return f"{self.schema}_a"

    @property
    def api(self) -> str:
        """API Deployment, Service, ConfigMap."""
        return self._child("api")

    @property
    def credentials(self) -> str:
        """Secret with the database URL and the API token."""
        return self._child("credentials")

    def _child(self, suffix: str) -> str:
        plain = f"{self.name}-{suffix}"
        if len(plain) <= MAX_KUBERNETES_NAME:
            return plain
        room = MAX_KUBERNETES_NAME - len(suffix) - HASH_LENGTH - 2
        return f"{self.name[:room].rstrip('-.')}-{self.digest}-{suffix}"
