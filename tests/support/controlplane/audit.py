"""What the API server's audit log says: who did what to which object."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
READS = frozenset({"get", "list", "watch"})
EVERYTHING = WRITES | READS
# The parts of Kubernetes itself are left out, by name and by group; so are probes and discovery.
POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy", coredns]
- level: None
  userGroups: ["system:nodes", "system:serviceaccounts:kube-system"]
- level: None
  nonResourceURLs: ["*"]
- level: Metadata
"""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One request as the API server recorded it; `raw` is the whole record (audit.k8s.io/v1 Event).

    Who could not prove to be anybody (401) has no name: `user` is empty.
    """

    user: str
    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    raw: dict[str, Any] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read one line of the log."""
        raw = json.loads(line)
        target = raw.get("objectRef", {})
        return cls(
            user=raw["user"].get("username", ""),
            verb=raw["verb"],
            resource=target.get("resource", ""),
            subresource=target.get("subresource", ""),
            namespace=target.get("namespace", ""),
            name=target.get("name", ""),
            code=raw.get("responseStatus", {}).get("code", 0),
            raw=raw,
        )


def select(lines: Iterable[str], user: str | None, verbs: Collection[str]) -> list[AuditEvent]:
    """Return the requests of `user` (None: anyone's) whose verb is in `verbs`, oldest first."""
    events = (AuditEvent.parse(line) for line in lines)
    return [event for event in events if event.verb in verbs and user in {None, event.user}]
